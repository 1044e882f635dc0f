"""float64 functions against extended precision, and against mpmath at the hard places."""

import math

import mpmath
import numpy as np
import pytest

BOUNDS = {
    "exp": 1.0,
    "log": 1.0,
    "log1p": 1.6,
    "expm1": 1.5,
    "tanh": 1.6,
    "sigmoid": 1.8,
    "softplus": 1.9,
    "log_cosh": 1.9,
    "log_sigmoid": 1.9,
    "sqrt": 0.501,
}
EXACT = {
    "exp": mpmath.exp,
    "log": mpmath.log,
    "log1p": mpmath.log1p,
    "expm1": mpmath.expm1,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "log_cosh": lambda x: mpmath.log1p(2 * mpmath.sinh(x / 2) ** 2),
    "log_sigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "sqrt": mpmath.sqrt,
}
extended = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here"
)


def mpmath_ulp(got: float, exact: mpmath.mpf) -> float:
    exponent = max(int(mpmath.frexp(exact)[1]), -1021)
    return float(abs(mpmath.mpf(float(got)) - exact) * mpmath.mpf(2) ** (53 - exponent))


def stratified(name: str, size: int) -> np.ndarray:
    """Any bit pattern, the range of exp, small numbers."""
    rng = np.random.default_rng(3)
    any_bits = rng.integers(0, 2**64 - 1, size, dtype=np.uint64).view(np.float64)
    wide = rng.uniform(-760, 730, size)
    small = rng.choice([-1.0, 1.0], size) * 2.0 ** rng.uniform(-60, 6, size)
    if name in ("log", "sqrt"):
        any_bits, wide, small = np.abs(any_bits), np.exp(np.minimum(wide, 709)), np.abs(small)
    return np.concatenate([any_bits, wide, small])


def hard_places(name: str) -> np.ndarray:
    """Neighbours of the places where the algorithms switch, cancel, overflow or go denormal."""
    log2 = math.log(2)
    centres = np.array(
        [k * log2 / 2 for k in range(-40, 41)]
        + [709.782712893384, 709.0, -708.3964185322641, -708.05, -745.1332191019411, 0.55, -0.55]
        + [1.0, -1.0, 0.5, 2.0, math.sqrt(0.5), math.sqrt(2), math.sqrt(0.5) - 1, math.sqrt(2) - 1]
        + [2.0**-54, 2.0**-53, 2.0**-1022, 5e-324, 1e-310, 2.0**1023, 37.0, -37.4, 1e-8]
    )
    steps = np.array([-1000, -7, -2, -1, 0, 1, 2, 7, 1000])
    x = (centres.view(np.int64)[:, None] + steps).ravel().view(np.float64)
    x = x[np.isfinite(x) & (x != 0)]
    return x[x > {"log": 0.0, "sqrt": 0.0, "log1p": -1.0}.get(name, -np.inf)]


@extended
@pytest.mark.parametrize("name", BOUNDS)
def test_stratified_float64_is_within_the_bound(name, compiled, exactly, largest_ulp):
    x = stratified(name, 70_000)
    exact = exactly(name, np.longdouble, x)
    assert largest_ulp(compiled(name)(x), exact) <= BOUNDS[name]


@pytest.mark.parametrize("name", BOUNDS)
def test_float64_at_the_hard_places_is_within_the_bound_of_mpmath(name, compiled):
    x = hard_places(name)
    for argument, got in zip(x, compiled(name)(x), strict=True):
        with mpmath.workprec(1300):
            exact = EXACT[name](mpmath.mpf(float(argument)))
            if exact > mpmath.mpf(1.7976931348623158e308):
                assert got == np.inf or mpmath_ulp(got, exact) <= BOUNDS[name], argument
            else:
                assert mpmath_ulp(got, exact) <= BOUNDS[name], argument


def power_arguments(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bases of any size and next to 1, exponents that reach from underflow to overflow."""
    rng = np.random.default_rng(4)
    x = np.concatenate(
        [
            np.abs(rng.integers(0, 2**64 - 1, size, dtype=np.uint64).view(np.float64)),
            1 + rng.normal(0, 1, size) * 2.0 ** rng.uniform(-52, -2, size),
            np.exp(rng.uniform(-5, 5, size)),
        ]
    )
    with np.errstate(all="ignore"):
        return x, rng.uniform(-1076, 1025, x.size) / np.log2(np.abs(x))


@extended
def test_float64_power_is_within_one_ulp(compiled, exactly, largest_ulp):
    x, y = power_arguments(70_000)
    exact = exactly("pow", np.longdouble, x, y)
    assert largest_ulp(compiled("pow")(x, y), exact) <= 1.0


def test_float64_power_is_within_one_ulp_of_mpmath(compiled):
    x, y = power_arguments(700)
    for base, exponent, got in zip(x, y, compiled("pow")(x, y), strict=True):
        # mpmath before 1.4 has no value for 1 to an infinite power.
        if np.isfinite(got) and got != 0 and np.isfinite(exponent):
            with mpmath.workprec(300):
                exact = mpmath.power(mpmath.mpf(float(base)), mpmath.mpf(float(exponent)))
                assert mpmath_ulp(got, exact) <= 1.0, (base, exponent)
