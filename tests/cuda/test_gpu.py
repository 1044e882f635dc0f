"""Losses on a real GPU: the checks that the simulator runs too, and what it cannot show."""

import importlib
import math
import shutil
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import (
    EACH,
    EACH_ROW_CASE,
    EMBEDDING_ROW_LOSSES,
    KEYED_LOSSES,
    LABELLED_LOSSES,
    identify,
    inputs,
    row_inputs,
)
from numbaloss.cuda import availability
from tests.support.gpu import libraries
from tests.support.gpu.checks import CHECKS, PARTS
from tests.support.gpu.kernels import ALL

pytestmark = pytest.mark.gpu

LIBRARIES = {"torch": "Torch", "cupy": "CuPy", "numba": "Numba"}
# The kernels are the same for all libraries: what compiles many of them runs in full for one.
FEW = 5


def calls():
    """A test for each part of each check and library; every one where NUMBALOSS_TEST_ALL is set."""
    for library, ((group, name), parts) in product(LIBRARIES, PARTS.items()):
        for place, (title, part) in enumerate(parts.items()):
            if library == "torch" or ALL or place % FEW == 0:
                parameters = f"{group}-{name}-{library}" + (f"-{title}" if title else "")
                yield pytest.param(library, group, part, id=parameters)


CYCLES = 400_000_000  # of a GPU, some 0.2 s


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    problem = availability.problem()
    if problem is not None:
        pytest.skip(problem)
    from numbaloss.cuda import backend

    if backend.SIMULATED:
        pytest.skip("the simulator is no GPU")


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("this PyTorch is made for the CPU")
    return found


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")


@pytest.fixture
def library(request):
    name = request.param
    if name != "numba":
        request.getfixturevalue(name)
    return getattr(libraries, LIBRARIES[name])()


@pytest.mark.parametrize(("library", "group", "part"), [*calls()], indirect=["library"])
def test_arrays_of_libraries(library, group, part):
    if isinstance(library, libraries.Numba):
        multiply = [*filter(importlib.util.find_spec, ("cupy", "torch"))]
        if group in ("linear", "batches", "families") and not multiply:
            pytest.skip("matrices are multiplied by CuPy or PyTorch")
        if "torch" not in multiply:
            library.products_of = libraries.CuPy.products_of
    part(library)


# Streams


def twice_on_a_stream(body, clear, stream, synchronize):
    """What ``body`` gives at its second run on a stream.

    The first compiles, loads all kernels, also those of the other library, and gets memory: the
    driver may wait for the GPU meanwhile.
    """
    with stream:
        body()
        clear()
    synchronize()
    with stream:
        return body()


def test_work_is_ordered_on_the_current_stream_of_torch_and_nobody_waits(torch):
    loss, size = nl.Huber(), 1 << 20
    prediction, target = (torch.zeros(size, device="cuda") for _ in range(2))
    logits, labels = torch.zeros(64, 32768, device="cuda"), torch.zeros(64, device="cuda").long()
    stream, ready = torch.cuda.Stream(), torch.cuda.Event()

    def body():
        torch.cuda._sleep(CYCLES)
        prediction.fill_(3.0)
        logits[:, 1] = 10.0
        value, gradient = loss.value_and_grad(prediction, target, wait=False)
        of_rows, _ = nl.CrossEntropy().value_and_grad(logits, labels, wait=False)
        twice = gradient * 2
        ready.record()
        return not ready.query(), value, of_rows, twice

    def clear():
        prediction.zero_()
        logits.zero_()

    torch.cuda.synchronize()
    on_its_way, value, of_rows, twice = twice_on_a_stream(
        body, clear, torch.cuda.stream(stream), torch.cuda.synchronize
    )
    assert on_its_way, "somebody has waited"
    assert float(value) == 2.5
    assert float(of_rows) == pytest.approx(math.log(math.exp(10) + 32767), rel=1e-6)
    stream.synchronize()
    assert (twice == 2.0 / size).all()


def test_a_value_and_a_gradient_are_there_when_a_call_returns_that_waits(torch):
    prediction, target = (torch.zeros(1 << 20, device="cuda") for _ in range(2))
    nl.Huber()(prediction, target)
    torch.cuda._sleep(CYCLES)
    prediction.fill_(3.0)
    assert nl.Huber()(prediction, target) == 2.5


