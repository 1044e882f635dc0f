"""Losses of all pairs of vectors in a batch."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Never

import numpy as np

from .. import arrays, engines, misuse
from ..all_pairs import Batch
from ..call.arguments import (
    bytes_of,
    check_options,
    gpu_of,
    row_targets,
    row_weights,
    whole_labels,
)
from ..core.contracts import KEYED, LABELLED, absent
from ..core.out_of_range import named
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

    def _run(
        self,
        given: tuple[Any, ...],
        names: tuple[str, ...],
        labels: Any,
        sample_weight: Any,
        reduction: str,
        device: str | None,
        check: bool,
        wait: bool,
        workspace: int | None,
        outs: tuple[Any] | None,
        gradient_scale: float,
    ) -> tuple[Any, Any]:
        check_options(reduction, device)
        gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        budget = bytes_of(workspace)
        vectors, of_labels, weight = self._inputs(given, names, labels, sample_weight)
        inputs = [*vectors.operands, of_labels, weight]
        gpu = gpu_of(inputs, [*names, "labels", "sample_weight"], device)
        if device == "cuda" and gpu is None:
            refuse_host(self)
        count = vectors.operands[0].array.shape[0]
        values = values_of(vectors, (count,), reduction)
        outputs = None
        if outs is not None:
            others = [(of_labels, "labels"), (weight, "sample_weight")]
            outputs = Outputs(vectors, outs[0], others, single=len(names) == 1)
        gradients = None if outputs is None else outputs.views
        if gpu is not None:
            # So few numbers, beside all pairs: the host sorts and sums them.
            labels, sample_weight = arrays.on_host(labels), arrays.on_host(sample_weight)
            _, of_labels, weight = self._inputs(given, names, labels, sample_weight)
        batch = self._batch(vectors, of_labels, weight, check)
        divisor = batch.divisor(reduction)
        scale = gradient_scale / divisor if divisor else 0.0
        results = results_of(vectors, values)
        if gpu is not None and not batch.terms.any():
            made = [] if outputs is None else outputs.made
            _gpu_kernels().clear(
                vectors.families[0].name, [*made, *([] if values is None else [values])]
            )
            value, _, _ = results.deliver(0.0, divisor, reduction)
            return value, None if outputs is None else outputs.finish()
        if gpu is not None:
            of_gpu = _gpu_kernels()
            place = of_gpu.Place(gpu, vectors.families[0].stream(given[0]))
            view = None if values is None else arrays.output(values, "values", made=True)
            record = of_gpu.evaluate(
                self, vectors, batch, view, gradients, scale, divisor, budget, place
            )
            value, _, _ = results.receive(record, reduction, wait, "", lambda: None)
            return value, None if outputs is None else outputs.finish()
        found, _ = _kernels().evaluate(self, vectors.operands, batch, gradients, scale, budget)
        if batch.weight is not None:
            with np.errstate(all="ignore"):
                found = np.where(batch.weight == 0.0, 0.0, found * batch.weight)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite, where it is so large
            total = float(found.sum())
        if values is not None:
            with np.errstate(all="ignore"):  # what float32 cannot hold is infinite
                arrays.output(values, "values", made=True).array[...] = batch.original(found)
        value, _, _ = results.deliver(total, divisor, reduction)
        return value, None if outputs is None else outputs.finish()

    def _inputs(
        self, given: tuple[Any, ...], names: tuple[str, ...], labels: Any, sample_weight: Any
    ) -> tuple[Vectors, arrays.Operand | None, arrays.Operand | None]:
        """Views of all arrays, once they are known to fit."""
        vectors = Vectors.of(given, names)
        for operand, name in zip(vectors.operands, names):
            if operand.array.ndim != 2:
                raise ValueError(
                    f"{name} must have two dimensions, rows and elements, not {operand.array.ndim}"
                )
        shapes = [one.array.shape for one in vectors.operands]
        count = shapes[0][0]
        if len(shapes) > 1:
            if shapes[0][1] != shapes[1][1]:
                raise ValueError(
                    f"queries and keys must have vectors of one length, not {shapes[0]} and "
                    f"{shapes[1]}"
                )
            if shapes[1][0] < count:
                raise ValueError(
                    f"there must be a key for every query: {count} queries, {shapes[1][0]} keys"
                )
            if self.batch_options().symmetric and shapes[1][0] != count:
                raise ValueError(
                    f"a symmetric loss takes as many keys as queries, not {shapes[1][0]} and "
                    f"{count}"
                )
        weight, _ = row_weights(sample_weight, None, (count,))
        if isinstance(self, KeyedEmbedding):
            return vectors, None, weight
        if labels is None:
            raise TypeError(f"{type(self).__name__} needs labels: which rows are alike")
        found = row_targets(labels, "labels")
        if found.array.shape != (count,):
            raise ValueError(
                f"labels must have the shape of the rows, {(count,)}, not {found.array.shape}"
            )
        return vectors, whole_labels(found, "labels"), weight

    def _batch(
        self,
        vectors: Vectors,
        labels: arrays.Operand | None,
        weight: arrays.Operand | None,
        check: bool,
    ) -> Batch:
        shapes = [one.array.shape for one in vectors.operands]
        rows, columns = shapes[0][0], shapes[-1][0]
        weights = None
        if weight is not None:
            weights = arrays.numbers(weight, weight.array).astype(np.float64)
            bad = ~(weights >= 0.0)
            if check and bad.any():
                first = int(bad.argmax())
                place = "" if weight.dimensions == 0 else str(first)
                found = named("sample_weight", place, weight, first)
                raise ValueError(f"{found}; weights are >= 0")
        if labels is None:
            starts = np.arange(rows)
            return self._counted(Batch(
                rows, columns, False, None, starts, starts + 1, weights, starts, np.ones(rows)
            ))  # fmt: skip
        # A copy: sorting counts on keys that nobody changes meanwhile.
        keys = np.array(labels.array)
        order = np.argsort(keys, kind="stable")
        in_order = keys[order]
        fresh = np.ones(rows, bool)
        fresh[1:] = in_order[1:] != in_order[:-1]
        firsts = np.flatnonzero(fresh)
        sizes = np.diff(np.append(firsts, rows))
        starts, ends = np.repeat(firsts, sizes), np.repeat(firsts + sizes, sizes)
        if weights is not None:
            weights = weights[order]
        return self._counted(Batch(
            rows, columns, True, order, starts, ends, weights, starts, np.ones(rows)
        ))  # fmt: skip

    def _counted(self, batch: Batch) -> Batch:
        """With the number of terms of each row, and the share of each positive."""
        positives, negatives = batch.positives, batch.negatives
        share = np.ones(batch.rows)
        if self.form == "triplets":
            some = negatives > 0
            terms = {
                "hard": (positives > 0) & some,
                "semi-hard": positives * some,
                "all": positives * negatives,
            }[self.batch_options().mining]
        elif self.form == "softmax" and self.average == "pairs":
            terms = positives
        elif self.form == "softmax":
            terms = positives > 0
            share = 1.0 / np.maximum(positives, 1)
        else:
            terms = np.ones(batch.rows, np.int64)
        return batch._replace(terms=terms.astype(np.int64), share=share)

    def _diagnose(self, given: tuple[Any, ...], names: tuple[str, ...], labels: Any) -> Diagnosis:
        given = tuple(map(arrays.on_host, given))
        vectors, of_labels, _ = self._inputs(given, names, arrays.on_host(labels), None)
        batch = self._batch(vectors, of_labels, None, False)
        zeros, spread = look([arrays.numbers(one, one.array) for one in vectors.operands])
        pairs = batch.columns - int(batch.labelled)
        terms = int(batch.terms.sum())
        if self.form == "pairs":
            active = terms = batch.rows * pairs
            anchors = batch.rows if pairs > 0 else 0
        else:
            anchors = int((batch.terms > 0).sum())
            if self.form == "softmax":
                active = terms = int(batch.positives.sum())
            else:
                _, active = _kernels().evaluate(self, vectors.operands, batch, None, 0.0, None)
        return Diagnosis(batch.rows, anchors, terms, active, zeros, spread)


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
        return self._run(
            (queries, keys), _KEYED, None, sample_weight, reduction, device, check, wait, workspace,
            None, 1.0,
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
        return self._run(
            (queries, keys), _KEYED, None, sample_weight, reduction, device, check, wait, workspace,
            (out,), gradient_scale,
        )  # fmt: skip

    def diagnose(self, queries: Any, keys: Any) -> Diagnosis:
        """What there is to compare, and how the vectors are spread.

        Computed on the CPU; arrays on a GPU are copied.
        """
        return self._diagnose((queries, keys), _KEYED, None)

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
        Of the form ``"triplets"``: says that the map is ``max(0, positive - negative +
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
            keeps the rows apart. What a term is (a row, a pair, a triplet) the loss says. A mean
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
        return self._run(
            (embeddings,), _LABELLED, labels, sample_weight, reduction, device, check, wait,
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
        return self._run(
            (embeddings,), _LABELLED, labels, sample_weight, reduction, device, check, wait,
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
        return self._diagnose((embeddings,), _LABELLED, labels)


_KEYED = ("queries", "keys")
_LABELLED = ("embeddings",)


def _gpu_kernels() -> Any:
    """The kernels for GPUs. Imported at the first call that needs them."""
    return engines.kernels("cuda", "batch")


def _kernels() -> Any:
    """The CPU kernels. Imported at the first call: Numba takes 0.2 s to load."""
    return engines.kernels("cpu", "batch")
