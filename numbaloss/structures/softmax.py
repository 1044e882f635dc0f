"""Losses of rows of logits: the contract, and the public methods."""

from __future__ import annotations

from typing import Any, ClassVar, Never

import numpy as np

from .. import misuse
from ..call.near import DIRECT_ROWS
from ..call.rows import evaluate
from ..core.contracts import ROWS, absent, brings
from ..core.intervals import Interval
from ..core.loss import Loss, domain
from ..core.reductions import DIRECT
from ..core.row_options import RowOptions
from .documentation import documented
from .row_margins import RowMargins


@documented
class Softmax(RowMargins, Loss):
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
    # Set by `softmax_sum`, which imports this module.
    _sums: ClassVar[Any] = None
    _class_mass: ClassVar[Any] = None
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
        return cls._sums

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
        found: RowOptions | None = own.get("_row_options")
        if found is None:
            found = own["_row_options"] = RowOptions(
                own.get("class_weight"),
                own.get("ignore_index"),
                own.get("label_smoothing", 0.0),
                own.get("temperature", 1.0),
            )
        return found

    def tested_domain(self) -> Interval:
        """The predictions that a call does not refuse: any logits."""
        return Interval() if self.takes_logits else domain(self.prediction_domain)

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
        {values_out}
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
        if device is None and axis == -1 and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ROWS.run(
                self, 0, prediction, target, reduction, 1.0, None, None, values_out, sample_weight,
                mask, check,
            )  # fmt: skip
            if found is not None:
                return found[0]
        misuse.refuse_autograd(prediction)
        return evaluate(
            self, 0, prediction, target, sample_weight, mask, reduction, device, check, wait, (),
            1.0, axis, values_out,
        )[0]  # fmt: skip

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
        if device is None and axis == -1 and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ROWS.run(
                self, 1, prediction, target, reduction, gradient_scale, out, None, values_out,
                sample_weight, mask, check,
            )  # fmt: skip
            if found is not None:
                return found
        value, gradient, _ = evaluate(
            self, 1, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (out,), gradient_scale, axis, values_out,
        )  # fmt: skip
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
        if device is None and axis == -1 and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ROWS.run(
                self, 2, prediction, target, reduction, gradient_scale, out, hess_out, values_out,
                sample_weight, mask, check,
            )  # fmt: skip
            if found is not None:
                return found
        return evaluate(
            self, 2, prediction, target, sample_weight, mask, reduction, device, check, wait, (out,
            hess_out), gradient_scale, axis, values_out,
        )  # fmt: skip

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


class LogLikelihood(Softmax):
    """The formula of cross-entropy without a z-loss, for which kernels have a way of its own."""

    sparse = True
    linear = True
    log_likelihood = True  # says so to kernels; it holds for this class and for no subclass

    def point(self, log_probability, target):
        return -target * log_probability, -target, 0.0
