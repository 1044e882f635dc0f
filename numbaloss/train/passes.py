"""Passes over many leaves at once: leaves cut into pieces, pieces dealt out to threads."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..cpu import threads
from . import cpu_norms, cpu_steps, cpu_sums
from .jobs import PIECE, WATCHED, Leaf, Pass
from .rules import NUMBERS, Rule

# Elements of a task, at least: below two of them one thread is done sooner.
TASK = 32_768
MOST_TASKS = 1024
PARAMETER, GRADIENT = 0, 1  # columns of leaves
_packers = [struct.Struct(f"={count}d").pack_into for count in range(NUMBERS + 1)]


class Layout(NamedTuple):
    """How leaves of some lengths are cut."""

    pieces: np.ndarray  # leaf, first element, elements
    tasks: np.ndarray  # the first piece of each, and the number of pieces
    begins: list[int]  # the first piece of each leaf, and the number of pieces


@lru_cache(maxsize=64)
def layout(
    sizes: tuple[int, ...], units: tuple[int, ...] | None = None, most: int = PIECE
) -> Layout:
    """How leaves are cut: a function of their lengths alone.

    Into pieces of ``most`` elements, but for the last; with ``units``, into so many each.
    """
    lengths = np.array(sizes, np.int64)
    if units is None:
        each = np.full(len(sizes), most, np.int64)
    else:
        each = np.maximum(lengths // np.maximum(np.array(units, np.int64), 1), 1)
    begins = np.concatenate(([0], np.cumsum(-(-lengths // each))))
    leaf = np.repeat(np.arange(len(sizes)), np.diff(begins))
    start = (np.arange(begins[-1]) - begins[leaf]) * each[leaf]
    size = np.minimum(lengths[leaf] - start, each[leaf])
    pieces = np.ascontiguousarray(np.stack([leaf, start, size], axis=1), np.int64)
    return Layout(pieces, _tasks(size), begins.tolist())


def _tasks(size: np.ndarray) -> np.ndarray:
    """The first piece of each task, and the number of pieces."""
    ends = np.cumsum(size)
    total = int(ends[-1]) if len(ends) else 0
    count = max(1, min(total // TASK, MOST_TASKS, len(size)))
    # A task ends with the piece that reaches its share of the elements.
    cuts = np.searchsorted(ends, np.arange(1, count) * (total / count)) + 1
    first = np.unique(np.concatenate(([0], np.minimum(cuts, len(size)))))
    return np.append(first[first < max(1, len(size))], len(size)).astype(np.int64)


class Table:
    """The leaves of passes, and what a launch of one takes."""

    def __init__(
        self, sizes: Sequence[int], units: Sequence[int] | None = None, most: int = PIECE
    ) -> None:
        self.layout = layout(tuple(sizes), None if units is None else tuple(units), most)
        self.rows = np.zeros((len(sizes), Leaf.count), np.int64)
        self.numbers = np.zeros(NUMBERS)
        self.sums = np.zeros((len(self.layout.pieces), WATCHED))
        self.job = job = Pass()
        job.leaves, job.pieces = self.rows.ctypes.data, self.layout.pieces.ctypes.data
        job.tasks, job.numbers = self.layout.tasks.ctypes.data, self.numbers.ctypes.data
        job.sums, job.count = self.sums.ctypes.data, len(self.layout.pieces)
        job.column = GRADIENT
        self.tasks = len(self.layout.tasks) - 1
        self._words = threads.handle(job.words)
        self._memory = self.numbers.data.cast("B")

    def put(self, numbers: tuple[float, ...]) -> None:
        """Set the first numbers of the next pass."""
        _packers[len(numbers)](self._memory, 0, *numbers)

    def _run(self, code: int) -> float:
        arguments = code, 0, 0, self.tasks, 1, self._words, 1.0, 0, 0, 0, 0, 0, 0
        return threads.launch_chunks(arguments, self.tasks)[0]

    def on_stream(self, stream: int, waits: bool) -> None:
        """Of tables on a GPU."""

    def prepare(self, rule: Rule, kind: str) -> None:
        """Have the code of a step: what does not compile fails before anything is written."""
        _step_code(rule, kind, False)

    def step(self, rule: Rule, kind: str, watched: bool) -> None:
        """Change all leaves by a rule."""
        self._run(_step_code(rule, kind, watched))

    def count_bad(self, kind: str) -> int:
        """How many pieces of gradients hold NaN or an infinity."""
        return int(self._run(_code(cpu_norms.finite, kind)))

    def square(self, kind: str, column: int, scale: float) -> None:
        """Sums of squares of what one array of each leaf holds, times ``scale``."""
        self.job.column, self.numbers[0] = column, scale
        self._run(_code(cpu_norms.squares, kind))
        self.job.column = GRADIENT

    def clip(self, kind: str, low: float, high: float) -> None:
        """Multiply gradients by the number of their piece, see :meth:`factors`; bound them."""
        self.put((low, high))
        self._run(_code(cpu_norms.clipping, kind))

    def add(self, kind: str) -> None:
        """Add gradients, times the first number, to sums: see :mod:`.cpu_sums`."""
        self._run(_code(cpu_sums.adding, kind))

    def divide(self, kind: str) -> None:
        """Write sums, over the first number, to gradients."""
        self._run(_code(cpu_sums.dividing, kind))

    def factors(self) -> np.ndarray:
        """A number a piece: what the last pass has left, or what the next is to read."""
        return self.sums.ravel()[: len(self.sums)]

    def of_leaves(self) -> list[float]:
        """The pieces' numbers, added up exactly leaf by leaf."""
        numbers = self.factors().tolist()
        return [added(numbers[start:stop]) for start, stop in pairwise(self.layout.begins)]

    def watched(self) -> list[tuple[float, ...]]:
        """The three sums of squares of each leaf that a watched step has left."""
        return [
            tuple(added(column) for column in self.sums[start:stop].T.tolist())
            for start, stop in pairwise(self.layout.begins)
        ]


def added(numbers: Iterable[float]) -> float:
    """Numbers >= 0, added exactly; infinite where their sum is."""
    try:
        return math.fsum(numbers)
    except OverflowError:  # of numbers that are finite
        return math.inf


@cache
def _step_code(rule: Rule, kind: str, watched: bool) -> int:
    return cpu_steps.code(rule, kind, watched).address


@cache
def _code(make: object, kind: str) -> int:
    return make(kind).address  # type: ignore[operator]
