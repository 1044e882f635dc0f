"""What the figures were measured on: the GPU, its driver, and the versions of everything."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from typing import Any

from ..peers.machine import processor_name, processors
from .libraries import Library

PACKAGES = ("numbaloss", "numba", "numba-cuda", "cuda-bindings", "numpy", "torch", "triton",
            "llvmlite")  # fmt: skip
# Of the H200; for a device that does not tell.
CACHE = 60 * 2**20


def describe(library: Library) -> dict[str, Any]:
    """The GPU; what cannot be found out is left out."""
    if not library.on_gpu:
        return {"name": f"no GPU, a dry run on {processor_name()}", "cache_bytes": 0}
    found = _by_torch(library.xp) if library.name == "torch" else _by_cupy(library.xp)
    found["free_bytes"] = library.memory()[0]
    with suppress(Exception):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        found["driver"] = done.stdout.split()[0]
    return found


def _by_torch(torch: Any) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": about.name,
        "compute_capability": f"{about.major}.{about.minor}",
        "memory_bytes": about.total_memory,
        "multiprocessors": about.multi_processor_count,
        "cache_bytes": getattr(about, "L2_cache_size", 0) or CACHE,
        "cuda_runtime": torch.version.cuda,
    }


def _by_cupy(cupy: Any) -> dict[str, Any]:
    runtime = cupy.cuda.runtime
    about = runtime.getDeviceProperties(cupy.cuda.Device().id)
    version = runtime.runtimeGetVersion()
    return {
        "name": about["name"].decode(),
        "compute_capability": f"{about['major']}.{about['minor']}",
        "memory_bytes": about["totalGlobalMem"],
        "multiprocessors": about["multiProcessorCount"],
        "cache_bytes": about.get("l2CacheSize", 0) or CACHE,
        "cuda_runtime": f"{version // 1000}.{version % 1000 // 10}",
    }


def host() -> dict[str, Any]:
    return {"processor": processor_name(), "processors": processors(),
            "system": f"{platform.system()} {platform.machine()}"}  # fmt: skip


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    # The package of CuPy is named for the version of CUDA.
    for name in ("cupy", "cupy-cuda12x", "cupy-cuda13x"):
        with suppress(metadata.PackageNotFoundError):
            found["cupy"] = metadata.version(name)
    if "numbaloss" not in found:
        with suppress(Exception):
            import numbaloss

            found["numbaloss"] = numbaloss.__version__
    return found
