"""Kernels compiled on all processors beforehand, so that no step waits for the compiler."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from .race import Run

KINDS = ("float32", "bfloat16")
WIDTHS = (10, 100, 256, 1024, 4096, 32768, 131072, 262144)
# What is timed, and what is checked beside.
LOSSES = ("huber", "squared_error", "absolute_error", "log_cosh", "binary_cross_entropy", "focal",
          "poisson", "triplet")  # fmt: skip
OF_ROWS = ("cross_entropy",)


def run(work: Run, seconds: float) -> dict[str, Any]:
    """Compile for this GPU for so many seconds; how many kernels were compiled."""
    from numbaloss.cuda import availability

    capability = availability.gpus()[0].capability
    tasks: list[tuple[str, str, tuple[int, ...]]] = []
    for kind in KINDS:
        tasks += [(name, kind, (width,)) for name in OF_ROWS for width in WIDTHS]
        tasks += [(name, kind, ()) for name in LOSSES]
    done = fresh = 0
    workers = min(os.cpu_count() or 1, len(tasks))
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        waiting = [pool.submit(compile_one, *task, capability) for task in tasks]
        for one in as_completed(waiting, timeout=seconds):
            done, fresh = done + 1, fresh + one.result()
    except TimeoutError:
        work.note(f"{len(tasks) - done} of {len(tasks)} tasks were not compiled beforehand")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {"tasks": len(tasks), "done": done, "compiled": fresh, "processes": workers}


def compile_one(name: str, kind: str, widths: tuple[int, ...], capability: tuple[int, int]) -> int:
    """Compile what calls of a loss launch, in a process of its own."""
    import numbaloss as nl
    from numbaloss.cli.warming_gpu import compile_task

    return compile_task(nl.get(name), kind, capability, widths)
