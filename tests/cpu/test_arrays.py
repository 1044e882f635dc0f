"""Arrays of every layout, dtype and library give the results of plain ones."""

import ctypes
import tempfile
import tracemalloc
from types import MappingProxyType

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import inputs
from numbaloss.arrays import gpu as gpu_arrays
from numbaloss.cpu import movers
from numbaloss.cuda import availability

LOSS = nl.Huber(0.8)


def results(p, t, weight=None):
    return LOSS.value_grad_hess(p, t, sample_weight=weight, reduction="none")


LAYOUTS = {
    "reversed": lambda a: a[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(a, 3, axis=-1)[..., ::3],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "inner axes swapped": lambda a: np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2),
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": lambda a: unaligned(a),
    "read-only": lambda a: read_only(a),
    "memory-mapped": lambda a: mapped(a),
    "window": lambda a: np.pad(a, 2)[2:-2, 2:-2, 2:-2],
}


def unaligned(array):
    buffer = np.empty(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def mapped(array):
    with tempfile.TemporaryFile() as file:
        file.write(array.tobytes())
        file.flush()
        return np.memmap(file, array.dtype, "r", shape=array.shape)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("which", [0, 1, 2, (0, 1, 2)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_makes_no_difference(layout, which, dtype):
    rng = np.random.default_rng(0)
    arrays = [rng.random((6, 50, 31)).astype(dtype) * 3 for _ in range(3)]
    expected = results(*arrays)
    for index in range(3):
        if index == which or (isinstance(which, tuple) and index in which):
            arrays[index] = LAYOUTS[layout](arrays[index])
    before = [array.tobytes() for array in arrays]
    found = results(*arrays)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert [array.tobytes() for array in arrays] == before


def test_gradient_keeps_the_memory_order_of_the_prediction():
    p = np.asfortranarray(np.ones((30, 20), np.float32))
    _, gradient = LOSS.value_and_grad(p, np.zeros((30, 20), np.float32))
    assert gradient.flags.f_contiguous


def test_broadcast_inputs_are_read_without_being_spread():
    p = np.broadcast_to(np.linspace(-3, 3, 40, dtype=np.float32), (1000, 40))
    t = np.broadcast_to(np.float32(0.5), (1000, 40))
    for got, expected in zip(results(p, t), results(p.copy(), t.copy()), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f8"])
def test_targets_of_any_real_dtype_are_converted(kind):
    p, t = inputs(nl.BinaryCrossEntropy(), 1000, seed=1)
    p, t = p.astype(np.float32), (t > 0.5).astype(kind)
    expected = nl.BinaryCrossEntropy().value_and_grad(p, t.astype(np.float32))
    for target in (t, t.astype(t.dtype.newbyteorder()), np.repeat(t, 2)[::2]):
        value, gradient = nl.BinaryCrossEntropy().value_and_grad(p, target)
        assert value == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_extreme_integers_are_converted_as_numpy_does():
    for dtype in (np.int64, np.uint64):
        info = np.iinfo(dtype)
        t = np.array([info.min, info.max, info.max - 1, 2**53 + 1], dtype)
        for real in (np.float32, np.float64):
            p = np.zeros(4, real)
            values = nl.AbsoluteError()(p, t, reduction="none")
            np.testing.assert_array_equal(values, np.abs(t.astype(real)))


ALL_HALVES = np.arange(2**16, dtype=np.uint16)


def test_every_float16_is_read_exactly():
    halves = ALL_HALVES.view(np.float16)
    p = halves[np.isfinite(halves)]
    found = nl.SquaredError().value_and_grad(p, np.zeros_like(p), reduction="none")[0]
    np.testing.assert_array_equal(found, p.astype(np.float32) ** 2)


def roundings(dtype):
    """float32 numbers around every number of a half type and around every tie."""
    bits = ALL_HALVES.view(dtype).astype(np.float32)
    bits = bits[np.isfinite(bits)]
    middle = np.sort(bits)
    ties = (middle[1:] / 2 + middle[:-1] / 2).astype(np.float32)
    around = np.concatenate([bits, ties])
    with np.errstate(over="ignore"):
        return np.concatenate(
            [np.nextafter(around, s * np.float32(np.inf)) for s in (1, -1)] + [around]
        )


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_halves_are_rounded_to_nearest_even(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    dtype = np.dtype(np.float16 if name == "float16" else ml_dtypes.bfloat16)
    numbers = np.concatenate([roundings(dtype), [0.0, -0.0, 7e4, -7e4, np.inf, -np.inf, np.nan]])
    numbers = numbers.astype(np.float32)
    stored = np.empty(numbers.shape, dtype)
    view = stored.view(np.uint16)
    layout = np.array([0, 1, numbers.size, 2])
    code = movers.mover("store", name, False, "float32")
    call(code, view.ctypes.data, layout.ctypes.data, 0, numbers.size, numbers.ctypes.data)
    with np.errstate(over="ignore"):
        expected = numbers.astype(dtype)
    nan = np.isnan(numbers)
    np.testing.assert_array_equal(view[~nan], expected.view(np.uint16)[~nan])
    assert np.isnan(stored[nan].astype(np.float32)).all()


def call(code, *arguments):
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(code.address)(*arguments)


def test_bfloat16_goes_in_and_comes_out():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(2)
    p = rng.normal(size=(50, 7)).astype(ml_dtypes.bfloat16)
    t = rng.normal(size=(50, 7)).astype(ml_dtypes.bfloat16)
    wide = results(p.astype(np.float32), t.astype(np.float32))
    for p_ in (p, np.asfortranarray(p), np.repeat(p, 2, 0)[::2]):
        value, gradient, hessian = results(p_, t)
        assert value.dtype == np.float32
        assert gradient.dtype == hessian.dtype == p.dtype
        np.testing.assert_array_equal(value, wide[0])
        np.testing.assert_array_equal(gradient, wide[1].astype(ml_dtypes.bfloat16))
    with pytest.raises(ValueError, match=r"target\[1\] is -2"):
        nl.Poisson()(p[0, :2], np.array([1, -2], ml_dtypes.bfloat16))


def test_no_whole_array_is_copied():
    p = np.zeros((1 << 20, 2), np.float32)[:, 0]  # strided
    t = np.zeros(1 << 20, np.int64)
    weight = np.ones(1 << 20, np.float64)
    call = nl.Huber().value_and_grad
    call(p[:9], t[:9], sample_weight=weight[:9], out=p[:9])
    tracemalloc.start()
    call(p, t, sample_weight=weight, out=p)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_pandas_goes_in_and_numpy_comes_out():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"p": [1.0, 2.0], "t": [0, 0], "w": [1, 2]})
    value, gradient = LOSS.value_and_grad(frame["p"], frame["t"], sample_weight=frame["w"])
    assert isinstance(gradient, np.ndarray)
    expected = LOSS.value_and_grad([1.0, 2.0], [0.0, 0.0], sample_weight=[1.0, 2.0])
    assert value == expected[0]


def test_matrices_and_other_subclasses_come_back_as_plain_arrays():
    p = np.ones((3, 2)).view(type("Mine", (np.ndarray,), {}))
    assert type(LOSS.value_and_grad(p, np.zeros((3, 2)))[1]) is np.ndarray


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_torch_tensors_go_in_and_come_out(kind):
    torch = pytest.importorskip("torch")
    dtype = getattr(torch, kind)
    p = torch.linspace(-3, 3, 24).reshape(4, 6).to(dtype).requires_grad_()
    t = torch.zeros(4, 6, dtype=dtype)
    value, gradient = LOSS.value_and_grad(p, t)
    expected = LOSS.value_and_grad(p.detach().to(torch.float64).numpy(), np.zeros((4, 6)))
    assert value == pytest.approx(expected[0], rel=1e-2 if "16" in kind else 1e-6)
    assert isinstance(gradient, torch.Tensor)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient.to(torch.float64).numpy(), expected[1], rtol=1e-2)
    out = torch.empty(6, 4, dtype=dtype).T
    assert LOSS.value_and_grad(p, t, out=out)[1] is out
    assert torch.equal(out, gradient)
    apart = LOSS(p.detach(), t, reduction="none")
    assert apart.dtype == (torch.float64 if kind == "float64" else torch.float32)


def test_jax_arrays_go_in_and_come_out():
    jax = pytest.importorskip("jax")
    p = jax.numpy.linspace(-3, 3, 10)
    value, gradient = LOSS.value_and_grad(p, jax.numpy.zeros(10))
    assert isinstance(gradient, jax.Array)
    expected = LOSS.value_and_grad(np.asarray(p), np.zeros(10, np.float32))
    assert value == expected[0]
    np.testing.assert_array_equal(np.asarray(gradient), expected[1])
    with pytest.raises(TypeError, match="out must be an array that can be written to"):
        LOSS.value_and_grad(p, p, out=p)


def test_what_the_results_for_arrays_of_jax_on_a_gpu_are_made_by():
    jax = pytest.importorskip("jax")
    device = jax.devices()[0]
    family = gpu_arrays._jax_gpu(device)
    for kind in ("float16", "bfloat16", "float32"):
        like = jax.numpy.ones((2, 3), kind)
        for found, dtype in (
            (family.empty_like(like, None), kind),
            (family.empty_like(like, "float32"), "float32"),
            (family.empty((2, 3), kind), kind),
        ):
            assert isinstance(found, jax.Array)
            assert (str(found.dtype), found.shape, found.devices()) == (dtype, (2, 3), {device})
        # Nobody else may see what a kernel writes.
        kept = [family.empty((), kind) for _ in range(3)]
        assert len({one.unsafe_buffer_pointer() for one in kept}) == 3
    with pytest.warns(UserWarning, match="x64"), pytest.raises(TypeError, match="jax_enable_x64"):
        family.empty((3,), "float64")


class OnGpu:
    """Stands for an array of CuPy."""

    dtype = np.dtype(np.float64)
    __cuda_array_interface__ = MappingProxyType(
        {"data": (1 << 20, False), "shape": (3,), "typestr": "<f8", "version": 3}
    )


@pytest.mark.skipif(availability.problem() is None, reason="a GPU can be used")
def test_arrays_on_a_gpu_that_cannot_be_used_are_refused_with_the_reason():
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        LOSS(OnGpu(), OnGpu())
    with pytest.raises(RuntimeError, match="no GPU can be used"):
        LOSS(np.zeros(3), OnGpu())
