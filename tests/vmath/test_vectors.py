"""Explicit vectors do, lane by lane, what numbers do."""

import operator

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError
from numba.core.registry import cpu_target

from numbaloss.vmath import bits, float32, float64, vectors

BODIES = [
    "decay",
    "exp_of_negative",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log1p_unit",
    "log_cosh",
    "log_sigmoid",
]
BODIES += ["sigmoid", "softplus", "sqrt", "tanh"]
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}


def samples(real):
    rng = np.random.default_rng()
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-310, 3e38, 1.0, -1.0]
    numbers = np.concatenate([rng.normal(size=400) * 20, rng.random(400), special])
    return np.resize(numbers, 1024).astype(real)


@pytest.mark.every(2)
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_bodies_give_the_same_bits(real):
    body = {"float32": float32, "float64": float64}[real]
    zero = np.dtype(real).type(0)
    size, count = zero.itemsize, 128 // zero.itemsize
    x = samples(real)
    for name in BODIES:
        function = getattr(body, name)

        @njit(**OPTIONS)
        def of_vectors(source, target, numbers, function=function):
            for j in range(0, numbers * size, count * size):
                vectors.store(target + j, function(vectors.load(source + j, zero, count)))

        @njit(**OPTIONS)
        def of_numbers(source, target, function=function):
            for i in range(len(source)):
                target[i] = function(source[i])

        found, expected = np.empty_like(x), np.empty_like(x)
        of_vectors(x.ctypes.data, found.ctypes.data, len(x))
        of_numbers(x, expected)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        signed = ~np.isnan(expected)
        assert (np.signbit(found) == np.signbit(expected))[signed].all(), name


@pytest.mark.parametrize("real", ["float32", "float64", "int64"])
def test_operators_and_numbers_beside_vectors(real):
    zero = np.dtype(real).type(0)
    size, three = zero.itemsize, np.dtype(real).type(3)
    rng = np.random.default_rng()
    # One beyond an aligned place.
    a = rng.integers(-9, 9, 33).astype(real)[1:]
    b = rng.integers(1, 9, 33).astype(real)[1:]
    for op in (operator.add, operator.sub, operator.mul):

        @njit
        def combine(left, right, target, op=op):
            x, y = vectors.load(left, zero, 32), vectors.load(right, zero, 32)
            vectors.store(target, op(op(x, y), three))
            vectors.store(target + 32 * size, op(three, x))

        found = np.empty(64, real)
        combine(a.ctypes.data, b.ctypes.data, found.ctypes.data)
        np.testing.assert_array_equal(found, np.concatenate([op(op(a, b), three), op(three, a)]))
    for op in (operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne):

        @njit
        def compare(left, right, target, op=op):
            x, y = vectors.load(left, zero, 32), vectors.load(right, zero, 32)
            vectors.store(target, bits.select(op(x, y) & (x != three), x, three))

        found = np.empty(32, real)
        compare(a.ctypes.data, b.ctypes.data, found.ctypes.data)
        np.testing.assert_array_equal(found, np.where(op(a, b) & (a != three), a, three))


def test_nan_compares_as_numbers_do():
    zero = np.float32(0)

    @njit
    def classify(source, target):
        x = vectors.load(source, zero, 8)
        kind = bits.select((x != x) | (x > zero), np.float32(1), zero)
        vectors.store(target, -kind)

    x = np.array([np.nan, 1, -1, 0, np.inf, -np.inf, np.nan, 2], np.float32)
    found = np.empty_like(x)
    classify(x.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, [-1, -1, 0, 0, -1, 0, -1, -1])


@pytest.mark.parametrize("count", [1, 8, 64])
def test_lanes_to_one_number(count):
    zero = np.float64(0)

    @njit
    def reduce(source):
        x = vectors.load(source, zero, count)
        return vectors.sum_lanes(x), vectors.max_lanes(x)

    x = np.random.default_rng().integers(-99, 99, count).astype(float)
    assert reduce(x.ctypes.data) == (x.sum(), x.max())


@pytest.mark.parametrize("real", ["int32", "int64", "float32", "float64"])
def test_lanes_are_numbered(real):
    zero = np.dtype(real).type(0)

    @njit
    def number(target):
        vectors.store(target, vectors.lane_numbers(zero, 16))

    found = np.empty(16, real)
    number(found.ctypes.data)
    np.testing.assert_array_equal(found, np.arange(16))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("int64", "int32"),
        ("int32", "int64"),
        ("int32", "float32"),
        ("int64", "float64"),
        ("float32", "float64"),
        ("float64", "float32"),
        ("int32", "int32"),
    ],
)
def test_numbers_are_cast(given, wanted):
    before, after = np.dtype(given).type(0), np.dtype(wanted).type(0)

    @njit
    def convert(source, target):
        vectors.store(target, vectors.cast(vectors.load(source, before, 8), after))

    x = np.random.default_rng().integers(-(2**31), 2**31, 8).astype(given)
    if given == "int64":
        x += 2**40
    found = np.empty(8, wanted)
    convert(x.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, x.astype(wanted))


def test_types_that_do_not_match_are_refused():
    single, double = np.float32(0), np.float64(0)

    @njit
    def mixed(source):
        vectors.store(source, vectors.load(source, single, 8) + double)

    with pytest.raises(TypingError):
        mixed(0)


@pytest.mark.parametrize(
    ("processor", "features", "expected"),
    [
        ("znver3", "", 32),
        ("haswell", "", 32),
        ("sapphirerapids", "", 64),
        ("x86-64", "", 32),
        ("znver4", "+avx2,+avx512f,+fma", 64),
        ("znver3", "+avx2,-avx512f,+fma", 32),
    ],
)
def test_registers_are_those_of_the_target(monkeypatch, processor, features, expected):
    codegen = cpu_target.target_context.codegen()
    triple = "x86_64-unknown-linux-gnu"
    monkeypatch.setattr(codegen, "magic_tuple", lambda: (triple, processor, features))
    assert vectors.register_bytes.__wrapped__() == expected