def test_work_is_ordered_on_the_current_stream_of_cupy(cupy):
    loss, size = nl.Huber(), 1 << 20
    prediction, target = (cupy.zeros(size, np.float32) for _ in range(2))
    matrix = cupy.ones((4096, 4096), np.float32)
    product = cupy.empty_like(matrix)
    stream = cupy.cuda.Stream(non_blocking=True)

    def body():
        for _ in range(200):
            cupy.matmul(matrix, matrix, out=product)
        prediction.fill(3.0)
        value, gradient = loss.value_and_grad(prediction, target, wait=False)
        twice = gradient * 2
        return not stream.done, value, twice

    synchronize = cupy.cuda.Device().synchronize
    synchronize()
    on_its_way, value, twice = twice_on_a_stream(
        body, lambda: prediction.fill(0.0), stream, synchronize
    )
    assert on_its_way, "somebody has waited"
    assert float(value) == 2.5
    stream.synchronize()
    assert (twice == np.float32(2.0) / size).all()


def test_streams_do_not_share_their_sums(torch):
    streams = [torch.cuda.Stream() for _ in range(8)]
    given = [torch.full((100_003,), float(k), device="cuda") for k in range(8)]
    target = torch.zeros(100_003, device="cuda")
    torch.cuda.synchronize()
    values = []
    for _ in range(20):
        for stream, prediction in zip(streams, given):
            with torch.cuda.stream(stream):
                values.append(nl.SquaredError()(prediction, target, wait=False))
    assert list(map(float, values)) == [float(k * k) for k in range(8)] * 20


# Sizes


def test_rows_beyond_two_to_the_31_elements(torch):
    rows, classes = 70_000, 32_768
    needed = 3 * rows * classes
    if torch.cuda.mem_get_info()[0] < 1.2 * needed:
        pytest.skip("takes 8 GB of the GPU")
    logits = torch.zeros((rows, classes), dtype=torch.float16, device="cuda")
    labels = torch.zeros(rows, dtype=torch.int64, device="cuda")
    logits[-3:].normal_(generator=torch.Generator("cuda").manual_seed(0))
    labels[-3:] = torch.tensor([5, 77, classes - 1])
    last = logits[-3:].clone(), labels[-3:].clone()
    loss = nl.CrossEntropy()
    value, gradient = loss.value_and_grad(logits, labels, out=logits, reduction="sum")
    own, expected = loss.value_and_grad(*last, reduction="sum")
    assert gradient is logits
    torch.testing.assert_close(gradient[-3:], expected, rtol=2e-3, atol=1e-7)
    assert value == pytest.approx(own + (rows - 3) * math.log(classes), rel=1e-4)


def test_elements_beyond_two_to_the_31(torch):
    size = (1 << 31) + 1027
    if torch.cuda.mem_get_info()[0] < 5 * size:
        pytest.skip("takes 9 GB of the GPU")
    prediction = torch.zeros(size, dtype=torch.float16, device="cuda")
    target = torch.zeros_like(prediction)
    prediction[-2:] = 2.0
    value, gradient = nl.SquaredError().value_and_grad(
        prediction, target, out=prediction, reduction="sum"
    )
    assert value == 8.0
    assert gradient[-3:].tolist() == [0.0, 4.0, 4.0]
    assert not gradient[:-2].any()
    assert nl.SquaredError()(prediction[::2], target[::2], reduction="sum") == 16.0


def test_vectors_beyond_two_to_the_31_elements(torch):
    rows, length = (1 << 22) + 3, 512
    size = rows * length
    if torch.cuda.mem_get_info()[0] < 17 * size:
        pytest.skip("takes 34 GB of the GPU")
    first = torch.zeros((rows, length), dtype=torch.float16, device="cuda")
    second, out = torch.zeros_like(first), (torch.ones_like(first), torch.ones_like(first))
    target = torch.ones(rows, dtype=torch.int32, device="cuda")
    first[-2:, -1] = 2.0
    value, (of_first, of_second) = nl.Contrastive().value_and_grad(
        first, second, target, out=out, reduction="sum"
    )
    assert value == 8.0
    for one, sign in ((of_first, 4.0), (of_second, -4.0)):
        assert one[-3:, -1].tolist() == [0.0, sign, sign]
        assert not one[:-2].any()
        assert not one[-2:, :-1].any()


# Runs


