"""Optimiser steps beside PyTorch's, NumPy's, and the floor of the bytes that they must move.

    python -m benchmarks.optimizers [--size 16777216] [--rounds 20] [--one-thread] [--json FILE]

All take turns in one process; each figure is the least of its turns. With ``--one-thread`` times
are those that the processor works for one thread: where it has other work too, they are the ones
that mean something. The floor reads and writes as many arrays in place and adds. NumPy is its best
formulation that allocates nothing: whole arrays, or blocks that stay in the cache, whichever is
faster.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

import numbaloss.train as tr

Call = Callable[[], Any]
BLOCK = 1 << 14


@numba.njit(parallel=True, error_model="numpy", fastmath=True)
def _floor_none(p, g):
    for i in numba.prange(p.size):
        p[i] += g[i]


@numba.njit(parallel=True, error_model="numpy", fastmath=True)
def _floor_one(p, g, a):
    for i in numba.prange(p.size):
        p[i] += g[i]
        a[i] += g[i]


@numba.njit(parallel=True, error_model="numpy", fastmath=True)
def _floor_two(p, g, a, b):
    for i in numba.prange(p.size):
        p[i] += g[i]
        a[i] += g[i]
        b[i] += g[i]


SLOW = ("NumPy", "NumPy in blocks", "PyTorch foreach")  # have a quarter of the turns
FLOORS = {0: _floor_none, 1: _floor_one, 2: _floor_two}


def numpy_sgd(p, g, s, t, step):
    np.multiply(g, 1e-9, out=t)
    p -= t


def numpy_momentum(p, g, s, t, step):
    s[0] *= 0.9
    s[0] += g
    np.multiply(s[0], 1e-9, out=t)
    p -= t


def numpy_rmsprop(p, g, s, t, step):
    np.multiply(g, g, out=t)
    t *= 0.01
    s[0] *= 0.99
    s[0] += t
    np.sqrt(s[0], out=t)
    t += 1e-8
    np.divide(g, t, out=t)
    t *= 1e-9
    p -= t


def numpy_adagrad(p, g, s, t, step):
    np.multiply(g, g, out=t)
    s[0] += t
    np.sqrt(s[0], out=t)
    t += 1e-10
    np.divide(g, t, out=t)
    t *= 1e-9
    p -= t


def numpy_adam(p, g, s, t, step):
    m, v = s
    m *= 0.9
    np.multiply(g, 0.1, out=t)
    m += t
    v *= 0.999
    np.multiply(g, g, out=t)
    t *= 0.001
    v += t
    np.sqrt(v, out=t)
    t *= 1.0 / math.sqrt(1.0 - 0.999**step)
    t += 1e-8
    np.divide(m, t, out=t)
    t *= 1e-9 / (1.0 - 0.9**step)
    p -= t


def numpy_adamw(p, g, s, t, step):
    p *= 1.0 - 1e-11
    numpy_adam(p, g, s, t, step)


def numpy_lion(p, g, s, t, step):
    np.subtract(g, s[0], out=t)
    t *= 0.1
    t += s[0]
    np.sign(t, out=t)
    t *= 1e-9
    p -= t
    np.subtract(g, s[0], out=t)
    t *= 0.01
    s[0] += t


# Our optimiser, its states, NumPy's step, the name and options of PyTorch's.
CASES: dict[str, tuple[Any, int, Any, str, dict[str, Any]]] = {
    "SGD": (lambda **o: tr.SGD(1e-9, **o), 0, numpy_sgd, "SGD", {}),
    "SGD, momentum": (
        lambda **o: tr.SGD(1e-9, 0.9, **o), 1, numpy_momentum, "SGD", {"momentum": 0.9},
    ),
    "RMSprop": (lambda **o: tr.RMSprop(1e-9, **o), 1, numpy_rmsprop, "RMSprop", {}),
    "Adagrad": (lambda **o: tr.Adagrad(1e-9, **o), 1, numpy_adagrad, "Adagrad", {}),
    "Adam": (lambda **o: tr.Adam(1e-9, **o), 2, numpy_adam, "Adam", {}),
    "AdamW": (lambda **o: tr.AdamW(1e-9, **o), 2, numpy_adamw, "AdamW", {}),
    "Lion": (lambda **o: tr.Lion(1e-9, **o), 1, numpy_lion, "", {}),
}  # fmt: skip


def in_blocks(step: Any, p: np.ndarray, g: np.ndarray, s: list[np.ndarray], t: np.ndarray) -> None:
    """A step of NumPy's, so many numbers at a time."""
    for start in range(0, p.size, BLOCK):
        part = slice(start, start + BLOCK)
        step(p[part], g[part], [one[part] for one in s], t[: p[part].size], 10)


def torch_steps(
    name: str, options: dict[str, Any], p: np.ndarray, g: np.ndarray
) -> dict[str, Call]:
    """PyTorch's fused step and that of whole lists, where it has them."""
    try:
        import torch
    except ImportError:
        return {}
    if not name:
        return {}
    found: dict[str, Call] = {}
    tensor = torch.nn.Parameter(torch.from_numpy(p.copy()))
    tensor.grad = torch.from_numpy(g)
    for way in ("fused", "foreach"):
        try:
            optimizer = getattr(torch.optim, name)([tensor], lr=1e-9, **{way: True}, **options)
            optimizer.step()
        except (TypeError, RuntimeError):
            continue
        found[f"PyTorch {way}"] = optimizer.step
    return found


