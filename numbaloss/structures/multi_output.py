"""Losses of several predicted numbers a sample, that belong together: the public methods."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from .. import misuse
from ..call.multi_output import evaluate
from ..call.outputs import NOT_WANTED
from ..core.composition import Sum
from ..core.contracts import OUTPUTS, absent
from ..core.loss import Loss, point_of_sample, point_of_value
from .documentation import documented


@documented
class MultiOutput(Loss):
    """A loss of samples that have several predicted numbers each, and one target or several.

    A subclass names them, and gives its value at one sample::

        class Gaussian(nl.MultiOutput):
            outputs = ("mean", "log_variance")
            targets = ("target",)

            def value(self, mean, log_variance, target):
                residual = target - mean
                return 0.5 * (log_variance + residual * residual * nl.exp(-log_variance))

    and gets compiled kernels for the value, the gradient by each output, the diagonal of the
    hessian and the whole of it. In the place of ``value`` it may have a ``point`` of the same
    arguments, which returns the value, a tuple of slopes and a tuple of second derivatives.

    Attributes
    ----------
    outputs, targets : tuple of str
        What a sample has, in the order of the last axis of predictions and of targets, and of the
        arguments of ``value``.
    domains : dict of str to str
        Intervals of outputs and targets by their names, ``{"lower": "[0, inf)"}``; of others any
        number is right. What is outside is an error. NaN is none: it gives NaN.

    A class may declare what its second derivatives are expected to be under the model, the
    diagonal of the Fisher information, as a tuple of a number an output: ``information(self,
    *outputs)``. Natural gradients divide by it: ``hessian="fisher"``.
    """

    contract = OUTPUTS
    outputs: ClassVar[tuple[str, ...]] = ()
    targets: ClassVar[tuple[str, ...]] = ("target",)
    domains: ClassVar[dict[str, str]] = {}
    # Of all numbers: what sums of losses intersect.
    target_domain: ClassVar[Any] = "(-inf, inf)"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if getattr(cls, "point", None) is point_of_value:
            cls.point = point_of_sample  # type: ignore[method-assign,assignment]
        if issubclass(cls, Sum):
            return
        for name in ("target_domain", "prediction_domain"):
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}.{name}: numbers have a domain each, by their names: "
                    f"domains = {{'target': '[0, inf)'}}"
                )
        names = (*cls.outputs, *cls.targets)
        if len(set(names)) < len(names):
            raise TypeError(f"{cls.__name__}: two of {', '.join(names)} have one name")
        unknown = sorted(set(cls.domains) - set(names))
        if cls.outputs and unknown:
            raise TypeError(f"{cls.__name__}.domains names {unknown[0]}, and has no such number")

    @absent
    def point(self, *numbers: Any) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        """Value, slopes and second derivatives by each output, of one sample."""
        raise NotImplementedError(self._lacks_maths())

    @absent
    def value(self, *numbers: Any) -> Any:
        """The value of one sample, of its outputs and then its targets.

        Compiled by Numba on numbers that carry their derivatives: see :meth:`Elementwise.value`.
        """
        raise NotImplementedError(self._lacks_maths())

    @absent
    def information(self, *outputs: Any) -> tuple[Any, ...]:
        """The expected second derivative by each output."""
        raise NotImplementedError(f"{type(self).__name__} declares no expected information")

    @classmethod
    def point_takes(cls) -> tuple[str, ...]:  # type: ignore[override]
        return (*cls.outputs, *cls.targets)

    @classmethod
    def point_gives(cls) -> str:
        """What ``point`` returns, for errors."""
        return "value, tuple of slopes, tuple of second derivatives"

    @classmethod
    def by_value(cls) -> bool:
        """Whether derivatives are taken of the value."""
        return cls.point is point_of_sample

    @classmethod
    def declares_information(cls) -> bool:
        """Whether the class knows its expected information."""
        return not getattr(cls.information, "absent", False)

    def parts(self) -> tuple[MultiOutput, ...]:
        """The loss itself, or of a sum its terms."""
        return (self,)

    @classmethod
    def sum_class(cls) -> Any:
        return MultiOutputSum

    def __call__(
        self,
        prediction: Any,
        target: Any = None,
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
        prediction : array of float16, bfloat16, float32 or float64, shape (..., k)
            The k outputs of a sample along the last axis, in any memory order, or a tuple of k
            arrays of the shape of the samples. NumPy arrays, tensors of PyTorch or arrays of JAX
            on the CPU, or lists. Half precisions are computed in float32.
        target : array of shape (..., m), any real dtype
            The m targets of a sample, or a tuple of m arrays. Where m is 1, shape (...) too. Losses
            that compare outputs alone take none.
        sample_weight : array, optional
            One weight >= 0 a sample, or an array of a leading part of their shape. Multiplies
            the values. Weight 0 removes a sample, whatever it holds.
        mask : array of bool, optional
            True for samples that count. The others contribute exactly 0, whatever they hold.
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum by the number of samples that count,
            ``"weighted_mean"`` by the sum of the weights, ``"batchmean"`` by the length of their
            first axis; ``"none"`` keeps the values apart.
        values_out : array of the shape of the samples, optional
            With ``reduction="none"``: receives the values, in any floating dtype.
        device : {None, "cpu"}
            These losses are computed on the CPU.
        check : bool
            False skips the test of numbers against their domains, and takes weights below 0 too.
        {wait}

        Returns
        -------
        float, or array of the shape of the samples for ``reduction="none"``
            Sums are made in float64. Values of half precision come in float32.

        Raises
        ------
        TypeError
            Arrays that are not floating, or of different dtypes; unknown options.
        ValueError
            Shapes that do not fit, numbers outside their domains, negative weights.
        """
        if unknown:
            raise misuse.unknown_option(self, "__call__", unknown)
        return evaluate(
            self, 0, prediction, target, sample_weight, mask, reduction, device, check, wait, (),
            1.0, values_out,
        )[0]  # fmt: skip

    def value_and_grad(
        self,
        prediction: Any,
        target: Any = None,
        *,
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: Any = None,
        values_out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, Any]:
        """The loss and its gradient by the outputs, in one pass.

        Parameters as in :meth:`__call__`, and

        Parameters
        ----------
        out : array of the prediction's shape, or tuple of arrays as the prediction is, optional
            Receives the gradient, in any floating dtype. It may be the prediction itself; it must
            not overlap any other input.
        {gradient_scale}

        Returns
        -------
        value, gradient
            As :meth:`__call__`; the gradient is as the prediction: of its shape, dtype and memory
            order, or a tuple.
        """
        if unknown:
            raise misuse.unknown_option(self, "value_and_grad", unknown)
        return evaluate(
            self, 1, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (out,), gradient_scale, values_out,
        )[:2]  # fmt: skip

    def value_grad_hess(
        self,
        prediction: Any,
        target: Any = None,
        *,
        hessian: str = "diagonal",
        sample_weight: Any = None,
        mask: Any = None,
        reduction: str = "mean",
        out: Any = None,
        hess_out: Any = None,
        values_out: Any = None,
        gradient_scale: float = 1.0,
        device: str | None = None,
        check: bool = True,
        wait: bool = True,
        **unknown: Never,
    ) -> tuple[Any, Any, Any]:
        """The loss, its gradient and its hessian by the outputs, in one pass.

        Parameters as in :meth:`value_and_grad`, and

        Parameters
        ----------
        hessian : {"diagonal", "full", "fisher"}
            ``"diagonal"``: the second derivative by each output. ``"full"``: the k x k matrix of a
            sample; entries beside the diagonal are exact to a few units of the last place of the
            largest of the diagonal. ``"fisher"``: what the diagonal is expected to be under the
            model, of classes that declare it.
        hess_out : array, or tuple of arrays, optional
            Receives the hessian; it overlaps no other argument.

        Returns
        -------
        value, gradient, hessian
            The hessian is as the gradient; the full one is an array of shape (..., k, k).
        """
        if unknown:
            raise misuse.unknown_option(self, "value_grad_hess", unknown)
        return evaluate(
            self, 2, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (out, hess_out), gradient_scale, values_out, hessian,
        )  # fmt: skip

    def hess(
        self,
        prediction: Any,
        target: Any = None,
        *,
        hessian: str = "diagonal",
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
        """The hessian alone.

        Parameters as in :meth:`value_grad_hess`, and

        Parameters
        ----------
        out : array, or tuple of arrays, optional
            Receives the hessian, as ``hess_out`` does there.

        Returns
        -------
        array, or tuple of arrays
            As the third result of :meth:`value_grad_hess`.
        """
        if unknown:
            raise misuse.unknown_option(self, "hess", unknown)
        reduction = "sum" if reduction == "none" else reduction  # of which it is the hessian too
        return evaluate(
            self, 2, prediction, target, sample_weight, mask, reduction, device, check, wait,
            (NOT_WANTED, out), gradient_scale, None, hessian,
        )[2]  # fmt: skip


class MultiOutputSum(Sum, MultiOutput):
    """A weighted sum of losses of the same outputs and targets."""

    def __init__(self, terms: Any) -> None:
        super().__init__(terms)
        first = self.terms[0][1]
        for _, term in self.terms[1:]:
            for attribute in ("outputs", "targets"):
                if getattr(term, attribute) != getattr(first, attribute):
                    raise TypeError(
                        f"a sum takes losses of the same {attribute}, not "
                        f"{', '.join(getattr(first, attribute))} and "
                        f"{', '.join(getattr(term, attribute))}"
                    )

    @property
    def outputs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.terms[0][1].outputs  # type: ignore[attr-defined,no-any-return]

    @property
    def targets(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.terms[0][1].targets  # type: ignore[attr-defined,no-any-return]

    def parts(self) -> tuple[MultiOutput, ...]:
        return tuple([term for _, term in self.terms])  # type: ignore[misc]
