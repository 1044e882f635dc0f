"""Inputs and outputs of losses of vectors, and what can be said of a batch of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import arrays, engines
from .arguments import predicted
from .outputs import Results, check_outputs_apart, model, wanted_outputs

# Rows of vectors that their spread is found from in one go.
_LOOK = 1024


class Diagnosis(NamedTuple):
    """What a loss finds in a batch, beside its value."""

    samples: int
    """Rows of the batch."""
    anchors: int
    """Rows that have something to be compared with: a positive; for triplets a negative too."""
    terms: int
    """Terms that were summed: pairs or triplets."""
    active: int
    """Of hinges, terms above 0: where a hinge is 0, so is its gradient, and such terms teach
    nothing. Of losses without hinges all terms."""
    zero_vectors: int
    """Vectors that are zero, and have no direction."""
    spread: float
    """Mean squared distance of the vectors from their mean, over their mean squared length: 0
    where all are the same (the network has collapsed), 1 where they balance each other."""


class Vectors(NamedTuple):
    """Rows of vectors that a call brings."""

    operands: list[arrays.Operand]
    families: list[arrays.Family]
    given: tuple[Any, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, given: tuple[Any, ...], names: tuple[str, ...]) -> Vectors:
        """Views of arrays of one dtype whose last axis is that of the vectors."""
        found = [predicted(one, name) for one, name in zip(given, names)]
        operands = [one for one, _ in found]
        for operand, name in zip(operands, names):
            if operand.kind != operands[0].kind:
                raise TypeError(
                    f"{name} has dtype {operand.kind} and {names[0]} {operands[0].kind}; they "
                    f"must have one"
                )
            if operand.array.ndim < 1:
                raise ValueError(f"{name} must have at least one dimension, that of its vectors")
        return cls(operands, [family for _, family in found], given, names)

    def stream(self, gpu: int | None) -> int:
        """That of the GPU on which the vectors are computed; 0 on the host."""
        found: int = 0 if gpu is None else self.families[0].stream(self.given[0])
        return found

    @property
    def like(self) -> Any:
        """What arrays for values are made like."""
        return model(self.families[0], self.operands[0], self.given[0])


class VectorResults(Results):
    """What a call writes: values, where they are kept apart, and a gradient for each input.

    Gradients go to the caller's own arrays, or to new ones; ``outs`` is None where nobody wants
    them, and holds what the caller brings otherwise.
    """

    def __init__(
        self,
        vectors: Vectors,
        shape: tuple[int, ...],
        reduction: str,
        outs: tuple[Any] | None,
        others: Sequence[tuple[arrays.Operand | None, str]],
        single: bool = False,
    ) -> None:
        family, operands, names = vectors.families[0], vectors.operands, vectors.names
        values = family.empty(shape, operands[0].compute) if reduction == "none" else None
        super().__init__(family, vectors.like, values, ())
        self.vectors, self.single, self.wanted = vectors, single, outs is not None
        self.own: tuple[Any, ...] = ()
        self.made: list[Any] = []
        self.views = self.views[:1]
        self.gradients: list[arrays.Operand] = []
        if outs is None:
            return
        self.own = (outs[0],) if single else wanted_outputs(outs[0], names)
        self.made = [
            one.empty_like(model(one, operand, source), None) if own is None else own
            for own, one, operand, source in zip(
                self.own, vectors.families, operands, vectors.given
            )
        ]
        titles = ["out"] if single else [f"out[{i}]" for i in range(len(names))]
        self.gradients = [
            arrays.output(one, title, made=own is None)
            for one, title, own in zip(self.made, titles, self.own)
        ]
        inputs = [*zip(operands, names), *others]
        check_outputs_apart(self.gradients, self.own, titles, operands, names, inputs)
        self.views += self.gradients

    @property
    def of_library(self) -> list[Any]:
        """Values and gradients as their library has them."""
        return [self.values, *self.made]

    def derivatives(self) -> tuple[Any, ...]:
        """The gradients as the caller gets them: a tuple, or the one there is."""
        if not self.wanted:
            return (None,)
        found = tuple(
            made if own is not None else family.finish(given, made)
            for own, made, family, given in zip(
                self.own, self.made, self.vectors.families, self.vectors.given
            )
        )
        return (found[0] if self.single else found,)


def refuse_host(loss: Any) -> None:
    """Raise where a GPU is asked for, and vectors are on the host."""
    engines.module("cuda", "availability").require()
    raise ValueError(
        f"device='cuda': {type(loss).__name__} takes vectors that are on a GPU already, of CuPy, "
        f"PyTorch, JAX or Numba; these are on the CPU"
    )


def look(vectors: Sequence[np.ndarray]) -> tuple[int, float]:
    """Number of zero vectors, and the spread, of rows of vectors on the host."""
    rows = [one.reshape(math.prod(one.shape[:-1]), one.shape[-1]) for one in vectors]
    pieces = [one[i : i + _LOOK] for one in rows for i in range(0, len(one), _LOOK)]
    if not pieces:
        return 0, 0.0
    zeros, square = 0, 0.0
    # Seen from the first, so that equal vectors have a spread of exactly 0.
    first = pieces[0][0].astype(np.float64)
    total = np.zeros_like(first)
    with np.errstate(all="ignore"):
        for piece in pieces:
            wide = piece.astype(np.float64)
            zeros += int((~wide.any(axis=-1)).sum())
            square += float((wide * wide).sum())
            total += (wide - first).sum(axis=0)
        if square == 0.0:
            return zeros, 0.0
        mean = total / sum(map(len, pieces))
        apart = sum(float((((piece - first) - mean) ** 2).sum()) for piece in pieces)
        return zeros, apart / square
