"""The leaves of a tree as kernels take them, or an error that names the leaf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays import FLOATS, Operand, operand, output
from ..cpu.plain_arrays import AS_IS

_PLAIN = {np.dtype(np.float32): "float32", np.dtype(np.float64): "float64"}


def seen(given: Any, role: str, name: str, written: bool) -> Operand:
    """A leaf, to be read or to be written, as it lies in memory.

    Raises
    ------
    TypeError
        For what is no array that can be written to, and for dtypes that are not floats.
    ValueError
        For an array that is read-only, not contiguous, not aligned or of swapped bytes.
    """
    what = f"{role} {name}"
    if type(given) is np.ndarray and given.dtype in _PLAIN and _fits(given, written):
        return Operand(given, _PLAIN[given.dtype])
    if isinstance(given, (list, tuple, Mapping)):
        raise TypeError(f"{what} is a {type(given).__name__}, not an array")
    if isinstance(given, (float, int, complex, str, bytes)) and not isinstance(given, np.generic):
        raise TypeError(f"{what} is {given!r}, not an array")
    view = output(given, what) if written else operand(given, what)[0]
    if view.kind not in FLOATS:
        raise TypeError(f"{what} has dtype {view.kind}; steps need {', '.join(FLOATS)}")
    array = view.array
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{what} is not contiguous (shape {array.shape}, strides {array.strides}): make it so "
            f"with numpy.ascontiguousarray"
        )
    if view.swapped or not array.flags.aligned:
        raise ValueError(f"{what} is not aligned, or its bytes are swapped: copy it")
    if written and not array.flags.writeable:
        raise ValueError(f"{what} is read-only: steps change it in place; copy it")
    return view


def _fits(array: np.ndarray, written: bool) -> bool:
    flags = array.flags
    return flags.num & AS_IS == AS_IS and (flags.writeable or not written)


def gradient_of(given: Any, name: str, parameter: Operand) -> Operand:
    """A gradient that fits its parameter."""
    view = seen(given, "gradient", name, written=False)
    if view.array.shape != parameter.array.shape:
        raise ValueError(
            f"gradient {name} has shape {view.array.shape}, its parameter {parameter.array.shape}"
        )
    if view.kind != parameter.kind:
        raise TypeError(
            f"gradient {name} has dtype {view.kind}, its parameter {parameter.kind}: convert it"
        )
    if view.device != parameter.device:
        raise ValueError(f"gradient {name} is on {view.place}, its parameter on {parameter.place}")
    return view


def refuse_overlaps(names: list[str], written: list[Operand], read: list[Operand]) -> None:
    """Raise where an array that is written shares memory with any other."""
    extents = []
    for role, views in (("parameter", written), ("gradient", read)):
        for name, view in zip(names, views):
            if view.array.size:
                start = view.array.ctypes.data
                extents.append((start, start + view.array.nbytes, role, name))
    extents.sort()
    reach, last = -1, ("", "")
    reach_written, last_written = -1, ("", "")
    for start, stop, role, name in extents:
        mine = role == "parameter"
        end, other = (reach, last) if mine else (reach_written, last_written)
        if start < end:
            raise ValueError(
                f"{role} {name} shares memory with {other[0]} {other[1]}: a step would change "
                f"both; copy one, or give what they share once"
            )
        if stop > reach:
            reach, last = stop, (role, name)
        if mine and stop > reach_written:
            reach_written, last_written = stop, (role, name)
