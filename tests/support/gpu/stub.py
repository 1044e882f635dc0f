"""A GPU that computes nothing: it writes down what its driver is asked for.

Public calls run through it up to the launch, so that what a call costs the host, and what reaches
the driver, can be seen without a GPU.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from .kernels import without_gpu

_MEMORY = count(1 << 40, 1 << 33)  # addresses that nobody reads


class Array:
    """An array of no library in particular, in memory that is not there."""

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, address: int | None = None, stream: Any = None
    ) -> None:
        self.shape, self.dtype, self.stream = shape, np.dtype(dtype), stream
        self.nbytes = int(np.prod(shape)) * self.dtype.itemsize
        self.address = next(_MEMORY) if address is None else address

    def __getitem__(self, row: int) -> Array:
        inner = Array(self.shape[1:], self.dtype, 0)
        inner.address = self.address + row * inner.nbytes
        return inner

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "version": 3,
            "stream": self.stream,
        }


class Started(NamedTuple):
    """What a driver is told of a launch."""

    kernel: Any
    blocks: int
    threads: int
    shared: int
    parameters: bytes


def read_launch(handle: Any, *rest: Any) -> Started:
    """What the driver's ``cuLaunchKernel`` makes of its arguments."""
    blocks, _, _, threads, _, _, shared, _, parameters, extra = rest
    assert parameters == 0  # those and a block would be one too many
    words = (ctypes.c_size_t * 5).from_address(extra)
    assert (words[0], words[2], words[4]) == (1, 2, 0)
    size = ctypes.c_size_t.from_address(words[3]).value
    return Started(handle, blocks, threads, shared, ctypes.string_at(words[1], size))


class LoadedKernel(NamedTuple):
    """What a driver makes of a cubin: a kernel, with offset and size of each parameter."""

    name: bytes
    places: tuple[tuple[int, int], ...]


def places_in(cubin: bytes, name: str) -> list[tuple[int, int]]:
    """Offset and size of each parameter of a kernel, which a cubin tells its driver."""
    information = _sections(cubin).get(f".nv.info.{name}", b"")
    found, at = {}, 0
    while at < len(information):
        form, attribute, size = struct.unpack_from("<BBH", information, at)
        at += 4
        if form == 4:  # the only one that brings more than the two bytes of the size
            if attribute == 0x17:  # of a parameter
                _, place, offset, rest = struct.unpack_from("<IHHI", information, at)
                found[place] = offset, rest >> 18
            at += size
    return [found[place] for place in sorted(found)]


def _sections(elf: bytes) -> dict[str, bytes]:
    """The sections of an ELF file of 64 bits, by name."""
    (start,) = struct.unpack_from("<Q", elf, 40)
    each, count, of_names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, start + each * one) for one in range(count)]
    contents = [elf[offset : offset + size] for *_, offset, size in headers]
    names = contents[of_names]
    return {
        names[header[0] :].partition(b"\0")[0].decode(): content
        for header, content in zip(headers, contents)
    }


class Driver:
    """Calls that reach the driver, by name, and its launches."""

    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN="most shared"
    )
    CUfunction_attribute = SimpleNamespace(
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES="dynamic"
    )

    def __init__(self, places: Any = (), status: int = 0) -> None:
        self.places, self.status = places, status
        self.calls: list[str] = []
        self.captured: set[int] = set()  # streams of which a graph is made now
        self.started: list[Started] = []
        self.clusters: list[dict[str, int]] = []  # their sizes
        # Bytes of shared memory that blocks may have, if the driver does not refuse them.
        self.shared, self.refuses = 227 * 1024, False
        self.asked: list[tuple[str, int, str]] = []

    def cuDeviceGet(self, ordinal: int) -> tuple[int, str]:
        return (0, f"device {ordinal}")

    def cuDeviceGetAttribute(self, which: str, device: str) -> tuple[int, int]:
        return (0, self.shared) if which == "most shared" and self.shared else (1, 0)

    def cuKernelSetAttribute(self, which: str, number: int, handle: Any, device: str) -> tuple[int]:
        self.calls.append("cuKernelSetAttribute")
        self.asked.append((which, number, device))
        return (1,) if self.refuses else (0,)

    def cuLibraryLoadData(self, code: bytes, *options: Any) -> tuple[int, Any]:
        self.calls.append("cuLibraryLoadData")
        assert options == ([], [], 0, [], [], 0)
        return (0, code) if code[:4] == b"\x7fELF" else (200, None)

    def cuLibraryGetKernel(self, library: bytes, name: bytes) -> tuple[int, Any]:
        places = places_in(library, name.decode())
        return (0, LoadedKernel(name, tuple(places))) if places else (500, None)

    def cuStreamIsCapturing(self, stream: int) -> tuple[int, int]:
        self.calls.append("cuStreamIsCapturing")
        return 0, int(stream in self.captured)

    def cuKernelGetParamInfo(self, handle: Any, parameter: int) -> tuple[int, int, int]:
        places = handle.places if isinstance(handle, LoadedKernel) else self.places
        known = parameter < len(places)
        return (0, *places[parameter]) if known else (1, 0, 0)

    def cuLaunchKernel(self, handle: Any, *rest: Any) -> tuple[int]:
        self.calls.append("cuLaunchKernel")
        self.started.append(read_launch(handle, *rest))
        return (self.status,)

    CUlaunchAttributeID = SimpleNamespace(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION="cluster")

    def CUlaunchAttribute(self) -> Any:
        return SimpleNamespace(value=SimpleNamespace(clusterDim=SimpleNamespace()))

    def CUlaunchConfig(self) -> Any:
        return SimpleNamespace()

    def cuLaunchKernelEx(self, whole: Any, handle: Any, parameters: int, extra: int) -> tuple[int]:
        self.calls.append("cuLaunchKernelEx")
        (attribute,) = whole.attrs
        assert (attribute.id, whole.numAttrs) == ("cluster", 1)
        self.clusters.append(vars(attribute.value.clusterDim))
        sizes = (whole.gridDimX, whole.gridDimY, whole.gridDimZ,
                 whole.blockDimX, whole.blockDimY, whole.blockDimZ)  # fmt: skip
        assert sizes[1:3] + sizes[4:] == (1, 1, 1, 1)
        started = read_launch(
            handle, *sizes, whole.sharedMemBytes, whole.hStream, parameters, extra
        )  # fmt: skip
        self.started.append(started)
        return (self.status,)


