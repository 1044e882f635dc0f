"""Losses as a module of PyTorch, and as a function."""

from __future__ import annotations

from typing import Any

import torch

from ..autodiff import Form, Options
from ..core import loss as core
from . import eager, operators
from .calls import Tensors, remember


def evaluate(
    loss: core.Loss,
    *inputs: torch.Tensor,
    sample_weight: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    reduction: str = "mean",
    axis: int = -1,
    transposed: bool | None = None,
    check: bool = True,
) -> torch.Tensor:
    """The loss of tensors, as a tensor that knows its gradient.

    Parameters
    ----------
    loss : loss
        Of any structure: ``numbaloss.Huber()``, ``numbaloss.CrossEntropy()``, ...
    *inputs : tensors
        What the loss takes: prediction and target; two or three vectors; queries and keys;
        embeddings and labels; hidden vectors, weight and target. On the CPU or a CUDA GPU.
    sample_weight, mask : tensors, optional
        As the loss takes them. They and targets get no gradient.
    bias : tensor, optional
        Of losses of a linear layer; gets a gradient.
    reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
    axis : int
        The axis of the classes, of losses of rows: -1 where PyTorch's own have 1.
    transposed : bool, optional
        Of losses of a linear layer: whether the weight is (C, H), as ``nn.Linear`` keeps it.
    check : bool
        False skips the tests of domains.

    Returns
    -------
    tensor
        A number, or for ``reduction="none"`` a value a sample; float64 for float64 inputs, else
        float32. On a GPU nobody waits: a label out of range makes it NaN.

    Notes
    -----
    The gradient has the dtype of its input. float16 inputs are computed as float32 tensors, as
    PyTorch's autocast has it, so that a scaled loss multiplies gradients before they are rounded.
    Elementwise losses have a second backward pass (``create_graph=True``), by the exact hessian.
    In compiled functions use :class:`Loss`.
    """
    if not isinstance(loss, core.Loss):
        raise TypeError(
            f"loss must be a loss of numbaloss, such as numbaloss.Huber(), not {loss!r}"
        )
    options = Options.of(reduction, axis, transposed, check)
    return _evaluate(loss, None, Form.of(loss), options, inputs, sample_weight, mask, bias)


class Loss(torch.nn.Module):
    """A loss of numbaloss as a module of PyTorch.

    Parameters
    ----------
    loss : loss
        Of any structure: ``numbaloss.Huber()``, ``numbaloss.CrossEntropy()``, ...
    reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
    axis, transposed, check
        As in :func:`evaluate`.

    Calls take what :func:`evaluate` takes after the loss. ``torch.compile`` keeps the whole call
    in its graph.

    Examples
    --------
    >>> import torch, numbaloss
    >>> loss = Loss(numbaloss.CrossEntropy())
    >>> logits = torch.tensor([[10.0, 1.0, -2.0]], requires_grad=True)
    >>> loss(logits, torch.tensor([1])).backward()
    >>> [round(number, 5) for number in logits.grad[0].tolist()]
    [0.99987, -0.99988, 1e-05]
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
        super().__init__()
        if not isinstance(loss, core.Loss):
            raise TypeError(
                f"Loss takes a loss of numbaloss, such as numbaloss.Huber(), not {loss!r}"
            )
        self.loss, self.reduction = loss, reduction
        self.options = Options.of(reduction, axis, transposed, check)
        self.form, self.key = Form.of(loss), remember(loss)

    def forward(
        self,
        *inputs: torch.Tensor,
        sample_weight: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The value, with its gradient; see :func:`evaluate`."""
        return _evaluate(
            self.loss, self.key, self.form, self.options, inputs, sample_weight, mask, bias
        )

    def extra_repr(self) -> str:
        return f"{self.loss!r}, reduction={self.reduction!r}"

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.key = remember(self.loss)


def _evaluate(
    loss: Any,
    key: str | None,
    form: Form,
    options: Options,
    inputs: tuple[Any, ...],
    sample_weight: Any,
    mask: Any,
    bias: Any,
) -> torch.Tensor:
    if not torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active():
            raise NotImplementedError(
                f"{loss!r} cannot be called inside torch.func.grad, vmap, jvp and their like; "
                f"torch.autograd.grad(value, prediction) gives its gradient"
            )
        # Values that depend on one another's inputs are differentiated apart, by operators.
        apart = options.reduction == "none" and form.in_batch
        if mask is bias is None and len(inputs) == 2 and form.inputs == 1 and not apart:
            found = eager.evaluate_plain(loss, key, options, *inputs, sample_weight)
            if found is not None:
                return found
        tensors = _tensors(form, inputs, sample_weight, mask, bias)
        if not apart and eager.plain(tensors):
            return eager.evaluate(loss, key, tensors, options)
    else:
        tensors = _tensors(form, inputs, sample_weight, mask, bias)
    arguments = (*tensors, key or remember(loss), *options)
    if torch.is_grad_enabled() and any(one.requires_grad for one in tensors.inputs):
        return operators.value_and_gradients(*arguments)[0]  # type: ignore[no-any-return]
    return operators.value(*arguments)  # type: ignore[no-any-return]


def _tensors(
    form: Form, inputs: tuple[Any, ...], sample_weight: Any, mask: Any, bias: Any
) -> Tensors:
    differentiable, target = form.split(inputs, mask, bias)
    for one, name in ((target, "target"), (sample_weight, "sample_weight")):
        if one is not None and one.requires_grad:
            raise ValueError(
                f"{name} requires a gradient, which losses of numbaloss have for predictions and "
                f"vectors alone: {name}.detach()"
            )
    return Tensors(_of_one_dtype(differentiable, form), target, sample_weight, mask)


def _of_one_dtype(inputs: list[Any], form: Form) -> list[Any]:
    """Inputs of one dtype under autocast, and no float16, whose gradients underflow."""
    first = inputs[0]
    if len(inputs) > 1 and torch.is_autocast_enabled(first.device.type):
        kinds = {one.dtype for one in inputs}
        if len(kinds) > 1:
            wide = torch.float32
            if form.structure == "linear":  # as linear layers have it
                wide = torch.get_autocast_dtype(first.device.type)
            inputs = [one.to(wide) for one in inputs]
    return [one.float() if one.dtype == torch.float16 else one for one in inputs]
