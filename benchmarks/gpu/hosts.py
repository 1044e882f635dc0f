"""Arrays of NumPy through the GPU and back: ``device="cuda"``, against PyTorch and the bus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from . import reference
from .cases import Case
from .clock import Times
from .inputs import Arrays
from .libraries import in_one_line
from .race import Run

SIZE = 2**26
DRY_SIZE = 2**12 + 1
REPEATS = 7

Steps = dict[str, Callable[[], Any]]


def run(work: Run, seed: int) -> None:
    size = SIZE if work.library.on_gpu else DRY_SIZE
    case = Case("elementwise", "huber", (size,))
    plain = case.plain() | {"part": "hosts"}
    work.add(f"arrays of NumPy, {size:,} elements", partial(_measure, work, case, seed), plain)


def _measure(work: Run, case: Case, seed: int, plain: dict[str, Any]) -> None:
    import numbaloss

    library = work.library
    generator = np.random.default_rng(seed)
    p, t = (generator.standard_normal(case.elements, dtype=np.float32) for _ in range(2))
    out = np.full_like(p, np.nan)
    loss = numbaloss.Huber()
    device = "cuda" if library.on_gpu else "cpu"

    def step() -> Any:
        return loss.value_and_grad(p, t, out=out, device=device)

    value = step()[0]
    prediction, target, gradient = (library.from_numpy(array) for array in (p, t, out))
    given = Arrays(prediction, target, None, gradient, None)
    plain["errors"] = reference.errors(library, case, given, float(value))
    if complaint := reference.complaint(case, plain["errors"]):
        plain["error"] = complaint
        return
    del given, prediction, target, gradient
    library.release()
    times = _times(step)
    plain |= {"seconds": times.plain(), "bytes_per_second": case.bytes / times.median}
    plain["peers"] = {}
    if library.name != "torch":
        return
    for name, make in {"pageable": _pageable, "pinned": _pinned, "copies": _copies}.items():
        try:
            plain["peers"][name] = {"seconds": _times(make(library, p, t)).plain()}
        except Exception as failure:
            plain["peers"][name] = {"error": in_one_line(failure)}
            work.note(f"PyTorch, {name} arrays: {in_one_line(failure)}")


def _times(step: Callable[[], Any]) -> Times:
    """Of calls that return when everything is over."""
    step()
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        step()
        times.append(perf_counter() - start)
    return Times.of(times)


def _backward(library: Any, prediction: Any, target: Any) -> tuple[Any, Any]:
    leaf = prediction.requires_grad_()
    value = library.xp.nn.functional.huber_loss(leaf, target)
    value.backward()
    return value, leaf.grad


def _pageable(library: Any, p: np.ndarray, t: np.ndarray) -> Callable[[], Any]:
    """PyTorch from and into arrays as NumPy makes them."""
    torch = library.xp
    result = torch.empty(p.shape)

    def step() -> float:
        arrays = (torch.from_numpy(one).to(library.device, copy=True) for one in (p, t))
        value, gradient = _backward(library, *arrays)
        result.copy_(gradient)
        return value.item()

    return step


def _pinned(library: Any, p: np.ndarray, t: np.ndarray) -> Callable[[], Any]:
    """PyTorch from and into pinned memory, in which the inputs are already."""
    torch = library.xp
    sources = [_pin(library, torch.from_numpy(one)) for one in (p, t)]
    result = _pin(library, torch.empty(p.shape))

    def step() -> float:
        arrays = (one.to(library.device, non_blocking=True, copy=True) for one in sources)
        value, gradient = _backward(library, *arrays)
        result.copy_(gradient, non_blocking=True)
        library.synchronize()
        return value.item()

    return step


def _copies(library: Any, p: np.ndarray, t: np.ndarray) -> Callable[[], Any]:
    """The bus alone: the same bytes, between pinned memory and the device."""
    torch = library.xp
    sources = [_pin(library, torch.from_numpy(one)) for one in (p, t)]
    result = _pin(library, torch.empty(p.shape))
    there = [torch.empty(p.shape, device=library.device) for _ in sources]

    def step() -> None:
        for target, source in zip(there, sources, strict=True):
            target.copy_(source, non_blocking=True)
        result.copy_(there[0], non_blocking=True)
        library.synchronize()

    return step


def _pin(library: Any, tensor: Any) -> Any:
    return tensor.pin_memory() if library.on_gpu else tensor
