"""One contestant in one process: reads orders as lines of JSON, does them, answers likewise.

Run by ``race.Process`` as ``python -m benchmarks.peers.worker NAME``. A process a contestant,
because thread pools and allocators of several libraries in one process disturb each other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from ..high_water import extra_bytes, give_back_freed_memory
from .catalogue import WORKS, arrays
from .contestants import ENTRIES, Contestant, Step

# A step that takes so many seconds is warm after two calls.
LONG = 0.25


class Worker:
    """The orders a contestant obeys: every public method is one."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.steps: dict[str, Step] = {}
        self.step: Step | None = None

    def describe(self) -> dict[str, Any]:
        return {"versions": self.contestant.versions()}

    def prepare(self, loss: str, dtype: str, shape: list[int]) -> dict[str, Any]:
        """Make the arrays, and run every formulation until it is compiled and warm."""
        self.release()
        steps = self._steps(loss, dtype, shape)
        for step in steps.values():
            step()
            for _ in range(2):
                if _nanoseconds(step, 1) > LONG * 1e9:
                    break
        self.steps = steps
        return {"formulations": list(steps)}

    def choose(self, calls: int) -> dict[str, Any]:
        """Keep the fastest formulation; the attempts alternate, against drift."""
        best = dict.fromkeys(self.steps, float("inf"))
        for _ in range(3 if len(self.steps) > 1 else 0):
            for name, step in self.steps.items():
                best[name] = min(best[name], _nanoseconds(step, calls))
        chosen = min(best, key=best.__getitem__)
        self.step = self.steps[chosen]
        self.steps = {}
        return {"formulation": chosen}

    def run(self, seconds: float, calls: int) -> dict[str, Any]:
        """Nanoseconds a call: timings for about so many seconds, after one that does not count."""
        step = self.step
        assert step is not None
        step()
        times = [_nanoseconds(step, calls)]
        end = perf_counter_ns() + seconds * 1e9 - times[0] * calls
        while perf_counter_ns() < end:
            times.append(_nanoseconds(step, calls))
        return {"nanoseconds": times}

    def check(self, places: list[int]) -> dict[str, Any]:
        """Value, and the gradient at some places, of every formulation that is prepared.

        They are in a file of this folder.
        """
        found: dict[str, Any] = {}
        for name, step in self.steps.items():
            value, gradient = self.contestant.to_numpy(step())
            found[f"{name}/value"] = np.float64(value)
            found[f"{name}/gradient"] = gradient[places]
        path = Path(tempfile.mkdtemp(prefix="numbaloss-check-")) / "results.npz"
        np.savez(path, **found)
        return {"file": str(path)}

    def memory(self, loss: str, dtype: str, shape: list[int]) -> dict[str, Any]:
        """Bytes needed at the peak of a call, beside prediction and target."""
        self.release()
        steps = self._steps(loss, dtype, shape)
        found = []
        for step in steps.values():
            step()  # compilation takes memory too, and is over after this
            peaks = []
            for _ in range(3):
                self.contestant.forget()
                peaks.append(extra_bytes(step))
            # The most: JAX frees its arrays late, so that one call hides in another's.
            found.append(max(peaks))
        kept = self.contestant.kept_bytes
        return {"extra_bytes": min(found) + kept if found else None}

    def release(self) -> None:
        """Forget arrays and compiled functions."""
        self.steps, self.step = {}, None
        self.contestant.release()
        self.contestant.kept_bytes = 0
        gc.collect()
        give_back_freed_memory()

    def _steps(self, loss: str, dtype: str, shape: list[int]) -> dict[str, Step]:
        prediction, target = arrays(WORKS[loss], dtype, shape)
        return self.contestant.steps(
            loss, self.contestant.load(prediction), self.contestant.load(target)
        )


def _nanoseconds(step: Step, calls: int) -> float:
    start = perf_counter_ns()
    for _ in range(calls):
        step()
    return (perf_counter_ns() - start) / calls


def _use_few_processors(count: int) -> None:
    """Bind this process, so that every library's idea of the machine agrees."""
    if hasattr(os, "sched_getaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if count < len(allowed):
            os.sched_setaffinity(0, allowed[:count])


def main() -> None:
    name, threads = sys.argv[1], int(sys.argv[2])
    _use_few_processors(threads)
    # Libraries print what they like: the answers get a channel of their own.
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if worker is None:
                worker = Worker(ENTRIES[name].make())
            answer = getattr(worker, order.pop("order"))(**order)
        except Exception as error:
            with contextlib.suppress(Exception):
                assert worker is not None
                worker.release()
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            answer = {"error": reason, "traceback": traceback.format_exc()}
        channel.write(json.dumps(answer or {}) + "\n")


if __name__ == "__main__":
    main()
