"""Operators of PyTorch that compute losses: what compiled graphs call.

``value_and_gradients`` returns the gradients beside the value, and its formula for the backward
pass multiplies them. They are outputs, so a second backward pass comes back to that formula with
what multiplies them: for elementwise losses it answers by the exact hessian.
"""

from __future__ import annotations

from typing import Any

import torch

from ..autodiff import Form, Options, shape_of_values
from .calls import Tensors, compute, dtype_of_values, remembered

_TAKES = (
    "(Tensor[] inputs, Tensor? target, Tensor? sample_weight, Tensor? mask, str loss, "
    "str reduction, int axis, bool? transposed, bool check)"
)


def _read(arguments: tuple[Any, ...]) -> tuple[Any, Tensors, Options]:
    inputs, target, sample_weight, mask, key, reduction, axis, transposed, check = arguments
    tensors = Tensors(list(inputs), target, sample_weight, mask)
    return remembered(key), tensors, Options(reduction, axis, transposed, check)


def _value(*arguments: Any) -> torch.Tensor:
    return compute(*_read(arguments), 0)[0]


def _value_and_gradients(*arguments: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    return compute(*_read(arguments), 1)


def _hessian(*arguments: Any) -> torch.Tensor:
    return compute(*_read(arguments), 2)[1][0]


def _operator(name: str, function: Any, gives: str) -> Any:
    def with_names(
        inputs, target, sample_weight, mask, loss, reduction, axis, transposed, check
    ):  # fmt: skip
        return function(
            inputs, target, sample_weight, mask, loss, reduction, axis, transposed, check
        )

    return torch.library.custom_op(
        f"numbaloss::{name}", with_names, mutates_args=(), schema=f"{_TAKES} -> {gives}"
    )


value = _operator("value", _value, "Tensor")
value_and_gradients = _operator("value_and_gradients", _value_and_gradients, "(Tensor, Tensor[])")
hessian = _operator("hessian", _hessian, "Tensor")


def _fake_value(inputs, target, sample_weight, mask, loss, reduction, axis, transposed, check):
    first = inputs[0]
    shape: Any = ()
    if reduction == "none":
        shape = shape_of_values(Form.of(remembered(loss)).structure, first.shape, axis)
    return first.new_empty(shape, dtype=dtype_of_values(first))


def _fake_gradients(inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.empty_like(one, memory_format=torch.contiguous_format) for one in inputs]


def _fake_both(inputs, *others):
    return _fake_value(inputs, *others), _fake_gradients(inputs)


def _fake_hessian(inputs, *others):
    return _fake_gradients(inputs)[0]


value.register_fake(_fake_value)
value_and_gradients.register_fake(_fake_both)
hessian.register_fake(_fake_hessian)


def _remember_call(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors, target, sample_weight, mask, *ctx.rest = inputs
    ctx.count = len(tensors)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, target, sample_weight, mask, *output[1])


def _backward(ctx: Any, of_value: Any, of_gradients: Any) -> tuple[Any, ...]:
    saved, count = ctx.saved_tensors, ctx.count
    inputs, (target, sample_weight, mask) = list(saved[:count]), saved[count : count + 3]
    key, reduction, axis, _, _ = ctx.rest
    found: list[Any] = [None] * count
    if of_value is not None:
        form = Form.of(remembered(key))
        if reduction == "none" and form.in_batch:
            found = _of_weighted(ctx, inputs, target, sample_weight, mask, of_value)
        else:
            found = [
                multiplied(gradient, of_value, form.structure, reduction, axis)
                for gradient in saved[count + 3 :]
            ]
    if of_gradients is not None and any(one is not None for one in of_gradients):
        loss = remembered(key)
        if Form.of(loss).structure != "elementwise":
            raise NotImplementedError(
                f"{loss!r} has no second backward pass: numbaloss knows the whole hessian of "
                f"elementwise losses alone. Leave create_graph=True out"
            )
        second = hessian(inputs, target, sample_weight, mask, *ctx.rest) * of_gradients[0]
        found = [second if found[0] is None else found[0] + second]
    return found, None, None, None, None, None, None, None, None


def _of_weighted(
    ctx: Any, inputs: list[Any], target: Any, sample_weight: Any, mask: Any, of_value: Any
) -> list[Any]:
    """Gradients of values that depend on one another's inputs, for a number a value.

    They are those of the sum with these numbers for weights.
    """
    key, _, axis, transposed, _ = ctx.rest
    weights = of_value if sample_weight is None else of_value * sample_weight
    return value_and_gradients(
        inputs, target, weights, mask, key, "sum", axis, transposed, False
    )[1]  # fmt: skip


def multiplied(
    gradient: torch.Tensor, of_value: torch.Tensor, structure: str, reduction: str, axis: int
) -> torch.Tensor:
    """A gradient times what comes back to the value, or to the values."""
    if reduction == "none" and structure != "elementwise":
        of_value = of_value.unsqueeze(axis if structure == "rows" else -1)
    return (gradient * of_value).to(gradient.dtype)


value_and_gradients.register_autograd(_backward, setup_context=_remember_call)
