"""Arguments that all structures take alike: options, weights, arrays for results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import arrays, engines, misuse
from ..core.reductions import REDUCTIONS

DEVICES = (None, "cpu", "cuda")


def check_options(reduction: str, device: str | None) -> None:
    """Raise where an option is unknown."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {REDUCTIONS}, not {reduction!r}")
    if device not in DEVICES:
        raise ValueError(f"device must be one of {DEVICES}, not {device!r}")


def bytes_of(workspace: Any) -> int | None:
    """The number of bytes that a block may take, where it is given."""
    if workspace is None:
        return None
    if isinstance(workspace, bool) or not hasattr(workspace, "__index__"):
        raise TypeError(f"workspace must be a whole number of bytes, not {workspace!r}")
    if workspace <= 0:
        raise ValueError(f"workspace must be a number of bytes > 0, not {workspace}")
    return workspace.__index__()


def gpu_of(
    operands: Sequence[arrays.Operand | None], names: Sequence[str], device: str | None
) -> int | None:
    """The number of the GPU that all arrays of a call live on; None where that is the CPU.

    Raises
    ------
    ValueError
        For arrays on two devices; for arrays on a GPU where ``device`` is the CPU.
    """
    present = [(one, name) for one, name in zip(operands, names) if one is not None]
    first, of_first = present[0]
    for one, name in present[1:]:
        if one.device != first.device:
            raise ValueError(
                f"{of_first} lives on {first.place} and {name} on {one.place}; "
                f"arrays of one call must be on one device: copy one of them"
            )
    if device == "cpu" and first.device is not None:
        raise ValueError(
            f"device='cpu', but {of_first} lives on {first.place}: leave device out, or copy the "
            f"arrays to the host"
        )
    return first.device


def is_streamed(gpu: int | None, device: str | None) -> bool:
    """Whether arrays of the host go through a GPU.

    Raises
    ------
    RuntimeError
        Where it is asked for and no GPU can be used, with the reason.
    """
    if device != "cuda" or gpu is not None:
        return False
    engines.module("cuda", "availability").require()
    return True


def predicted(
    given: Any, name: str = "prediction", target: Any = None
) -> tuple[arrays.Operand, arrays.Family]:
    """View of an array that has a gradient; ``target`` is what came second in its call."""
    operand, family = arrays.operand(given, name)
    if operand.kind not in arrays.FLOATS:
        raise misuse.no_float(name, operand.kind, target)
    return operand, family


def spread(given: Any, name: str, shape: tuple[int, ...], what: str) -> arrays.Operand:
    """View of an array of ``shape``, or of a leading part of it that holds for all behind.

    Where the shape has several axes and the array as many, its axes of length 1 hold for all
    along them: ``(1, C)`` is a number a column.
    """
    operand, _ = arrays.operand(given, name)
    own = operand.array.shape
    ones = 1 < len(own) == len(shape) and all(n in (1, whole) for n, whole in zip(own, shape))
    if own != shape[: len(own)] and not ones:
        raise ValueError(f"{name} must have {what}, {shape}, or a leading part of it, not {own}")
    padded = operand.array.reshape(own + (1,) * (len(shape) - len(own)))
    return operand._replace(array=np.broadcast_to(padded, shape), dimensions=len(own))


def row_weights(
    sample_weight: Any,
    mask: Any,
    shape: tuple[int, ...],
    what: str = "the shape of the rows",
) -> tuple[arrays.Operand | None, arrays.Operand | None]:
    """Views of the weights of samples, and of which of them count."""
    weight = counts = None
    if sample_weight is not None:
        weight = spread(sample_weight, "sample_weight", shape, what)
    if mask is not None:
        if isinstance(mask, (list, tuple, bool)):
            mask = np.asarray(mask)  # truth stays truth
        counts = spread(mask, "mask", shape, what)
        if counts.kind != "bool":
            raise TypeError(f"mask must be an array of bool, not {counts.kind}")
    return weight, counts


def row_targets(given: Any, name: str = "target") -> arrays.Operand:
    """View of labels or of dense targets."""
    if isinstance(given, (list, tuple, range, int)):
        given = np.asarray(given)  # integers stay integers
    return arrays.operand(given, name)[0]


def check_one_row(target: arrays.Operand) -> None:
    """Raise where the dense targets of a single row are integers.

    Logits of two classes and more, with a label each, look the same: somebody may have left out
    the axis of the classes.
    """
    if target.kind not in arrays.FLOATS:
        raise TypeError(
            f"target has one number a class, for logits of a single row, and dtype {target.kind}. "
            f"Are they labels? A row has one, a plain integer: target of shape (), or logits of "
            f"shape (n, C) for n labels. Are they probabilities? Then cast: "
            f"target.astype(numpy.float64)"
        )


def whole_labels(target: arrays.Operand, name: str = "target") -> arrays.Operand:
    """View of labels as integers; floats are copied, and have to be whole numbers.

    Raises
    ------
    TypeError
        For truth values; for floats on a GPU, since reading them would wait for it.
    ValueError
        For the first float that is no whole number, or so large that its dtype does not hold the
        whole numbers beside it: it may have been another one.
    """
    if target.kind == "bool" or (target.kind in arrays.FLOATS and target.device is not None):
        have = "have" if name.endswith("s") else "has"
        raise TypeError(
            f"labels are integers, {name} {have} dtype {target.kind}: cast, "
            f"{name}.astype(numpy.int64)"
        )
    if target.kind not in arrays.FLOATS:
        return target
    # A copy, so that nobody changes what has been tested.
    given = arrays.numbers(target, target.array).astype(np.float64)
    with np.errstate(invalid="ignore"):
        found = given.astype(np.int64)
        whole, most = found == given, _WHOLE[target.kind]
        bad = ~(whole & (np.abs(given) <= most))
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), given.shape)
        place = f"{name}[{', '.join(str(int(i)) for i in first)}]" if first else name
        if whole[first]:
            raise ValueError(
                f"{place} is {given[first]:.17g}; {target.kind} does not hold every whole number "
                f"beyond {most}: make labels integers where they come from"
            )
        raise ValueError(f"{place} is {given[first]:.17g}; labels are whole numbers")
    return target._replace(array=found, kind="int64")


# Up to here a dtype holds every whole number.
_WHOLE = {"bfloat16": 1 << 8, "float16": 1 << 11, "float32": 1 << 24, "float64": 1 << 53}
