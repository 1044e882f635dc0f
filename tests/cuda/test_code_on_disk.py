"""Kernels for GPUs from disk: found by later processes, never stale, never trusted blindly."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, binaries, elementwise_kernels
from numbaloss.cuda.kernel import Kernel
from numbaloss.cuda.packing import Packing
from numbaloss.formulas.structure import Structure, lower
from tests.support.gpu.kernels import Quartic, in_batch_cases, of_one_loss
from tests.support.gpu.kernels import kernel_of as kernel_of_case
from tests.support.gpu.stub import places_in, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no driver")

HOPPER = 9, 0
PROCESS = """
    import sys, time
    import numba.cuda
    import numbaloss as nl
    from tests.support.gpu.stub import Array, stub_gpu
    from numbaloss.cuda.kernel import Kernel

    compiled, ptx = [], Kernel.ptx
    Kernel.ptx = lambda self, capability: compiled.append(self) or ptx(self, capability)
    numba.core.typeinfer  # there already: what is asked is whether it runs
    numba.cuda.core.typed_passes.type_inference_stage, infer = None, (
        numba.cuda.core.typed_passes.type_inference_stage)
    if {compiles}:
        numba.cuda.core.typed_passes.type_inference_stage = infer
    p, t, g = Array((1000,), "f4"), Array((1000,), "f4"), Array((1000,), "f4")
    with stub_gpu((9, 0)) as driver:
        begin = time.perf_counter()
        nl.SquaredError().value_and_grad(p, t, out=g, wait=False)
        seconds = time.perf_counter() - begin
    (started,) = driver.started
    assert b"elementwise_vectors" in started.kernel.name
    print(len(compiled), started.blocks, started.threads, len(started.parameters), seconds)
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path))
    return tmp_path


def kernel_of(loss, kind="float32"):
    """A kernel that this process has not compiled yet."""
    found = elementwise_kernels.vectors.__wrapped__(Structure.of(loss), kind, 1)
    found.what = f"{loss!r} {kind}"
    return found


def files(cache):
    return [one for one in cache.rglob("*") if one.is_file() and one.name != "CACHEDIR.TAG"]


@pytest.fixture
def compilations(monkeypatch):
    """The kernels that were compiled, to code that stands for it."""
    found = []

    def counted(self, capability):
        found.append(self)
        return ".entry kernel("

    monkeypatch.setattr(Kernel, "ptx", counted)
    monkeypatch.setattr(binaries, "cubin", lambda text, capability: b"\x7fELF of a kernel")
    return found


def in_process(cache, compiles):
    environment = {**os.environ, "NUMBALOSS_CACHE_DIR": str(cache), "PYTHONPATH": os.getcwd()}
    code = textwrap.dedent(PROCESS).format(compiles=compiles)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    compiled, *launch, seconds = done.stdout.split()
    return int(compiled), launch, float(seconds)


def test_a_second_process_loads_what_the_first_compiled(cache):
    compiled, launch, _ = in_process(cache, compiles=True)
    assert compiled == 1
    assert len(files(cache)) == 1
    again, same, seconds = in_process(cache, compiles=False)
    assert again == 0
    assert same == launch
    # A call that compiles takes 2 to 4 s; this one takes 0.05 s on an idle machine.
    assert seconds < 1.0


def test_a_cubin_is_for_its_capability_and_has_the_parameters_that_are_packed(cache):
    kernel = kernel_of(nl.AbsoluteError())
    with backend.compiling_for(HOPPER):  # as for a GPU that is elsewhere
        found = binaries.binary(kernel, HOPPER)
        again = binaries.binary(kernel, HOPPER)
    assert (found.origin, again.origin) == ("compiler", "disk")
    assert again[:2] == found[:2]
    # The architecture is in the flags of the ELF header, in one byte or another by its version.
    assert 90 in found.code[48:52]
    assert places_in(found.code, found.symbol) == Packing(kernel.arguments).places()


def test_files_that_are_damaged_are_made_again(cache, compilations):
    kernel = kernel_of(nl.AbsoluteError(), "float64")
    whole = binaries.binary(kernel, HOPPER)
    (file,) = files(cache)
    content = file.read_bytes()
    for damaged in (content[:-1], content[:20], b"", b"\x7fELF" + content[4:], content + b"x"):
        file.write_bytes(damaged)
        assert binaries.binary(kernel, HOPPER) == whole
        assert file.read_bytes() == content
        assert binaries.binary(kernel, HOPPER).origin == "disk"
    assert whole.origin == "compiler"
    assert len(compilations) == 6


