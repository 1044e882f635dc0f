"""Rows that clusters of blocks keep, which no call takes yet, beside the walks that calls take.

Whoever reads the report sees whether they are right, and faster: then
``numbaloss.cuda.clusters.ENABLED`` may become True.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from . import inputs, reference
from .cases import Case, shrunk
from .race import Run, Skipped, ours

CASES = [
    Case("rows", "cross_entropy", shape, kind, targets="labels")
    for kind, shape in (
        ("float32", (1024, 131_072)), ("float32", (512, 262_144)), ("bfloat16", (1024, 262_144)),
    )
]  # fmt: skip


def run(work: Run) -> None:
    """Value and gradient of long rows, both ways; a way that is wrong is an error."""
    for case in CASES if work.library.on_gpu else [shrunk(CASES[0])]:
        plain = case.plain() | {"part": "clusters", "title": f"{case.title}, clusters",
                                "target": None}  # fmt: skip
        rows, classes = case.shape
        title = f"clusters of blocks, {rows} x {classes:,}, {case.dtype}"
        work.add(title, partial(_measure, work, case), plain)


def _measure(work: Run, case: Case, plain: dict[str, Any]) -> None:
    given = inputs.make(work.library, case)
    with enabled(work.library.on_gpu):
        step = ours(work, case, [given])
        given.poison(work.library)
        found = reference.errors(work.library, case, given, float(step(0)[0]))
        plain["errors"] = found
        if complaint := reference.complaint(case, found):
            plain["error"] = complaint
            return
        if work.library.on_gpu and not _used():
            raise Skipped("clusters of blocks were not taken")
        times = work.clock.time(step, 1)
    plain |= {"seconds": times.plain(), "bytes_per_second": case.bytes / times.median}
    walks = work.clock.time(ours(work, case, [given]), 1)
    plain["peers"] = {"walks": {"seconds": walks.plain()}}


@contextmanager
def enabled(on_gpu: bool) -> Iterator[None]:
    """Let calls take clusters, where there is a GPU that has them."""
    if not on_gpu:
        yield
        return
    from numbaloss.call import repeats
    from numbaloss.cuda import clusters

    if not clusters.supported():
        raise Skipped("this GPU has no clusters of blocks")
    clusters.ENABLED = True
    repeats.forget()
    try:
        yield
    finally:
        clusters.ENABLED = False
        repeats.forget()


def _used() -> bool:
    from numbaloss.cuda import clusters

    return bool(clusters.kernel.cache_info().currsize)  # type: ignore[attr-defined]
