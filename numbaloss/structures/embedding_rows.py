"""Losses of two or three vectors that belong together, row by row."""

from __future__ import annotations

from typing import Any, ClassVar, Never

import numpy as np

from .. import misuse
from ..call.vector_rows import diagnose, evaluate
from ..call.vectors import Diagnosis
from ..core.contracts import PAIRS, TRIPLETS, absent
from ..core.recoding import check_targets_parameter
from .documentation import documented
from .embedding import Embedding


class RowEmbedding(Embedding):
    """What losses of pairs and of triplets share: how vectors are compared, and a call."""

    def term(self, difference: Any) -> tuple[Any, Any]:
        """What a difference of two elements adds to the total of two vectors, and its slope."""
        return difference * difference, 2.0 * difference

    def root(self, total: Any) -> tuple[Any, Any]:
        """The distance, from the total of the terms, and its slope.

        The slope at 0, where most distances have none, is 0: vectors that are equal get no
        gradient, and no NaN.
        """
        distance = np.sqrt(total)
        return distance, 0.5 / distance if distance > 0.0 else 0.0


@documented
class PairEmbedding(RowEmbedding):
    r"""A loss of pairs of vectors, by their distance or their cosine.

    .. math:: \ell = \varphi\bigl(d(a, b),\ t\bigr)

    A subclass gives the map φ with its slope by the distance::

        class Cauchy(nl.PairEmbedding):
            def point(self, distance, target):
                square = distance * distance
                return target * nl.log1p(square), target * 2.0 * distance / (1.0 + square)

    and gets compiled kernels for the value and the gradients by both vectors. Another distance
    than the Euclidean takes two more methods: ``term(difference)``, what two elements add and
    its slope, and ``root(total)``, what is made of the sum and its slope.

    Attributes
    ----------
    metric : {"distance", "cosine"}
        What ``point`` gets: the distance, or the cosine of the angle between the vectors, 0
        where one of them is zero (which then gets no gradient).
    target_domain : str
        The targets the loss is defined for.

    A parameter ``targets: str`` has a meaning of its own, as in :class:`Elementwise`.
    """

    contract = PAIRS
    metric: ClassVar[str] = "distance"

    def validate(self) -> None:
        check_targets_parameter(self)

    @absent
    def point(self, distance: Any, target: Any) -> tuple[Any, Any]:
        """Value, and slope by the distance (or cosine), of one pair.

        Compiled by Numba, as ``Elementwise.point`` is; on CPUs in float64, once a row.
        """
        return super().point(distance, target)  # type: ignore[return-value]

    def __call__(
        self,
        first: Any,
        second: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        first, second : arrays of float16, bfloat16, float32 or float64, shape (..., d)
            The vectors, of one dtype and shape; NumPy arrays, tensors of PyTorch, arrays of
            JAX, CuPy or Numba, on the CPU or on a CUDA GPU, or lists. Any strides.
        target : array of shape (...), any real dtype
            One a pair.
        {sample_weight_of_vectors}
        {mask_of_vectors}
        {reduction_of_vectors}
        {device_of_vectors}
        check : bool
            False skips the test of targets against their domain, and takes weights below 0
            too.
        {wait}

        Returns
        -------
        float, or array of the shape of the pairs for ``reduction="none"``
            The values of half precision come in float32.

        Raises
        ------
        TypeError
            Arrays of other dtypes, or of different ones.
        ValueError
            Shapes that differ, targets outside their domain, negative weights, unknown
            options, arrays on two devices.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        misuse.refuse_autograd(first, second)
        return evaluate(
            self, (first, second), ("first", "second"), target, sample_weight, mask, reduction,
            device, check, wait, None, 1.0,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        first: Any,
        second: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: tuple[Any, Any] | None = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, tuple[Any, Any]]:
        """The loss and its gradients by the vectors, in one pass.

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
            By ``first`` and by ``second``: derivatives of the reduced value, weights and
            divisor included; with ``reduction="none"`` of the sum of the values.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, (first, second), ("first", "second"), target, sample_weight, mask, reduction,
            device, check, wait, (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, first: Any, second: Any, target: Any, *, check: bool = True) -> Diagnosis:
        """How many pairs there are, how many have a loss above 0, and how vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return diagnose(self, (first, second), ("first", "second"), target, check)


@documented
class TripletEmbedding(RowEmbedding):
    r"""A loss of an anchor, a vector that is like it, and one that is not.

    .. math:: \ell = \varphi\bigl(d(a, p),\ d(a, n)\bigr)

    A subclass gives the map φ with its slopes by both distances::

        class Soft(nl.TripletEmbedding):
            def point(self, positive, negative):
                difference = positive - negative
                slope = nl.sigmoid(difference)
                return nl.softplus(difference), slope, -slope

    and gets compiled kernels for the value and the gradients by all three. Another distance
    than the Euclidean takes ``term`` and ``root``, as in :class:`PairEmbedding`. A parameter
    ``swap: bool`` has its own meaning: see :class:`Triplet`.
    """

    contract = TRIPLETS

    @absent
    def point(self, positive: Any, negative: Any) -> tuple[Any, Any, Any]:
        """Value, and slopes by the two distances from the anchor, of one triplet.

        Compiled by Numba, as ``Elementwise.point`` is; on CPUs in float64, once a row.
        """
        return super().point(positive, negative)  # type: ignore[return-value]

    @classmethod
    def point_takes(cls) -> tuple[str, str]:
        return "positive", "negative"

    @classmethod
    def point_slopes(cls) -> int:
        return 2

    @classmethod
    def point_gives(cls) -> str:
        return "three numbers: the value, and its slopes by both distances"

    def __call__(
        self,
        anchor: Any,
        positive: Any,
        negative: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        anchor, positive, negative : arrays of float16, bfloat16, float32 or float64
            Vectors of one dtype and shape (..., d), in arrays of any kind and any strides.
        {sample_weight_of_vectors}
        {mask_of_vectors}
        {reduction_of_vectors}
        {device_of_vectors}
        check : bool
            False takes weights below 0 too.
        {wait}

        Returns
        -------
        float, or array of the shape of the triplets for ``reduction="none"``
            The values of half precision come in float32.

        Raises
        ------
        TypeError
            Arrays of other dtypes, or of different ones.
        ValueError
            Shapes that differ, negative weights, unknown options, arrays on two devices.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        misuse.refuse_autograd(anchor, positive, negative)
        return evaluate(
            self, (anchor, positive, negative), _TRIPLET, None, sample_weight, mask, reduction,
            device, check, wait, None, 1.0,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        anchor: Any,
        positive: Any,
        negative: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: tuple[Any, Any, Any] | None = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, tuple[Any, Any, Any]]:
        """The loss and its gradients by anchor, positive and negative, in one pass.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        out : tuple of three arrays, optional
            Receive the gradients; each has the shape and dtype of its vectors, or is None, and
            overlaps no other argument.
        {gradient_scale}

        Returns
        -------
        value : float or array
        gradients : tuple
            By ``anchor``, ``positive`` and ``negative``: derivatives of the reduced value, weights
            and divisor included; with ``reduction="none"`` of the sum of the values.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, (anchor, positive, negative), _TRIPLET, None, sample_weight, mask, reduction,
            device, check, wait, (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, anchor: Any, positive: Any, negative: Any) -> Diagnosis:
        """How many triplets there are, how many have a loss above 0, and how vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return diagnose(self, (anchor, positive, negative), _TRIPLET, None, False)


_TRIPLET = ("anchor", "positive", "negative")
