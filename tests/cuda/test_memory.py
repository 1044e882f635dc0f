"""The reads and writes of GPU kernels, compiled for the processor: the same LLVM code.

The simulator has faces of its own for them; here run the ones that GPUs get, but for the three
that are a single instruction of theirs.
"""

import numpy as np
import pytest
from numba import njit

pytest.importorskip("numba_cuda")
ml_dtypes = pytest.importorskip("ml_dtypes")

from numbaloss.cuda import dtypes, memory, vector_memory  # noqa: E402 (skipped without its package)

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
KINDS = list(DTYPES)


def patterns(kind):
    """All bit patterns of a half, a sample of those of wider types, special ones among them."""
    dtype = DTYPES[kind]
    if dtype.itemsize == 2:
        return np.arange(1 << 16, dtype=np.uint16).view(dtype)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, (1 << 14) * dtype.itemsize, dtype=np.uint8).view(dtype)
    bits[:4] = 0.0, -0.0, np.inf, np.nan
    return bits


def numbers(kind):
    """Numbers to be rounded to a dtype: of all sizes, ties and their neighbours."""
    real = dtypes.compute_type(kind)
    rng = np.random.default_rng(1)
    plain = rng.normal(size=1 << 14) * 2.0 ** rng.integers(-30, 30, 1 << 14)
    every = patterns(kind).astype(real)
    with np.errstate(all="ignore"):
        ties = every + (np.roll(every, 1) - every) / 2
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.5e38, 65504.0, 65519.9, 65520.0, 1e-45]
        found = np.concatenate([every, ties, plain, special]).astype(real)
        return np.concatenate([found, np.nextafter(ties, real(np.inf))]).astype(real)


def rounded(values, kind):
    with np.errstate(all="ignore"):
        return values.astype(DTYPES[kind])


def same(found, expected):
    """Equal numbers with equal signs, NaN where NaN is expected."""
    with np.errstate(invalid="ignore"):  # NaN that signal
        found, expected = found.astype(np.float64), expected.astype(np.float64)
    np.testing.assert_array_equal(found, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("kind", KINDS)
def test_elements_are_read_as_what_they_are(kind):
    read, stored = memory.reader(kind), patterns(kind)
    real = dtypes.compute_type(kind)

    @njit
    def all_of(address, found):
        for i in range(found.size):
            found[i] = read(address, i)

    found = np.empty(stored.size, real)
    all_of(stored.ctypes.data, found)
    with np.errstate(invalid="ignore"):
        same(found, stored.astype(real))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_hold_the_elements_in_their_order(kind):
    read, stored = vector_memory.vector_reader(kind), aligned(patterns(kind))
    count, real = dtypes.lanes(kind), dtypes.compute_type(kind)

    @njit
    def all_of(address, found):
        for i in range(0, found.size, count):
            vector = read(address, i)
            for k in range(count):
                found[i + k] = vector[k]

    found = np.empty(stored.size, real)
    all_of(stored.ctypes.data, found)
    with np.errstate(invalid="ignore"):
        same(found, stored.astype(real))


@pytest.mark.parametrize("kind", KINDS)
def test_elements_are_written_rounded_to_the_nearest(kind):
    write, values = memory.writer(kind), numbers(kind)

    @njit
    def all_of(address, values):
        for i in range(values.size):
            write(address, i, values[i])

    stored = np.empty(values.size, DTYPES[kind])
    all_of(stored.ctypes.data, values)
    same(stored, rounded(values, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_written_in_their_order(kind):
    write, count = vector_memory.vector_writer(kind), dtypes.lanes(kind)
    values = numbers(kind)
    values = values[: values.size // count * count]
    read = vector_memory.vector_reader("float64" if kind == "float64" else "float32")
    each = dtypes.lanes("float64" if kind == "float64" else "float32")

    if each == count:

        @njit
        def all_of(source, address, size):
            for i in range(0, size, count):
                write(address, i, read(source, i))

    else:

        @njit
        def all_of(source, address, size):
            for i in range(0, size, count):
                write(address, i, read(source, i) + read(source, i + each))

    source, stored = aligned(values), aligned(np.empty(values.size, DTYPES[kind]))
    all_of(source.ctypes.data, stored.ctypes.data, values.size)
    same(stored, rounded(values, kind))


@pytest.mark.parametrize("kind", [kind for kind in dtypes.CODES if "int" in kind or kind == "bool"])
def test_integers_are_read_with_their_sign(kind):
    read = memory.raw_reader(kind)
    dtype = np.dtype(np.uint8 if kind == "bool" else kind)
    limits = np.iinfo(dtype)
    values = [0, 1] if kind == "bool" else [limits.min, limits.min + 1, limits.max]
    stored = np.array(values, dtype)

    @njit
    def one(address, i):
        return read(address, i)

    assert [int(one(stored.ctypes.data, i)) for i in range(stored.size)] == stored.tolist()


def aligned(array):
    """A copy that begins where a vector may."""
    memory_ = np.empty(array.nbytes + 16, np.uint8)
    start = -memory_.ctypes.data % 16
    found = memory_[start : start + array.nbytes].view(array.dtype)
    found[...] = array
    return found
