"""Worker processes, and rounds that go from one to the next.

A machine drifts: clocks, neighbours, page tables. In every round each contestant runs once,
for about the same time, while all others wait; so drift hits all alike, and ratios hold
where absolute figures do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .contestants import ENTRIES

REPOSITORY = Path(__file__).resolve().parents[2]
# Pause before a round: thread pools of the one before spin on for some milliseconds.
PAUSE = 0.01

Report = Callable[[str], None]


class Failed(RuntimeError):
    """A contestant could not do what it was asked."""


class Process:
    """A contestant in a process of its own."""

    def __init__(self, name: str, threads: int) -> None:
        self.name = name
        count = str(threads)
        variables = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                     "MKL_NUM_THREADS")  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.worker", name, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("BENCHMARKS_VERBOSE") else None,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | dict.fromkeys(variables, count),
        )

    def send(self, order: str, **arguments: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"order": order, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Failed("the process has ended") from None

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"the process has ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def ask(self, order: str, **arguments: Any) -> dict[str, Any]:
        self.send(order, **arguments)
        return self.receive()

    def end(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def processes(names: Sequence[str], threads: int, report: Report) -> Iterator[dict[str, Process]]:
    """Processes of those contestants whose libraries are here and can be imported."""
    running: dict[str, Process] = {}
    try:
        for name in names:
            missing = ENTRIES[name].missing()
            if missing:
                report(f"{ENTRIES[name].title} is left out: {', '.join(missing)} not installed")
                continue
            running[name] = Process(name, threads)
        for name in list(running):
            try:
                running[name].ask("describe")
            except Failed as failure:
                report(f"{ENTRIES[name].title} is left out: {failure}")
                running.pop(name).end()
        yield running
    finally:
        for process in running.values():
            process.end()


def results(process: Process, loss: str, dtype: str) -> dict[str, np.ndarray]:
    """Values and gradients of all formulations of a contestant, for comparison."""
    path = Path(process.ask("check", loss=loss, dtype=dtype)["file"])
    try:
        with np.load(path) as found:
            return dict(found)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


@dataclass
class Cell:
    """All contestants on one loss, dtype and size."""

    loss: str
    dtype: str
    size: int
    nanoseconds: dict[str, float]  # a call
    formulations: dict[str, str]
    rounds: dict[str, list[float]]  # the best of each round, nanoseconds a call


def race(
    running: dict[str, Process],
    loss: str,
    dtype: str,
    size: int,
    *,
    rounds: int,
    seconds: float,
    report: Report,
    names: Sequence[str] | None = None,
) -> Cell:
    """Time one loss. ``seconds`` is how long each contestant works in a round.

    The figure of a contestant is its fastest call in any round. Whatever else a machine does
    only ever adds time, and adds most to those who use all processors; rounds far apart
    give each contestant many chances of an undisturbed call.
    """
    entered = [name for name in (names or running) if name in running]
    ready = []
    # Compiling is not timed, so all may do it at once.
    for name in entered:
        running[name].send("prepare", loss=loss, dtype=dtype, size=size)
    for name in entered:
        try:
            if running[name].receive()["formulations"]:
                ready.append(name)
            elif ENTRIES[name].kind == "ours":
                report(f"this version of numbaloss has no {loss}")
        except Failed as failure:
            report(f"{ENTRIES[name].title} has no {loss} in {dtype}: {failure}")
    # Short calls are timed by the hundred: the clock itself takes as long as one.
    calls = 1 if size > 10_000 else 100
    cell = Cell(loss, dtype, size, {}, {}, {name: [] for name in ready})
    for name in ready:
        time.sleep(PAUSE)
        try:
            chosen = running[name].ask("choose", calls=calls)
        except Failed as failure:
            report(f"{ENTRIES[name].title} failed at {loss} in {dtype}: {failure}")
            del cell.rounds[name]
            continue
        cell.formulations[name] = chosen["formulation"]
    racing = list(cell.rounds)
    for number in range(rounds):
        # Another one begins in every round: nobody always follows the same neighbour.
        first = number % max(1, len(racing))
        for name in racing[first:] + racing[:first]:
            time.sleep(PAUSE)
            times = running[name].ask("run", seconds=seconds, calls=calls)
            cell.rounds[name].append(min(times["nanoseconds"]))
    cell.nanoseconds = {name: min(times) for name, times in cell.rounds.items()}
    for name in racing:
        running[name].ask("release")
    return cell