@contextmanager
def stub_gpu(capability: tuple[int, int] | None = None) -> Iterator[Driver]:
    """Let public calls run on a GPU that is not there.

    With a compute capability, kernels are compiled for it, or found on disk, and loaded.
    """
    from numbaloss.call import repeats
    from numbaloss.cuda import availability, backend, kernel, results, shared_memory
    from numbaloss.cuda.packing import Launch, Packing

    driver = Driver()

    def configure(
        self: Any, place: Any, blocks: int, shared: int, threads: int, cluster: int
    ) -> Launch:
        grid = blocks, threads, shared
        return Launch(driver, self, Packing(self.arguments), place.stream, grid, cluster)

    def empty(shape: tuple[int, ...], dtype: Any) -> Array:
        assert not driver.captured, "no memory may be asked for"
        driver.calls.append("cuMemAlloc")
        return Array(shape, dtype)

    def upload(array: np.ndarray) -> Array:
        assert not driver.captured, "nobody may wait"
        driver.calls.extend(["cuMemAlloc", "cuMemcpyHtoD", "cuStreamSynchronize"])
        return Array(array.shape, array.dtype)

    def wait(*_: Any) -> None:
        driver.calls.append("cuStreamSynchronize")

    if capability is None:
        started_at_once = mock.patch.object(kernel.Kernel, "_configure", configure)
    else:
        started_at_once = nullcontext()
    with (
        without_gpu(capability) if capability else nullcontext(),
        mock.patch.object(backend, "capability", return_value=capability),
        mock.patch.object(shared_memory, "_known", {}),
        mock.patch.object(backend, "stream_handle", lambda place: place.stream),
        mock.patch.object(backend, "driver", return_value=driver),
        mock.patch.object(availability, "require", return_value=None),
        # Plain functions: calls of mocks take 8 us.
        mock.patch.object(backend, "require", _nothing),
        mock.patch.object(backend, "device_count", _one),
        mock.patch.object(backend, "on_device", _here),
        mock.patch.object(backend, "processors", _processors),
        mock.patch.object(backend, "empty", empty),
        mock.patch.object(backend, "upload", upload),
        mock.patch.object(backend, "synchronize", wait),
        mock.patch.object(results, "_workspaces", {}),
        mock.patch.object(results, "_spare", {}),
        started_at_once,
        mock.patch.object(kernel.Kernel, "launch", _unshared(kernel.Kernel.launch)),
    ):
        repeats.forget()
        yield driver
    repeats.forget()


def remembered(loss: Any) -> list[Any]:
    """The calls of a loss, or of one that shares its plans, that are repeated from now on."""
    from numbaloss.call import repeats

    pairs = getattr(loss, "_gpu_plans", {}).items()
    known = [one for name, one in pairs if name[0] == repeats._generation]
    return [one for one in known if isinstance(one, repeats._Call)]


def _nothing() -> None:
    pass


def _one() -> int:
    return 1


_HERE = nullcontext()


def _here(device: int) -> Any:
    return _HERE


def _processors(device: int) -> int:
    return 132


def _unshared(launch: Any) -> Any:
    """The same, for kernels whose configurations are forgotten with the stub."""
    ready: dict[Any, Any] = {}

    def launch_(self: Any, *arguments: Any, **options: Any) -> Any:
        own, self._ready = self._ready, ready.setdefault(self, type(self._ready)())
        try:
            return launch(self, *arguments, **options)
        finally:
            self._ready = own

    return launch_