@pytest.mark.parametrize("loss", EACH, ids=identify)
def test_elementwise_losses_are_the_same_in_every_run(torch, loss):
    prediction, target = inputs(loss, 1_000_003, 0)
    given = [torch.tensor(one, dtype=torch.float32, device="cuda") for one in (prediction, target)]
    value, *arrays = loss.value_grad_hess(*given)
    for _ in range(3):
        again, *others = loss.value_grad_hess(*given)
        assert again == value
        assert all(torch.equal(one, other) for one, other in zip(arrays, others))


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
def test_losses_of_rows_are_the_same_in_every_run(torch, loss, form):
    for rows, classes in ((4099, 10), (300, 1000), (2, 100_000)):
        logits, target = row_inputs(loss, form, rows, classes, 0)
        given = (
            torch.tensor(logits, dtype=torch.float32, device="cuda"),
            torch.tensor(target, device="cuda"),
        )
        value, gradient = loss.value_and_grad(*given)
        for _ in range(3):
            again, other = loss.value_and_grad(*given)
            assert again == value
            assert torch.equal(gradient, other)


@pytest.mark.parametrize("loss", EMBEDDING_ROW_LOSSES, ids=identify)
def test_losses_of_vectors_are_the_same_in_every_run(torch, loss):
    pairs = isinstance(loss, nl.PairEmbedding)
    for rows, length in ((4099, 10), (3000, 128), (5, 100_000)):
        torch.manual_seed(0)
        given = [torch.randn(rows, length, device="cuda") for _ in range(2 if pairs else 3)]
        if pairs:
            given.append(torch.arange(rows, device="cuda") % 2)
        value, gradients = loss.value_and_grad(*given)
        for _ in range(3):
            again, others = loss.value_and_grad(*given)
            assert again == value
            assert all(torch.equal(one, other) for one, other in zip(gradients, others))


IN_BATCH = [*KEYED_LOSSES, *LABELLED_LOSSES]


def batch(loss, count, length, dtype):
    """Vectors, and labels for losses that take them."""
    rng = np.random.default_rng(count)
    given = [rng.normal(size=(count, length)).astype(dtype) for _ in range(2)]
    if isinstance(loss, nl.LabelledEmbedding):
        given[1] = rng.integers(0, count // 10, count)
    return given


def paired(found, expected):
    """Gradients, which may be a single one, with those of another call."""
    return zip(found, expected) if isinstance(found, tuple) else [(found, expected)]


@pytest.mark.parametrize("loss", IN_BATCH, ids=identify)
def test_losses_of_batches_are_the_same_in_every_run(torch, loss):
    given = [torch.tensor(one, device="cuda") for one in batch(loss, 1000, 33, np.float32)]
    for workspace in (None, 1 << 18):
        results = [loss.value_and_grad(*given, workspace=workspace) for _ in range(4)]
        value, gradients = results[0]
        for again, others in results[1:]:
            assert again == value
            assert all(torch.equal(*pair) for pair in paired(gradients, others))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", IN_BATCH, ids=identify)
def test_losses_of_large_batches_agree_with_the_cpu(torch, loss, dtype):
    given = batch(loss, 3000, 64, dtype)
    value, *expected = loss.value_and_grad(*given)
    arrays = [torch.tensor(one, device="cuda") for one in given]
    double = dtype is np.float64
    # A positive and a negative equally far away change places by rounding: a jump.
    jumps = getattr(loss, "mining", None) == "semi-hard" and not double
    for workspace in (None, 4 << 20):
        again, *found = loss.value_and_grad(*arrays, workspace=workspace)
        assert again == pytest.approx(value, rel=1e-11 if double else 1e-3 if jumps else 2e-5)
        for one, other in paired(found[0], expected[0]):
            off = one.cpu().numpy().astype("f8") - other
            # Of distances that are equal but for rounding, either may be the nearest.
            most = 1e-10 if double else 0.1 if jumps else 1e-3
            assert np.linalg.norm(off) <= most * np.linalg.norm(other)


def test_batches_are_ordered_on_the_current_stream_of_torch_and_nobody_waits(torch):
    loss, count = nl.InfoNCE(0.5), 2048
    queries, keys = (torch.zeros(count, 32, device="cuda") for _ in range(2))
    stream, ready = torch.cuda.Stream(), torch.cuda.Event()

    def body():
        torch.cuda._sleep(CYCLES)
        queries[:, 0] = keys[:, 0] = 1.0
        keys[:1, 0] = -1.0  # a single element would be set by a copy that waits
        value, (of_queries, _) = loss.value_and_grad(queries, keys, wait=False)
        twice = of_queries * 2
        ready.record()
        return not ready.query(), value, twice

    def clear():
        queries.zero_()
        keys.zero_()

    torch.cuda.synchronize()
    on_its_way, value, twice = twice_on_a_stream(
        body, clear, torch.cuda.stream(stream), torch.cuda.synchronize
    )
    assert on_its_way, "somebody has waited"
    whole = (count - 1) * math.exp(2) + math.exp(-2)
    expected = math.log(whole) - ((count - 1) * 2 - 2) / count
    assert float(value) == pytest.approx(expected, rel=1e-5)
    stream.synchronize()
    assert torch.isfinite(twice).all()


def test_memory_of_batches_is_that_of_the_workspace(torch):
    count, length, workspace = 20_000, 64, 16 << 20
    vectors = torch.randn(count, length, device="cuda")
    labels = torch.arange(count, device="cuda") // 4
    for loss in (nl.NTXent(), nl.BatchTriplet(), nl.BatchTriplet(mining="semi-hard")):
        loss.value_and_grad(vectors[:100], labels[:100])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss.value_and_grad(vectors, labels, workspace=workspace)
        taken = torch.cuda.max_memory_allocated() - before
        assert taken <= workspace + 4 * vectors.nbytes + 200 * count + (1 << 20)


def test_many_threads_of_the_host_may_call_at_once(torch):
    from concurrent.futures import ThreadPoolExecutor

    given = [torch.full((10_007,), float(k), device="cuda") for k in range(16)]
    target = torch.zeros(10_007, device="cuda")

    def work(prediction):
        return {nl.SquaredError()(prediction, target) for _ in range(50)}

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, given)) == [{float(k * k)} for k in range(16)]


