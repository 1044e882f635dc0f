"""Functions of NumPy that formulas for a GPU call on plain numbers."""

from itertools import product

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.kernels import intrinsics, refused, without_gpu

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, elementwise_kernels, numpy_functions
from numbaloss.formulas.structure import Structure

if backend.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)


class Every(nl.Elementwise):
    """All that the library teaches numba-cuda, and what it knows by itself beside them."""

    def point(self, prediction, target):
        x, y = prediction, target
        one = np.abs(x) + np.fabs(x) + np.sign(x) + np.negative(x) + np.positive(x) + np.square(x)
        one += np.reciprocal(x) + np.cbrt(x) + np.ceil(x) + np.floor(x) + np.rint(x) + np.trunc(x)
        one += np.exp2(x) + np.round(x) + np.sqrt(x) + np.exp(x) + np.expm1(x) + np.log1p(x)
        one = one if np.isfinite(x) or np.isinf(y) or np.isnan(y) else x
        two = np.copysign(x, y) + np.fmod(x, y) + np.remainder(x, y) + np.floor_divide(x, y)
        two += np.logaddexp(x, y) + np.add(x, y) + np.subtract(x, y) + np.multiply(x, y)
        two += np.divide(x, y) + np.maximum(x, y) + np.minimum(x, y) + np.hypot(x, y)
        return one + two, x, y


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_functions_of_numpy_compile_with_every_cuda(kind):
    with without_gpu((9, 0)), intrinsics() as found:
        text = elementwise_kernels.vectors(Structure.of(Every()), kind, 0).ptx((9, 0))
    assert not refused(found)
    # All of them are in the kernel: nothing is left to be linked.
    assert ".extern .func" not in text


def test_functions_that_nobody_knows_are_named():
    class Odd(nl.Elementwise):
        def point(self, prediction, target):
            return np.spacing(prediction), prediction, target

    kernel = elementwise_kernels.vectors(Structure.of(Odd()), "float32", 0)
    expected = r"Odd.point does not compile for a GPU: .*np\.spacing is none of the functions"
    with without_gpu((9, 0)), pytest.raises(TypeError, match=expected):
        kernel.ptx((9, 0))


NUMBERS = (0.0, -0.0, 0.3, -0.3, 0.9, 1.0, -1.0, 2.5, -7.0, 1e-3, 1e30, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["floor_divide", "logaddexp"])
def test_what_is_written_anew_is_numpys(name, real):
    made = {"floor_divide": "_floor_divide", "logaddexp": "_log_add_exp"}[name]
    own, ulps = getattr(numpy_functions, made)(real), {"floor_divide": 0, "logaddexp": 4}[name]
    with np.errstate(all="ignore"):
        for x, y in product(map(real, NUMBERS), repeat=2):
            try:
                found = own(x, y)
            except ValueError:  # what Python's fmod says of an infinite x
                found = np.nan
            expected = getattr(np, name)(x, y)
            np.testing.assert_allclose(
                found, expected, rtol=ulps * np.finfo(real).eps, err_msg=f"{x}, {y}"
            )
            if name == "floor_divide" and expected == 0.0:
                assert np.signbit(found) == np.signbit(expected), (x, y)
