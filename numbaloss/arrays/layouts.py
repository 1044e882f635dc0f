"""How arrays lie in memory: one order to walk through all of them, and what shares memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .operands import Operand

# Steps of the search for shared memory; NumPy gives up after so many.
_SEARCH = 10_000


def walk(shape: tuple[int, ...], operands: Sequence[Operand]) -> tuple[list[int], list[list[int]]]:
    """One order in which to walk through all arrays: lengths of its axes, strides of each array.

    It is the memory order of the first; axes that lie behind one another in every array count
    as one.
    """
    steps = [operand.array.strides for operand in operands]
    axes = sorted(
        (axis for axis in range(len(shape)) if shape[axis] != 1),
        key=lambda axis: tuple(-abs(strides[axis]) for strides in steps),
    )
    lengths: list[int] = []
    strides: list[list[int]] = [[] for _ in operands]
    for axis in axes:
        joins = bool(lengths) and all(
            own[-1] == step[axis] * shape[axis] for own, step in zip(strides, steps)
        )
        if joins:
            lengths[-1] *= shape[axis]
        else:
            lengths.append(shape[axis])
        for own, step in zip(strides, steps):
            if joins:
                own[-1] = step[axis]
            else:
                own.append(step[axis])
    if not lengths:
        return [1], [[operand.array.itemsize] for operand in operands]
    return lengths, strides


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays share memory; arrays too intricate to tell count as sharing."""
    if not np.may_share_memory(one, other):
        return False
    try:
        return bool(np.shares_memory(one, other, max_work=_SEARCH))  # type: ignore[arg-type]
    except (ValueError, RuntimeError):  # numpy.exceptions.TooHardError is a RuntimeError
        return True


def overlaps_itself(array: np.ndarray) -> bool:
    """Whether two elements of an array share memory: what is written to one is read in another.

    So it is with expanded and broadcast arrays, and with sliding windows. Arrays too intricate
    to tell count as sharing. Only addresses are read: the memory may be a GPU's.
    """
    if array.flags.forc or array.size < 2:
        return False
    steps = sorted((abs(step), n) for step, n in zip(array.strides, array.shape) if n > 1)
    if steps[0][0] == 0:
        return True
    extent = array.itemsize
    for step, length in steps:
        if step < extent:
            break
        extent += step * (length - 1)
    else:
        return False  # every axis steps over all that lies within it
    # Elements that share memory are moved together until the one is in the first slice of some
    # axis, and both are in the first of all axes before.
    while array.ndim:
        if overlap(array[:1], array[1:]):
            return True
        array = array[0, ...]
    return False


def same_memory(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are one: same place, same layout, same size of elements."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.shape == other.shape
        and one.strides == other.strides
        and one.itemsize == other.itemsize
    )
