"""Losses of all pairs of vectors in a batch."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Never

import numpy as np

from .. import misuse
from ..call.batch import diagnose, evaluate
from ..call.vectors import Diagnosis
from ..core.contracts import KEYED, LABELLED, absent
from .documentation import documented
from .embedding import Embedding

FORMS = ("softmax", "pairs", "triplets")
AGAINST = ("all", "negatives")
AVERAGES = ("anchors", "pairs")
MININGS = ("hard", "semi-hard", "all")


class BatchOptions(NamedTuple):
    """The parameters that mean the same in every loss of a batch that has them."""

    temperature: float = 1.0
    bias: float = 0.0
    normalize: bool = False
    symmetric: bool = False
    mining: str = "hard"
    squared: bool = False


class BatchEmbedding(Embedding):
    """What losses of keys and of labels share."""

    form: ClassVar[str] = "softmax"
    against: ClassVar[str] = "all"
    average: ClassVar[str] = "anchors"
    hinge: ClassVar[bool] = False

    @absent
    def point(self, first: Any, second: Any) -> tuple[Any, ...]:
        """The map of the loss, for its ``form``.

        ``"softmax"``: ``point(self, similarity, log_sum)`` gives value and slopes by both, of
        one positive. ``"pairs"``: ``point(self, similarity, positive)`` gives value and slope
        by the similarity; ``positive`` is 1 or 0. ``"triplets"``: ``point(self, positive,
        negative)`` gives value and slopes by the two distances. Compiled by Numba, as
        ``Elementwise.point`` is.
        """
        return super().point(first, second)

    @classmethod
    def point_takes(cls) -> tuple[str, str]:
        return {
            "softmax": ("similarity", "log_sum"),
            "pairs": ("similarity", "positive"),
            "triplets": ("positive", "negative"),
        }[cls.form]

    @classmethod
    def point_slopes(cls) -> int:
        return 1 if cls.form == "pairs" else 2

    @classmethod
    def point_gives(cls) -> str:
        if cls.form == "pairs":
            return "two numbers: the value, and its slope by the similarity"
        return "three numbers: the value, and its slopes by both"

    def batch_options(self) -> BatchOptions:
        """The parameters of this loss that every loss of a batch shares."""
        found = {name: getattr(self, name, None) for name in BatchOptions._fields}
        return BatchOptions(**{name: value for name, value in found.items() if value is not None})

    def validate(self) -> None:
        options = self.batch_options()
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, not {self.form!r}")
        if self.against not in AGAINST:
            raise ValueError(f"against must be one of {AGAINST}, not {self.against!r}")
        if self.average not in AVERAGES:
            raise ValueError(f"average must be one of {AVERAGES}, not {self.average!r}")
        if options.mining not in MININGS:
            raise ValueError(f"mining must be one of {MININGS}, not {options.mining!r}")
        # Its inverse is a number of float32.
        if not 1e-30 <= options.temperature < np.inf:
            raise ValueError(f"temperature must be in [1e-30, inf), not {options.temperature}")
        if options.symmetric and not (isinstance(self, KeyedEmbedding) and self.form == "softmax"):
            raise ValueError("symmetric is for losses of keys, of the form 'softmax'")
        if not abs(options.bias) < np.inf:
            raise ValueError(f"bias must be finite, not {options.bias}")


@documented
class KeyedEmbedding(BatchEmbedding):
    r"""A loss of queries and keys, in which query i belongs to key i.

    All pairs of a query and a key are compared, by the similarity

    .. math:: s_{ij} = \frac{q_i \cdot k_j}{T} + b

    The matrix of all similarities never exists: blocks of rows go through a buffer. A
    subclass gives the map of one pair::

        class Decoupled(nl.KeyedEmbedding):
            against = "negatives"
            temperature: float = 0.1
            normalize: bool = True

            def point(self, similarity, log_sum):
                return log_sum - similarity, -1.0, 1.0

    A subclass that declares a parameter of one of these names need not mention it in its
    maths: ``temperature`` (T), ``bias`` (b), ``normalize`` (vectors are divided by their
    lengths first, and the gradients carried through that) and ``symmetric`` (the mean of the
    loss of queries among keys and that of keys among queries).

    Attributes
    ----------
    form : {"softmax", "pairs"}
        Whether the map gets, for a positive, its similarity and the log of a sum of
        exponentials, or, for any pair, its similarity and whether it is a positive.
    against : {"all", "negatives"}
        What is summed: the exponentials of all similarities of a row, or of its negatives.
    """

    contract = KEYED

    def __call__(
        self,
        queries: Any,
        keys: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        queries : array of float16, bfloat16, float32 or float64, shape (n, d)
            Of any kind, with any strides. Half precisions are computed in float32.
        keys : array of the same dtype, shape (m, d), m >= n
            Key i belongs to query i; keys beyond n belong to nobody, and are negatives.
        sample_weight : array of shape (n,), optional
            One weight >= 0 a query; multiplies its value. Its key stays among the negatives of
            others.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum by the number of queries,
            ``"weighted_mean"`` by the sum of their weights, ``"batchmean"`` by n; ``"none"`` keeps
            them apart.
        {device_of_products}
        check : bool
            False takes weights below 0 too.
        {workspace}
        {wait}

        Returns
        -------
        float, or array of shape (n,) for ``reduction="none"``
            The mean over no queries is NaN. A NaN in a query makes its value NaN, one in a key
            that of every query; gradients are NaN for all that is compared with it.

        Raises
        ------
        TypeError
            Arrays of other dtypes, or of different ones.
        ValueError
            Shapes that do not fit, negative weights, unknown options, arrays on two devices.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        misuse.refuse_autograd(queries, keys)
        return evaluate(
            self, (queries, keys), _KEYED, None, sample_weight, reduction, device, check, wait,
            workspace, None, 1.0,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        queries: Any,
        keys: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        out: tuple[Any, Any] | None = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, tuple[Any, Any]]:
        """The loss and its gradients by queries and keys.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        out : pair of arrays, optional
            Receive the gradients; each has the shape and dtype of its vectors, or is None, and
            overlaps no other argument.
        {gradient_scale}

        Returns
        -------
        value : float or array
        gradients : tuple
            By ``queries`` and by ``keys``: derivatives of the reduced value; with
            ``reduction="none"`` of the sum of the values.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, (queries, keys), _KEYED, None, sample_weight, reduction, device, check, wait,
            workspace, (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, queries: Any, keys: Any) -> Diagnosis:
        """What there is to compare, and how the vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return diagnose(self, (queries, keys), _KEYED, None)

    def validate(self) -> None:
        super().validate()
        if self.form == "triplets":
            raise ValueError("losses of triplets take labels: see LabelledEmbedding")


@documented
class LabelledEmbedding(BatchEmbedding):
    r"""A loss of vectors with labels: rows of one label belong together.

    Every row is compared with all others. A subclass gives the map of its ``form``: of
    positives against a sum, of pairs, or of triplets::

        class SoftTriplet(nl.LabelledEmbedding):
            form = "triplets"
            mining: str = "hard"

            def point(self, positive, negative):
                difference = positive - negative
                slope = nl.sigmoid(difference)
                return nl.softplus(difference), slope, -slope

    Parameters of these names have a meaning of their own, as in :class:`KeyedEmbedding`:
    ``temperature``, ``bias`` and ``normalize``; for triplets ``mining`` and ``squared`` (the
    map gets squared distances), as in :class:`BatchTriplet`.

    Attributes
    ----------
    form : {"softmax", "pairs", "triplets"}
        What the map gets: see ``point``.
    against : {"all", "negatives"}
        Of the form ``"softmax"``: whether a row's sum of exponentials runs over all other rows,
        or over those of other labels.
    average : {"anchors", "pairs"}
        Of the form ``"softmax"``: whether the value of a row is the mean over its positives,
        and the loss the mean over rows that have one; or the sum over its positives, and the
        loss the mean over all positive pairs.
    hinge : bool
        Of the form ``"triplets"``: whether the map is ``max(0, positive - negative +
        margin)``, which mining all triplets needs.
    """

    contract = LABELLED

    def __call__(
        self,
        embeddings: Any,
        labels: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        embeddings : array of float16, bfloat16, float32 or float64, shape (n, d)
            Of any kind, with any strides. Half precisions are computed in float32.
        labels : array of integers, shape (n,)
            Any integers, or floats that are whole numbers (not on a GPU).
        sample_weight : array of shape (n,), optional
            One weight >= 0 a row; multiplies its value as an anchor. It stays among the
            positives and negatives of others.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum of the rows' values by the number of terms in
            them, ``"weighted_mean"`` weighs the terms; ``"batchmean"`` divides by n; ``"none"``
            keeps the rows apart. What a term is (a row, a pair, a triplet) the loss defines. A mean
            over no terms, of labels that are all alone for example, is NaN, as that over no rows;
            the gradients are 0.
        {device_of_products}
            Labels and weights visit the host.
        check : bool
            False takes weights below 0 too.
        {workspace}
        {wait}

        Returns
        -------
        float, or array of shape (n,) for ``reduction="none"``
            A row without terms is worth 0. A NaN in a vector reaches all that is compared with
            it, which is everything.

        Raises
        ------
        TypeError
            Arrays of other dtypes.
        ValueError
            Shapes that do not fit, negative weights, unknown options, arrays on two devices.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        misuse.refuse_autograd(embeddings)
        return evaluate(
            self, (embeddings,), _LABELLED, labels, sample_weight, reduction, device, check, wait,
            workspace, None, 1.0,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        embeddings: Any,
        labels: Any,
        *,
        sample_weight: Any = None,
        reduction: str = "mean",
        out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        workspace: int | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, Any]:
        """The loss and its gradient by the embeddings.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        out : array of the embeddings' shape and dtype, optional
            Receives the gradient; it overlaps no other argument.
        {gradient_scale}

        Returns
        -------
        value : float or array
        gradient : array of the embeddings' kind, shape and dtype
            Derivative of the reduced value; with ``reduction="none"`` of the sum of the values.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, (embeddings,), _LABELLED, labels, sample_weight, reduction, device, check, wait,
            workspace, (out,), gradient_scale,
        )  # fmt: skip

    def validate(self) -> None:
        super().validate()
        every = self.form == "triplets" and self.batch_options().mining == "all"
        if every and not self._is_hinge():
            raise ValueError(
                f"mining='all' sums hinges, not the map of {type(self).__name__}: mine 'hard' or "
                f"'semi-hard'"
            )

    @classmethod
    def _is_hinge(cls) -> bool:
        """Whether the map is the hinge, and not one that a subclass has put in its place."""
        said, given = (
            next(i for i, base in enumerate(cls.__mro__) if name in base.__dict__)
            for name in ("hinge", "point")
        )
        return cls.hinge and said <= given

    def diagnose(self, embeddings: Any, labels: Any) -> Diagnosis:
        """How much there is to compare, how much of it is active, how the vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return diagnose(self, (embeddings,), _LABELLED, labels)


_KEYED = ("queries", "keys")
_LABELLED = ("embeddings",)
