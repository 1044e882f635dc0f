"""Matrix products on a GPU, by the library that the arrays came from: cuBLAS through it.

CuPy and PyTorch multiply; arrays of Numba or JAX are handed to whichever of the two is installed,
which takes no copy.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import numpy as np

from ..arrays import operand
from ..arrays.gpu import Described
from . import backend
from .backend import Place

# Bytes of a product that has to be added by itself, at most.
TILE_BYTES = 64 << 20


class Library:
    """What a linear layer needs of a library of arrays; this one is CuPy."""

    def __init__(self) -> None:
        self.xp: Any = importlib.import_module("cupy")

    def own(self, array: Any, kind: str = "") -> Any:
        """The same array as one of the library's; bfloat16 as its bits, where it has none.

        ``kind`` is the dtype of arrays that have none: Numba has no bfloat16 either.
        """
        if isinstance(array, self.xp.ndarray):
            return array
        return self.xp.asarray(Described(operand(array, "array")[0], array))

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:
        """An uninitialised array of the dtype and on the device of another."""
        return self.xp.empty(shape, like.dtype)

    def make(self, shape: tuple[int, ...], kind: str, like: Any) -> Any:
        """An uninitialised array of a dtype by name, on the device of another."""
        return self.xp.empty(shape, kind)

    def put(self, numbers: np.ndarray, like: Any) -> Any:
        """A copy of an array of the host, on the device of another; in the order of the stream."""
        return self.xp.array(numbers)

    def on(self, place: Place, family: str) -> Any:
        """A context in which the library works on a device and stream.

        The current ones are right for its own arrays; others know of no stream of the library's.
        """
        stack = ExitStack()
        stack.enter_context(self.xp.cuda.Device(place.device))
        if family != "cupy":
            stack.enter_context(self._stream(place))
        return stack

    def _stream(self, place: Place) -> Any:
        streams = self.xp.cuda
        return streams.ExternalStream(place.stream) if place.stream else streams.Stream.null

    def rows(self, array: Any) -> Any:
        """All axes but the last as one."""
        return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])

    def contiguous(self, array: Any) -> bool:
        """Whether an array lies in C order."""
        return bool(array.flags.c_contiguous)

    def copy(self, source: Any, target: Any) -> None:
        """Fill an array."""
        target[...] = source.reshape(target.shape)

    def clear(self, array: Any) -> None:
        """Fill an array with zeros."""
        array[...] = 0

    def flat(self, array: Any, shape: tuple[int, ...]) -> Any:
        """The axes of the rows as one, where an array may have only the first of them."""
        if array.ndim > len(shape):
            return array.reshape(-1, array.shape[-1])
        spread = array.reshape(tuple(array.shape) + (1,) * (len(shape) - array.ndim))
        return self.xp.broadcast_to(spread, shape).reshape(-1)

    def take(self, array: Any, places: Any) -> Any:
        """A copy of some rows."""
        return array[places]

    def put_rows(self, target: Any, places: Any, source: Any) -> None:
        """Write some rows."""
        target[places] = source

    def places(self, counting: Any) -> Any:
        """Where something is true; their number is read from the GPU, so that this waits."""
        return self.xp.flatnonzero(counting)

    def multiply(self, a: Any, b: Any, out: Any, add: bool) -> None:
        """``out = a @ b``, or ``out += a @ b``; ``out`` may be float32 where both are halves."""
        if out.dtype != a.dtype:
            self._wide(a, b, out, add)
        elif not add:
            self.xp.matmul(a, b, out=out)
        elif out.dtype.char in "fd" and out.flags.c_contiguous:
            # The transposed product: cuBLAS counts columns first.
            from cupy import cublas

            cublas.gemm("N", "N", b.T, a.T, out=out.T, beta=1.0)
        else:
            self._add_by_tiles(a, b, out)

    def _wide(self, a: Any, b: Any, out: Any, add: bool) -> None:
        # CuPy has no product of halves that comes in float32: those of tiles are rounded, once
        # each, and their sum is not.
        step = max(1, TILE_BYTES // (out.shape[1] * out.dtype.itemsize))
        for start in range(0, out.shape[0], step):
            tile = out[start : start + step]
            if not add:
                tile[...] = 0
            tile += a[start : start + step] @ b

    def _add_by_tiles(self, a: Any, b: Any, out: Any) -> None:
        step = max(1, TILE_BYTES // (out.shape[1] * out.dtype.itemsize))
        for start in range(0, out.shape[0], step):
            out[start : start + step] += a[start : start + step] @ b

    def sum_rows(self, array: Any) -> Any:
        """The sum of the rows, in float32 for halves."""
        wide = np.float32 if array.dtype.itemsize == 2 else array.dtype
        return array.sum(axis=0, dtype=wide)


class Torch(Library):
    """PyTorch, without its autograd."""

    def __init__(self) -> None:
        self.xp = importlib.import_module("torch")

    def own(self, array: Any, kind: str = "") -> Any:
        if isinstance(array, self.xp.Tensor):
            return array.detach()
        view, _ = operand(array, "array")
        view = view._replace(kind=kind or view.kind)
        found = self.xp.as_tensor(Described(view, array), device=f"cuda:{view.device}")
        return found.view(self.xp.bfloat16) if view.kind == "bfloat16" else found

    def empty(self, shape: tuple[int, ...], like: Any) -> Any:
        return self.xp.empty(shape, dtype=like.dtype, device=like.device)

    def make(self, shape: tuple[int, ...], kind: str, like: Any) -> Any:
        return self.xp.empty(shape, dtype=getattr(self.xp, kind), device=like.device)

    def put(self, numbers: np.ndarray, like: Any) -> Any:
        # Only from pinned memory does a copy of any size not wait for the stream.
        found = self.xp.from_numpy(numbers)
        if like.is_cuda:
            found = found.pin_memory()
        return found.to(like.device, non_blocking=True, copy=True)

    def on(self, place: Place, family: str) -> Any:
        if family == "torch":
            return nullcontext()
        streams = self.xp.cuda
        stream = streams.default_stream(place.device)
        if place.stream:
            stream = streams.ExternalStream(place.stream, device=place.device)
        return streams.stream(stream)

    def contiguous(self, array: Any) -> bool:
        return bool(array.is_contiguous())

    def copy(self, source: Any, target: Any) -> None:
        target.detach().copy_(source.reshape(target.shape))

    def clear(self, array: Any) -> None:
        array.detach().zero_()

    def take(self, array: Any, places: Any) -> Any:
        return array.index_select(0, places)

    def put_rows(self, target: Any, places: Any, source: Any) -> None:
        target.detach().index_copy_(0, places, source)

    def places(self, counting: Any) -> Any:
        return counting.nonzero().view(-1)

    def multiply(self, a: Any, b: Any, out: Any, add: bool) -> None:
        with self.xp.no_grad():
            if out.dtype != a.dtype:
                self._wide(a, b, out, add)
            elif add:
                self.xp.addmm(out, a, b, out=out)
            else:
                self.xp.mm(a, b, out=out)

    def _wide(self, a: Any, b: Any, out: Any, add: bool) -> None:
        # cuBLAS takes halves and gives float32: in PyTorch since 2.8, for GPUs alone.
        operator = self.xp.ops.aten.addmm
        if out.is_cuda and "dtype_out" in operator.overloads():
            # A beta of 0 reads nothing of `out`.
            operator.dtype_out(out, a, b, out.dtype, beta=1.0 if add else 0.0, out=out)
            return
        step = max(1, TILE_BYTES // (out.shape[1] * out.element_size()))
        for start in range(0, out.shape[0], step):
            tile, of_tile = out[start : start + step], a[start : start + step] @ b
            if add:
                tile.add_(of_tile)
            else:
                tile.copy_(of_tile)

    def sum_rows(self, array: Any) -> Any:
        wide = self.xp.float32 if array.element_size() == 2 else array.dtype
        return array.sum(0, dtype=wide)


class Simulated(Library):
    """NumPy, for the simulator."""

    def __init__(self) -> None:
        self.xp = np

    def own(self, array: Any, kind: str = "") -> Any:
        return array if isinstance(array, np.ndarray) else operand(array, "array")[0].array

    def on(self, place: Place, family: str) -> Any:
        return nullcontext()

    def multiply(self, a: Any, b: Any, out: Any, add: bool) -> None:
        wide = np.promote_types(a.dtype, out.dtype)
        out[...] = (out if add else 0) + a.astype(wide) @ b.astype(wide)


def library(family: str, kind: str = "float32") -> Library:
    """The library that multiplies arrays of a family that come in a dtype.

    Raises
    ------
    RuntimeError
        Where neither CuPy nor PyTorch is installed.
    TypeError
        For bfloat16 of another library, where PyTorch is not.
    """
    if backend.SIMULATED:
        return Simulated()
    makers: dict[str, Callable[[], Library]] = {"cupy": Library, "torch": Torch}
    others = ("torch",) if kind == "bfloat16" else ("cupy", "torch")
    for name in (family, *others):
        if name in makers and importlib.util.find_spec(name) is not None:
            return makers[name]()
    if kind == "bfloat16" and importlib.util.find_spec("cupy") is not None:
        raise TypeError("products of bfloat16 on a GPU need PyTorch, which is not installed")
    raise RuntimeError(
        "linear and in-batch losses on a GPU multiply matrices by CuPy or PyTorch, and neither is "
        "installed: "
        'python -m pip install "cupy-cuda13x", or PyTorch'
    )
