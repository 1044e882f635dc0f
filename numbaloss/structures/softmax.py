"""Losses of rows of logits: the contract, and the public methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Never

import numpy as np

from .. import arrays, engines, misuse
from ..call.arguments import (
    Results,
    check_one_row,
    check_options,
    check_outputs,
    check_values_out,
    gpu_of,
    is_streamed,
    model,
    predicted,
    row_targets,
    row_weights,
    whole_labels,
)
from ..call.class_axis import as_given, class_axis, with_classes_last
from ..call.run import Errors, run
from ..core.composition import Sum
from ..core.contracts import ROWS, absent, brings
from ..core.intervals import Interval
from ..core.loss import Loss, domain
from ..core.out_of_range import raise_first_entry, raise_first_row
from ..core.reductions import batch_length
from ..core.request import Request
from .documentation import documented

_EVERYTHING = Interval()


class RowOptions(NamedTuple):
    """The parameters that mean the same in every softmax loss that has them."""

    class_weight: np.ndarray | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0


@documented
class Softmax(Loss):
    r"""A loss of rows of logits, by way of the logarithms of their softmax.

    With :math:`l_j = \log \mathrm{softmax}(x)_j` and targets :math:`t_j` the loss of a row is

    .. math:: \sum_j \varphi(l_j, t_j) + R(\log \sum_j e^{x_j})

    A subclass gives φ at one point, its ``value``, or φ with its first and second derivative by
    :math:`l`::

        class Mellow(nl.Softmax):
            q: float = 0.5
            sparse = True

            def point(self, log_probability, target):
                power = nl.exp(self.q * log_probability)
                return (
                    target * (1.0 - power) / self.q,
                    -target * power,
                    -target * self.q * power,
                )

    and gets compiled kernels for value, gradient and the diagonal of the hessian, for integer
    labels and for dense targets, for rows of any width.

    The class axis is the last one, or the one that ``axis=`` of a call names; all other axes
    count rows. A subclass that declares a parameter of one of these names need not mention it
    in its maths: ``class_weight`` (an array, multiplies φ class by class; with
    ``relative_to_label`` the loss of a row, by its label), ``ignore_index`` (the label of rows
    that do not count), ``label_smoothing`` (ε: targets become :math:`(1 - ε) t + ε / C`) and
    ``temperature`` (divides the logits).

    Attributes
    ----------
    sparse : bool
        Says that φ(l, 0) = 0 for every l. Integer labels then need the label's class alone,
        which is the fast path; a class of target 0 contributes 0 even where l is infinite.
    linear : bool
        Says that φ is a multiple of t l. Label smoothing then stays on the fast path.
    target_domain : str
        The dense targets that the loss is defined for; a rounding beyond is no error, as in
        :class:`Elementwise`.
    accepts : tuple of str
        Which targets it takes: ``"labels"``, ``"dense"``, or both.
    dense_logits : bool
        Says that dense targets are logits, of which the softmax is taken, at the same
        temperature.
    takes_logits : bool
        Whether the rows are logits. If not, they are taken as they are, each number by itself:
        no softmax, no normalisation. ``point`` gets :math:`x_j`, a probability for instance, in
        the place of :math:`l_j`, and gives derivatives by it.
    prediction_domain : str
        The predictions that a loss with ``takes_logits = False`` is defined for.
    relative_to_label : bool
        Says that :math:`l_j` is :math:`x_j - x_y`, with y the label, instead: a margin, not
        a softmax. ``point`` gets target 1 at the label and 0 elsewhere.
    mean_over_classes : bool
        Says that the sum over classes is divided by their number.
    """

    contract = ROWS
    sparse: ClassVar[bool] = False
    linear: ClassVar[bool] = False
    target_domain: ClassVar[Any] = "[0, 1]"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"
    accepts: ClassVar[tuple[str, ...]] = ("labels", "dense")
    dense_logits: ClassVar[bool] = False
    takes_logits: ClassVar[bool] = True
    relative_to_label: ClassVar[bool] = False
    mean_over_classes: ClassVar[bool] = False

    @classmethod
    def point_takes(cls) -> tuple[str, str]:
        return "log_probability", "target"

    @absent
    def point(self, log_probability: Any, target: Any) -> tuple[Any, Any, Any]:
        """φ and its first two derivatives by the log-probability, at one point.

        Compiled by Numba for float32 and for float64, as ``Elementwise.point`` is.
        """
        raise NotImplementedError(self._lacks_maths())

    @absent
    def value(self, log_probability: Any, target: Any) -> Any:
        """φ alone, in the place of ``point``: the library takes the derivatives.

        As ``Elementwise.value``, by the log-probability.
        """
        raise NotImplementedError(self._lacks_maths())

    @absent
    def label_point(self, log_probability: Any) -> tuple[Any, Any, Any]:
        """The loss of a whole row with an integer label, by the label's log-probability.

        For losses that are not ``sparse`` and still depend on that number alone. Of a sparse
        loss it is ``point(log_probability, 1.0)``.
        """
        raise NotImplementedError

    @absent
    def normalizer(self, log_sum: Any) -> tuple[Any, Any, Any]:
        """R and its first two derivatives by the log of the sum of exponentials."""
        return 0.0, 0.0, 0.0

    @classmethod
    def sum_class(cls) -> Any:
        return SoftmaxSum

    def validate(self) -> None:
        options = self.row_options()
        if not 0.0 <= options.label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1], not {options.label_smoothing}")
        if not 0.0 < options.temperature < np.inf:
            raise ValueError(f"temperature must be in (0, inf), not {options.temperature}")
        if not self.takes_logits and options.temperature != 1.0:
            raise ValueError(f"{self!r} takes no logits that a temperature could divide")

    def row_options(self) -> RowOptions:
        """The parameters of this loss that every softmax loss shares."""
        own = self.__dict__
        return RowOptions(
            own.get("class_weight"),
            own.get("ignore_index"),
            own.get("label_smoothing", 0.0),
            own.get("temperature", 1.0),
        )

    def tested_domain(self) -> Interval:
        """The predictions that a call does not refuse: any logits."""
        return _EVERYTHING if self.takes_logits else domain(self.prediction_domain)

    def by_label_alone(self, classes: tuple[type[Loss], ...]) -> bool:
        """Whether a row with a label is a function of that label's log-probability.

        ``classes`` are those of the loss as kernels see it.
        """
        if self.relative_to_label or not self.takes_logits:
            return False
        options = self.row_options()
        if options.label_smoothing > 0.0:
            return self.sparse and self.linear
        if self.sparse:
            return True
        # A sum over classes with weights of their own is not what label_point returns.
        return options.class_weight is None and all(
            cls.sparse or brings(cls, "label_point")  # type: ignore[attr-defined]
            for cls in classes
        )

    def __call__(
        self,
        prediction: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        values_out: Any = None,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        axis: int = -1,
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        prediction : array of float16, bfloat16, float32 or float64, shape (..., C)
            Logits, or probabilities if the loss has ``from_logits=False``; the classes are along
            the last axis, or along ``axis``. Any strides. Half precisions are computed in float32.
        target : array of integers, shape (...), or array of shape (..., C)
            Labels from 0 to C - 1, of any integer dtype, or floats that are whole numbers (not on
            a GPU); or dense targets of any real dtype, a probability a class. A single row, of
            shape (C,), has a label of shape (), or dense targets of a floating dtype: C integers
            could be either, and are refused.
        {sample_weight_of_rows}
        mask : array of bool, optional
            True for rows that count, in the shape of the rows or a leading part of it. The
            others contribute exactly 0, whatever they hold.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum by the number of rows that count,
            ``"weighted_mean"`` by the sum over these rows of sample weight times the class
            weight of the label (of dense targets: :math:`\\sum_j w_j t_j`), which is what
            PyTorch calls mean where there are class weights; ``"batchmean"`` by the length of
            the first axis of the rows; ``"none"`` keeps the values of the rows apart.
        values_out : array of the shape of the rows, optional
            With ``reduction="none"``: receives the values, in any floating dtype (on a GPU, that
            of the computation). It overlaps no other argument.
        {device}
        check : bool
            False skips the test of dense targets and of probabilities against their domain, and
            takes weights below 0 too. Labels are always tested.
        {wait}
            A label out of range then makes its row NaN.
        axis : int
            The axis of the classes: 1 for images of shape (N, C, H, W). Labels, weights, mask
            and the values of ``reduction="none"`` have the prediction's shape without it, dense
            targets and derivatives the prediction's shape.

        Returns
        -------
        float, or array of the shape of the rows for ``reduction="none"``
            The values of half precision predictions come in float32. The mean over no rows
            is NaN.

        Raises
        ------
        TypeError
            Arrays of other dtypes; an axis that is no integer.
        ValueError
            Shapes that do not fit, an axis that the prediction does not have, labels out of range
            or no whole numbers, targets outside the domain, negative weights, unknown options,
            arrays on two devices.
        RuntimeError
            Where a GPU is asked for and none can be used, with the reason.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        plain = sample_weight is None and mask is None and device is None and axis == -1
        plain = plain and values_out is None
        if plain and (reduction == "mean" or reduction == "sum"):
            found = (_direct or _direct_kernels()).run_direct(
                self, 0, prediction, target, reduction, 1.0
            )
            if found is not None:
                return found[0]
        misuse.refuse_autograd(prediction)
        return self._evaluate(
            0,
            prediction,
            target,
            sample_weight,
            mask,
            reduction,
            device,
            check,
            wait,
            (),
            1.0,
            axis,
            values_out,
        )[0]

    def value_and_grad(
        self,
        prediction: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        values_out: Any = None,
        out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        axis: int = -1,
        **unknown: Never,
    ) -> tuple[Any, Any]:
        """The loss and its gradient by the logits.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        {out}
        {gradient_scale}

        Returns
        -------
        value : float or array
        gradient : array of the prediction's kind, shape and dtype
            Derivative of the reduced value, weights and divisor included; with
            ``reduction="none"`` of the sum of the values.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        if type(gradient_scale) is not float:
            gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        plain = sample_weight is None and mask is None and device is None and axis == -1
        plain = plain and values_out is None
        if plain and (reduction == "mean" or reduction == "sum"):
            found = (_direct or _direct_kernels()).run_direct(
                self, 1, prediction, target, reduction, gradient_scale, out
            )
            if found is not None:
                return found
        value, gradient, _ = self._evaluate(
            1,
            prediction,
            target,
            sample_weight,
            mask,
            reduction,
            device,
            check,
            wait,
            (out,),
            gradient_scale,
            axis,
            values_out,
        )
        return value, gradient

    def value_grad_hess(
        self,
        prediction: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        values_out: Any = None,
        out: Any = None,
        hess_out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        axis: int = -1,
        **unknown: Never,
    ) -> tuple[Any, Any, Any]:
        """The loss, its gradient and the diagonal of its hessian.

        Parameters as in :meth:`value_and_grad`, and

        Parameters
        ----------
        {hess_out}

        Returns
        -------
        value : float or array
        gradient, hessian : arrays of the prediction's kind, shape and dtype
            Both scaled alike. The rows of the full hessian couple their classes; this is
            its diagonal, as gradient boosting takes it.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_grad_hess", unknown)
        if type(gradient_scale) is not float:
            gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        plain = sample_weight is None and mask is None and device is None and axis == -1
        plain = plain and values_out is None
        plain = plain and out is None and hess_out is None
        if plain and (reduction == "mean" or reduction == "sum"):
            found = (_direct or _direct_kernels()).run_direct(
                self, 2, prediction, target, reduction, gradient_scale
            )
            if found is not None:
                return found
        return self._evaluate(
            2,
            prediction,
            target,
            sample_weight,
            mask,
            reduction,
            device,
            check,
            wait,
            (out, hess_out),
            gradient_scale,
            axis,
            values_out,
        )

    def hess(self, prediction: Any, target: Any, *, out: Any = None, **options: Any) -> Any:
        """The diagonal of the hessian alone.

        Parameters
        ----------
        {out_of_hessian}
        **options
            Those of :meth:`value_grad_hess`. The gradient is computed on the way.

        Returns
        -------
        array of the prediction's kind, shape and dtype
        """
        if "hess_out" in options:
            raise TypeError("hess takes the array for the hessian as out")
        if options.get("reduction") == "none":
            options["reduction"] = "sum"
        return self.value_grad_hess(prediction, target, hess_out=out, **options)[2]

    def _evaluate(
        self,
        derivatives: int,
        prediction: Any,
        target: Any,
        sample_weight: Any,
        mask: Any,
        reduction: str,
        device: str | None,
        check: bool,
        wait: bool,
        outs: tuple[Any, ...],
        gradient_scale: float,
        axis: int,
        values_out: Any = None,
    ) -> tuple[Any, Any, Any]:
        check_options(reduction, device)
        gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        inputs, family = self._inputs(prediction, target, sample_weight, mask, axis)
        p = inputs[0]
        assert p is not None
        names = "prediction", "target", "sample_weight", "mask"
        gpu = gpu_of(inputs, names, device)
        given_inputs = [as_given(one) for one in inputs]
        like = model(family, given_inputs[0] or p, prediction)
        check_values_out(values_out, reduction)
        values = None
        if reduction == "none" and values_out is None:
            values = family.empty(p.array.shape[:-1], p.compute)
        results = Results(family, like, values, outs, values_out)
        there = gpu is not None or device == "cuda"
        in_place = check_outputs(
            outs, results.views, given_inputs, values_out, p.array.shape[:-1], there
        )
        if p.axis is not None:
            results.put_last(p.axis)

        if gpu is not None and not p.array.size:
            if results.values is not None and 0 not in p.array.shape[:-1]:
                results.values[...] = 0  # rows without classes
            shape = p.array.shape[:-1]
            rows = batch_length(shape) if reduction == "batchmean" else float(math.prod(shape))
            return results.deliver(0.0, rows, reduction)
        given = prediction, target, sample_weight, mask
        errors = Errors(
            self.ranges(inputs, check),
            (lambda: self._complain(given, check, axis))
            if gpu is not None
            else (lambda: self.name_first(inputs, check)),
        )
        streamed = is_streamed(gpu, device)
        request = Request(
            self, derivatives, inputs, results.views, reduction, gradient_scale, check, in_place,
            gpu, 0 if gpu is None else family.stream(prediction),
        )  # fmt: skip
        return run(request, results, wait, streamed and p.array.size > 0, errors)

    def _divisor(self, host: Any, request: Request) -> float:
        """What the sum of values on the host is divided by."""
        return divisor_of_rows(self, host, request.inputs, request.reduction, request.check)

    def ranges(self, inputs: Sequence[arrays.Operand | None], check: bool) -> str:
        """What a call may find out of range, in words; empty where nothing can be."""
        p, t, weight, _ = inputs
        assert p is not None
        assert t is not None
        found = ["weights >= 0"] if weight is not None and check else []
        if t.array.ndim < p.array.ndim:
            found.append(f"labels from 0 to {p.array.shape[-1] - 1}")
        elif check and not domain(self.target_domain).everything:
            found.append(f"dense targets in {domain(self.target_domain)}")
        if check and not self.tested_domain().everything:
            found.append(f"predictions in {self.tested_domain()}")
        return ", ".join(found)

    def _complain(self, given: tuple[Any, ...], check: bool, axis: int) -> None:
        """Raise the error that names the first number out of range among arrays on a GPU."""
        prediction, target, sample_weight, mask = map(arrays.on_host, given)
        inputs, _ = self._inputs(prediction, target, sample_weight, mask, axis)
        self.name_first(inputs, check)

    def name_first(self, inputs: Sequence[arrays.Operand | None], check: bool) -> None:
        """Raise the error that names the first number out of range."""
        p, t, weight, mask = inputs
        assert p is not None
        assert t is not None
        labelled = t.array.ndim < p.array.ndim
        raise_first_row(self, p, t if labelled else None, weight if check else None, mask)
        if check:
            raise_first_entry(self, inputs)

    def _inputs(
        self, prediction: Any, target: Any, sample_weight: Any, mask: Any, axis: int
    ) -> tuple[list[arrays.Operand | None], arrays.Family]:
        """Views of prediction, target, weight and mask, once they are known to fit together.

        The axis of the classes is the last one of the views.
        """
        p, family = predicted(prediction, target=target)
        shape = p.array.shape
        if not shape:
            raise ValueError("prediction must have at least one dimension, that of the classes")
        of_classes = class_axis(axis, len(shape))
        classes, of_rows = shape[of_classes], shape[:of_classes] + shape[of_classes + 1 :]
        t = row_targets(target)
        if t.array.shape == shape:
            self._check_accepts("dense")
            if len(shape) == 1 and not self.dense_logits:
                check_one_row(t)
            t = with_classes_last(t, of_classes)
        elif t.array.shape == of_rows:
            self._check_accepts("labels")
            t = whole_labels(t)
            if classes == 0 and t.array.size:
                raise ValueError(f"prediction has no classes: its shape is {shape}")
        else:
            raise ValueError(
                f"target must have the shape of the prediction, {shape}, or, for labels, "
                f"{of_rows}; not {t.array.shape}"
            )
        weights = self.row_options().class_weight
        if weights is not None and weights.size != classes:
            raise ValueError(
                f"class_weight has {weights.size} numbers, the prediction {classes} classes"
            )
        p = with_classes_last(p, of_classes)
        return [p, t, *row_weights(sample_weight, mask, of_rows)], family

    def _check_accepts(self, form: str) -> None:
        if form in self.accepts:
            return
        name = type(self).__name__
        if form == "labels":
            raise ValueError(f"{name} takes dense targets of the prediction's shape, not labels")
        raise ValueError(f"{name} takes integer labels, not dense targets")


class _ClassMass(Softmax):
    """The class weights of dense targets, so that kernels can sum them."""

    class_weight: np.ndarray | None = None
    sparse = True

    def point(self, log_probability, target):
        return target, 0.0, 0.0


def divisor_of_rows(
    loss: Any, kernels: Any, inputs: Sequence[arrays.Operand | None], reduction: str, check: bool
) -> float:
    """What the sum of the values of rows on the CPU is divided by.

    Raises
    ------
    ValueError
        For a label out of range; for a negative or NaN weight, where ``check`` says so.
    """
    p, target, weight, mask = inputs
    assert p is not None
    assert target is not None
    weights = loss.row_options().class_weight
    found: float = kernels.divisor(loss, inputs, reduction, check)
    if reduction != "weighted_mean" or weights is None or target.array.ndim < p.array.ndim:
        return found
    # Nothing of the prediction: the mass of a row that holds NaN is that of its targets. In
    # float64: a sum of narrow targets that was rounded once would move every result.
    alone = [target, target, weight, mask]
    mass: float = kernels.evaluate(
        _ClassMass(weights), 0, alone, [None, None, None], 1.0, False, "float64"
    )
    return mass


class LogLikelihood(Softmax):
    """The formula of cross-entropy without a z-loss, for which kernels have a way of its own."""

    sparse = True
    linear = True
    log_likelihood = True  # says so to kernels; it holds for this class and for no subclass

    def point(self, log_probability, target):
        return -target * log_probability, -target, 0.0


class SoftmaxSum(Sum, Softmax):
    """A weighted sum of softmax losses: ``nl.CrossEntropy() + 0.5 * nl.Brier()``."""

    def __init__(self, terms: Any) -> None:
        super().__init__(terms)
        self.row_options()
        kinds = {
            (
                term.dense_logits,
                term.relative_to_label,
                term.mean_over_classes,
                term.takes_logits,
            )
            for term in self._parts()
        }
        if len(kinds) > 1:
            raise TypeError(f"{self!r}: these losses read rows in different ways")

    def _parts(self) -> list[Any]:
        return [term for _, term in self.terms]

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        """Whether every term is sparse."""
        return all(term.sparse for term in self._parts())

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether every term is linear."""
        return all(term.linear for term in self._parts())

    @property
    def accepts(self) -> tuple[str, ...]:  # type: ignore[override]
        """The targets that every term accepts."""
        return tuple(
            form
            for form in ("labels", "dense")
            if all(form in term.accepts for term in self._parts())
        )

    @property
    def dense_logits(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].dense_logits

    @property
    def takes_logits(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].takes_logits

    @property
    def relative_to_label(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].relative_to_label

    @property
    def mean_over_classes(self) -> bool:  # type: ignore[override]
        """As the terms."""
        return self._parts()[0].mean_over_classes

    def row_options(self) -> RowOptions:
        """The options that all terms agree on."""
        found = [term.row_options() for term in self._parts()]
        for name in RowOptions._fields:
            values = [getattr(one, name) for one in found]
            if name == "ignore_index":
                values = [value for value in values if value is not None] or [None]
            if any(not np.array_equal(value, values[0]) for value in values):
                raise ValueError(
                    f"{self!r}: a sum is computed in one pass, so its terms must have the same "
                    f"{name}"
                )
        indices = [one.ignore_index for one in found if one.ignore_index is not None]
        return found[0]._replace(ignore_index=indices[0] if indices else None)


_direct: Any = None


def _direct_kernels() -> Any:
    """Those for plain arrays."""
    global _direct
    _direct = engines.kernels("cpu", "direct_rows")
    return _direct