def test_code_that_the_driver_refuses_is_made_again(cache, monkeypatch):
    kernel, compiled, ptx = kernel_of(nl.Huber()), [], Kernel.ptx
    monkeypatch.setattr(Kernel, "ptx", lambda *given: compiled.append(given) or ptx(*given))
    with stub_gpu(HOPPER) as driver:
        name = binaries._file_name(kernel, HOPPER)
        binaries.disk_cache.write(name, binaries.Entry("kernel", b"of another machine"))
        handle = kernel._load(HOPPER)[1]
        assert handle.places == tuple(Packing(kernel.arguments).places())
        assert driver.calls == ["cuLibraryLoadData"] * 2
        assert len(compiled) == 1
        assert binaries.binary(kernel, HOPPER).origin == "disk"
        assert binaries.binary(kernel, HOPPER).symbol == handle.name.decode()


@pytest.mark.parametrize("mode", [0o606, 0o660])
def test_what_others_can_write_is_not_loaded(cache, mode):
    kernel = kernel_of(nl.LogCosh())
    with stub_gpu(HOPPER):
        name = binaries._file_name(kernel, HOPPER)
        binaries.disk_cache.write(name, binaries.Entry("kernel", b"planted"))
        (file,) = files(cache)
        file.chmod(mode)
        with pytest.warns(RuntimeWarning, match="can write to"):
            assert binaries.disk_cache.read(name) is None


def test_names_differ_by_all_that_code_depends_on(cache, monkeypatch):
    kernel = kernel_of(nl.Huber())
    names = [binaries._file_name(kernel, HOPPER), binaries._file_name(kernel, (8, 0))]
    names += [binaries._file_name(kernel_of(nl.Huber(), "float64"), HOPPER)]
    changes = [
        (binaries.sources, "digest", lambda: "edited"),
        (binaries.numba, "__version__", "1.2.3"),
        (backend, "versions", lambda: ("1.2.3",)),
        (binaries, "_library", lambda name: (f"{name}.so", 1, "another build")),
        (binaries, "compiler", lambda: ("another",)),
        (binaries, "linker", lambda: ("another",)),
        (backend, "settings", lambda: ("0",)),
    ]
    for where, what, other in changes:
        with monkeypatch.context() as changed:
            changed.setattr(where, what, other)
            binaries.environment.cache_clear()
            names.append(binaries._file_name(kernel, HOPPER))
    binaries.environment.cache_clear()
    assert all(names)
    assert len(set(names)) == len(names)


def test_code_of_others_is_not_kept(cache, compilations, monkeypatch):
    assert binaries.binary(kernel_of(Quartic()), HOPPER).origin == "compiler"
    assert files(cache) == []
    monkeypatch.setattr(binaries.sources, "digest", lambda: "")  # changed since the import
    assert binaries.binary(kernel_of(nl.Huber()), HOPPER).origin == "compiler"
    assert files(cache) == []
    assert len(compilations) == 2


def test_without_a_linker_numba_is_asked(cache, monkeypatch):
    kernel = kernel_of(nl.Huber())
    monkeypatch.setattr(binaries, "cubin", lambda text, capability: None)
    monkeypatch.setattr(Kernel, "ptx", lambda self, capability: ".entry name(")
    asked = []
    monkeypatch.setattr(Kernel, "_by_numba", lambda self, *given: asked.append(given))
    with stub_gpu(HOPPER):
        kernel._configure(backend.Place(0), 10, 0, 256)
    assert len(asked) == 1
    assert files(cache) == []


@pytest.mark.exhaustive
def test_a_sum_of_thirty_losses_compiles_and_links():
    from catalogue.cases import LOSSES

    terms = [loss for loss in LOSSES if loss.recoding() is None]
    total = 1.0 * terms[0]
    for place in range(1, 30):
        total = total + 0.5 * terms[place % len(terms)]
    kernel = kernel_of(lower(total))
    with backend.compiling_for(HOPPER):
        text = kernel.ptx(HOPPER)
    code = binaries.cubin(text, HOPPER)
    places = Packing(kernel.arguments).places()
    assert len(places) > 60
    assert places_in(code, binaries.entry_of(text)) == places


def test_kernels_have_names_that_hold_in_all_processes():
    found = {}
    with backend.compiling_for(HOPPER):
        for case in [*(case for case, _ in of_one_loss()), *in_batch_cases()]:
            kernel = kernel_of_case(case)
            assert found.setdefault(kernel.what, kernel) is kernel
            assert kernel.what
            # Those of somebody's own have their identity in it.
            assert " at 0x" not in kernel.what
    assert len(found) > 60
