"""Numba's CUDA target, imported for this machine: the real one, or the simulator."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numba
import numpy as np

from ..numba_settings import check as check_settings
from .problems import NO_PACKAGE


def _import_cuda() -> Any:
    # Names that NumPy 2.5 dropped, and that numba-cuda up to 0.30 still looks up.
    for name, successor in (("row_stack", "vstack"), ("in1d", "isin"), ("trapz", "trapezoid")):
        if not hasattr(np, name):
            setattr(np, name, getattr(np, successor))
    from numba import cuda

    return cuda


if find_spec("numba_cuda") is None:
    raise RuntimeError(str(NO_PACKAGE))
check_settings()
cuda = _import_cuda()

SIMULATED = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]
if SIMULATED:
    from .simulator import share_safely, wait_at_barriers

    share_safely()
    wait_at_barriers()