# Arrays from elsewhere


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_of_the_host_are_streamed(dtype):
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=3_000_001).astype(dtype)
    target = (rng.random(3_000_001) < 0.5).astype("i1")
    loss = nl.BinaryCrossEntropy()
    value, gradient = loss.value_and_grad(prediction, target, device="cuda", gradient_scale=1e6)
    expected = loss.value_and_grad(prediction, target, gradient_scale=1e6)
    assert type(gradient) is np.ndarray
    assert value == pytest.approx(expected[0], rel=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=0, atol=2e-3)


def test_rows_of_the_host_are_streamed():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_011, 100)).astype("f4")
    labels = rng.integers(0, 100, 20_011)
    found = nl.CrossEntropy().value_and_grad(logits, labels, device="cuda")
    expected = nl.CrossEntropy().value_and_grad(logits, labels)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", CHECKS["families"])
def test_arrays_that_know_nothing_but_dlpack(torch, name):
    CHECKS["families"][name](libraries.DLPack())


def test_tensors_with_autograd_are_taken_for_their_numbers(torch):
    prediction = torch.ones(100, device="cuda", requires_grad=True)
    value, gradient = nl.SquaredError().value_and_grad(prediction, torch.zeros(100, device="cuda"))
    assert value == 1.0
    assert not gradient.requires_grad


@pytest.fixture
def jax(monkeypatch):
    # By default it takes three quarters of the memory of a GPU, which others test on too.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    found = pytest.importorskip("jax")
    if not any(device.platform == "gpu" for device in found.devices()):
        pytest.skip("this JAX is made for the CPU")
    return found


@pytest.mark.parametrize("name", CHECKS["families"])
def test_arrays_of_jax(jax, name):
    CHECKS["families"][name](libraries.Jax())


def test_arrays_of_jax_are_for_reading(jax):
    p, t = np.linspace(-2, 2, 1001, dtype="f4"), np.zeros(1001, "f4")
    given = [*map(jax.numpy.asarray, (p, t))]
    with pytest.raises(TypeError, match="written to"):
        nl.Huber().value_and_grad(*given, out=jax.numpy.asarray(p))
    for one, other in zip(given, (p, t)):
        np.testing.assert_array_equal(np.asarray(one), other)


