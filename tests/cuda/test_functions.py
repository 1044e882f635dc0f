"""The float32 functions of kernels, on the machine in Python, whose special function unit is as
wrong as PTX allows."""

import struct

import numpy as np
import pytest

from numbaloss import vmath
from tests.support.gpu.kernels import without_gpu
from tests.support.gpu.ptx_machine import Memory, Program

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend
from numbaloss.cuda.kernel import Kernel

if backend.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

COUNT = 2048
# Errors in ULP: of those with exponentials, that of the GPU's own is up to 2.
MOST = {
    "exp": 3.0, "sigmoid": 4.5, "softplus": 4.5, "log_sigmoid": 4.5, "tanh": 2.5, "log_cosh": 2.5,
    "expm1": 2.0, "log": 1.0, "log1p": 2.0, "sqrt": 0.5,
}  # fmt: skip
# The same where results are for halves: relative, and absolute.
ROUGHLY = {"exp": 6e-6, "sigmoid": 6e-6, "softplus": 6e-6, "log_sigmoid": 6e-6}


def computed(name, x, halves=False):
    """A function of numbers, as kernels compute it."""
    from numba import types

    from numbaloss.cuda.memory import of_halves, reader, writer
    from numbaloss.vmath.overloads import install

    install()
    face, read, write, tell = (
        getattr(vmath, name),
        reader("float32"),
        writer("float32"),
        of_halves(),
    )

    def whole(source, target, size):
        for i in range(backend.cuda.threadIdx.x, size, backend.cuda.blockDim.x):
            write(target, i, face(read(source, i)))

    def roughly(source, target, size):
        tell()
        for i in range(backend.cuda.threadIdx.x, size, backend.cuda.blockDim.x):
            write(target, i, face(read(source, i)))

    kernel = Kernel(roughly if halves else whole, (types.int64,) * 3)
    with without_gpu((9, 0)):
        program = Program(kernel.ptx((9, 0)))
    memory = Memory()
    source, target = memory.array(x.size, np.float32), memory.array(x.size, np.float32)
    source[...] = x
    program.run(memory, 1, 32, struct.pack("@3q", source.ctypes.data, target.ctypes.data, x.size))
    return target.copy()


def arguments():
    """Numbers of every size, and those where functions turn."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 1 << 32, COUNT, dtype=np.uint64).astype(np.uint32)
    near = rng.normal(0, 1, COUNT) * rng.choice([0.1, 1.0, 10.0, 40.0], COUNT)
    least, most = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    turns = [
        0.0,
        1.0,
        0.55,
        86.9,
        87.4,
        88.72,
        88.73,
        89.0,
        100.0,
        103.9,
        104.1,
        least,
        most,
        np.inf,
    ]
    turns = np.array([*turns, np.nan], np.float32)
    return np.concatenate([bits.view(np.float32), near.astype(np.float32), turns, -turns])


def exactly(name, x):
    """The function in float64."""
    with np.errstate(all="ignore"):
        return getattr(vmath, name)(x.astype(np.float64))


def errors(got, wanted):
    """In ULP of float32."""
    limit = 2.0**128
    with np.errstate(all="ignore"):
        wanted, got = (
            np.clip(np.nan_to_num(one, nan=0.0, posinf=limit, neginf=-limit), -limit, limit)
            for one in (wanted, got.astype(np.float64))
        )
        exponent = np.clip(np.frexp(wanted)[1] - 1, -126, 127)
    return np.abs(got - wanted) * 2.0 ** (23.0 - exponent)


@pytest.mark.parametrize("name", MOST)
def test_functions_are_as_exact_as_promised(name):
    x = arguments()
    got, wanted = computed(name, x), exactly(name, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    finite = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(wanted[finite]))
    found = errors(got, wanted)
    assert found.max() <= MOST[name], (x[found.argmax()], found.max())


@pytest.mark.parametrize("name", ROUGHLY)
def test_functions_for_halves_are_rough(name):
    x = arguments()
    x = x[(np.abs(x) < 80) | ~np.isfinite(x)]
    got, wanted = computed(name, x, True), exactly(name, x)
    np.testing.assert_allclose(got, wanted, rtol=ROUGHLY[name], atol=1e-37)
    near = np.abs(x) < 10
    np.testing.assert_allclose(got[near], wanted[near], rtol=1.5e-6, atol=0)
    assert not np.array_equal(got, computed(name, x))
