"""Dtypes of elements, as kernels tell them apart: sizes, codes, what they are computed in."""

from __future__ import annotations

import numpy as np

VECTOR_BYTES = 16
# Codes of dtypes that are known only when a kernel runs.
CODES = {
    name: code
    for code, name in enumerate(
        ("float32", "float64", "float16", "bfloat16", "bool", "int64", "int32", "uint8",
         "int8", "int16", "uint16", "uint32", "uint64")
    )
}  # fmt: skip
_SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "bool": 1} | {
    f"{sign}int{bits}": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def itemsize(kind: str) -> int:
    """Bytes of an element."""
    return _SIZES[kind]


def compute_type(kind: str) -> type[np.floating]:
    """The NumPy type that numbers of a dtype are computed in."""
    return np.float64 if kind == "float64" else np.float32


def lanes(kind: str) -> int:
    """Elements of a vector."""
    return VECTOR_BYTES // itemsize(kind)
