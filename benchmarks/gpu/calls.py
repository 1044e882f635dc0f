"""What a call costs the host: arrays so small that the device is done before Python is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from . import inputs, peers, reference
from .cases import Case
from .clock import Times
from .libraries import Library, load
from .race import Run, ours

# Seconds of a call that does not wait for the device.
TARGET = 20e-6
REPEATS = 5
WARM = 50


def cases() -> list[Case]:
    return [
        Case("elementwise", "huber", (1000,)),
        Case("elementwise", "binary_cross_entropy", (1000,), targets="binary"),
        Case("rows", "cross_entropy", (100, 10), targets="labels"),
    ]


def run(work: Run, names: list[str], calls: int = 400) -> None:
    """With the arrays of every library; the calls of a peer are PyTorch's or CuPy's own."""
    for name in names:
        library = work.library if name == work.library.name else load(name)
        for case in cases():
            for kind in ("async", "wait", "peer"):
                plain = case.plain() | {"part": "calls", "library": name, "kind": kind,
                                        "target": TARGET if kind == "async" else None}  # fmt: skip
                if kind == "peer" and name == "cupy" and case.loss not in peers.CUPY:
                    continue
                work.add(
                    f"calls with {library.title}, {case.title}, {kind}",
                    partial(_measure, work, library, case, calls),
                    plain,
                )


def _peer(library: Library, case: Case, sets: list[inputs.Arrays]) -> dict[str, Any]:
    return (peers.eager if library.name == "torch" else peers.with_cupy)(library, case, sets)


def _measure(work: Run, library: Library, case: Case, calls: int, plain: dict[str, Any]) -> None:
    given = inputs.make(library, case)
    given.poison(library)
    options = work.options if plain["kind"] == "async" else {}
    if plain["kind"] == "peer":
        step = next(iter(_peer(library, case, [given]).values()))
    else:
        step = ours(work, case, [given], options)
        found = reference.errors(library, case, given, float(step(0)[0]))
        plain["errors"] = found
        if complaint := reference.complaint(case, found):
            plain["error"] = complaint
            return
    if plain["kind"] != "peer" and library.on_gpu:
        plain["driver_calls"] = driver_calls(lambda: step(0))
    total, queued = per_call(lambda: step(0), library.synchronize, calls)
    plain |= {"seconds": total.plain(), "queued": queued.plain()}


def driver_calls(step: Callable[[], Any]) -> dict[str, int]:
    """What a call asks of the driver, by kind; the memory of results is their library's."""
    from numbaloss.cuda import backend
    from numbaloss.cuda.packing import Launch

    found: dict[str, int] = {}

    def counted(function: Any, kind: str) -> Any:
        def call(*given: Any, **options: Any) -> Any:
            found[kind] = found.get(kind, 0) + 1
            return function(*given, **options)

        return call

    places = [(backend, "empty"), (backend, "upload"), (backend, "read_words"),
              (backend, "synchronize"), (Launch, "_start")]  # fmt: skip
    usual = [(where, name, getattr(where, name)) for where, name in places]
    try:
        for where, name, function in usual:
            setattr(where, name, counted(function, "launch" if where is Launch else name))
        step()
    finally:
        for where, name, function in usual:
            setattr(where, name, function)
    return found


def per_call(
    step: Callable[[], Any], synchronize: Callable[[], None], calls: int
) -> tuple[Times, Times]:
    """Seconds a call, until the device is done, and until the last call has returned."""
    totals, queued = [], []
    for _ in range(min(calls, WARM)):
        step()
    for _ in range(REPEATS):
        synchronize()
        start = perf_counter()
        for _ in range(calls):
            step()
        queued.append((perf_counter() - start) / calls)
        synchronize()
        totals.append((perf_counter() - start) / calls)
    return Times.of(totals), Times.of(queued)
