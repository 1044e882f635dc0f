"""Whether GPUs can be used here and, if not, why, and what mends it."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

from .problems import (
    DISABLED,
    LOOK,
    NO_COMPILER,
    NO_DRIVER,
    NO_MAC,
    NO_PACKAGE,
    RESTART,
    STUB,
    Problem,
    install,
)


class Gpu(NamedTuple):
    """A GPU, described for users."""

    number: int
    name: str
    capability: tuple[int, int]
    processors: int
    memory: int  # bytes


def problem() -> str | None:
    """Why no GPU can be used, with what mends it; None where one can."""
    found = diagnosis()
    return None if found is None else str(found)


def require() -> None:
    """Raise a RuntimeError where no GPU can be used."""
    found = problem()
    if found is not None:
        raise RuntimeError(found)


@cache
def diagnosis() -> Problem | None:
    """What keeps this process from using GPUs, if anything does."""
    if find_spec("numba_cuda") is None:
        return NO_PACKAGE
    from .target import SIMULATED, cuda

    return None if SIMULATED else diagnose(cuda)


def diagnose(cuda: Any) -> Problem | None:
    """What keeps Numba's CUDA target from running kernels, by its own report."""
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
    return _of_versions(toolkit, _driver_number())


def _of_driver(error: str) -> Problem:
    if "NUMBA_DISABLE_CUDA" in error:
        return DISABLED
    if "cannot be found" in error or "not found" in error.lower():
        return NO_MAC if sys.platform == "darwin" else NO_DRIVER
    if "NO_DEVICE" in error:
        return _no_gpu()
    if "STUB_LIBRARY" in error:
        return STUB
    remedies = (RESTART,) if "MISMATCH" in error else (LOOK, RESTART)
    return Problem(f"the NVIDIA driver does not start ({error})", remedies)


def _no_gpu() -> Problem:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is None:
        return Problem("the driver works, but shows no GPU", (LOOK,))
    return Problem(
        f"the driver shows no GPU, and CUDA_VISIBLE_DEVICES is {hidden!r}",
        (("unset CUDA_VISIBLE_DEVICES", "or set it to a number that nvidia-smi lists"),),
    )


def _of_versions(toolkit: int, driver: int | None) -> Problem | None:
    """Drivers run what compilers of their own major version or an older one make."""
    if driver is None or toolkit <= driver // 1000:
        return None
    return Problem(
        f"the compiler is of CUDA {toolkit}, and the driver supports no more than CUDA "
        f"{_readable(driver)}: update the driver, or install an older compiler",
        ((install(f"cuda{driver // 1000}"), "in a new environment"),),
    )


def _driver_number() -> int | None:
    """The CUDA version that the driver supports, as 13020 for 13.2; None where there is none."""
    try:
        from cuda.bindings import driver

        status, number = driver.cuDriverGetVersion()
    except Exception:  # without the library of a driver this raises, by version one or another
        return None
    return int(number) if int(status) == 0 and number else None


def _readable(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def driver_version() -> str | None:
    """The CUDA version that the driver supports, as ``"13.0"``; None where there is no driver."""
    number = _driver_number()
    return None if number is None else _readable(number)


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
    """The GPUs that can be used. None of them is touched: that takes memory on each."""
    if problem() is not None:
        return []
    from .target import SIMULATED, cuda

    if SIMULATED:
        return [Gpu(0, "simulator", (0, 0), 1, 0)]
    found = []
    for number, gpu in enumerate(cuda.gpus):
        name = gpu.name.decode() if isinstance(gpu.name, bytes) else str(gpu.name)
        processors = int(gpu.MULTIPROCESSOR_COUNT)
        capability = tuple(gpu.compute_capability)
        found.append(Gpu(number, name, capability, processors, _memory(number)))
    return found


def _memory(number: int) -> int:
    from cuda.bindings import driver

    status, device = driver.cuDeviceGet(number)
    if int(status) == 0:
        status, size = driver.cuDeviceTotalMem(device)
    return int(size) if int(status) == 0 else 0
