"""Losses of two or three vectors that belong together, row by row."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Never

import numpy as np

from .. import arrays, engines, misuse
from ..call.arguments import check_options, gpu_of, row_targets, row_weights
from ..core.contracts import PAIRS, TRIPLETS, absent
from ..core.loss import domain
from ..core.out_of_range import raise_first_number
from ..core.recoding import check_targets_parameter
from ..core.reductions import batch_length
from .documentation import documented
from .embedding import (
    Diagnosis,
    Embedding,
    Outputs,
    Vectors,
    look,
    refuse_host,
    results_of,
    values_of,
)


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

    def _run(
        self,
        given: tuple[Any, ...],
        names: tuple[str, ...],
        target: Any,
        sample_weight: Any,
        mask: Any,
        reduction: str,
        device: str | None,
        check: bool,
        wait: bool,
        outs: tuple[Any] | None,
        gradient_scale: float,
    ) -> tuple[Any, Any]:
        check_options(reduction, device)
        gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        vectors = Vectors.of(given, names)
        of_rows = self._rows(vectors, target, sample_weight, mask)
        parts = ("target", "sample_weight", "mask")
        gpu = gpu_of([*vectors.operands, *of_rows], [*names, *parts], device)
        if device == "cuda" and gpu is None:
            refuse_host(self)
        shape = vectors.operands[0].array.shape[:-1]
        count = math.prod(shape)
        values = values_of(vectors, shape, reduction)
        view = None if values is None else arrays.output(values, "values", made=True)
        outputs = None
        if outs is not None:
            others = [*zip(of_rows, parts)]
            outputs = Outputs(vectors, outs[0], others)
        gradients = None if outputs is None else outputs.views
        results = results_of(vectors, values)
        target_, weight, counts = of_rows
        if gpu is not None and count:
            of_gpu = _gpu_kernels()
            place = of_gpu.Place(gpu, vectors.families[0].stream(given[0]))
            record = of_gpu.evaluate(
                self, vectors.operands, target_, weight, counts, view, gradients, reduction,
                gradient_scale, check, place,
            )  # fmt: skip
            value, _, _ = results.receive(
                record, reduction, wait, self._ranges(weight is not None, check),
                lambda: self._complain(given, names, (target, sample_weight, mask), check),
            )  # fmt: skip
        else:
            kernels = _kernels()
            divisor = 1.0
            if reduction == "weighted_mean" and weight is not None:
                divisor = kernels.sum_of_weights(weight, counts, check)
            elif reduction in ("mean", "weighted_mean"):
                divisor = float(count)
                if counts is not None:
                    divisor = kernels.sum_of_weights(counts, None, False)
            elif reduction == "batchmean":
                divisor = batch_length(shape)
            scale = gradient_scale / divisor if divisor else 0.0
            inputs = vectors.operands, target_, weight, counts
            total = kernels.evaluate(self, *inputs, view, gradients, scale, check)
            value, _, _ = results.deliver(total, divisor, reduction)
        return value, None if outputs is None else outputs.finish()

    def _rows(
        self, vectors: Vectors, target: Any, sample_weight: Any, mask: Any
    ) -> list[arrays.Operand | None]:
        """Views of target, weight and mask, once all arrays are known to fit."""
        shapes = [one.array.shape for one in vectors.operands]
        if len(set(shapes)) > 1:
            titles = ", ".join(vectors.names[:-1]) + f" and {vectors.names[-1]}"
            found = ", ".join(map(str, shapes[:-1])) + f" and {shapes[-1]}"
            raise ValueError(
                f"{titles} must have one shape, not {found}; shapes are never broadcast"
            )
        shape = shapes[0][:-1]
        weights = row_weights(sample_weight, mask, shape)
        if isinstance(self, TripletEmbedding):
            return [None, *weights]
        if target is None:
            raise TypeError(f"{type(self).__name__} needs a target: which pairs are alike")
        of_target = row_targets(target)
        if of_target.array.shape != shape:
            raise ValueError(
                f"target must have the shape of the rows, {shape}, not {of_target.array.shape}"
            )
        return [of_target, *weights]

    def _ranges(self, weighted: bool, check: bool) -> str:
        """What a call may find out of range, in words; empty where nothing can be."""
        found = ["weights >= 0"] if weighted and check else []
        interval = domain(self.target_domain)
        if check and not interval.everything:
            found.append(f"targets in {interval}")
        return ", ".join(found)

    def _complain(self, given: Any, names: Any, of_rows: tuple[Any, ...], check: bool) -> None:
        """Raise the error that names the first number out of range among arrays on a GPU."""
        vectors = Vectors.of(tuple(map(arrays.on_host, given)), names)
        rows = self._rows(vectors, *map(arrays.on_host, of_rows))
        raise_first_number(self, [None, *rows], check)

    def _diagnose(
        self, given: tuple[Any, ...], names: tuple[str, ...], target: Any, check: bool
    ) -> Diagnosis:
        given = tuple(map(arrays.on_host, given))
        value, _ = self._run(
            given, names, arrays.on_host(target), None, None, "none", None, check, True, None, 1.0
        )
        vectors = Vectors.of(given, names)
        count = int(np.size(value))
        zeros, spread = look([arrays.numbers(one, one.array) for one in vectors.operands])
        active = int((np.asarray(value) > 0).sum())
        return Diagnosis(count, count, count, active, zeros, spread)


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
        return self._run(
            (first, second), ("first", "second"), target, sample_weight, mask, reduction,
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
        return self._run(
            (first, second), ("first", "second"), target, sample_weight, mask, reduction,
            device, check, wait, (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, first: Any, second: Any, target: Any, *, check: bool = True) -> Diagnosis:
        """How many pairs there are, how many have a loss above 0, and how vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return self._diagnose((first, second), ("first", "second"), target, check)


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
        return self._run(
            (anchor, positive, negative), _TRIPLET, None, sample_weight, mask, reduction,
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
        return self._run(
            (anchor, positive, negative), _TRIPLET, None, sample_weight, mask, reduction,
            device, check, wait, (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, anchor: Any, positive: Any, negative: Any) -> Diagnosis:
        """How many triplets there are, how many have a loss above 0, and how vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return self._diagnose((anchor, positive, negative), _TRIPLET, None, False)


_TRIPLET = ("anchor", "positive", "negative")


def _gpu_kernels() -> Any:
    """The kernels for GPUs. Imported at the first call that needs them."""
    return engines.kernels("cuda", "vectors")


def _kernels() -> Any:
    """The CPU kernels. Imported at the first call: Numba takes 0.2 s to load."""
    return engines.kernels("cpu", "vectors")
