"""Whether GPUs can be used here and, if not, why, and what mends it."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

INSTALL = 'python -m pip install "numbaloss[{}]"'
NO_PACKAGE = (
    "the package numba-cuda is missing: install it with "
    f"{INSTALL.format('cuda13')} (driver 580 or newer) or {INSTALL.format('cuda12')}"
)


class Gpu(NamedTuple):
    """A GPU as a user knows it."""

    number: int
    name: str
    capability: tuple[int, int]
    processors: int
    memory: int  # bytes


def problem() -> str | None:
    """Why no GPU can be used, with what mends it; None where one can."""
    found = _problem()
    return None if found is None else f"no GPU can be used: {found}"


@cache
def _problem() -> str | None:
    if find_spec("numba_cuda") is None:
        return NO_PACKAGE
    from .backend import SIMULATED, cuda

    if SIMULATED:
        return None
    error = cuda.cuda_error()
    try:
        count = 0 if error else len(cuda.gpus)
    except Exception as failure:  # numba-cuda raises several kinds, some from the driver
        error, count = str(failure), 0
    if error:
        return _of_driver(" ".join(str(error).split()))
    if count == 0:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        if hidden is not None:
            return (
                f"the driver shows no GPU, and CUDA_VISIBLE_DEVICES is {hidden!r}: "
                f"unset it, or name a GPU that nvidia-smi lists"
            )
        return "the driver works, but shows no GPU: see what nvidia-smi lists"
    if not _compiler_found():
        return (
            "the compiler libnvvm, which comes with numba-cuda's own extras, is missing: install "
            f"it with {INSTALL.format('cuda13')} or {INSTALL.format('cuda12')}"
        )
    return None


def _compiler_found() -> bool:
    from .backend import cuda

    return bool(cuda.is_available())


def _of_driver(error: str) -> str:
    if "cannot be found" in error or "not found" in error.lower():
        return (
            "the NVIDIA driver is missing (its library libcuda was not found): install the driver "
            "of your system, for example: sudo apt install nvidia-driver-580; in a container, "
            "start it with --gpus all"
        )
    if "NO_DEVICE" in error:
        return "the driver works, but shows no GPU: see what nvidia-smi lists"
    return (
        f"the NVIDIA driver does not start ({error}): see whether nvidia-smi works; a driver that "
        f"was just updated needs a restart"
    )


def packages() -> dict[str, str | None]:
    """Versions of what a GPU is used through, None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in ("numba", "numba-cuda", "cuda-bindings", "cupy", "torch", "jax"):
        found[name] = _version(name)
    return found


def _version(name: str) -> str | None:
    # CuPy's wheels are named for the toolkit they are made for.
    for candidate in (name, *((f"{name}-cuda12x", f"{name}-cuda13x") if name == "cupy" else ())):
        try:
            return version(candidate)
        except PackageNotFoundError:
            continue
    return None


def driver_version() -> str | None:
    """The CUDA version that the driver supports, as ``"13.0"``."""
    if find_spec("numba_cuda") is None or _problem() is not None:
        return None
    from .backend import SIMULATED

    if SIMULATED:
        return None
    from cuda.bindings import driver

    status, number = driver.cuDriverGetVersion()
    return f"{number // 1000}.{number % 1000 // 10}" if int(status) == 0 else None


def gpus() -> list[Gpu]:
    """The GPUs that can be used."""
    if problem() is not None:
        return []
    from .backend import SIMULATED, cuda

    if SIMULATED:
        return [Gpu(0, "simulator", (0, 0), 1, 0)]
    found = []
    for index, gpu in enumerate(cuda.gpus):
        with gpu:
            device: Any = cuda.get_current_device()
            name = device.name.decode() if isinstance(device.name, bytes) else str(device.name)
            memory = cuda.current_context().get_memory_info()
            capability = tuple(device.compute_capability)
            processors = int(device.MULTIPROCESSOR_COUNT)
            found.append(Gpu(index, name, capability, processors, int(memory[1])))
    return found