def calls(case: str, size: int, large: bool) -> dict[str, Call]:
    """All contestants on arrays of a size."""
    make, states, step, name, options = CASES[case]
    rng = np.random.default_rng(0)

    def made() -> np.ndarray:
        return rng.standard_normal(size, dtype=np.float32)

    p, g = made(), made()
    unchecked, checked = make(on_nonfinite="propagate"), make()
    found: dict[str, Call] = {
        "ours": lambda: unchecked.step(p, g),
        "ours, checked": lambda: checked.step(p, g),
        **torch_steps(name, options, p, g),
    }
    s, t = [np.abs(made()) for _ in range(states)], np.empty(size, np.float32)
    found["NumPy"] = lambda: step(p, g, s, t, 10)
    if large:
        found["NumPy in blocks"] = lambda: in_blocks(step, p, g, s, t)
        others = [made() for _ in range(states)]
        found["floor"] = lambda: FLOORS[states](p, g, *others)
    return found


clock: Callable[[], float] = time.perf_counter


def measure(contestants: dict[str, Call], rounds: int, number: int) -> dict[str, float]:
    """The least time of each in us; all take turns."""
    best = dict.fromkeys(contestants, math.inf)
    for call in contestants.values():
        call()
    for turn in range(rounds):
        for name, call in contestants.items():
            if turn % 4 and name in SLOW:
                continue
            start = clock()
            for _ in range(number):
                call()
            best[name] = min(best[name], (clock() - start) / number)
    return {name: 1e6 * seconds for name, seconds in best.items()}


def clipping() -> dict[str, Call]:
    """Clipping of gradients that are as large, and need not be clipped."""
    rng = np.random.default_rng(1)
    g = [rng.standard_normal(1 << 24, dtype=np.float32)]
    found: dict[str, Call] = {"clip_by_global_norm": lambda: tr.clip_by_global_norm(g, 1e9)}
    with contextlib.suppress(ImportError):
        import torch

        tensors = [torch.nn.Parameter(torch.from_numpy(one)) for one in g]
        tensors[0].grad = torch.from_numpy(g[0])
        found["PyTorch clip_grad_norm_"] = lambda: torch.nn.utils.clip_grad_norm_(tensors, 1e9)
    return found


def many_leaves() -> dict[str, Call]:
    """Leaves that are many and small."""
    small, slopes = ([np.ones(10, np.float32) for _ in range(100)] for _ in range(2))
    adam = tr.Adam(1e-9)
    found: dict[str, Call] = {"Adam, 100 leaves of 10": lambda: adam.step(small, slopes)}
    with contextlib.suppress(ImportError):
        import torch

        many = [torch.nn.Parameter(torch.ones(10)) for _ in range(100)]
        for one in many:
            one.grad = torch.ones(10)
        fused = torch.optim.Adam(many, lr=1e-9, fused=True)
        found["PyTorch Adam fused, 100 leaves of 10"] = fused.step
    return found


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one-thread", action="store_true", help="processor time of one thread")
    given = parser.parse_args(arguments)
    if given.one_thread:
        global clock
        clock = time.thread_time
        numba.set_num_threads(1)
        with contextlib.suppress(ImportError):
            import torch

            torch.set_num_threads(1)
    results: dict[str, Any] = {
        "machine": {"processor": platform.processor(), "threads": numba.get_num_threads()},
        "clock": "processor time" if given.one_thread else "time",
        "size": given.size, "large": {}, "small": {},
    }  # fmt: skip
    print(f"{given.size} float32 parameters, {numba.get_num_threads()} threads")
    print(f"{'':14} {'ms':>7} {'floor':>6} {'checked':>8} {'fused':>6} {'foreach':>8} {'NumPy':>6}")
    for case in given.only:
        found = results["large"][case] = measure(calls(case, given.size, True), given.rounds, 1)
        ours, numpy = found["ours"], min(found["NumPy"], found["NumPy in blocks"])
        print(
            f"{case:14} {ours / 1e3:7.2f} {_times(ours, found['floor']):>6} "
            f"{_times(found['ours, checked'], ours):>8} "
            f"{_times(found.get('PyTorch fused'), ours):>6} "
            f"{_times(found.get('PyTorch foreach'), ours):>8} {_times(numpy, ours):>6}"
        )
    print("\nours in ms and in times the floor; the check and others in times ours\n")
    print("100 parameters, us")
    for case in given.only:
        found = results["small"][case] = measure(calls(case, 100, False), 50 * given.rounds, 20)
        print(f"{case:14} " + ", ".join(f"{name} {us:.2f}" for name, us in found.items()))
    # What is small is called again and again, as above: behind a call that has moved 64 MB all that
    # it needs would come from memory.
    found = measure(clipping(), given.rounds, 1) | measure(many_leaves(), 5 * given.rounds, 20)
    results["others"] = found
    print("\n" + "\n".join(f"{name:38} {us:10.1f} us" for name, us in found.items()))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


def _times(one: float | None, other: float) -> str:
    return "-" if one is None else f"{one / other:.2f}x"


if __name__ == "__main__":
    main()
