"""Whether GPUs can be used here and, if not, why, and what mends it."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

INSTALL = 'python -m pip install "numbaloss[{}]"'
EITHER = f"{INSTALL.format('cuda13')} (driver 580 or newer) or {INSTALL.format('cuda12')}"
NO_PACKAGE = f"the package numba-cuda is missing: install it with {EITHER}"
NO_DRIVER = (
    "the NVIDIA driver is missing (its library libcuda was not found): install the driver of your "
    "system, for example: sudo apt install nvidia-driver-580; in a container, start it with "
    "--gpus all"
)
NO_MAC = "CUDA does not exist on macOS"
NO_COMPILER = (
    "the compiler is missing (its libraries libnvvm and libnvrtc come with numba-cuda's own "
    f"extras): install it with {EITHER}"
)
DISABLED = "NUMBA_DISABLE_CUDA is set: unset NUMBA_DISABLE_CUDA"


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


def require() -> None:
    """Raise a RuntimeError that says so where no GPU can be used."""
    found = problem()
    if found is not None:
        raise RuntimeError(found)


@cache
def _problem() -> str | None:
    if find_spec("numba_cuda") is None:
        return NO_PACKAGE
    from . import backend

    if backend.SIMULATED:
        return None
    return diagnose(backend.cuda)


def diagnose(cuda: Any) -> str | None:
    """What keeps Numba's CUDA target from running kernels, by what it says of itself."""
    error = cuda.cuda_error()
    try:
        count = 0 if error else len(cuda.gpus)
    except Exception as failure:  # numba-cuda raises several kinds, some from the driver
        error, count = str(failure), 0
    if error:
        return _of_driver(" ".join(str(error).split()))
    if count == 0:
        return _no_gpu()
    if not cuda.is_available():
        return NO_COMPILER
    try:
        toolkit = int(cuda.runtime.get_version()[0])
    except AttributeError:  # not of this version of numba-cuda: kernels will tell
        return None
    except Exception:  # of the loader of libraries
        return NO_COMPILER
    return _of_versions(toolkit, driver_number())


def _of_driver(error: str) -> str:
    if "NUMBA_DISABLE_CUDA" in error:
        return DISABLED
    if "cannot be found" in error or "not found" in error.lower():
        return NO_MAC if sys.platform == "darwin" else NO_DRIVER
    if "NO_DEVICE" in error:
        return _no_gpu()
    if "STUB_LIBRARY" in error:
        return (
            "the library libcuda that is found is the stub that comes with compilers: take its "
            "folder out of LD_LIBRARY_PATH, or install the driver of your system"
        )
    if "MISMATCH" in error:
        return (
            "the NVIDIA driver was updated, and the old one is still loaded: restart the machine "
            f"with sudo reboot ({error})"
        )
    return (
        f"the NVIDIA driver does not start ({error}): see whether nvidia-smi works; a driver that "
        f"was just updated needs a restart, sudo reboot"
    )


def _no_gpu() -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return (
            f"the driver shows no GPU, and CUDA_VISIBLE_DEVICES is {hidden!r}: unset "
            f"CUDA_VISIBLE_DEVICES, or set it to the number of a GPU that nvidia-smi lists"
        )
    return "the driver works, but shows no GPU: see what nvidia-smi lists"


def _of_versions(toolkit: int, driver: int | None) -> str | None:
    """Drivers run what compilers of their own major version or an older one make."""
    if driver is None or toolkit <= driver // 1000:
        return None
    packages = f"cuda{driver // 1000}"
    return (
        f"the compiler is of CUDA {toolkit}, and the driver supports no more than CUDA "
        f"{_readable(driver)}: update the driver, or install {INSTALL.format(packages)} in an "
        f"environment of its own"
    )


def driver_number() -> int | None:
    """The CUDA version that the driver supports, as 13020 for 13.2; None where there is none."""
    from cuda.bindings import driver

    status, number = driver.cuDriverGetVersion()
    return int(number) if int(status) == 0 and number else None


def _readable(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def driver_version() -> str | None:
    """The CUDA version that the driver supports, as ``"13.0"``; None where there is no driver."""
    if find_spec("numba_cuda") is None or _simulated():
        return None
    try:
        number = driver_number()
    except Exception:  # without the library of a driver this raises, by version one or another
        return None
    return None if number is None else _readable(number)


def _simulated() -> bool:
    from .backend import SIMULATED

    return SIMULATED


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


def gpus() -> list[Gpu]:
    """The GPUs that can be used."""
    if problem() is not None:
        return []
    if _simulated():
        return [Gpu(0, "simulator", (0, 0), 1, 0)]
    from .backend import cuda

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
