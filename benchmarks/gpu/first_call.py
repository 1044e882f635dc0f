"""The first call of a process: with nothing on disk, and with the kernel there.

Each is timed in a process of its own, beyond the imports of Numba and of the arrays' library, and
beyond the first touch of the GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from typing import Any

from .race import Run

TARGET = 0.1
TIMEOUT = 60.0
CASES = {"huber": ((1000,), "float32"), "cross_entropy": ((1000, 1000), "bfloat16")}
PROGRAM = """
import json, sys, time
name, shape, dtype, device = json.loads(sys.argv[1])
import numba, torch
if device == "cuda":
    import numba.cuda
p = torch.zeros(shape, dtype=getattr(torch, dtype), device=device)
t = torch.zeros(shape[:1], dtype=torch.int64, device=device) if len(shape) > 1 else p.clone()
out = torch.empty_like(p)
if device == "cuda":
    torch.cuda.synchronize()
    numba.cuda.current_context()
start = time.perf_counter()
import numbaloss as nl
imported = time.perf_counter()
nl.get(name).value_and_grad(p, t, out=out, wait=False) if device == "cuda" else (
    nl.get(name).value_and_grad(p, t, out=out))
called = time.perf_counter()
if device == "cuda":
    torch.cuda.synchronize()
print(json.dumps({"import": imported - start, "call": called - imported}))
"""


def run(work: Run) -> None:
    """Both losses, cold and from disk; in a dry run one, from wherever it comes."""
    for name in CASES if work.library.on_gpu else ("huber",):
        shape, dtype = CASES[name]
        plain = {"part": "first call", "loss": name, "title": name.replace("_", "-"),
                 "shape": shape, "dtype": dtype, "target": TARGET}  # fmt: skip
        work.add(f"first call of {name}", partial(_measure, work, name, shape, dtype), plain)


def _measure(
    work: Run, name: str, shape: tuple[int, ...], dtype: str, plain: dict[str, Any]
) -> None:
    given = json.dumps([name, shape, dtype, "cuda" if work.library.on_gpu else "cpu"])
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    if not work.library.on_gpu:
        plain["cold"] = plain["disk"] = _timed(given, environment)
        return
    with tempfile.TemporaryDirectory() as folder:
        environment["NUMBALOSS_CACHE_DIR"] = folder
        plain["cold"] = _timed(given, environment)
        plain["disk"] = _timed(given, environment)


def _timed(given: str, environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, given], env=environment, text=True, capture_output=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found
