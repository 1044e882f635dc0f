"""Passes over many leaves at once: leaves cut into pieces, pieces dealt out to threads."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..cpu import threads
from ..cpu.compile import Code
from .jobs import PIECE, Leaf, Pass
from .rules import NUMBERS

# Elements of a task, at least: below two of them one thread is done sooner.
TASK = 32_768
MOST_TASKS = 1024


class Layout(NamedTuple):
    """How leaves of some lengths are cut."""

    pieces: np.ndarray  # leaf, first element, elements
    tasks: np.ndarray  # the first piece of each, and the number of pieces
    begins: np.ndarray  # the first piece of each leaf, and the number of pieces


@lru_cache(maxsize=64)
def layout(sizes: tuple[int, ...]) -> Layout:
    """How leaves are cut: a function of their lengths alone."""
    counts = np.array([-(-size // PIECE) for size in sizes], np.int64)
    begins = np.concatenate(([0], np.cumsum(counts)))
    leaf = np.repeat(np.arange(len(sizes)), counts)
    start = (np.arange(begins[-1]) - begins[leaf]) * PIECE
    size = np.minimum(np.array(sizes, np.int64)[leaf] - start, PIECE)
    ends = np.cumsum(size)
    total = int(ends[-1]) if len(ends) else 0
    count = max(1, min(total // TASK, MOST_TASKS, len(size)))
    # A task ends with the piece that reaches its share of the elements.
    shares = np.arange(1, count) * (total / count)
    cuts = np.searchsorted(ends, shares, "left") + 1
    tasks = np.unique(np.concatenate(([0], np.minimum(cuts, len(size)), [len(size)])))
    if len(tasks) == 1:
        tasks = np.array([0, 0])
    pieces = np.stack([leaf, start, size], axis=1).astype(np.int64)
    return Layout(np.ascontiguousarray(pieces), tasks.astype(np.int64), begins)


class Table:
    """The leaves of a pass, and what a launch of it takes."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.layout = layout(sizes)
        self.rows = np.zeros((len(sizes), Leaf.count), np.int64)
        self.numbers = np.zeros(NUMBERS)
        self.sums = np.zeros(len(self.layout.pieces))
        self.job = Pass()
        self.job.leaves = self.rows.ctypes.data
        self.job.pieces = self.layout.pieces.ctypes.data
        self.job.tasks = self.layout.tasks.ctypes.data
        self.job.numbers = self.numbers.ctypes.data
        self.job.sums = self.sums.ctypes.data
        self.job.count = len(self.layout.pieces)
        self.tasks = len(self.layout.tasks) - 1
        self._words = threads.handle(self.job.words)

    def run(self, code: Code) -> None:
        """Run a kernel over all leaves."""
        count = self.tasks
        arguments = code.address, 0, 0, count, 1, self._words, 1.0, 0, 0, 0, 0, 0, 0
        if count == 1:
            threads.serial()(*arguments)
        else:
            threads.launch_chunks(arguments, count)

    def sums_of_leaves(self) -> list[float]:
        """The pieces' sums, added up leaf by leaf in their order."""
        begins = self.layout.begins.tolist()
        sums = self.sums.tolist()
        return [math.fsum(sums[start:stop]) for start, stop in pairwise(begins)]
