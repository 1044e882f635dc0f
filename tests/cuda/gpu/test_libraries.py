"""Every check with the arrays of every library, of the host and of others."""

import importlib
import math
from itertools import product

import numpy as np
import pytest

import numbaloss as nl
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
