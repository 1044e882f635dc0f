"""Losses as functions that JAX traces, differentiates and maps."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ..autodiff import Form, Options, keywords, shape_of_values
from ..core import loss as core

numpy = jax.numpy


class _Call(NamedTuple):
    """What a traced program knows of a call."""

    loss: Any
    options: Options
    form: Form


class Loss:
    """A loss as a function of JAX, ``Loss(numbaloss.Huber())(prediction, target)``.

    Parameters
    ----------
    loss, reduction, axis, transposed, check
        As in :func:`evaluate`.

    Two of the same parameters are equal and have one hash, as static arguments need it.
    """

    def __init__(
        self,
        loss: core.Loss,
        reduction: str = "mean",
        *,
        axis: int = -1,
        transposed: bool | None = None,
        check: bool = True,
    ) -> None:
        if not isinstance(loss, core.Loss):
            raise TypeError(
                f"Loss takes a loss of numbaloss, such as numbaloss.Huber(), not {loss!r}"
            )
        self.loss, self.options = loss, Options.of(reduction, axis, transposed, check)

    def __call__(
        self, *inputs: Any, sample_weight: Any = None, mask: Any = None, bias: Any = None
    ) -> Any:
        """The value; see :func:`evaluate`."""
        return _evaluate(self.loss, self.options, inputs, sample_weight, mask, bias)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Loss:
            return NotImplemented
        return (self.loss, self.options) == (other.loss, other.options)

    def __hash__(self) -> int:
        return hash((self.loss, self.options))

    def __repr__(self) -> str:
        return f"Loss({self.loss!r}, reduction={self.options.reduction!r})"


def evaluate(
    loss: core.Loss,
    *inputs: Any,
    sample_weight: Any = None,
    mask: Any = None,
    bias: Any = None,
    reduction: str = "mean",
    axis: int = -1,
    transposed: bool | None = None,
    check: bool = True,
) -> Any:
    """The loss of arrays, inside ``jax.jit``, ``jax.grad`` and ``jax.vmap`` as outside.

    Parameters
    ----------
    loss : loss
        Of any structure: ``numbaloss.Huber()``, ``numbaloss.CrossEntropy()``, ...
    *inputs : arrays
        What the loss takes: prediction and target; two or three vectors; queries and keys;
        embeddings and labels; hidden vectors, weight and target. On the CPU.
    sample_weight, mask : arrays, optional
        As the loss takes them. They and targets have a gradient of 0.
    bias : array, optional
        Of losses of a linear layer; has a gradient.
    reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
    axis : int
        The axis of the classes, of losses of rows.
    transposed : bool, optional
        Of losses of a linear layer: whether the weight is (C, H).
    check : bool
        False skips the tests of domains.

    Returns
    -------
    array
        A number, or for ``reduction="none"`` a value a sample; float64 for float64 inputs (where
        ``jax_enable_x64`` is on), else float32.

    Notes
    -----
    Elementwise losses have second derivatives, by ``jax.grad`` of ``jax.grad`` or ``jax.jacrev`` of
    ``jax.jacrev``. ``jax.vmap`` calls the loss once an element of the mapped axis; leave it to
    ``reduction="none"`` where there is the choice. float16 is computed as float32 arrays. A number
    out of range raises JAX's runtime error, with the library's message in it.
    """
    if not isinstance(loss, core.Loss):
        raise TypeError(
            f"loss must be a loss of numbaloss, such as numbaloss.Huber(), not {loss!r}"
        )
    options = Options.of(reduction, axis, transposed, check)
    return _evaluate(loss, options, inputs, sample_weight, mask, bias)


def _evaluate(
    loss: Any, options: Options, inputs: tuple[Any, ...], sample_weight: Any, mask: Any, bias: Any
) -> Any:
    form = Form.of(loss)
    differentiable, target = form.split(inputs, mask, bias)
    arrays = tuple(numpy.asarray(one) for one in differentiable)
    arrays = tuple(one.astype("float32") if one.dtype == "float16" else one for one in arrays)
    others = tuple(
        None if one is None else numpy.asarray(one) for one in (target, sample_weight, mask)
    )
    return _value(_Call(loss, options, form), arrays, others)


def _called(call: _Call, derivatives: int, inputs: Any, others: Any) -> Any:
    """Value and gradients, or the hessian, by a call from the program back to the library."""
    first, form = inputs[0], call.form
    shape: tuple[int, ...] = ()
    if call.options.reduction == "none":
        shape = shape_of_values(form.structure, first.shape, call.options.axis)
    kind = "float64" if first.dtype == "float64" else "float32"
    value = jax.ShapeDtypeStruct(shape, kind)
    slopes = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in inputs)
    results = {0: value, 1: (value, slopes), 2: slopes[0]}[derivatives]
    compute = partial(_compute, call, derivatives, kind)
    return jax.pure_callback(compute, results, inputs, others, vmap_method="sequential")


def _compute(call: _Call, derivatives: int, kind: str, inputs: Any, others: Any) -> Any:
    """The numbers, of arrays that are there."""
    arrays = [np.asarray(one) for one in inputs]
    target, sample_weight, mask = (None if one is None else np.asarray(one) for one in others)
    given, options = keywords(call.form, call.options, arrays, target, sample_weight, mask)
    if derivatives == 2:
        return call.loss.hess(*given, **options)
    if derivatives == 0:
        return np.asarray(call.loss(*given, **options), kind)
    value, slopes = call.loss.value_and_grad(*given, **options)
    return np.asarray(value, kind), slopes if isinstance(slopes, tuple) else (slopes,)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _value(call: _Call, inputs: Any, others: Any) -> Any:
    return _called(call, 0, inputs, others)


def _value_forward(call: _Call, inputs: Any, others: Any) -> Any:
    if call.options.reduction == "none" and call.form.in_batch:
        return _called(call, 0, inputs, others), (inputs, others, None)
    value, slopes = _both(call, inputs, others)
    return value, (None, None, slopes)


def _value_backward(call: _Call, kept: Any, of_value: Any) -> Any:
    inputs, others, slopes = kept
    if slopes is not None:
        return _multiplied(call, slopes, of_value), None
    # Values that depend on one another's inputs: their gradients, for a number a value, are those
    # of the sum with these numbers for weights.
    target, sample_weight, mask = others
    weight = of_value if sample_weight is None else of_value * sample_weight
    summed = call._replace(options=call.options._replace(reduction="sum", check=False))
    return _both(summed, inputs, (target, weight, mask))[1], None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _both(call: _Call, inputs: Any, others: Any) -> Any:
    return _called(call, 1, inputs, others)


def _both_forward(call: _Call, inputs: Any, others: Any) -> Any:
    value, slopes = _called(call, 1, inputs, others)
    return (value, slopes), (inputs, others, slopes)


def _both_backward(call: _Call, kept: Any, of_both: Any) -> Any:
    inputs, others, slopes = kept
    of_value, of_slopes = of_both
    if call.form.structure != "elementwise":
        raise NotImplementedError(
            f"{call.loss!r} has no second derivatives: numbaloss knows the whole hessian of "
            f"elementwise losses alone"
        )
    (once,) = _multiplied(call, slopes, of_value)
    return (once + _called(call, 2, inputs, others) * of_slopes[0],), None


def _multiplied(call: _Call, slopes: Any, of_value: Any) -> Any:
    """Gradients times what comes back to the value, or to the values."""
    if call.options.reduction == "none" and call.form.structure != "elementwise":
        axis = call.options.axis if call.form.structure == "rows" else -1
        of_value = numpy.expand_dims(of_value, axis)
    return tuple((one * of_value).astype(one.dtype) for one in slopes)


_value.defvjp(_value_forward, _value_backward)
_both.defvjp(_both_forward, _both_backward)
