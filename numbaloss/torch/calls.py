"""Calls of losses on tensors: what goes into them, and the numbers that come out."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any, NamedTuple

import numpy as np
import torch

from ..autodiff import Form, Options, keywords
from ..core.loss import Loss


class Tensors(NamedTuple):
    """What a call takes: the tensors that have a gradient, and the others."""

    inputs: list[torch.Tensor]
    target: torch.Tensor | None
    sample_weight: torch.Tensor | None
    mask: torch.Tensor | None


_known: dict[str, Loss] = {}


def remember(loss: Loss) -> str:
    """A name for a loss, which operators take: they know numbers and texts, and no objects.

    The same loss has the same name in every process, so that compiled graphs which PyTorch keeps
    on disk mean what they meant.
    """
    try:
        said = pickle.dumps(loss, protocol=4)
    except (pickle.PicklingError, AttributeError, TypeError):  # a class within a function
        said = f"{loss!r} {id(type(loss))}".encode()
    name = f"{type(loss).__name__} {hashlib.sha256(said).hexdigest()[:16]}"
    key, number = name, 2
    while _known.setdefault(key, loss) != loss:  # a class defined anew under its former name
        key, number = f"{name} {number}", number + 1
    return key


def remembered(key: str) -> Loss:
    """The loss of a name.

    Raises
    ------
    RuntimeError
        Where no such loss was made in this process.
    """
    if key not in _known:
        raise RuntimeError(
            f"a graph of PyTorch calls a loss that this process does not know, {key!r}: make it "
            f"first, numbaloss.torch.Loss(...), with the parameters that it had"
        )
    return _known[key]


def dtype_of_values(first: torch.Tensor) -> torch.dtype:
    return torch.float64 if first.dtype == torch.float64 else torch.float32


def given(tensor: torch.Tensor | None) -> Any:
    """What losses take a tensor as: NumPy's arrays take the shortest way through a call."""
    if tensor is None:
        return None
    tensor = tensor.detach()
    if tensor.is_cuda or tensor.dtype == torch.bfloat16 or tensor.layout != torch.strided:
        return tensor
    return tensor.resolve_neg().numpy()


def empty(like: torch.Tensor) -> torch.Tensor:
    """A new tensor for a gradient.

    On the CPU it lies in memory of NumPy's, which comes in pages of 2 MiB where it is large: those
    of 4 KiB that PyTorch gets take three times as long to arrive as the gradient to compute.
    """
    if like.is_cuda:
        return torch.empty_like(like, memory_format=torch.contiguous_format)
    if like.dtype == torch.bfloat16:
        return torch.from_numpy(np.empty(like.shape, np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.empty(like.shape, str(like.dtype).removeprefix("torch.")))


def compute(
    loss: Any, tensors: Tensors, options: Options, derivatives: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The value, and the gradients (``derivatives`` 1) or the hessian (2), as new tensors."""
    inputs = tensors.inputs
    first, form = inputs[0], Form.of(loss)
    outs = [empty(one) for one in inputs] if derivatives else []
    others = (given(one) for one in tensors[1:])
    arrays, named = keywords(form, options, [given(one) for one in inputs], *others)
    named["wait"] = not first.is_cuda
    if derivatives == 2:
        loss.hess(*arrays, out=given(outs[0]), **named)
        return first, outs
    if not derivatives:
        return as_tensor(loss(*arrays, **named), first), outs
    out = [given(one) for one in outs]
    single = form.inputs == 1
    value, _ = loss.value_and_grad(*arrays, out=out[0] if single else tuple(out), **named)
    return as_tensor(value, first), outs


def as_tensor(value: Any, first: torch.Tensor) -> torch.Tensor:
    """A value, or values, as a tensor beside the first input."""
    dtype = dtype_of_values(first)
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if first.is_cuda and not isinstance(value, float):
        # On its way; NaN where something was out of range. A copy, on the same stream.
        return torch.as_tensor(value, device=first.device).to(dtype, copy=True)
    kind = np.float64 if dtype is torch.float64 else np.float32
    return torch.from_numpy(np.array(value, kind)).to(first.device)
