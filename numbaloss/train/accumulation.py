"""Gradients of a large batch, from those of its parts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Operand, operand
from ..misuse import real_number
from .leaves import seen
from .passes import GRADIENT, Table
from .plans import row_of
from .states import filled
from .trees import mapped, named_leaves


class Accumulator:
    r"""Sums of gradients and of counts: their quotient is the gradient of the whole batch.

    The mean of means over parts of different sizes, or with different weights, is not the mean
    over all: :math:`\sum_b n_b \bar g_b / \sum_b n_b` is. Sums are kept as pairs of float64
    numbers, so that they are as exact as if they were rounded once, and do not depend on the order
    of the parts. On the CPU.

    Parameters
    ----------
    mean : bool
        Whether what is added are means over the ``count`` samples of a part, as of losses with
        ``reduction="mean"``; otherwise sums over them.

    >>> import numpy as np
    >>> total = Accumulator()
    >>> total.add(np.array([1.0, 2.0]), count=1).add(np.array([4.0, 8.0]), count=2)
    Accumulator(count=3.0, parts=2)
    >>> total.gradients()
    array([3., 6.])
    """

    def __init__(self, mean: bool = True) -> None:
        self.mean = mean
        self._tables: list[tuple[str, Table, list[int]]] = []
        self._form: list[Any] = []
        self._sums: list[np.ndarray] = []
        self._made: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """Begin anew; memory is kept."""
        self.count, self.parts, self.loss = 0.0, 0, 0.0
        self._fresh = True

    def add(self, gradients: Any, count: float, loss: float = 0.0) -> Accumulator:
        """Add the gradients of a part.

        Parameters
        ----------
        gradients : tree of arrays
            Of the same form, shapes and dtypes in all parts. They are not changed.
        count : float > 0
            Samples of the part, or the sum of their weights.
        loss : float
            The loss of the part, a mean or a sum as gradients are: see :meth:`value`.
        """
        count, loss = real_number(count, "count"), real_number(loss, "loss")
        if not 0.0 < count < np.inf:
            raise ValueError(f"count must be positive, not {count}")
        named = named_leaves(gradients)
        views = [seen(given, "gradient", name, written=False) for name, given in named]
        form = [(name, one.kind, one.array.shape) for (name, _), one in zip(named, views)]
        if self.parts and form != self._form:
            raise ValueError(_difference(form, self._form))
        if form != self._form:
            self._prepare(named, views)
            self._form = form
        if self._fresh:
            for array in self._sums:
                array[...] = 0.0
            self._fresh = False
        factor = count if self.mean else 1.0
        for kind, table, places in self._tables:
            for row, place in zip(table.rows, places):
                row[GRADIENT] = row_of(named[place][1], views[place])
            table.put((factor,))
            table.add(kind)
        self._tree = gradients
        self.count += count
        self.loss += factor * loss
        self.parts += 1
        return self

    def _prepare(self, named: list[tuple[str, Any]], views: list[Operand]) -> None:
        members: dict[str, list[int]] = {}
        self._sums, self._made = [], []
        for place, ((name, _), view) in enumerate(zip(named, views)):
            if view.device is not None:
                raise TypeError(f"gradient {name} is on {view.place}; sums are kept on the CPU")
            members.setdefault(view.kind, []).append(place)
            shape = view.array.shape
            self._sums += [filled(shape, 0.0, "float64"), filled(shape, 0.0, "float64")]
            given = named[place][1]
            self._made.append(operand(given, name)[1].empty_like(given, None))
        self._tables = []
        for kind, places in members.items():
            table = Table([views[place].array.size for place in places])
            for row, place in zip(table.rows, places):
                row[2:4] = [one.ctypes.data for one in self._sums[2 * place : 2 * place + 2]]
            self._tables.append((kind, table, places))

    def gradients(self) -> Any:
        """The gradients of the mean over all parts: a tree of arrays that the next call overwrites.

        Raises
        ------
        ValueError
            Before anything was added.
        """
        if not self.parts:
            raise ValueError("nothing was added: there is no mean of nothing")
        views = [operand(one, "gradient")[0] for one in self._made]
        for kind, table, places in self._tables:
            for row, place in zip(table.rows, places):
                row[GRADIENT] = row_of(self._made[place], views[place])
            table.put((self.count,))
            table.divide(kind)
        made = iter(self._made)
        return mapped(lambda _: next(made), self._tree)

    def value(self) -> float:
        """The mean of the losses that were given, over all samples."""
        return self.loss / self.count if self.parts else np.nan

    def __repr__(self) -> str:
        return f"Accumulator(count={self.count}, parts={self.parts})"


def _difference(form: list[Any], before: list[Any]) -> str:
    if len(form) != len(before):
        return f"there are {len(form)} gradients; in earlier parts there were {len(before)}"
    own, other = next(pair for pair in zip(form, before) if pair[0] != pair[1])
    return f"gradient {own[0]} is {own[1]} of shape {own[2]}; it was {other}"
