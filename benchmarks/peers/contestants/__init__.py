"""Who takes part, and what each must be able to do.

A contestant computes the mean of a loss and its gradient by the prediction. It may do so
in several ways; the worker times them and races the fastest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

Step = Callable[[], Any]


class Contestant:
    """Base of all contestants; made once per worker process, which imports its library."""

    # Bytes of the arrays that are kept from call to call.
    kept_bytes = 0

    def versions(self) -> dict[str, str]:
        """Libraries at work, name to version."""
        return {"numpy": np.__version__}

    def load(self, array: np.ndarray) -> Any:
        """The array in the contestant's own kind; never part of a timing."""
        return array

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        """Ways to compute value and gradient; empty where the library has no such loss.

        The prediction has one dimension, or two of a loss of rows of logits; then the target
        holds a label a row. Buffers that are used again in every call are made here, and kept.
        """
        raise NotImplementedError

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Count an array that is used again in every call: it is memory of the library too."""
        self.kept_bytes += array.nbytes
        return array

    def forget(self) -> None:
        """Drop results that are kept until the next call."""

    def release(self) -> None:
        """Drop arrays that the contestant itself holds on to."""

    def to_numpy(self, result: Any) -> tuple[float, np.ndarray]:
        """Value and gradient that a step has returned."""
        value, gradient = result
        return float(value), np.asarray(gradient)


@dataclass(frozen=True)
class Entry:
    """Where a contestant is found, and how it is called in tables."""

    name: str
    title: str
    place: str  # module:class
    needs: tuple[str, ...]
    colour: str
    kind: str = "peer"  # or "ours", "floor"

    def missing(self) -> list[str]:
        """Libraries that are not installed."""
        return [library for library in self.needs if find_spec(library) is None]

    def make(self) -> Contestant:
        module, _, name = self.place.partition(":")
        return getattr(import_module(f"{__name__}.{module}"), name)()


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry("out", "ours", "ours:IntoBuffer", (), "#0b7a75", "ours"),
        Entry("new", "ours, new", "ours:NewArray", (), "#5bb5b0", "ours"),
        Entry("in_place", "in place", "ours:InPlace", (), "#0b7a75", "ours"),
        Entry("floor", "floor", "floor:Floor", ("numba",), "#222222", "floor"),
        Entry("numpy", "NumPy", "with_numpy:NumPy", (), "#7b8fb8"),
        Entry("sklearn", "sklearn", "with_sklearn:ScikitLearn", ("sklearn",), "#e8a33d"),
        Entry("torch", "PyTorch", "with_torch:Eager", ("torch",), "#d8573c"),
        Entry("compile", "compile", "with_torch:Compiled", ("torch",), "#f0a08c"),
        Entry("jax", "JAX", "with_jax:Jitted", ("jax",), "#8e6bbf"),
    )
}
# Overwrites its own input: for the comparison of memory only.
RACERS = tuple(name for name in ENTRIES if name != "in_place")
