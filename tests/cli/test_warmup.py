"""`numbaloss warmup` fills a cache that later processes use."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cli import warming_vectors
from numbaloss.cli.warming import registered
from numbaloss.disk.cache import MARK, MARKER


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_code_is_compiled_once_and_then_found(cache, start, tmp_path):
    arguments = ("warmup", "mae", "--dtype", "float64")
    out, err = start(*arguments).communicate(timeout=120)
    assert err == ""
    assert "1 loss ready" in out
    assert "6 kernels compiled" in out
    assert str(cache) in out
    out, _ = start(*arguments).communicate(timeout=120)
    assert "nothing had to be compiled" in out

    before = sorted(cache.rglob("*"))
    (tmp_path / "x.csv").write_text("prediction,target,w\n1,2,1\n2,nan,1\n")
    options = ("--hessian", "--gradient", "-w", "w", "-o", tmp_path / "o.npy")
    for given in ((), options):
        _, err = start("score", tmp_path / "x.csv", "--loss", "mae", *given).communicate()
        assert err == ""
    assert sorted(cache.rglob("*")) == before


@pytest.mark.exhaustive
@pytest.mark.parametrize("names", [["brier"], ["brier", "multi_margin:p=2"]])
def test_losses_of_rows_are_compiled_for_numbers_of_classes(cache, start, tmp_path, names):
    arguments = ("warmup", *names, "--dtype", "float32", "--classes", 20)
    out, err = start(*arguments).communicate(timeout=300)
    assert err == ""
    assert ("2 losses ready" if names[1:] else "1 loss ready") in out
    out, _ = start(*arguments).communicate(timeout=120)
    assert "nothing had to be compiled" in out

    before = sorted(cache.rglob("*"))
    logits = np.zeros((100, 20), np.float32)
    label = np.arange(100) % 20
    dense = np.full((100, 20), 0.05, np.float32)
    np.savez(tmp_path / "x.npz", prediction=logits, target=label, dense=dense)
    options = ("--hessian", "--per-sample", "-o", tmp_path / "o.npy")
    # What is warmed is warmed for other margins too.
    others = ("--loss", "multi_margin:p=2,margin=0.5") if names[1:] else ()
    losses = ("--loss", "brier", *others)
    for given in (losses, (*losses, *options), (*losses[:2], "-t", "dense", *options)):
        _, err = start("score", tmp_path / "x.npz", *given).communicate()
        assert err == ""
    assert sorted(cache.rglob("*")) == before


def test_every_formula_of_a_loss_is_warmed():
    found = [repr(loss) for loss in registered() if isinstance(loss, nl.Softmax)]
    assert sum(one.startswith("MultiMargin(margin=1.0, p=") for one in found) == 2
    assert sum(one.startswith("CrossEntropy(") and "z_loss=0.0" not in one for one in found) == 1
    assert {one.partition("(")[0] for one in found} == {
        cls.__name__ for cls in nl.losses().values() if issubclass(cls, nl.Softmax)
    }


def test_clear_empties_the_cache_and_leaves_what_is_not_ours(cache, command):
    digest = "0123456789abcdef" * 2
    code = cache / f"numbaloss-{digest}"
    code.mkdir(parents=True)
    code.chmod(0o755)
    (code / MARKER).write_bytes(MARK)
    (code / "kernel").write_bytes(bytes(2_000_000))
    # Named by a digest, or like ours by chance.
    others = [digest, "numbaloss-results", f"numbaloss-{digest[1:]}0", "numbaloss-0123456789abcdef"]
    for name in others:
        (cache / name).mkdir()
        (cache / name / "treasure").write_text("mine")
    assert command("warmup", "--clear").out == "deleted 2.0 MB of machine code\n"
    assert {path.name for path in cache.iterdir()} == set(others)
    assert all((cache / name / "treasure").exists() for name in others)
    assert command("warmup", "--clear").code == 0


def test_a_place_where_others_can_write_is_an_error(cache, command):
    cache.mkdir()
    cache.chmod(0o777)
    for arguments in (("warmup", "mae", "--dtype", "float32"), ("warmup", "--clear")):
        found = command(*arguments)
        assert (found.code, found.out) == (1, "")
        assert f"all users can write to {cache}" in found.err


def test_code_of_ones_own_losses_is_not_kept(command, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import numbaloss as nl\nclass Mine(nl.Elementwise):\n"
        "    def point(self, prediction, target):\n        return prediction, 1.0, 0.0\n"
    )
    found = command("warmup", f"{path}:Mine")
    assert found.code == 2
    assert "only the code of registered losses is kept" in found.err


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path, start, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    process = start("warmup", "mae", "--dtype", "float32")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "cannot be kept" in err


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "names",
    [
        ["info_nce"],
        pytest.param(
            ["triplet", "info_nce", "supcon", "batch_triplet:mining=all"],
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_losses_of_vectors_are_compiled_for_calls_of_any_size(cache, start, names):
    arguments = ("warmup", *names, "--dtype", "float32")
    out, err = start(*arguments).communicate(timeout=300)
    assert err == ""
    assert ("4 losses ready" if names[1:] else "1 loss ready") in out
    out, _ = start(*arguments).communicate(timeout=120)
    assert "nothing had to be compiled" in out


def test_every_formula_of_a_loss_of_vectors_is_warmed():
    found = {repr(loss) for loss in warming_vectors.registered()}
    assert repr(nl.BatchTriplet(mining="semi-hard")) in found
    assert repr(nl.InfoNCE(symmetric=True)) in found


@pytest.fixture
def gpu_code(monkeypatch):
    """What would be compiled for GPUs, and is not: kernels, by what names them."""
    pytest.importorskip("numba_cuda")
    from numbaloss.cuda import binaries

    found = []

    def binary(kernel, capability, anew=False):
        found.append((kernel.what.partition(" ")[2], capability))
        return binaries.Binary("kernel", b"code", "compiler")

    monkeypatch.setattr(binaries, "binary", binary)
    return found


@pytest.mark.parametrize(
    ("loss", "classes", "names"),
    [
        (nl.Huber(), (), {"elementwise_vectors", "sum_numbers"}),
        (nl.BinaryCrossEntropy(targets="signed"), (), {"elementwise_vectors", "sum_numbers"}),
        (nl.Triplet(), (), {"embedding_rows"}),
        (nl.CrossEntropy(), (10, 50_000), {"softmax_scan", "softmax_narrow"}),
    ],
)
def test_calls_say_which_kernels_a_gpu_needs(gpu_code, loss, classes, names):
    from numbaloss.cli import warming_gpu
    from tests.support.gpu.stub import stub_gpu

    count = warming_gpu.compile_task(loss, "float32", (9, 0), classes)
    assert count == len(gpu_code)
    with stub_gpu() as driver:  # which launches
        warming_gpu._call(loss, "float32", classes)
    launched = {started.kernel.what.partition(" ")[2] for started in driver.started}
    assert set(gpu_code) == {(what, (9, 0)) for what in launched}
    assert names <= {what.partition("(")[0].rpartition(".")[2] for what in launched}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--device", "cuda", "--compute-capability", "hopper"), 2, "must be like 90 or 9.0"),
        (("--device", "cuda", "--compute-capability", "12"), 2, "knows no compute capability 1.2"),
        (("--compute-capability", "90"), 2, "is of --device cuda"),
        (("--dtype", "float16"), 2, "computes half precisions in float32"),
        (("info_nce", "--device", "cuda", "--compute-capability", "90"), 2, "needs a GPU"),
    ],
)
def test_what_cannot_be_compiled_for_a_gpu_is_an_error(cache, command, arguments, code, says):
    pytest.importorskip("numba_cuda")
    found = command("warmup", *(() if "info_nce" in arguments else ("mae",)), *arguments)
    assert (found.code, found.out) == (code, "")
    assert says in found.err.replace("\n", " ")