def test_every_gpu_computes_its_own_arrays(torch):
    count = torch.cuda.device_count()
    if count < 2:
        pytest.skip("needs two GPUs")
    for number in range(count):
        prediction = torch.full((1000,), 2.0, device=f"cuda:{number}")
        target = torch.zeros_like(prediction)
        value, gradient = nl.SquaredError().value_and_grad(prediction, target)
        assert value == 4.0
        assert gradient.device == prediction.device
        assert torch.cuda.current_device() == 0
        logits = torch.zeros((10, 50), device=f"cuda:{number}")
        labels = torch.zeros(10, dtype=torch.int64, device=f"cuda:{number}")
        assert nl.CrossEntropy()(logits, labels) == pytest.approx(math.log(50))
    with pytest.raises(ValueError, match=r"lives on .*cuda:0.*cuda:1"):
        nl.Huber()(torch.ones(3, device="cuda:0"), torch.ones(3, device="cuda:1"))


# Layers of the size of language models


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_of_many_classes_take_little_memory_and_agree_with_torch(torch, dtype):
    rows, width, classes = 2048, 512, 32_000
    kind = getattr(torch, dtype)
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape, scale=1.0):
        made = torch.randn(shape, generator=generator, device="cuda") * scale
        return made.to(kind)

    hidden, weight = normal(rows, width), normal(classes, width, scale=0.05)
    labels = torch.randint(0, classes, (rows,), generator=generator, device="cuda")
    loss = nl.LinearCrossEntropy()
    workspace = 16 << 20
    loss.value_and_grad(hidden[:256], weight, labels[:256], workspace=workspace)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    value, (of_hidden, of_weight) = loss.value_and_grad(hidden, weight, labels, workspace=workspace)
    results = of_hidden.nbytes + of_weight.nbytes
    assert torch.cuda.max_memory_allocated() - before <= results + 4 * workspace
    leaves = [one.float().requires_grad_() for one in (hidden, weight)]
    expected = torch.nn.functional.cross_entropy(leaves[0] @ leaves[1].T, labels)
    expected.backward()
    precise = dtype == "float32"
    assert value == pytest.approx(expected.item(), rel=2e-4 if precise else 1e-2)
    for one, leaf in zip((of_hidden, of_weight), leaves):
        largest = leaf.grad.abs().max().item()
        off = (one.float() - leaf.grad).abs().max().item()
        assert off <= (5e-3 if precise else 5e-2) * largest


# Tools

SCRIPT = """
    from importlib.util import find_spec

    import numpy as np
    import numbaloss as nl
    from numbaloss.cuda import backend

    multiplies = any(map(find_spec, ("cupy", "torch")))
    rng = np.random.default_rng(0)
    for kind in ("f4", "f2"):
        for size in (1, 33, 1000, 5001):
            p, t = (backend.upload(rng.normal(size=size).astype(kind)) for _ in range(2))
            nl.Huber().value_grad_hess(p, t)
            nl.LogCosh()(p[::2], t[::2])
        for rows, classes in ((3, 10), (7, 1000), (2, 30_000), (300, 9)):
            p = backend.upload(rng.normal(size=(rows, classes)).astype(kind))
            t = backend.upload(rng.integers(0, classes, rows))
            for loss in (nl.CrossEntropy(), nl.CrossEntropy(label_smoothing=0.1), nl.MultiMargin()):
                loss.value_and_grad(p, t)
        for rows, length in ((3, 10), (70, 16), (2, 5000), (300, 9)):
            a, b, c = (backend.upload(rng.normal(size=(rows, length)).astype(kind)) for _ in "abc")
            t = backend.upload(np.arange(rows) % 2)
            nl.CosineEmbedding().value_and_grad(a, b, t)
            nl.Triplet(swap=True).value_and_grad(a, b, c)
        for rows, length in ((3, 10), (70, 16), (300, 9)) if multiplies else ():
            a, b = (backend.upload(rng.normal(size=(rows, length)).astype(kind)) for _ in "ab")
            t = backend.upload(rng.integers(0, max(2, rows // 20), rows))
            for workspace in (None, 1 << 14):
                for loss in (nl.InfoNCE(symmetric=True), nl.SigLIP()):
                    loss.value_and_grad(a, b, workspace=workspace)
                nl.NTXent().value_and_grad(a, t, workspace=workspace)
                for mining in ("hard", "semi-hard", "all"):
                    loss = nl.BatchTriplet(mining=mining)
                    loss.value_and_grad(a, t, workspace=workspace)
    print("done")
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_the_sanitizer_finds_nothing(tmp_path, tool):
    program = shutil.which("compute-sanitizer")
    if program is None:
        pytest.skip("needs compute-sanitizer")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [program, "--tool", tool, "--error-exitcode", "9", sys.executable, script],
        capture_output=True, text=True, cwd=Path(nl.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "done" in done.stdout
