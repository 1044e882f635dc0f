"""Batches of rows: of arrays, of memory maps, of iterators; each row is copied once at most."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np

from .buffers import Buffers


class Batch(NamedTuple):
    """Some rows: inputs of the model, target and weights of the loss; None where there are none."""

    inputs: Any
    target: Any
    weight: Any
    rows: int


class Source(Protocol):
    """Where batches come from, an epoch after the other."""

    rows: int | None  # of an epoch; None where nobody knows beforehand

    def describe(self) -> dict[str, Any]:
        """What must be the same where a run is resumed."""
        ...

    def batches(self, epoch: int, random: np.random.Generator | None, skip: int) -> Iterator[Batch]:
        """The batches of an epoch, but for the first ``skip``; shuffled if there is a generator."""
        ...


def source(data: Any, batch_size: int) -> Source:
    """What :func:`numbaloss.train.fit` was given, as batches.

    A tuple is arrays: ``(inputs, target)``, ``(inputs, target, weight)``, or ``(inputs,)`` for a
    loss without a target; ``inputs`` may be a tuple of arrays. Anything else is an iterable of
    batches, such tuples again, or a function of the number of the epoch that returns one.
    """
    if isinstance(data, tuple):
        return Arrays(data, batch_size)
    if callable(data) or hasattr(data, "__iter__") or hasattr(data, "__next__"):
        return Batches(data)
    raise TypeError(
        f"data must be a tuple (inputs, target) of arrays, or an iterable of batches, not a "
        f"{type(data).__name__}"
    )


class Arrays:
    """Rows of arrays, which stay as they are: shuffling gathers a batch at a time.

    A shuffled batch is the one copy of its rows, in memory that the next batch uses again; in
    order, batches are views. Of memory maps only the rows of the batch are read.
    """

    def __init__(self, data: tuple[Any, ...], batch_size: int) -> None:
        if not 1 <= len(data) <= 3:
            raise ValueError(f"data must be (inputs, target) or (inputs, target, weight), "
                             f"not a tuple of {len(data)}")  # fmt: skip
        inputs, target, weight = (*data, None, None)[:3]
        self._several = isinstance(inputs, tuple)
        given = (*inputs,) if self._several else (inputs,)
        self._inputs = tuple(_array(one, "inputs") for one in given)
        self._rest = tuple(
            None if one is None else _array(one, name)
            for one, name in ((target, "target"), (weight, "weight"))
        )
        self.rows: int | None = len(self._inputs[0])
        names = ["inputs"] * len(self._inputs) + ["target", "weight"]
        for one, name in zip((*self._inputs, *self._rest), names):
            if one is not None and len(one) != self.rows:
                raise ValueError(f"{name} has {len(one)} rows, inputs {self.rows}")
        if not self.rows:
            raise ValueError("data has no rows")
        self.batch_size = min(batch_size, self.rows)
        self._buffers = Buffers()

    def describe(self) -> dict[str, Any]:
        """Shapes and types."""
        arrays = [one for one in (*self._inputs, *self._rest) if one is not None]
        return {
            "arrays": [[list(one.shape), one.dtype.str] for one in arrays],
            "batch_size": self.batch_size,
        }

    def batches(self, epoch: int, random: np.random.Generator | None, skip: int) -> Iterator[Batch]:
        """The batches of an epoch, but for the first ``skip``."""
        rows = self.rows or 0
        order = None if random is None else random.permutation(rows)
        for start in range(skip * self.batch_size, rows, self.batch_size):
            stop = min(start + self.batch_size, rows)
            chosen = slice(start, stop) if order is None else order[start:stop]
            inputs = tuple(
                self._rows(f"inputs{place}", one, chosen) for place, one in enumerate(self._inputs)
            )
            target, weight = (
                None if one is None else self._rows(name, one, chosen)
                for name, one in zip(("target", "weight"), self._rest)
            )
            yield Batch(inputs if self._several else inputs[0], target, weight, stop - start)

    def _rows(self, name: str, array: np.ndarray, chosen: Any) -> np.ndarray:
        if isinstance(chosen, slice):
            return array[chosen]
        out = self._buffers.get(name, (len(chosen), *array.shape[1:]), array.dtype)
        # With mode="raise" NumPy would gather into another array first.
        return np.take(array, chosen, axis=0, out=out, mode="clip")


class Batches:
    """Batches that somebody else makes."""

    rows: int | None = None

    def __init__(self, data: Any) -> None:
        self._data = data
        # An iterator comes to its end once, a list or a loader begins anew.
        self._once = not callable(data) and iter(data) is data
        self._used = False

    def describe(self) -> dict[str, Any]:
        """Nothing is known beforehand."""
        return {"arrays": "batches"}

    def batches(self, epoch: int, random: np.random.Generator | None, skip: int) -> Iterator[Batch]:
        """The batches of an epoch, but for the first ``skip``."""
        if self._once and self._used:
            raise ValueError(
                "data is an iterator, which is at its end after one epoch: give a list of batches, "
                "or a function of the number of the epoch that returns an iterator"
            )
        self._used = True
        made = self._data(epoch) if callable(self._data) else self._data
        for given in islice(iter(made), skip, None):
            if not isinstance(given, (tuple, list)) or not 1 <= len(given) <= 3:
                raise TypeError(
                    f"a batch must be (inputs, target) or (inputs, target, weight), not a "
                    f"{type(given).__name__}"
                )
            inputs, target, weight = (*given, None, None)[:3]
            first = inputs[0] if isinstance(inputs, tuple) else inputs
            yield Batch(inputs, target, weight, len(first))


def _array(given: Any, name: str) -> np.ndarray:
    """An array of rows; memory maps are read where they lie."""
    found = np.asarray(given)
    if found.ndim == 0:
        raise ValueError(f"{name} must have rows, not be a single number")
    if found.dtype.kind == "O":
        raise TypeError(f"{name} must be numbers, not objects")
    return found
