"""Losses of one prediction and one target at a time: the contract and the public methods."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from .. import misuse
from ..call.elementwise import evaluate
from ..call.near import DIRECT_ELEMENTS
from ..call.outputs import NOT_WANTED
from ..core.composition import Sum
from ..core.contracts import ELEMENTWISE, absent
from ..core.loss import Loss
from ..core.recoding import Recoding, check_targets_parameter
from ..core.reductions import DIRECT
from .documentation import documented
from .margins import Margins, agreed

_SIGNED = Recoding(signed=True)


@documented
class Elementwise(Margins, Loss):
    """A loss that maps every pair of numbers (prediction, target) to a number.

    A subclass gives its maths at one point, the value alone::

        class Quartic(nl.Elementwise):
            scale: float = 1.0

            def value(self, prediction, target):
                return ((prediction - target) / self.scale) ** 4

    or, where it knows better formulas, value, gradient and hessian::

            def point(self, prediction, target):
                residual = (prediction - target) / self.scale
                square = residual * residual
                return square * square, 4.0 * square * residual / self.scale, (
                    12.0 * square / (self.scale * self.scale)
                )

    and gets compiled kernels for the value, the gradient and the diagonal of the hessian. A
    parameter ``targets: str`` has a meaning of its own: "binary", or "signed" for targets of −1
    and 1 (and what is between), which the formula gets as 0 and 1.

    Attributes
    ----------
    target_domain, prediction_domain : str
        The numbers the loss is defined for, as an interval such as ``"[0, 1]"`` or as
        ``"{0, 1}"``. Others are an error. NaN is none: it gives NaN. Targets are roundings of
        what is meant: up to 8 steps of their dtype beyond a closed end other than 0 they are
        taken for the end.
    link_function : str
        What predictions are: "identity", "log" of a mean, "logit" of a probability.
    """

    contract = ELEMENTWISE
    target_domain: ClassVar[Any] = "(-inf, inf)"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"

    @absent
    def point(self, prediction: Any, target: Any) -> tuple[Any, Any, Any]:
        """Value, first and second derivative by the prediction, at one point.

        Compiled by Numba for float32 and for float64. Use ``nl.exp`` and its siblings or
        ``math.exp`` and its siblings, which vectorise; write constants as floats, ``2.0``.
        """
        raise NotImplementedError(self._lacks_maths())

    @absent
    def value(self, prediction: Any, target: Any) -> Any:
        """The value alone, in the place of ``point``: the library takes the derivatives.

        Compiled by Numba on numbers that carry their first and second derivative by the
        prediction. Arithmetic, comparisons, ``if``, ``min`` and ``max``, the functions of ``nl``
        and those of ``math`` and NumPy that have derivatives know them; another is an error at
        the first call. Where one-sided derivatives differ, their mean is taken: 0 for ``abs`` at
        0. ``nl.stop_gradient(x)`` is a constant.

        Raises
        ------
        TypeError
            At the first call, for a function whose derivative is not known, with the line that
            calls it, and for a result that has no slope anywhere.
        """
        raise NotImplementedError(self._lacks_maths())

    @classmethod
    def sum_class(cls) -> Any:
        return ElementwiseSum

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
        **unknown: Never,
    ) -> Any:
        """The loss.

        Parameters
        ----------
        prediction : array of float16, bfloat16, float32 or float64, any shape
            NumPy array, tensor of PyTorch, array of JAX, CuPy or Numba, on the CPU or on a
            CUDA GPU, or a list. Its dtype decides the dtype of results; half precisions are
            computed in float32.
        target : array of the same shape, any real dtype
            Converted to the type of the computation on the fly.
        sample_weight : array, optional
            One weight >= 0 an element, or an array of a leading part of the shape, which
            holds for all elements behind. Multiplies the values. Weight 0 removes an
            element, whatever it holds, NaN or a target outside the domain. An array with as many
            axes as the prediction, two or more, may have some of length 1, which hold for all
            along them: shape (1, C) is a weight a column.
        mask : array of bool, optional
            True for elements that count, in a shape that a weight may have. The others contribute
            exactly 0, whatever they and their weights hold.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum by the number of elements that count,
            ``"weighted_mean"`` by the sum of the weights, ``"batchmean"`` by the length of the
            first axis; ``"none"`` keeps the values apart.
        {values_out}
        {device}
        check : bool
            False skips the test of predictions and targets against their domains, and takes
            weights of any sign: with ``reduction="none"`` and weights v the gradient is the
            product of v and the Jacobian of the values.
        {wait}

        Returns
        -------
        float, or array of the prediction's kind and shape for ``reduction="none"``
            The values of half precision predictions come in float32.

        Raises
        ------
        TypeError
            Arrays of other dtypes; integer predictions.
        ValueError
            Shapes that differ, numbers outside a domain, negative weights, unknown options,
            arrays on two devices.
        RuntimeError
            Where a GPU is asked for and none can be used, with the reason.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        if device is None and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ELEMENTS.run(
                self, 0, prediction, target, sample_weight, reduction, 1.0, check, None, False,
                None, values_out, mask,
            )  # fmt: skip
            if found is not None:
                return found[0]
        misuse.refuse_autograd(prediction)
        return evaluate(
            self, 0, prediction, target, sample_weight, mask, reduction, device, check, wait, (),
            1.0, values_out,
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
        **unknown: Never,
    ) -> tuple[Any, Any]:
        """The loss and its gradient by the prediction, in one pass.

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
        if device is None and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ELEMENTS.run(
                self, 1, prediction, target, sample_weight, reduction, gradient_scale, check, out,
                False, None, values_out, mask,
            )  # fmt: skip
            if found is not None:
                return found
        value, gradient, _ = evaluate(
            self, 1, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (out,), gradient_scale, values_out,
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
        **unknown: Never,
    ) -> tuple[Any, Any, Any]:
        """The loss, its gradient and the diagonal of its hessian, in one pass.

        Parameters as in :meth:`value_and_grad`, and

        Parameters
        ----------
        {hess_out}

        Returns
        -------
        value : float or array
        gradient, hessian : arrays of the prediction's kind, shape and dtype
            Both scaled alike. The hessian is exact; it is negative where the loss curves
            down.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_grad_hess", unknown)
        if type(gradient_scale) is not float:
            gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        if device is None and reduction in DIRECT[values_out is not None]:
            found = DIRECT_ELEMENTS.run(
                self, 2, prediction, target, sample_weight, reduction, gradient_scale, check, out,
                False, hess_out, values_out, mask,
            )  # fmt: skip
            if found is not None:
                return found
        return evaluate(
            self, 2, prediction, target, sample_weight, mask, reduction, device, check, wait, (out,
            hess_out), gradient_scale, values_out,
        )  # fmt: skip

    def hess(
        self,
        prediction: Any,
        target: Any,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> Any:
        """The diagonal of the hessian alone; no memory is taken for the gradient.

        Parameters as in :meth:`value_grad_hess`, but for

        Parameters
        ----------
        {out_of_hessian}

        Returns
        -------
        array of the prediction's kind, shape and dtype
        """
        if unknown:
            raise misuse.unknown_option(self, "hess", unknown)
        reduction = "sum" if reduction == "none" else reduction
        if type(gradient_scale) is not float:
            gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
        if device is None and reduction in DIRECT[0]:
            found = DIRECT_ELEMENTS.run(
                self, 2, prediction, target, sample_weight, reduction, gradient_scale, check,
                None, True, out, None, mask,
            )  # fmt: skip
            if found is not None:
                return found[2]
        return evaluate(
            self, 2, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (NOT_WANTED, out), gradient_scale,
        )[2]  # fmt: skip

    def recoding(self) -> Recoding | None:
        """What is done to targets before the formula sees them; None where they stay as they are.

        A parameter ``targets: str`` of "signed" says that they are −1 and 1; the formula gets 0
        and 1.
        """
        return _SIGNED if self.__dict__.get("targets") == "signed" else None

    def validate(self) -> None:
        if "targets" in self.__dict__:
            check_targets_parameter(self)


class ElementwiseSum(Sum, Elementwise):
    """A weighted sum of elementwise losses: ``nl.Huber() + 0.1 * nl.LogCosh()``."""

    def __init__(self, terms: Any) -> None:
        super().__init__(terms)
        found = [term.recoding() for _, term in self.terms]  # type: ignore[attr-defined]
        if all(one is None for one in found):
            return
        found = [one or Recoding() for one in found]
        if any(one.paired for one in found):
            raise TypeError(
                f"{self!r}: a loss with a pos_weight a label has no sums and multiples; add the "
                f"values and the gradients, and scale by gradient_scale"
            )
        if len({one.signed for one in found}) > 1:
            raise TypeError(f"{self!r}: all terms of a sum must take targets of -1 and 1, or none")

    def recoding(self) -> Recoding | None:
        """That of every term."""
        return self.terms[0][1].recoding()  # type: ignore[attr-defined,no-any-return]

    def validate(self) -> None:
        """Each term is valid."""

    @property
    def link_function(self) -> str:  # type: ignore[override]
        """The link of all terms."""
        found = {term.link_function for _, term in self.terms}  # type: ignore[attr-defined]
        if len(found) > 1:
            raise ValueError(
                f"{self!r}: the predictions of its terms mean different things: "
                f"{', '.join(sorted(found))}"
            )
        return found.pop()

    @property
    def boosting_hessian(self) -> str | None:  # type: ignore[override]
        """That of all terms, if they agree and none is subtracted."""
        return agreed(self.terms)  # type: ignore[attr-defined]

    @property
    def of_residual(self) -> bool:  # type: ignore[override]
        """Whether every term is."""
        return all(term.of_residual for _, term in self.terms)  # type: ignore[attr-defined]

    def hessian_bound(self) -> float | None:
        """The sum of those of the terms."""
        found = [(size, term.hessian_bound()) for size, term in self.terms]  # type: ignore[attr-defined]
        if any(bound is None or size < 0.0 for size, bound in found):
            return None
        return float(sum(size * bound for size, bound in found))

    def kink(self, target: Any) -> Any:
        """That of the terms."""
        return self.terms[0][1].kink(target)  # type: ignore[attr-defined]

    def closed_constant(self, target: Any, weight: Any) -> float | None:
        """That of a single term; sums have none."""
        if len(self.terms) != 1 or self.terms[0][0] <= 0.0:
            return None
        return self.terms[0][1].closed_constant(target, weight)  # type: ignore[attr-defined,no-any-return]
