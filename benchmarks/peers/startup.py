"""Import time and first calls, each in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .contestants import ENTRIES
from .race import REPOSITORY, Report

# Every program prints seconds. NumPy is imported first: all of them need it.
IMPORT = """
import numpy, time
start = time.perf_counter()
import {modules}
print(time.perf_counter() - start)
"""

OURS = """
import numba, numbaloss, numpy, time
prediction = numpy.zeros({size}, "{dtype}")
target = numpy.zeros({size}, "{dtype}")
loss = numbaloss.get("{loss}")
start = time.perf_counter()
loss.value_and_grad(prediction, target)
print(time.perf_counter() - start)
"""

TORCH = """
import numpy, time, torch
prediction = torch.zeros({size}, requires_grad=True)
target = torch.zeros({size})
function = torch.nn.functional.binary_cross_entropy_with_logits
start = time.perf_counter()
{wrap}function(prediction, target).backward()
print(time.perf_counter() - start)
"""

JAX = """
import jax, numpy, time
jax.config.update("jax_platforms", "cpu")
prediction = jax.numpy.zeros({size})
target = jax.block_until_ready(jax.numpy.zeros({size}))
def loss(x, t):
    return (jax.nn.softplus(x) - t * x).mean()
start = time.perf_counter()
jax.block_until_ready(jax.jit(jax.value_and_grad(loss))(prediction, target))
print(time.perf_counter() - start)
"""

LOSSES = ("squared_error", "binary_cross_entropy", "focal")
LARGE = 1_048_576


@dataclass(frozen=True)
class Start:
    """One thing to start, in processes of its own."""

    what: str  # "import" or "first call"
    title: str
    program: str
    needs: str = "numba"
    cache: str = ""  # "warm" or "cold", where it has one
    ours: bool = False


def _starts() -> list[Start]:
    starts = [
        Start("import", "numbaloss", IMPORT.format(modules="numbaloss"), ours=True),
        Start("import", "numba", IMPORT.format(modules="numba")),
        Start("import", "scikit-learn", IMPORT.format(modules="sklearn.linear_model"), "sklearn"),
        Start("import", "PyTorch", IMPORT.format(modules="torch"), "torch"),
        Start("import", "JAX", IMPORT.format(modules="jax, jax.numpy"), "jax"),
    ]
    for loss in LOSSES:
        for size in (100, LARGE):
            program = OURS.format(loss=loss, dtype="float32", size=size)
            for cache in ("warm", "cold"):
                title = f"{loss}, {size:,} elements"
                starts.append(Start("first call", title, program, cache=cache, ours=True))
    compiled = TORCH.format(size=LARGE, wrap="function = torch.compile(function)\n")
    entropy = "binary_cross_entropy, by "
    starts += [
        Start("first call", entropy + "PyTorch", TORCH.format(size=LARGE, wrap=""), "torch"),
        Start("first call", entropy + "torch.compile", compiled, "torch", "warm"),
        Start("first call", entropy + "torch.compile", compiled, "torch", "cold"),
        Start("first call", entropy + "JAX", JAX.format(size=LARGE), "jax"),
    ]
    return starts


def _milliseconds(program: str, folder: str) -> float:
    """Run a program that keeps its compiled code in ``folder``."""
    caches = {
        "NUMBALOSS_CACHE_DIR": os.path.join(folder, "numbaloss"),
        "TORCHINDUCTOR_CACHE_DIR": os.path.join(folder, "inductor"),
    }
    environment = os.environ | caches
    # Bytecode is kept, as for any user: without it every import compiles the sources.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment,
    )
    if done.returncode:
        said = done.stderr.strip() or f"the process has ended with status {done.returncode}"
        raise RuntimeError(said.splitlines()[-1])
    return float(done.stdout.splitlines()[-1]) * 1e3


def measure(repetitions: int, report: Report) -> list[dict[str, Any]]:
    """Median milliseconds of every start; they take turns, against drift."""
    present = {name for entry in ENTRIES.values() for name in entry.needs if not entry.missing()}
    starts = [start for start in _starts() if start.needs in present]
    times: dict[Start, list[float]] = {start: [] for start in starts}
    with tempfile.TemporaryDirectory(prefix="numbaloss-startup-") as shared:
        for start in starts:
            if start.cache != "cold":
                report(f"starting {start.title} ...")
                try:
                    # Fills the disk cache, and brings the files of the library into memory.
                    _milliseconds(start.program, shared)
                except RuntimeError as error:
                    report(f"{start.title} is left out: {error}")
                    del times[start]
        for turn in range(repetitions):
            report(f"turn {turn + 1} of {repetitions} ...")
            for start in list(times):
                if start.cache != "cold":
                    times[start].append(_milliseconds(start.program, shared))
                elif turn < 3:  # these take seconds, and vary by little of it
                    with tempfile.TemporaryDirectory(dir=Path(shared)) as empty:
                        times[start].append(_milliseconds(start.program, empty))
    return [
        {
            "what": start.what,
            "title": start.title,
            "cache": start.cache,
            "ours": start.ours,
            "milliseconds": median(times[start]),
            "all": times[start],
        }
        for start in starts
        if start in times
    ]
