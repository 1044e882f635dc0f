"""Reads and writes of simulated kernels, as plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from .dtypes import itemsize
from .simulated_arrays import simulated_cell


def simulated_read(address: int, index: int, kind: str, result: Any) -> Any:
    if kind in ("float16", "bfloat16"):
        bits = simulated_cell(int(address) + int(index) * 2, np.uint16).value
        if kind == "float16":
            return np.float32(np.uint16(bits).view(np.float16))
        return np.uint32(bits << 16).view(np.float32)
    size = itemsize(kind)
    return result(simulated_cell(int(address) + int(index) * size, kind).value)


def simulated_write(address: int, index: int, number: Any, kind: str) -> None:
    where = int(address) + int(index) * itemsize(kind)
    if kind == "float16":
        with np.errstate(over="ignore"):
            bits = np.float16(number).view(np.uint16)
        simulated_cell(where, np.uint16).value = int(bits)
    elif kind == "bfloat16":
        simulated_cell(where, np.uint16).value = _bfloat16_bits(number)
    else:
        cell = simulated_cell(where, kind)
        cell.value = int(number) if kind == "int64" else float(number)


def _bfloat16_bits(number: Any) -> int:
    bits = int(np.float32(number).view(np.uint32))
    if number != number:
        return 0x7FC0
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
