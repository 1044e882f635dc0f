"""NaN, infinities, zeros, denormals, overflow and underflow, as IEEE 754 and NumPy have them."""

import itertools

import numpy as np
import pytest

from numbaloss import vmath

INF, NAN = np.inf, np.nan
UNARY = [name for name in vmath.__all__ if name != "pow"]
DTYPES = [np.float32, np.float64]

# (function, argument, result); zeros with their sign.
TABLE = [
    ("exp", INF, INF),
    ("exp", -INF, 0.0),
    ("exp", 0.0, 1.0),
    ("exp", -0.0, 1.0),
    ("exp", 1e4, INF),
    ("exp", -1e4, 0.0),
    ("log", INF, INF),
    ("log", 1.0, 0.0),
    ("log", 0.0, -INF),
    ("log", -0.0, -INF),
    ("log", -1.0, NAN),
    ("log", -INF, NAN),
    ("log1p", INF, INF),
    ("log1p", 0.0, 0.0),
    ("log1p", -0.0, -0.0),
    ("log1p", -1.0, -INF),
    ("log1p", -1.5, NAN),
    ("log1p", -INF, NAN),
    ("expm1", INF, INF),
    ("expm1", -INF, -1.0),
    ("expm1", 1e4, INF),
    ("expm1", 0.0, 0.0),
    ("expm1", -0.0, -0.0),
    ("tanh", INF, 1.0),
    ("tanh", -INF, -1.0),
    ("tanh", 0.0, 0.0),
    ("tanh", -0.0, -0.0),
    ("sigmoid", INF, 1.0),
    ("sigmoid", -INF, 0.0),
    ("sigmoid", 0.0, 0.5),
    ("softplus", INF, INF),
    ("softplus", -INF, 0.0),
    ("softplus", 1e30, 1e30),
    ("log_cosh", INF, INF),
    ("log_cosh", -INF, INF),
    ("log_cosh", 0.0, 0.0),
    ("log_cosh", -0.0, 0.0),
    ("log_cosh", 1e30, 1e30),
    ("log_sigmoid", INF, -0.0),
    ("log_sigmoid", -INF, -INF),
    ("log_sigmoid", -1e30, -1e30),
    ("sqrt", INF, INF),
    ("sqrt", 4.0, 2.0),
    ("sqrt", 0.0, 0.0),
    ("sqrt", -0.0, -0.0),
    ("sqrt", -1.0, NAN),
]


def same(got, wanted) -> bool:
    """Equal in value and in the sign of a zero; NaN equals NaN."""
    if np.isnan(wanted):
        return bool(np.isnan(got))
    return bool(got == wanted and np.signbit(got) == np.signbit(wanted))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "argument", "wanted"), TABLE)
def test_special_values_are_those_of_ieee_754(name, argument, wanted, dtype, compiled):
    for apply in (compiled(name), getattr(vmath, name)):
        got = apply(np.array([argument], dtype))
        assert got.dtype == dtype
        assert same(got[0], dtype(wanted)), got


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_nan_gives_nan_with_any_sign_and_payload(name, dtype, compiled):
    bits = np.uint32 if dtype == np.float32 else np.uint64
    quiet = np.array([NAN, -NAN], dtype).view(bits)
    x = np.concatenate([quiet, quiet + bits(12345)]).view(dtype)
    assert np.all(np.isnan(compiled(name)(x)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["log1p", "expm1", "tanh"])
def test_denormal_arguments_pass_unchanged(name, dtype, compiled):
    tiny = np.finfo(dtype).smallest_subnormal
    x = tiny * np.array([1, 2, 3, 1000, 100_001], dtype)
    x = np.concatenate([x, -x])
    np.testing.assert_array_equal(compiled(name)(x), x)


def test_float32_tails_are_denormal_rather_than_zero(compiled):
    x = np.array([-100.0, -90.0, -103.5], np.float32)
    wanted = np.exp(x.astype(np.float64)).astype(np.float32)
    assert np.all(wanted > 0)
    np.testing.assert_array_equal(compiled("sigmoid")(x), wanted)
    np.testing.assert_array_equal(compiled("softplus")(x), wanted)
    np.testing.assert_array_equal(compiled("log_sigmoid")(-x), -wanted)
    np.testing.assert_array_equal(compiled("exp")(x), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sigmoid_is_minus_softplus_of_minus_x_to_the_last_bit(dtype, compiled):
    x = np.random.default_rng(5).normal(0, 20, 10_000).astype(dtype)
    np.testing.assert_array_equal(compiled("log_sigmoid")(x), -compiled("softplus")(-x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_has_all_special_cases_of_ieee_754(dtype, compiled):
    info = np.finfo(dtype)
    values = [0.0, 0.5, 1.0, 2.0, 3.0, 1.5, INF, info.max, info.tiny, info.smallest_subnormal]
    values += [1 + info.eps, 1 - info.epsneg, 2.0**24 + 1, 2.0**53 - 1, 2.0**53, 1e30]
    values = [dtype(v) for v in values] + [-dtype(v) for v in values] + [dtype(NAN)]
    x, y = np.array(list(itertools.product(values, values)), dtype).T.copy()
    got = compiled("pow")(x, y)
    wide = vmath.pow(x.astype(np.float64), y.astype(np.float64))
    with np.errstate(all="ignore"):
        wanted = wide.astype(dtype)
        near = np.abs(got - wanted) <= np.spacing(np.abs(wanted))
    for base, exponent, ours, theirs, close in zip(x, y, got, wanted, near, strict=True):
        ordinary = np.isfinite(theirs) and theirs != 0
        assert close if ordinary else same(ours, theirs), (base, exponent, ours, theirs)
