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
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .catalogue import WORKS, Shape
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


def results(process: Process, places: list[int]) -> dict[str, np.ndarray]:
    """Values, and gradients at some places, of all prepared formulations of a contestant."""
    path = Path(process.ask("check", places=places)["file"])
    try:
        with np.load(path) as found:
            return dict(found)
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)


@dataclass
class Cell:
    """All contestants on one loss, dtype and shape."""

    loss: str
    dtype: str
    shape: Shape
    size: int = 0  # elements
    nanoseconds: dict[str, float] = field(default_factory=dict)  # a call
    formulations: dict[str, str] = field(default_factory=dict)
    # The best of each round, nanoseconds a call.
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = prod(self.shape)


def prepare(
    running: dict[str, Process],
    names: Sequence[str],
    loss: str,
    dtype: str,
    shape: Shape,
    report: Report,
) -> list[str]:
    """Let contestants make arrays and compile; returns those who have the loss."""
    ready = []
    # Compiling is not timed, so all may do it at once.
    for name in names:
        running[name].send("prepare", loss=loss, dtype=dtype, shape=shape)
    for name in names:
        try:
            if running[name].receive()["formulations"]:
                ready.append(name)
            elif ENTRIES[name].kind == "ours":
                report(f"this version of numbaloss has no {loss}")
        except Failed as failure:
            report(f"{ENTRIES[name].title} has no {loss} in {dtype}: {failure}")
    return ready


def race(
    running: dict[str, Process],
    ready: Sequence[str],
    loss: str,
    dtype: str,
    shape: Shape,
    *,
    rounds: int,
    seconds: float,
    report: Report,
) -> Cell:
    """Time what is prepared. ``seconds`` is how long each contestant works in a round.

    The figure of a contestant is its fastest call in any round. Whatever else a machine does
    only ever adds time, and adds most to those who use all processors; rounds far apart
    give each contestant many chances of an undisturbed call.
    """
    cell = Cell(loss, dtype, shape)
    # Short calls are timed by the hundred: the clock itself takes as long as one.
    calls = 1 if cell.size > 10_000 else 100
    for name in ready:
        time.sleep(PAUSE)
        try:
            chosen = running[name].ask("choose", calls=calls)
        except Failed as failure:
            report(f"{ENTRIES[name].title} failed at {WORKS[loss].title} in {dtype}: {failure}")
            continue
        cell.formulations[name] = chosen["formulation"]
        cell.rounds[name] = []
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
