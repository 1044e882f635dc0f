"""Arguments that all structures take alike: options, weights, arrays for results."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import arrays

REDUCTIONS = ("mean", "weighted_mean", "sum", "none")
DEVICES = (None, "cpu", "cuda")


def check_options(reduction: str, device: str | None) -> None:
    """Raise where an option is unknown, or asks for what this version does not have."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, not {reduction!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {DEVICES}, not {device!r}")
    if device == "cuda":
        raise RuntimeError(
            "device='cuda': this version of numbaloss has CPU kernels only; "
            "leave device out, or pass device='cpu'"
        )


def predicted(given: Any, name: str = "prediction") -> tuple[arrays.Operand, arrays.Family]:
    """View of an array that has a gradient."""
    operand, family = arrays.operand(given, name)
    if operand.kind not in arrays.FLOATS:
        raise TypeError(
            f"{name} has dtype {operand.kind}; gradients of integers do not exist. "
            f"Cast it: {name}.astype(numpy.float32)"
        )
    return operand, family


def spread(given: Any, name: str, shape: tuple[int, ...], what: str) -> arrays.Operand:
    """View of an array of ``shape``, or of a leading part of it that holds for all behind."""
    operand, _ = arrays.operand(given, name)
    own = operand.array.shape
    if own != shape[: len(own)]:
        raise ValueError(f"{name} must have {what}, {shape}, or a leading part of it, not {own}")
    padded = operand.array.reshape(own + (1,) * (len(shape) - len(own)))
    return operand._replace(array=np.broadcast_to(padded, shape), dimensions=len(own))


def check_outputs(
    outs: tuple[Any, ...],
    outputs: list[arrays.Operand | None],
    inputs: list[arrays.Operand | None],
) -> bool:
    """Raise where an output does not fit; tell whether one of them is the prediction."""
    p = inputs[0]
    assert p is not None
    in_place = False
    for given, output, name in zip(outs, outputs[1:], ("out", "hess_out")):
        if given is None or output is None:
            continue
        if output.array.shape != p.array.shape:
            raise ValueError(
                f"{name} must have the shape of the prediction, {p.array.shape}, "
                f"not {output.array.shape}"
            )
        if output.kind != p.kind:
            raise TypeError(f"{name} must have the prediction's dtype, {p.kind}, not {output.kind}")
        if not output.array.flags.writeable:
            raise ValueError(f"{name} is read-only")
        for operand, of in zip(inputs, ("prediction", "target", "sample_weight", "mask")):
            if operand is None or not arrays.overlap(output.array, operand.array):
                continue
            if (name, of) == ("out", "prediction") and arrays.same_memory(
                output.array, operand.array
            ):
                in_place = True
            else:
                allowed = ", unless it is the prediction itself" if name == "out" else ""
                raise ValueError(f"{name} shares memory with {of}; it must not{allowed}")
    _, one, other = outputs
    if one is not None and other is not None and arrays.overlap(one.array, other.array):
        raise ValueError("out and hess_out share memory")
    return in_place
