"""The float32 power of GPU kernels, compiled for the CPU: it does the same operations there."""

import itertools
import platform
import re

import numpy as np
import pytest
from numba import njit

from numbaloss import vmath
from numbaloss.vmath import float32, overloads, pow32

BOUND = 0.9  # measured: 0.81 where the result is denormal, 0.73 elsewhere
body = pow32.pow


@njit
def loop(x, y, out):
    for i in range(x.size):
        out[i] = body(x[i], y[i])


def power(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    loop(x, y, out)
    return out


def bases(kind: str, size: int) -> np.ndarray:
    rng = np.random.default_rng(6)
    roots = np.sqrt(0.5) * 2.0 ** rng.integers(-140, 120, size)
    return {
        "any": np.abs(rng.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)),
        "denormal": rng.integers(1, 2**23, size, dtype=np.uint32).view(np.float32),
        "near one": 1 + rng.normal(0, 1, size) * 2.0 ** rng.uniform(-24, -2, size),
        "at the ends of the mantissa": roots * (1 + rng.normal(0, 1, size) * 2.0**-20),
        "moderate": np.exp(rng.uniform(-5, 5, size)),
    }[kind].astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["any", "denormal", "near one", "at the ends of the mantissa", "moderate"]
)
def test_power_is_within_one_ulp(kind, exactly, largest_ulp):
    x = bases(kind, 300_000)
    rng = np.random.default_rng(7)
    half = x.size // 2
    # Where it overflows, becomes denormal, vanishes, and where it is nearly 1.
    edges = rng.choice([128.0, -126.0, -150.0, 0.0], half) + rng.normal(0, 0.01, half)
    logarithm = np.concatenate([rng.uniform(-151, 129, half), edges])
    with np.errstate(all="ignore"):
        y = (logarithm / np.log2(x.astype(np.float64))).astype(np.float32)
    assert largest_ulp(power(x, y), exactly("pow", np.float64, x, y)) <= BOUND


def test_power_of_any_two_bit_patterns_is_right(exactly, largest_ulp):
    x, y = np.random.default_rng(8).integers(0, 2**32, (2, 10**6), dtype=np.uint32).view(np.float32)
    assert largest_ulp(power(x, y), exactly("pow", np.float64, x, y)) <= BOUND


def test_whole_powers_of_negative_bases_have_the_right_sign(exactly, largest_ulp):
    rng = np.random.default_rng(9)
    x = -np.exp(rng.uniform(-5, 5, 100_000)).astype(np.float32)
    y = rng.integers(-40, 40, x.size).astype(np.float32)
    assert largest_ulp(power(x, y), exactly("pow", np.float64, x, y)) <= BOUND


def test_special_cases_are_those_of_numpy():
    info = np.finfo(np.float32)
    values = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, np.inf, info.max, info.tiny]
    values += [info.smallest_subnormal, 1 + info.eps, 1 - info.epsneg, 1e30, 1e-30]
    values += [126.0, 127.0, 128.0, 149.0, 150.0, 2.0**23 - 0.5, 2.0**24 - 1, 2.0**24 + 2]
    values = [*values, *(-value for value in values), np.nan]
    x, y = np.array(list(itertools.product(values, values)), np.float32).T.copy()
    got = power(x, y)
    with np.errstate(all="ignore"):
        wanted = np.power(x, y)
        ordinary = np.isfinite(wanted) & (wanted != 0)
        near = np.abs(got - wanted) <= np.spacing(np.abs(wanted))
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    np.testing.assert_array_equal(np.where(ordinary, near, same), True)
    signed = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(wanted[signed]))


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86 machine code"
)
def test_power_does_no_float64_arithmetic():
    power(*np.ones((2, 64), np.float32))
    (code,) = loop.inspect_asm().values()
    assert re.search(r"\bv?mul[ps]s\b", code)
    assert not re.findall(r"cvtps2pd|cvtss2sd|(?:add|sub|mul|div|sqrt|fmadd...)[ps]d\b", code)


def test_loops_of_cpus_have_another_body():
    overloads.install()
    of_cpus, face = float32.pow, vmath.pow

    @njit
    def both(x, y, own, found):
        for i in range(x.size):
            own[i], found[i] = of_cpus(x[i], y[i]), face(x[i], y[i])

    rng = np.random.default_rng(7)
    x = rng.uniform(0.5, 2.0, 4096).astype(np.float32)
    y = rng.uniform(-20.0, 20.0, 4096).astype(np.float32)
    own, found = np.empty_like(x), np.empty_like(x)
    both(x, y, own, found)
    np.testing.assert_array_equal(found, own)
    assert (power(x, y) != own).any()  # or this test could not tell
