"""Machine code of kernels for GPUs: from disk, or linked from PTX and kept there.

Numba compiles a kernel to PTX, which takes seconds, and NVIDIA's linker makes of it the code of one
compute capability, a cubin. That lies on disk beside the CPU's, under the same rules
(:mod:`numbaloss.disk.cache`): named by all that it depends on, whole or absent, trusted only where
nobody else can write. From there it goes straight to the driver, without Numba's compiler.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

import llvmlite
import numba

from .. import sources
from ..disk import cache as disk_cache
from ..disk.cache import Entry
from . import backend
from .availability import driver_version

Capability = tuple[int, int]
# Before this version the driver's own linker is taken.
_LEAST_LINKER = (12, 3)


class Binary(NamedTuple):
    """A kernel for one compute capability."""

    symbol: str
    code: bytes
    origin: str  # "disk" or "compiler"


def binary(kernel: Any, capability: Capability, anew: bool = False) -> Binary | None:
    """The code of a kernel: from disk, unless it has to be made ``anew``.

    None where the linker is not as this file knows it, or cannot link what the PTX asks for.
    """
    name = _file_name(kernel, capability)
    if name and not anew and (entry := disk_cache.read(name)) is not None:
        return Binary(entry.symbol, entry.code, "disk")
    text = kernel.ptx(capability)
    code = cubin(text, capability)
    if code is None:
        return None
    found = Binary(entry_of(text), code, "compiler")
    if name:
        disk_cache.write(name, Entry(found.symbol, found.code))
    return found


def _file_name(kernel: Any, capability: Capability) -> str:
    """What the code is kept under; empty where it must not be kept."""
    of_others = kernel.of is not None and not kernel.of.cacheable
    if not kernel.what or of_others or not sources.digest():
        return ""
    key = repr(("cuda", kernel.what, capability, environment()))
    return blake2b(key.encode(), digest_size=20).hexdigest()


@cache
def environment() -> tuple[Any, ...]:
    """What code for GPUs depends on beside the kernel and the compute capability."""
    return (
        sources.digest(),
        sys.implementation.cache_tag,
        numba.__version__,
        llvmlite.__version__,
        backend.versions(),
        backend.settings(),
        compiler(),
        linker(),
    )


def compiler() -> tuple[Any, ...]:
    """Which NVVM makes PTX."""
    return _library("nvvm")


def linker() -> tuple[Any, ...]:
    """Which linker makes cubins of PTX: NVIDIA's nvJitLink, or that of the driver."""
    from cuda.bindings import nvjitlink

    try:
        version, file = tuple(nvjitlink.version()), _library("nvJitLink")
    except Exception:  # of the loader of libraries, which has several
        return "driver", driver_version()
    if version < _LEAST_LINKER:
        return "driver", driver_version()
    return "nvjitlink", version, file


def _library(name: str) -> tuple[str, int, str]:
    """What tells one of NVIDIA's libraries from its other versions, patches among them.

    The beginning of a file has its build's identity: GNU's on Linux, the time on Windows.
    """
    from cuda import pathfinder

    path = os.path.realpath(pathfinder.load_nvidia_dynamic_lib(name).abs_path or "")
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    return os.path.basename(path), os.path.getsize(path), blake2b(start).hexdigest()


def entry_of(text: str) -> str:
    """The name of the kernel in PTX."""
    (found,) = re.findall(r"\.entry\s+([\w$]+)\s*\(", text)
    return str(found)


def cubin(text: str, capability: Capability) -> bytes | None:
    """PTX linked for a compute capability; None where that does not work out."""
    try:
        from cuda.core import Linker, LinkerOptions, ObjectCode

        options = LinkerOptions(arch=f"sm_{capability[0]}{capability[1]}")
        return bytes(Linker(ObjectCode.from_ptx(text.encode()), options=options).link("cubin").code)
    except Exception:  # Numba, which is asked next, says what it is
        return None


def load(found: Binary, driver: Any) -> Any:
    """The driver's handle of a kernel; None where it does not take the code.

    What is loaded stays for the life of the process, and serves all devices of that capability.
    """
    status, library = driver.cuLibraryLoadData(found.code, [], [], 0, [], [], 0)
    if int(status) != 0:
        return None
    status, handle = driver.cuLibraryGetKernel(library, found.symbol.encode())
    return handle if int(status) == 0 else None
