"""What losses of vectors share: several inputs, several gradients, statistics of a batch."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.contracts import absent
from ..core.loss import Loss


class Embedding(Loss):
    """A loss of rows of vectors, with a gradient for every input that is one.

    A subclass gives its map, of what its structure measures: the ``value`` alone, of which the
    library takes the slopes, or ``point``, which returns them too.

    See :class:`PairEmbedding` and :class:`TripletEmbedding` for losses of rows that belong
    together, :class:`KeyedEmbedding` and :class:`LabelledEmbedding` for those of all pairs in
    a batch.
    """

    target_domain: ClassVar[Any] = "(-inf, inf)"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"

    @absent
    def point(self, first: Any, second: Any) -> tuple[Any, ...]:
        """The map of the loss: value and slopes, by what the structure measures."""
        raise NotImplementedError(self._lacks_maths())

    @absent
    def value(self, first: Any, second: Any) -> Any:
        """The value alone, in the place of ``point``; the library takes the derivatives."""
        raise NotImplementedError(self._lacks_maths())

    @classmethod
    def point_takes(cls) -> tuple[str, str]:
        """What the two arguments of ``point`` are called."""
        return "distance", "target"

    @classmethod
    def point_slopes(cls) -> int:
        """How many of the two have a slope in what ``point`` returns."""
        return 1

    @classmethod
    def point_gives(cls) -> str:
        """What ``point`` returns, in words."""
        return "two numbers: the value, and its slope"

    @classmethod
    def sum_class(cls) -> Any:
        raise TypeError(
            f"{cls.__name__} losses have no sums: each computes on the vectors in its own way. Add "
            f"the values and the gradients"
        )
