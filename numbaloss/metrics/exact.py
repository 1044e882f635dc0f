"""Exact sums of float64 numbers: the same bits whatever the order and the parts they come in.

A sum is kept as one long integer in units of 2**-1074, the smallest positive number: 68 words of
32 bits, each in an int64 so that carries can wait. No addition rounds; what is read at the end is
the sum, rounded once. So batches, threads, files and workers can be cut and joined in any way.

Numbers do not go into the long integer one by one. A block of them is split, all at once, into the
part above some power of two, whose sum float64 holds exactly, and the rest, which is split again
(T. Ogita, S. Rump, S. Oishi, *Accurate sum and dot product*, 2005): two or three trips over a block
in the first cache, in vectors, and as many additions to the long integer.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..cpu.compile import python_function
from ..cpu.intrinsics import prefer_wide_vectors
from ..cpu.sums import add_in_lanes
from ..vmath.bits import fma, to_bits

# Words of 32 bits of a sum; those that follow the sum count NaN, infinity and minus infinity.
WORDS = 68
NAN, PLUS, MINUS = WORDS, WORDS + 1, WORDS + 2
WIDTH = WORDS + 3
# Numbers of a block: 16 KiB of those and of their bits stay in the first cache.
BLOCK = 1024

_MASK = np.int64(0xFFFFFFFF)
_SIZE_BITS = np.int64(0x7FFFFFFFFFFFFFFF)
_FRACTION = np.int64((1 << 52) - 1)
_IMPLICIT = np.int64(1 << 52)
# Splitting is exact for numbers up to 2**900, by powers of two from 2**-900 on.
_HUGE = np.int64((1023 + 900) << 52)
_LEAST = 1023 - 900
_INFINITE = np.int64(0x7FF << 52)

options: dict[str, Any] = {"error_model": "numpy", "nogil": True}


@njit(**options)
def add_bits(bits, total):
    """Add one number, by its bits, to the words of a sum."""
    size = bits & _SIZE_BITS
    if size >= _INFINITE:
        total[NAN if size > _INFINITE else PLUS if bits > 0 else MINUS] += 1
        return
    exponent = size >> 52
    fraction = size & _FRACTION
    if exponent > 0:
        fraction |= _IMPLICIT
        exponent -= 1
    word, shift = exponent >> 5, exponent & 31
    # The product with a power of two has up to 84 bits: in two halves.
    low = (fraction & _MASK) << shift
    high = (fraction >> 32) << shift
    middle = (low >> 32) & _MASK
    if bits < 0:
        total[word] -= low & _MASK
        total[word + 1] -= middle + (high & _MASK)
        total[word + 2] -= high >> 32
    else:
        total[word] += low & _MASK
        total[word + 1] += middle + (high & _MASK)
        total[word + 2] += high >> 32


@njit(**options)
def _largest(bits, count):
    prefer_wide_vectors()
    size = np.int64(0)
    for i in range(count):
        one = bits[i] & _SIZE_BITS
        size = one if one > size else size
    return size


@njit(**options)
def _split(values, count, power):
    """Sum of what lies above, for all numbers; they keep what is left, of which the bits, or-ed."""
    total, left = 0.0, np.int64(0)
    for i in range(count):
        above = (power + values[i]) - power
        rest = values[i] - above
        values[i] = rest
        left |= to_bits(rest)
        total = add_in_lanes(total, above)
    return total, left


@njit(**options)
def _split_twice(values, count, power, second):
    """Two of :func:`_split`, one after the other, in one trip: both sums, and the bits left."""
    prefer_wide_vectors()
    total, other, left = 0.0, 0.0, np.int64(0)
    for i in range(count):
        above = (power + values[i]) - power
        rest = values[i] - above
        between = (second + rest) - second
        rest -= between
        values[i] = rest
        left |= to_bits(rest)
        total = add_in_lanes(total, above)
        other = add_in_lanes(other, between)
    return total, other, left


@njit(**options)
def _power(exponent, one, bits_of_one):
    bits_of_one[0] = exponent << 52
    return one[0]


@njit(**options)
def add_block(values, count, total, one):
    """Add up to 1024 numbers to a sum; ``values`` is overwritten, ``one`` is room for a number."""
    prefer_wide_vectors()
    bits = values.view(np.int64)
    bits_of_one = one.view(np.int64)
    size = _largest(bits, count)
    if size == 0:
        return
    # 2**12 above the largest: sums of 1024 stay below it.
    exponent = (size >> 52) + 12 if size <= _HUGE else np.int64(0)
    # Numbers that differ by a factor of up to 2**30 are used up by two powers: the first step.
    if exponent >= _LEAST + 42:
        power, second = (
            _power(exponent, one, bits_of_one),
            _power(exponent - 42, one, bits_of_one),
        )
        total_above, between, left = _split_twice(values, count, power, second)
        one[0] = total_above
        add_bits(bits_of_one[0], total)
        one[0] = between
        add_bits(bits_of_one[0], total)
        if left & _SIZE_BITS == 0:
            return
        exponent -= 84
    while exponent >= _LEAST:
        one[0], left = _split(values, count, _power(exponent, one, bits_of_one))
        add_bits(bits_of_one[0], total)
        if left & _SIZE_BITS == 0:
            return
        exponent -= 42  # what is left is below half a unit in the last place of the power
    for i in range(count):
        add_bits(bits[i], total)


@njit(**options)
def carry(totals):
    """Hand on what is beyond 32 bits of each word: one form for each sum."""
    for row in range(totals.shape[0]):
        for word in range(WORDS - 1):
            totals[row, word + 1] += totals[row, word] >> 32
            totals[row, word] &= _MASK


@njit(**options)
def product_rest(a, b, product):
    """What rounding has taken from a product; 0 where that is not a number."""
    rest = fma(a, b, -product)
    return rest if rest - rest == 0.0 else 0.0


def _add_array(values, total):
    """Add an array of numbers to a sum."""
    prefer_wide_vectors()
    block = np.empty(BLOCK)
    one = np.empty(1)
    totals = total.reshape(1, WIDTH)
    for start in range(0, values.size, BLOCK):
        count = min(BLOCK, values.size - start)
        for i in range(count):
            block[i] = values[start + i]
        add_block(block, count, total, one)
    carry(totals)


def _add_by_key(values, keys, totals):
    """Add each number to the sum that its key names; keys from 0, fewer than sums."""
    bits = values.view(np.int64)
    for i in range(values.size):
        add_bits(bits[i], totals[keys[i]])
    carry(totals)


ARRAY = types.Array(types.float64, 1, "C", readonly=True)
FRESH = types.Array(types.float64, 1, "C")
INTEGERS = types.Array(types.int64, 1, "C")
SUMS = types.Array(types.int64, 2, "C")


@cache
def _adder() -> Any:
    return python_function(_add_array, types.void(FRESH, INTEGERS), **options)


@cache
def _adder_by_key() -> Any:
    return python_function(_add_by_key, types.void(FRESH, INTEGERS, SUMS), **options)


class Sums:
    """Exact sums of float64 numbers, a row of integers each.

    Parameters
    ----------
    count : int
        How many sums there are.
    """

    __slots__ = ("words",)

    def __init__(self, count: int) -> None:
        self.words = np.zeros((count, WIDTH), np.int64)

    def __len__(self) -> int:
        return len(self.words)

    def add(self, values: np.ndarray, place: int = 0) -> None:
        """Add numbers to one sum."""
        _adder()(np.ascontiguousarray(values, np.float64).ravel(), self.words[place])

    def add_by_key(self, values: np.ndarray, keys: np.ndarray) -> None:
        """Add each number to the sum of its key, which is in range."""
        numbers = np.ascontiguousarray(values, np.float64)
        _adder_by_key()(numbers, np.ascontiguousarray(keys, np.int64), self.words)

    def merge(self, other: Sums) -> None:
        """Add the sums of another."""
        self.words += other.words
        self.normalise()

    def normalise(self) -> None:
        """Give each sum its one form, by carries."""
        words = self.words
        for word in range(WORDS - 1):
            words[:, word + 1] += words[:, word] >> 32
            words[:, word] &= 0xFFFFFFFF

    def exact(self, place: int = 0) -> Fraction | float:
        """A sum, not rounded; NaN or an infinity where numbers were."""
        row = self.words[place]
        if row[NAN] or (row[PLUS] and row[MINUS]):
            return math.nan
        if row[PLUS] or row[MINUS]:
            return math.inf if row[PLUS] else -math.inf
        total = 0
        for word in reversed(row[:WORDS].tolist()):
            total = (total << 32) + word
        return Fraction(total, 1 << 1074)

    def value(self, place: int = 0) -> float:
        """A sum, rounded once."""
        return rounded(self.exact(place))

    def values(self) -> np.ndarray:
        """All sums, each rounded once."""
        return np.array([self.value(place) for place in range(len(self))])

    def state(self) -> list[list[int]]:
        """Small lists of integers, for JSON: words without leading zeros, then the counts."""
        found = []
        for row in self.words.tolist():
            used = [place for place in range(WORDS) if row[place]]
            first, last = (used[0], used[-1] + 1) if used else (0, 0)
            found.append([first, last - first, *row[first:last], *row[WORDS:]])
        return found

    @classmethod
    def from_state(cls, state: list[list[int]]) -> Sums:
        """The sums that :meth:`state` has described."""
        made = cls(len(state))
        for row, (first, count, *rest) in zip(made.words, state):
            row[first : first + count], row[WORDS:] = rest[:count], rest[count:]
        return made


def rounded(number: Fraction | float) -> float:
    """The float64 nearest to a number."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def quotient(number: Fraction | float, divisor: Fraction | float) -> float:
    """A quotient, rounded once; NaN for nothing over nothing, as for floats."""
    if isinstance(number, float) or isinstance(divisor, float):
        number, divisor = rounded(number), rounded(divisor)
        with np.errstate(all="ignore"):
            return float(np.float64(number) / np.float64(divisor))
    if divisor == 0:
        return math.nan if number == 0 else math.copysign(math.inf, number)
    return rounded(number / divisor)
