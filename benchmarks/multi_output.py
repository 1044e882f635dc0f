"""Losses of several outputs beside PyTorch's and JAX's formulas of them, and the floor.

    python -m benchmarks.multi_output [--samples 4194304] [--rounds 15] [--json FILE]

Value and gradient in float32; all take turns in one process, each figure is the least of its turns.
The floor reads predictions and targets and writes as much as a gradient, on all threads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

import numbaloss as nl

Call = Callable[[], Any]


@numba.njit(parallel=True, error_model="numpy", fastmath=True)
def _floor(p, t, g):
    for i in numba.prange(p.size):
        g[i] = p[i] + np.float32(1.0)
    total = np.float32(0.0)
    for i in numba.prange(t.size):
        total += t[i]
    return total


def _boxes(rng: Any, samples: int) -> np.ndarray:
    corner = rng.random((samples, 2), dtype="f4")
    return np.hstack([corner, corner + rng.random((samples, 2), dtype="f4") + np.float32(0.1)])


def formulas(library: Any) -> dict[str, Any]:
    """The same losses in a library of arrays: predictions (n, k), targets (n, m) or (n,)."""
    minimum, maximum = library.minimum, library.maximum

    def giou(p, t):
        a, b, c, d = (p[:, j] for j in range(4))
        e, f, g, h = (t[:, j] for j in range(4))
        zero = 0.0 * a
        common = maximum(minimum(c, g) - maximum(a, e), zero) * maximum(
            minimum(d, h) - maximum(b, f), zero
        )
        union = (c - a) * (d - b) + (g - e) * (h - f) - common
        hull = (maximum(c, g) - minimum(a, e)) * (maximum(d, h) - minimum(b, f))
        return (1.0 - common / union + (hull - union) / hull).mean()

    def gaussian(p, t):
        z = (t - p[:, 0]) * library.exp(-p[:, 1])
        return (0.5 * z * z + p[:, 1] + 0.9189385).mean()

    def dpo(p, t):
        x = 0.1 * ((p[:, 0] - t[:, 0]) - (p[:, 1] - t[:, 1]))
        return library.logaddexp(0.0 * x, -x).mean()

    return {"giou": giou, "gaussian_nll": gaussian, "dpo": dpo}


def inputs(name: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    if name == "giou":
        return _boxes(rng, samples), _boxes(rng, samples)
    shape = (samples,) if name == "gaussian_nll" else (samples, 2)
    p, t = (rng.standard_normal(size, dtype="f4") for size in ((samples, 2), shape))
    return p, t


def torch_call(name: str, p: np.ndarray, t: np.ndarray) -> Call | None:
    try:
        import torch
    except ImportError:
        return None
    formula = formulas(torch)[name]
    prediction, target = torch.from_numpy(p.copy()).requires_grad_(), torch.from_numpy(t)

    def call() -> None:
        prediction.grad = None
        formula(prediction, target).backward()

    return call


def jax_call(name: str, p: np.ndarray, t: np.ndarray) -> Call | None:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    step = jax.jit(jax.value_and_grad(formulas(jnp)[name]))
    given = jnp.asarray(p), jnp.asarray(t)
    return lambda: jax.block_until_ready(step(*given))


def contestants(name: str, samples: int) -> dict[str, Call]:
    p, t = inputs(name, samples)
    loss, out = nl.get(name), np.empty_like(p)
    columns = np.asfortranarray(p)
    of_columns = np.empty_like(columns)
    found: dict[str, Call | None] = {
        "floor": lambda: _floor(p.reshape(-1), t.reshape(-1), out.reshape(-1)),
        "rows": lambda: loss.value_and_grad(p, t, out=out),
        "columns": lambda: loss.value_and_grad(columns, t, out=of_columns),
        "PyTorch": torch_call(name, p, t),
        "JAX": jax_call(name, p, t),
    }
    return {one: call for one, call in found.items() if call is not None}


def least(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """The shortest turn of each, in ms."""
    found = {}
    for name, call in calls.items():
        call()
        found[name] = float("inf")
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name] = min(found[name], 1e3 * (time.perf_counter() - start))
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1 << 22)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    given = parser.parse_args(arguments)
    results = {}
    print(f"{given.samples:,} samples of float32, ms")
    for name in formulas(np):
        times = results[name] = least(contestants(name, given.samples), given.rounds)
        ours = min(times["rows"], times["columns"])
        shares = ", ".join(
            f"{one} {times[one] / times['rows']:.1f}x" for one in ("PyTorch", "JAX") if one in times
        )
        print(
            f"{name:14} floor {times['floor']:6.1f}   rows {times['rows']:6.1f}   columns "
            f"{times['columns']:6.1f}   {ours / times['floor']:.2f} of the floor; {shares}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps({"samples": given.samples, "ms": results}, indent=1))


if __name__ == "__main__":
    main()
