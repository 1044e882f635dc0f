"""The four comparisons, as plain dictionaries that fit into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from .. import high_water
from . import agreement
from .catalogue import WORKS
from .contestants import ENTRIES, RACERS
from .race import Failed, Report, processes, race

MEMORY_LOSSES = ("squared_error", "binary_cross_entropy")
MEMORY_SIZE = 2**24
SMALL_LOSSES = ("squared_error", "huber", "binary_cross_entropy")
SMALL_SIZE = 100
SMALL_NAMES = ("new", "numpy", "sklearn", "torch", "compile", "jax")
MEMORY_NAMES = ("new", "in_place", "numpy", "sklearn", "torch", "compile", "jax")


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
    """Value and gradient, by everybody, on every combination."""
    cells: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with processes(names, threads, report) as running:
        for process in running.values():
            versions |= process.ask("describe")["versions"]
        try:
            for dtype, loss in product(dtypes, losses):
                report(f"{WORKS[loss].title}, {dtype}: comparing results ...")
                wrong = agreement.disagreeing(running, loss, dtype, report)
                entered = [name for name in running if name not in wrong]
                for size in sizes:
                    report(f"{WORKS[loss].title}, {dtype}, {size:,} elements ...")
                    cell = race(
                        running,
                        loss,
                        dtype,
                        size,
                        rounds=rounds,
                        seconds=seconds,
                        report=report,
                        names=entered,
                    )
                    cells.append(vars(cell) | {"disagreeing": wrong})
        except KeyboardInterrupt:
            report("interrupted: going on with what has been measured")
    return {"versions": versions, "cells": cells}


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
    for name in MEMORY_NAMES:
        for loss in MEMORY_LOSSES:
            # A new process each: an allocator that holds on to memory would hide the next.
            with processes([name], threads, report) as running:
                if name not in running:
                    break
                report(f"memory of {ENTRIES[name].title}, {WORKS[loss].title} ...")
                try:
                    answer = running[name].ask("memory", loss=loss, dtype="float32", size=size)
                except Failed as failure:
                    report(f"{ENTRIES[name].title}, {loss}: {failure}")
                    continue
            found.append(
                {"contestant": name, "loss": loss, "dtype": "float32", "size": size} | answer
            )
    return found
