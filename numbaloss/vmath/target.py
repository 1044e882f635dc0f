"""What code is being compiled for: a processor or a GPU."""

from __future__ import annotations

from typing import Any

from numba.core.target_extension import GPU, current_target, resolve_target_str


def compiling_for_gpu() -> bool:
    """Whether the calls being typed are those of a GPU kernel; needs no import of its compiler."""
    return resolve_target_str(current_target()).inherits_from(GPU)


def for_gpu(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a function for the CPU as the GPU's compiler is to have them.

    It fuses multiplies and adds by itself, and takes any ``fastmath`` for leave to divide with an
    error of 2 ULP.
    """
    return {name: value for name, value in options.items() if name != "fastmath"}
