"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def vector_units() -> str:
    """The widest vectors of an x86 processor, as Linux names them; empty where unknown."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return next((name for name in ("avx512f", "avx2", "asimd") if name in flags), "")


# What holds every library back to the vectors of AVX2 and FMA, as most laptops have them: Numba,
# PyTorch (its compiler too), oneDNN, XLA, NumPy, OpenBLAS. scikit-learn is compiled for less.
HELD_BACK = {
    "avx2": {
        "NUMBA_CPU_NAME": "znver3",
        "NUMBA_CPU_FEATURES": "",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}


def hold_back(vectors: str) -> None:
    """Let processes that are started from now on use no wider vectors than these."""
    os.environ.update(HELD_BACK[vectors])


def load() -> float | None:
    """Processes that wanted to run in the last minute: 0 on a quiet machine."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def describe(threads: int, vectors: str | None = None) -> dict[str, Any]:
    """The machine, as it stands in the results; ``vectors`` is what it was held back to."""
    return {
        "processor": processor_name(),
        "processors": processors(),
        "threads": threads,
        "vectors": vectors or vector_units(),
        "held_back": vectors is not None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "load_before": load(),
    }
