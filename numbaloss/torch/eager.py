"""Calls outside compiled graphs: by a function of autograd's, without an operator's dispatch.

A call on 64 rows of 10 classes takes 6 us; an operator written in Python as long again, several
times.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..autodiff import Options
from . import operators
from .calls import Tensors, compute, given, remember

_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
_DIRECT: dict[Any, Any] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
# On a GPU only a wait tells whether a gradient is multiplied by 1. It is worth one from here on.
_LARGE = 1 << 26


def plain(tensors: Tensors) -> bool:
    """Whether these are tensors and nothing else: no subclasses, no traces."""
    if torch._C._len_torch_dispatch_stack():
        return False
    return all(one is None or type(one) in _PLAIN for one in (*tensors.inputs, *tensors[1:]))


def evaluate_plain(
    loss: Any, key: str | None, options: Options, prediction: Any, target: Any, weight: Any
) -> torch.Tensor | None:
    """The same as :func:`evaluate` for a plain prediction, whose gradient is wanted, on the CPU.

    None for all else: of a small call the lines of Python take longer than the loss.
    """
    if (
        type(prediction) not in _PLAIN
        or type(target) is not torch.Tensor
        or prediction.dtype not in _DIRECT
        or target.dtype not in _NUMBERS
        or not prediction.requires_grad
        or target.requires_grad
        or not torch.is_grad_enabled()
        or not (prediction.is_cpu and target.is_cpu)
        or options[1:] != _USUAL
        or torch._C._len_torch_dispatch_stack()
    ):
        return None
    if weight is not None and not (
        type(weight) is torch.Tensor
        and weight.dtype in _NUMBERS
        and weight.is_cpu
        and not weight.requires_grad
    ):
        return None
    found: torch.Tensor = _Value.apply(loss, key, options, target, weight, None, prediction)
    return found


def evaluate(loss: Any, key: str | None, tensors: Tensors, options: Options) -> torch.Tensor:
    """The value, with a gradient where one is wanted; ``key`` is the name for operators."""
    if torch.is_grad_enabled():
        for one in tensors.inputs:
            if one.requires_grad:
                found: torch.Tensor = _Value.apply(
                    loss, key, options, *tensors[1:], *tensors.inputs
                )
                return found
    return compute(loss, tensors, options, 0)[0]


def _value_and_gradients(
    loss: Any, options: Options, target: Any, weight: Any, mask: Any, inputs: Any
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    first = inputs[0]
    if (
        mask is None
        and len(inputs) == 1
        and first.dtype in _DIRECT
        and first.is_cpu
        and options[1:] == _USUAL
        and target is not None
        and target.dtype in _NUMBERS
    ):
        # The shortest way through Python, which takes as long as the loss where arrays are small.
        value, gradient = loss.value_and_grad(
            first.detach().numpy(),
            target.numpy(),  # which requires no gradient
            sample_weight=None if weight is None else given(weight),
            reduction=options.reduction,
        )
        found = np.asarray(value, _DIRECT[first.dtype])
        return torch.from_numpy(found), [torch.from_numpy(gradient)]
    return compute(loss, Tensors(list(inputs), target, weight, mask), options, 1)


_USUAL = Options()[1:]
_NUMBERS = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8,
     torch.uint8, torch.bool}
)  # fmt: skip


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, loss: Any, key: Any, options: Options, target: Any, weight: Any, mask: Any,
        *inputs: Any,
    ) -> torch.Tensor:  # fmt: skip
        value, ctx.gradients = _value_and_gradients(loss, options, target, weight, mask, inputs)
        ctx.call = loss, key, options
        ctx.save_for_backward(target, weight, mask, *inputs)
        return value

    @staticmethod
    def backward(ctx: Any, of_value: torch.Tensor) -> Any:  # type: ignore[override]
        loss, key, options = ctx.call
        if torch.is_grad_enabled():  # create_graph=True: there may be another backward pass
            target, weight, mask, *inputs = ctx.saved_tensors
            tensors = Tensors(inputs, target, weight, mask)
            found = _differentiable(loss, key, tensors, options, of_value)
        else:
            # The gradient is handed on: nobody else holds it, so that it need not be copied. Who
            # retains the graph and comes again has it computed again.
            found, ctx.gradients = ctx.gradients, None
            if found is None:
                target, weight, mask, *inputs = ctx.saved_tensors
                found = _value_and_gradients(loss, options, target, weight, mask, inputs)[1]
            _scale(found, of_value, loss.contract.name, options)
        if len(found) == 1:
            return None, None, None, None, None, None, found[0]
        wanted = zip(found, ctx.needs_input_grad[6:])
        return (None,) * 6 + tuple(one if want else None for one, want in wanted)


def _differentiable(
    loss: Any, key: str | None, tensors: Tensors, options: Options, of_value: torch.Tensor
) -> list[torch.Tensor]:
    """The gradients as functions of the inputs, by operators, which know their derivatives."""
    _, gradients = operators.value_and_gradients(*tensors, key or remember(loss), *options)
    structure = loss.contract.name
    return [
        operators.multiplied(one, of_value, structure, options.reduction, options.axis)
        for one in gradients
    ]


def _scale(
    gradients: list[torch.Tensor], of_value: torch.Tensor, structure: str, options: Options
) -> None:
    """Multiply gradients, in place, by what comes back to the value."""
    if options.reduction == "none":
        if structure != "elementwise":
            of_value = of_value.unsqueeze(options.axis if structure == "rows" else -1)
    elif _may_be_read(of_value, gradients):
        # A number of Python's: a tensor would be rounded to the dtype of half precisions first.
        number = of_value.item()
        if number != 1.0:
            for one in gradients:
                one.mul_(number)
        return
    for one in gradients:
        one.mul_(of_value)


def _may_be_read(number: torch.Tensor, gradients: list[torch.Tensor]) -> bool:
    """Whether to look at a number before gradients are multiplied by it: on a GPU one waits."""
    if not number.is_cuda:
        return True
    large = sum(one.nbytes for one in gradients) >= _LARGE
    return large and not torch.cuda.is_current_stream_capturing()
