"""Shared memory beyond the 48 KiB that every block may have: 99 to 227 KiB, for the asking.

The driver has to be told of each kernel that wants it, on each device. Where it is not told, or
refuses, blocks get what they may have without: kernels see by themselves how much that is.
"""

from __future__ import annotations

from typing import Any

from . import backend

# Less what reductions take.
UNASKED = 48 * 1024 - 1024
_OF_REDUCTIONS = 1024


_known: dict[int, int] = {}  # bytes, by device


def most(device: int) -> int:
    """Bytes that a block may have beside those of reductions, if they are asked for."""
    if device not in _known:
        found = None if backend.SIMULATED else _limit(device)
        if found is None:  # for now: there may be no driver yet
            return UNASKED
        _known[device] = max(UNASKED, found - _OF_REDUCTIONS)
    return _known[device]


def _limit(device: int) -> int | None:
    try:
        driver = backend.driver()
        status, own = driver.cuDeviceGet(device)
        if int(status) != 0:
            return None
        which = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        status, found = driver.cuDeviceGetAttribute(which, own)
    except (ImportError, AttributeError, RuntimeError):
        return None
    return int(found) if int(status) == 0 else None


def granted(driver: Any, handle: Any, device: int, shared: int, known: dict[int, bool]) -> int:
    """How many of so many bytes blocks of a kernel get, which is all or as many as unasked.

    ``known`` is what the driver said of this kernel before, by device: it is asked once.
    """
    if shared <= UNASKED:
        return shared
    if device not in known:
        # For all launches to come, however much they want.
        known[device] = _ask(driver, handle, device, max(shared, most(device)))
    return shared if known[device] else UNASKED


def _ask(driver: Any, handle: Any, device: int, shared: int) -> bool:
    try:
        status, own = driver.cuDeviceGet(device)
        if int(status) != 0:
            return False
        which = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        (status,) = driver.cuKernelSetAttribute(which, shared, handle, own)
    except AttributeError:  # of an older cuda.bindings
        return False
    return int(status) == 0
