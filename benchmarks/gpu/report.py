"""Everything that a machine with one GPU can tell in seven minutes: ``--report``.

Steps come one after another, each with a time of its own. One that fails is written down with its
traceback, and does not keep the next from running; the file of results is written after each.
"""

from __future__ import annotations

import faulthandler
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from . import calls, cases, checks, clusters, compiling, embeddings, first_call, hosts, linear, race

ROOT = Path(__file__).parents[2]
# Seconds after which the process ends, whatever it waits for.
LAST = 450.0
# Of a step's time, what may go into torch.compile.
COMPILE_SHARE = 0.5
CALLS, DRY_CALLS = 400, 3


class Step(NamedTuple):
    """A part of the report, and the seconds that it may take."""

    name: str
    seconds: float
    work: Callable[[], Any]


def steps(work: race.Run, names: list[str], seed: int) -> list[Step]:
    """What is done, in this order."""
    on_gpu = work.library.on_gpu

    def chosen(found: list[cases.Case]) -> list[cases.Case]:
        return found if on_gpu else [cases.shrunk(case) for case in found[:2]]

    def compiled() -> Any:
        return compiling.run(work, seconds=40.0) if on_gpu else None

    return [
        Step("compile", 45.0, compiled),
        Step("checks", 45.0, lambda: checks.run(work)),
        Step("pytest", 80.0, lambda: tests(80.0, on_gpu)),
        Step("rows", 82.0, lambda: race.run(work, chosen(cases.report_rows()))),
        Step("elementwise", 35.0, lambda: race.run(work, chosen(cases.report_elementwise()))),
        Step("calls", 15.0, lambda: calls.run(work, names, CALLS if on_gpu else DRY_CALLS)),
        Step("linear", 30.0, lambda: linear.run(work, linear.REPORTED)),
        Step("embeddings", 25.0, lambda: embeddings.report(work)),
        Step("hosts", 15.0, lambda: hosts.run(work, seed)),
        Step("first call", 25.0, lambda: first_call.run(work)),
        # Last: nobody has run these kernels.
        Step("clusters", 12.0, lambda: clusters.run(work)),
    ]


def run(
    work: race.Run, names: list[str], seed: int, kept: dict[str, Any], copy: Callable[[str], None]
) -> None:
    """All steps, between two measurements of the copy; ``kept`` receives what became of each."""
    if work.library.on_gpu:  # which may hang
        faulthandler.dump_traceback_later(LAST, exit=True)
    try:
        for one in [
            Step("copy", 5.0, lambda: copy("before")),
            *steps(work, names, seed),
            Step("copy again", 5.0, lambda: copy("after")),
        ]:
            kept[one.name] = _done(work, one)
            work.save()
    finally:
        faulthandler.cancel_dump_traceback_later()


def _done(work: race.Run, step: Step) -> dict[str, Any]:
    """What became of a step: its seconds, what it found or the traceback of its end."""
    start = perf_counter()
    work.report(f"== {step.name}, up to {step.seconds:.0f} s")
    work.deadline = start + step.seconds
    if step.name in ("rows", "elementwise") and work.compile_seconds:
        work.compile_seconds[step.name] = min(
            work.compile_seconds[step.name], COMPILE_SHARE * step.seconds
        )
    found: dict[str, Any] = {"box": step.seconds}
    try:
        told = step.work()
        if told is not None:
            found["found"] = told
    except Exception:
        found["traceback"] = traceback.format_exc()
        work.report(found["traceback"])
    work.deadline = inf
    return found | {"seconds": perf_counter() - start}


def tests(seconds: float, on_gpu: bool) -> dict[str, Any]:
    """The tests that need a GPU, in a process of their own; how many passed, and what failed.

    Without a GPU they are collected alone.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider",
               "tests/cuda/gpu"]  # fmt: skip
    command += [] if on_gpu else ["--collect-only"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    found: dict[str, Any] = {"command": " ".join(command[1:])}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False,
        )  # fmt: skip
        text, found["code"] = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        printed = late.stdout or b""
        text = printed.decode(errors="replace") if isinstance(printed, bytes) else printed
        found["stopped"] = f"after {seconds:.0f} s"
    found["progress"] = {
        name: sum(line.count(sign) for line in re.findall(r"^[.FEsx]+(?= |$)", text, re.M))
        for name, sign in (("passed", "."), ("failed", "F"), ("errors", "E"), ("skipped", "s"))
    }
    return found | {"tail": text[-4000:]}
