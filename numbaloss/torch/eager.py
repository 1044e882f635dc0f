"""Calls outside compiled graphs: by a function of autograd's, without an operator's dispatch.

A call on 64 rows of 10 classes takes 6 us; an operator written in Python as long again, several
times.
"""

from __future__ import annotations

from typing import Any

import torch

from . import operators
from .calls import Options, Tensors, as_tensor, compute, given, remember

_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})
_DIRECT = frozenset({torch.float32, torch.float64})
# On a GPU only a wait tells whether a gradient is multiplied by 1. It is worth one from here on.
_LARGE = 1 << 26


def plain(tensors: Tensors) -> bool:
    """Whether these are tensors and nothing else: no subclasses, no traces."""
    if torch._C._len_torch_dispatch_stack():
        return False
    return all(one is None or type(one) in _PLAIN for one in (*tensors.inputs, *tensors[1:]))


def evaluate(loss: Any, key: str | None, tensors: Tensors, options: Options) -> torch.Tensor:
    """The value, with a gradient where one is wanted; ``key`` is the name for operators."""
    if torch.is_grad_enabled():
        for one in tensors.inputs:
            if one.requires_grad:
                found: torch.Tensor = _Value.apply(
                    loss, key, options, len(tensors.inputs), *tensors.inputs, *tensors[1:]
                )
                return found
    return compute(loss, tensors, options, 0)[0]


def _value_and_gradients(
    loss: Any, tensors: Tensors, options: Options
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    inputs, target, sample_weight, mask = tensors
    first = inputs[0]
    if (
        len(inputs) > 1
        or target is None
        or mask is not None
        or first.is_cuda
        or first.dtype not in _DIRECT
        or options[1:] != _USUAL
    ):
        return compute(loss, tensors, options, 1)
    # The shortest way through Python, which takes as long as the loss where arrays are small.
    value, gradient = loss.value_and_grad(
        first.detach().numpy(),
        given(target),
        sample_weight=given(sample_weight),
        reduction=options.reduction,
    )
    return as_tensor(value, first), [torch.from_numpy(gradient)]


_USUAL = Options()[1:]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, loss: Any, key: Any, options: Options, count: int, *brought: Any
    ) -> torch.Tensor:
        tensors = Tensors(list(brought[:count]), *brought[count:])
        value, ctx.gradients = _value_and_gradients(loss, tensors, options)
        ctx.call = loss, key, options, count
        ctx.save_for_backward(*brought)
        return value

    @staticmethod
    def backward(ctx: Any, of_value: torch.Tensor) -> Any:  # type: ignore[override]
        loss, key, options, count = ctx.call
        saved = ctx.saved_tensors
        tensors = Tensors(list(saved[:count]), *saved[count:])
        if torch.is_grad_enabled():  # create_graph=True: there may be another backward pass
            found = _differentiable(loss, key, tensors, options, of_value)
        else:
            # The gradient is handed on: nobody else holds it, so that it need not be copied. Who
            # retains the graph and comes again has it computed again.
            found, ctx.gradients = ctx.gradients, None
            if found is None:
                found = _value_and_gradients(loss, tensors, options)[1]
            _scale(found, of_value, loss.contract.name, options)
        wanted = ctx.needs_input_grad[4:]
        return (
            (None,) * 4
            + tuple(one if want else None for one, want in zip(found, wanted))
            + (None,) * 3
        )


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
    elif _may_be_read(of_value, gradients) and of_value.item() == 1.0:
        return
    for one in gradients:
        one.mul_(of_value)


def _may_be_read(number: torch.Tensor, gradients: list[torch.Tensor]) -> bool:
    """Whether to look at a number before gradients are multiplied by it: on a GPU one waits."""
    if not number.is_cuda:
        return True
    large = sum(one.nbytes for one in gradients) >= _LARGE
    return large and not torch.cuda.is_current_stream_capturing()
