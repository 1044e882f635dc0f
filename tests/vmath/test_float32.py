"""float32 functions against NumPy's float64, whose own error is 2^-29 ULP of float32."""

import os
import subprocess
import sys

import numpy as np
import pytest

# Measured over every bit pattern (docs/accuracy.md), with and without fused multiply-adds.
BOUNDS = {
    "exp": 1.2,
    "log": 1.0,
    "log1p": 1.5,
    "expm1": 1.5,
    "tanh": 1.6,
    "sigmoid": 1.8,
    "softplus": 2.0,
    "log_cosh": 2.0,
    "log_sigmoid": 2.0,
    "sqrt": 0.5,
}
if os.environ.get("NUMBA_CPU_NAME") == "generic":  # without fused multiply-adds
    BOUNDS |= {"softplus": 2.1, "log_sigmoid": 2.1}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_1021st_float32_is_within_the_bound(name, compiled, exactly, largest_ulp):
    x = np.arange(0, 1 << 32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    exact = exactly(name, np.float64, x)
    assert largest_ulp(compiled(name)(x), exact) <= BOUNDS[name]


@pytest.mark.parametrize("name", BOUNDS)
def test_float32_next_to_powers_of_two_and_range_ends_is_within_the_bound(
    name, compiled, exactly, largest_ulp
):
    ends = [88.72284, -87.33655, -103.97208, -86.98957, 0.55, 17.3, -17.3, -1.0, 0.70710677]
    centres = np.concatenate([np.ldexp(1.0, np.arange(-149, 128)), ends]).astype(np.float32)
    centres = np.concatenate([centres, -centres]).view(np.int32)
    x = (centres[:, None] + np.arange(-200, 201, dtype=np.int32)).ravel().view(np.float32)
    exact = exactly(name, np.float64, x)
    assert largest_ulp(compiled(name)(x), exact) <= BOUNDS[name]


@pytest.mark.parametrize("bases", ["any", "near one", "moderate"])
def test_float32_power_is_almost_correctly_rounded(bases, compiled, exactly, largest_ulp):
    rng = np.random.default_rng(1)
    size = 400_000
    x = {
        "any": np.abs(rng.integers(0, 2**32, size, dtype=np.uint32).view(np.float32)),
        "near one": 1 + rng.normal(0, 1, size) * 2.0 ** rng.uniform(-24, -2, size),
        "moderate": np.exp(rng.uniform(-5, 5, size)),
    }[bases].astype(np.float32)
    with np.errstate(all="ignore"):
        y = (rng.uniform(-151, 129, size) / np.log2(x.astype(np.float64))).astype(np.float32)
    exact = exactly("pow", np.float64, x, y)
    assert largest_ulp(compiled("pow")(x, y), exact) <= 0.51


def test_float32_power_of_any_two_bit_patterns_is_right(compiled, exactly, largest_ulp):
    x, y = np.random.default_rng(2).integers(0, 2**32, (2, 10**6), dtype=np.uint32).view(np.float32)
    exact = exactly("pow", np.float64, x, y)
    assert largest_ulp(compiled("pow")(x, y), exact) <= 0.51


@pytest.mark.exhaustive
@pytest.mark.skipif("NUMBA_CPU_NAME" in os.environ, reason="is the child of this very test")
def test_bounds_hold_on_a_machine_without_fused_multiply_add():
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout[-2000:]
