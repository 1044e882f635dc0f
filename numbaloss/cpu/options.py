"""Options of compiled functions, and what those who make them share."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from ..vmath.vectors import register_bytes

# For functions that compiled code alone calls. Without the wrappers that Numba adds to each for
# Python and for C, kernels are the same and compiled in 0.8 to 0.9 of the time.
inner: dict[str, Any] = {
    "forceinline": True,
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
fast: dict[str, Any] = {**inner, "fastmath": {"contract", "reassoc"}}
# A sum of two products may be fused in two ways, and is, from one unrolled step of a loop to the
# next: where there is one, `inner` keeps rows the same wherever they stand.
exact: dict[str, Any] = {**inner, "fastmath": {"contract"}}


def namespace(*members: Any) -> Any:
    """A module of these members: the one kind of namespace whose members compiled code can use.

    Dictionaries, and other such modules.
    """
    module = ModuleType("loops")
    for one in members:
        module.__dict__.update(vars(one) if isinstance(one, ModuleType) else one)
    return module


def block_size(real: str) -> int:
    """Numbers that are computed side by side: those of four registers."""
    return 4 * register_bytes() // np.dtype(real).itemsize
