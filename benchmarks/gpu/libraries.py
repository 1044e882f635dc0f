"""The libraries whose arrays are benchmarked: PyTorch and CuPy, with one set of methods.

Formulas are written once, for ``library.xp``: the names that they use are the same in both.
PyTorch also stands in on the CPU, so that everything here runs without a GPU.
"""

from __future__ import annotations

import importlib.util
from typing import Any


class Torch:
    """Tensors of PyTorch, on a GPU or the CPU."""

    name = "torch"
    title = "PyTorch"
    has_bfloat16 = True

    def __init__(self, device: str = "cuda", seed: int = 0) -> None:
        import torch

        self.xp: Any = torch
        self.device = torch.device(device)
        self.on_gpu = device != "cpu"
        self.generator = torch.Generator(device=self.device).manual_seed(seed)

    def normal(self, shape: tuple[int, ...], dtype: str) -> Any:
        kind = getattr(self.xp, dtype)
        return self.xp.randn(shape, generator=self.generator, device=self.device, dtype=kind)

    def integers(self, stop: int, shape: tuple[int, ...], dtype: str = "int64") -> Any:
        found = self.xp.randint(stop, shape, generator=self.generator, device=self.device)
        return found.to(getattr(self.xp, dtype))

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=self.device)

    def arange(self, stop: int) -> Any:
        return self.xp.arange(stop, device=self.device)

    def softmax(self, logits: Any) -> Any:
        return self.xp.softmax(logits, 1)

    def fill(self, array: Any, number: float) -> None:
        array.fill_(number)

    def double(self, array: Any) -> Any:
        return array.double()

    def copy(self, target: Any, source: Any) -> None:
        target.copy_(source)

    def from_numpy(self, array: Any) -> Any:
        return self.xp.from_numpy(array).to(self.device)

    def synchronize(self) -> None:
        if self.on_gpu:
            self.xp.cuda.synchronize()

    def release(self) -> None:
        """Give memory that nobody uses back to the device."""
        if self.on_gpu:
            self.xp.cuda.empty_cache()

    def memory(self) -> tuple[int, int]:
        """Free bytes, and all."""
        if self.on_gpu:
            return self.xp.cuda.mem_get_info()
        return 2**62, 2**62

    def event(self) -> Any:
        return self.xp.cuda.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        event.record(self.xp.cuda.current_stream())

    def is_over(self, event: Any) -> bool:
        return event.query()

    def seconds(self, start: Any, end: Any) -> float:
        return start.elapsed_time(end) / 1e3


class Cupy:
    """Arrays of CuPy."""

    name = "cupy"
    title = "CuPy"
    has_bfloat16 = False
    on_gpu = True

    def __init__(self, seed: int = 0) -> None:
        import cupy

        self.xp: Any = cupy
        cupy.random.seed(seed)

    def normal(self, shape: tuple[int, ...], dtype: str) -> Any:
        computed = "float64" if dtype == "float64" else "float32"
        found = self.xp.random.standard_normal(shape, dtype=computed)
        return found.astype(dtype, copy=False)

    def integers(self, stop: int, shape: tuple[int, ...], dtype: str = "int64") -> Any:
        return self.xp.random.randint(0, stop, shape).astype(dtype, copy=False)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.xp.empty(shape, dtype)

    def arange(self, stop: int) -> Any:
        return self.xp.arange(stop)

    def softmax(self, logits: Any) -> Any:
        powers = self.xp.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def fill(self, array: Any, number: float) -> None:
        array.fill(number)

    def double(self, array: Any) -> Any:
        return array.astype("float64")

    def copy(self, target: Any, source: Any) -> None:
        self.xp.copyto(target, source)

    def from_numpy(self, array: Any) -> Any:
        return self.xp.asarray(array)

    def synchronize(self) -> None:
        self.xp.cuda.Device().synchronize()

    def release(self) -> None:
        """Give memory that nobody uses back to the device."""
        self.xp.get_default_memory_pool().free_all_blocks()

    def memory(self) -> tuple[int, int]:
        """Free bytes, and all."""
        return self.xp.cuda.runtime.memGetInfo()

    def event(self) -> Any:
        return self.xp.cuda.Event()

    def record(self, event: Any) -> None:
        event.record(self.xp.cuda.get_current_stream())

    def is_over(self, event: Any) -> bool:
        return event.done

    def seconds(self, start: Any, end: Any) -> float:
        return self.xp.cuda.get_elapsed_time(start, end) / 1e3


Library = Torch | Cupy


def obstacle(name: str) -> str | None:
    """Why a library cannot use a GPU here; None where it can."""
    title = {"torch": "PyTorch", "cupy": "CuPy"}[name]
    if importlib.util.find_spec(name) is None:
        return f"{title} is not installed"
    try:
        if name == "torch":
            import torch

            return None if torch.cuda.is_available() else "PyTorch sees no GPU"
        import cupy

        return None if cupy.cuda.runtime.getDeviceCount() else "CuPy sees no GPU"
    except Exception as error:  # a driver that is too old, a library that is not found ...
        return f"{title} fails: {in_one_line(error)}"


def usable() -> tuple[list[str], list[str]]:
    """Names of the libraries that can use a GPU here, and what keeps the others from it."""
    reasons = {name: obstacle(name) for name in ("torch", "cupy")}
    names = [name for name, reason in reasons.items() if reason is None]
    return names, [reason for reason in reasons.values() if reason is not None]


def load(name: str, seed: int = 0) -> Library:
    return Torch("cuda", seed) if name == "torch" else Cupy(seed)


def in_one_line(error: BaseException) -> str:
    """An error as it stands in tables and files."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
