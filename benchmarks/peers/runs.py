"""The comparisons, as plain dictionaries that fit into JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

from .. import high_water
from . import agreement
from .catalogue import CHECKED_SIZE, FEW_ROWS, WORKS, Shape, enters
from .contestants import ENTRIES, RACERS
from .race import Failed, Process, Report, prepare, processes, race

MEMORY_SIZE = 2**24
MEMORY_LOSSES = ("squared_error", "binary_cross_entropy")
MEMORY_WIDTHS = (10, 1000, 50257)
SMALL_LOSSES = ("squared_error", "huber", "binary_cross_entropy")
SMALL_SIZE = 100
SMALL_NAMES = ("new", "numpy", "sklearn", "torch", "compile", "jax")
MEMORY_NAMES = ("new", "in_place", "numpy", "sklearn", "torch", "compile", "jax")


@contextmanager
def _racing(
    names: Sequence[str], threads: int, report: Report, results: dict[str, Any]
) -> Iterator[dict[str, Process]]:
    """Running contestants; their versions are in the results, an interruption ends the race."""
    with processes(names, threads, report) as running:
        for process in running.values():
            results["versions"] |= process.ask("describe")["versions"]
        try:
            yield running
        except KeyboardInterrupt:
            report("interrupted: going on with what has been measured")


def speed(
    losses: Sequence[str],
    dtypes: Sequence[str],
    sizes: Sequence[int],
    names: Sequence[str] = RACERS,
    *,
    threads: int,
    rounds: int,
    seconds: float,
    report: Report,
) -> dict[str, Any]:
    """Value and gradient of losses of single elements, by everybody, on every combination."""
    results: dict[str, Any] = {"versions": {}, "cells": []}
    budget: dict[str, Any] = {"rounds": rounds, "seconds": seconds, "report": report}
    with _racing(names, threads, report, results) as running:
        for dtype, loss in product(dtypes, losses):
            report(f"{WORKS[loss].title}, {dtype}: comparing results ...")
            small = (CHECKED_SIZE,)
            ready = prepare(running, list(running), loss, dtype, small, report)
            wrong = agreement.disagreeing(running, ready, loss, dtype, small, report)
            entered = [name for name in ready if name not in wrong]
            for size in sizes:
                report(f"{WORKS[loss].title}, {dtype}, {size:,} elements ...")
                ready = prepare(running, entered, loss, dtype, (size,), report)
                cell = race(running, ready, loss, dtype, (size,), **budget)
                results["cells"].append(vars(cell) | {"disagreeing": wrong})
    return results


def rows(
    dtypes: Sequence[str],
    totals: Sequence[int],
    widths: Sequence[int],
    few: Sequence[Shape] = FEW_ROWS,
    names: Sequence[str] = RACERS,
    *,
    threads: int,
    rounds: int,
    seconds: float,
    report: Report,
) -> dict[str, Any]:
    """Cross-entropy with labels: about so many elements at every width, and few rows.

    Every width is compared at the shape that is raced: most libraries compile anew for a
    shape, and ours has other code for narrow rows than for wide ones.
    """
    loss = "cross_entropy"
    results: dict[str, Any] = {"versions": {}, "cells": []}
    shapes: list[tuple[int, Shape]] = [(0, shape) for shape in few]
    shapes += [(total, (max(1, total // width), width)) for total in totals for width in widths]
    budget: dict[str, Any] = {"rounds": rounds, "seconds": seconds, "report": report}
    with _racing(names, threads, report, results) as running:
        for number, (dtype, (total, shape)) in enumerate(product(dtypes, shapes), 1):
            of = f"{number} of {len(dtypes) * len(shapes)}"
            report(f"{WORKS[loss].title}, {dtype}, {shape[0]:,} x {shape[1]:,} ({of}) ...")
            entered = [name for name in running if enters(name, shape)]
            ready = prepare(running, entered, loss, dtype, shape, report)
            wrong = agreement.disagreeing(running, ready, loss, dtype, shape, report)
            ready = [name for name in ready if name not in wrong]
            cell = race(running, ready, loss, dtype, shape, **budget)
            results["cells"].append(vars(cell) | {"total": total, "disagreeing": wrong})
    return results


def small_calls(*, threads: int, rounds: int, seconds: float, report: Report) -> dict[str, Any]:
    """One call on a hundred float32 numbers: what a call costs beside its work."""
    return speed(
        SMALL_LOSSES,
        ["float32"],
        [SMALL_SIZE],
        SMALL_NAMES,
        threads=threads,
        rounds=rounds,
        seconds=seconds,
        report=report,
    )


def memory(*, threads: int, report: Report, size: int = MEMORY_SIZE) -> list[dict[str, Any]]:
    """Bytes at the peak of a call, beside its inputs."""
    if not high_water.can_measure():
        report("memory is left out: only Linux tells the peak of a single call")
        return []
    found = []
    works: list[tuple[str, Shape]] = [(loss, (size,)) for loss in MEMORY_LOSSES]
    works += [("cross_entropy", (size // width, width)) for width in MEMORY_WIDTHS]
    for name in MEMORY_NAMES:
        for loss, shape in works:
            if not enters(name, shape):
                continue
            # A new process each: an allocator that holds on to memory would hide the next.
            with processes([name], threads, report) as running:
                if name not in running:
                    break
                report(f"memory of {ENTRIES[name].title}, {WORKS[loss].title}, {shape} ...")
                try:
                    answer = running[name].ask("memory", loss=loss, dtype="float32", shape=shape)
                except Failed as failure:
                    report(f"{ENTRIES[name].title}, {loss}: {failure}")
                    continue
            found.append(
                {
                    "contestant": name,
                    "loss": loss,
                    "dtype": "float32",
                    "size": size,
                    "shape": shape,
                }
                | answer
            )
    return found
