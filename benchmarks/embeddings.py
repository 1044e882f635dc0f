"""Losses of embeddings: ``python -m benchmarks.embeddings``.

In-batch losses, value and gradients, of 16,384 vectors of 256 float32 numbers. The measure of time
is the matrix products that a loss needs, by NumPy on the same vectors, in blocks of 512 rows, into
arrays that are there already; they run in the process of numbaloss, in turns with it. *Plain*
products are those of the textbook: all similarities once, and one product for each gradient. *Own*
products are those that numbaloss makes: for a symmetric matrix fewer, for columns that are looked
at more. PyTorch, where installed, runs with the matrix of all similarities and autograd, in a
process of its own.

Losses of rows are measured against a copy of the same bytes on all threads.

Memory is the peak of resident memory during one call, over the inputs, gradients included.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .contestant import Contestant
from .high_water import can_measure, extra_bytes
from .peers import machine

BLOCK = 512
CLASSES_EACH = 16
TEMPERATURE = 0.07


class Case:
    """A loss, and how many matrix products go with it: plain, and of our own way."""

    def __init__(self, title: str, keyed: bool, plain: float, looks: float, carried: float) -> None:
        self.title, self.keyed, self.plain = title, keyed, plain
        self.looks, self.carried = looks, carried  # similarities, and products for gradients


CASES = {
    "infonce": Case("InfoNCE", True, 3, 1, 2),
    "clip": Case("InfoNCE, symmetric", True, 3, 2, 2),
    "siglip": Case("SigLIP", True, 3, 1, 2),
    "ntxent": Case("NTXent", False, 3, 1, 1),
    "supcon": Case("SupervisedContrastive", False, 3, 1, 1),
    "hard": Case("BatchTriplet, hard", False, 1, 0.5, 0),
    "semi-hard": Case("BatchTriplet, semi-hard", False, 3, 1, 2),
    "all": Case("BatchTriplet, all", False, 3, 1, 2),
}
ROWS = {
    "contrastive": ("Contrastive", 2),
    "cosine": ("CosineEmbedding", 2),
    "triplet": ("Triplet", 3),
    "swap": ("Triplet, swap", 3),
    "manhattan": ("Triplet, p = 1", 3),
}

Step = Callable[[], Any]


def batch(rows: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, keys that are like them, and labels: the same in every process."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((rows, length), dtype=np.float32)
    keys = queries + rng.standard_normal((rows, length), dtype=np.float32)
    return queries, keys, rng.integers(0, max(rows // CLASSES_EACH, 1), rows)


def loss_of(name: str) -> Any:
    """The loss of a case."""
    import numbaloss as nl

    if name in ("infonce", "clip"):
        return nl.InfoNCE(TEMPERATURE, symmetric=name == "clip")
    if name == "siglip":
        return nl.SigLIP()
    if name in ("ntxent", "supcon"):
        return (nl.NTXent if name == "ntxent" else nl.SupervisedContrastive)(TEMPERATURE)
    return nl.BatchTriplet(mining=name)


def products(name: str, given: tuple[Any, ...], own: bool) -> Step:
    """The matrix products of a case and nothing else."""
    queries, keys, _ = given
    case, rows = CASES[name], len(queries)
    right = keys if case.keyed else queries
    block = np.empty((min(BLOCK, rows), rows), np.float32)
    sums = np.zeros_like(queries), np.zeros_like(queries)

    def one_pass(share: float, carry: float) -> None:
        for start in range(0, rows, BLOCK):
            part = queries[start : start + BLOCK]
            # Half of a symmetric matrix: the columns from the diagonal on.
            first = start if share == 0.5 else 0
            width = rows - first
            found = block.reshape(-1)[: len(part) * width].reshape(len(part), width)
            if share:
                np.matmul(part, right[first:].T, out=found)
            if carry:
                np.matmul(found, right[first:], out=sums[0][start : start + BLOCK])
            if carry:
                np.matmul(found.T, part, out=sums[1][first:])

    def run() -> None:
        if not own:
            one_pass(1.0, float(case.plain > 1))
        elif case.keyed or name in ("semi-hard", "all"):
            for _ in range(int(case.looks) - 1):
                one_pass(1.0, 0.0)
            one_pass(1.0, case.carried)
        else:
            if case.carried:
                one_pass(0.5, 0.0)
            one_pass(0.5, case.carried)

    return run


def numpy_steps(name: str, given: tuple[Any, ...]) -> dict[str, Step]:
    """Ours, and the products to compare it with."""
    loss, case = loss_of(name), CASES[name]
    queries, keys, labels = given
    arguments = (queries, keys) if case.keyed else (queries, labels)
    out: Any = np.empty_like(queries)
    if case.keyed:
        out = out, np.empty_like(keys)
    return {
        "plain": products(name, given, own=False),
        "own": products(name, given, own=True),
        "ours": lambda: loss.value_and_grad(*arguments, out=out)[0],
        "value": lambda: loss(*arguments),
        "memory": lambda: loss.value_and_grad(*arguments),
    }


def torch_steps(name: str, given: tuple[Any, ...]) -> dict[str, Step]:
    """PyTorch with autograd, all similarities in memory."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(machine.processors())
    queries, keys, labels = (torch.from_numpy(one) for one in given)
    rows = len(queries)
    own = torch.eye(rows, dtype=torch.bool)
    same = (labels[:, None] == labels) & ~own

    def similarities(a: Any, b: Any) -> Any:
        return functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / TEMPERATURE

    def contrast(a: Any, b: Any) -> Any:
        logits, here = similarities(a, b), torch.arange(rows)
        value = functional.cross_entropy(logits, here)
        if name == "clip":
            value = (value + functional.cross_entropy(logits.T, here)) / 2
        return value

    def supervised(a: Any, _: Any) -> Any:
        logits = similarities(a, a).masked_fill(own, -torch.inf)
        log_p = logits - logits.logsumexp(1, keepdim=True)
        count = same.sum(1)
        found = -log_p.masked_fill(~same, 0.0).sum(1) / count.clamp(min=1)
        return found[count > 0].mean()

    def hard(a: Any, _: Any) -> Any:
        distance = torch.cdist(a, a)
        far = distance.masked_fill(~same, -torch.inf).amax(1)
        near = distance.masked_fill(same | own, torch.inf).amin(1)
        found = functional.relu(far - near + 1.0)
        return found[same.any(1)].mean()

    formulas: dict[str, Any] = {
        "infonce": contrast, "clip": contrast, "supcon": supervised, "hard": hard
    }  # fmt: skip
    if name not in formulas:
        return {}

    def step() -> float:
        a, b = queries.detach().requires_grad_(), keys.detach().requires_grad_()
        value = formulas[name](a, b)
        value.backward()
        return float(value.detach())

    return {"torch": step, "memory": step}


def work(kind: str, name: str, sizes: tuple[int, int]) -> None:
    """The process of a contestant: an order a line, an answer a line."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    given = batch(*sizes)
    make = numpy_steps if kind == "ours" else torch_steps
    steps = make(name, given)
    # Compilation and the memory that BLAS keeps are over after a call on a part.
    small = make(name, tuple(one[:700] for one in given))
    if "memory" in small:
        small["memory"]()
    del small
    for order in sys.stdin:
        answer: dict[str, Any] = {}
        if order.strip() == "memory" and can_measure() and "memory" in steps:
            answer = {"extra_bytes": extra_bytes(steps["memory"])}
        elif order.strip() == "time":
            for key, step in steps.items():
                if key != "memory":
                    start = perf_counter()
                    value = step()
                    answer[key] = perf_counter() - start
                    if key in ("ours", "torch"):
                        answer[f"value of {key}"] = value
        channel.write(json.dumps(answer) + "\n")


def in_batch(names: list[str], sizes: tuple[int, int], rounds: int, torch: bool) -> dict[str, Any]:
    """Memory and times of the in-batch losses; one at a time, for the sake of memory."""
    results: dict[str, Any] = {}
    for name in names:
        found: dict[str, Any] = {"times": {}, "memory": {}}
        given = ["--size", *map(str, sizes)]
        for kind in ("ours", "torch") if torch else ("ours",):
            process = Contestant("embeddings", ["--worker", kind, name, *given])
            try:
                print(f"{CASES[name].title}, {kind} ...", file=sys.stderr, flush=True)
                found["memory"][kind] = process.ask("memory").get("extra_bytes")
                for _ in range(rounds):
                    for key, seconds in process.ask("time").items():
                        found["times"].setdefault(key, []).append(seconds)
            finally:
                process.end()
        values = [found["times"].pop(f"value of {kind}", [None])[0] for kind in ("ours", "torch")]
        if None not in values and not np.allclose(*values, rtol=1e-4):
            raise RuntimeError(f"{CASES[name].title}: {values[0]} here, {values[1]} in PyTorch")
        results[name] = found
    return results


def row_steps(name: str, count: int, length: int, dtype: str) -> dict[str, Step]:
    """A loss of rows, and a copy of the same bytes."""
    import numba

    import numbaloss as nl

    rng = np.random.default_rng(0)
    inputs = ROWS[name][1]
    given = [rng.standard_normal((count, length)).astype(dtype) for _ in range(inputs)]
    out = tuple(np.empty_like(one) for one in given)
    losses: dict[str, Any] = {
        "contrastive": nl.Contrastive(), "cosine": nl.CosineEmbedding(), "triplet": nl.Triplet(),
        "swap": nl.Triplet(swap=True), "manhattan": nl.Triplet(p=1.0),
    }  # fmt: skip
    targets = [rng.integers(0, 2, count)] if inputs == 2 else []

    # Every array that is read, and every array that is written, is a stream of its own.
    @numba.njit(parallel=True)
    def copy_two(a, b, x, y):
        for chunk in numba.prange(a.size // 8192):
            low = chunk * 8192
            p, q = a[low : low + 8192], b[low : low + 8192]
            u, v = x[low : low + 8192], y[low : low + 8192]
            for i in range(8192):
                u[i], v[i] = p[i], q[i]

    @numba.njit(parallel=True)
    def copy_three(a, b, c, x, y, z):
        for chunk in numba.prange(a.size // 8192):
            low = chunk * 8192
            p, q, r = a[low : low + 8192], b[low : low + 8192], c[low : low + 8192]
            u, v, w = x[low : low + 8192], y[low : low + 8192], z[low : low + 8192]
            for i in range(8192):
                u[i], v[i], w[i] = p[i], q[i], r[i]

    flat = [one.reshape(-1) for one in (*given, *out)]
    copy = copy_two if inputs == 2 else copy_three
    return {
        "floor": lambda: copy(*flat),
        "ours": lambda: losses[name].value_and_grad(*given, *targets, out=out),
    }


def by_rows(names: list[str], rounds: int, elements: int) -> dict[str, Any]:
    """Times of losses of rows, several lengths and both precisions."""
    results: dict[str, Any] = {}
    for name in names:
        for dtype in ("float32", "float64"):
            for length in (64, 256, 1024):
                steps = row_steps(name, elements // length, length, dtype)
                times: dict[str, list[float]] = {key: [] for key in steps}
                for turn in range(rounds + 1):
                    for key, step in steps.items():
                        best = min(_timed(step) for _ in range(3))
                        if turn:
                            times[key].append(best)
                results[f"{name} {dtype} {length}"] = times
    return results


def _timed(step: Step) -> float:
    start = perf_counter()
    step()
    return perf_counter() - start


def show(results: dict[str, Any]) -> None:
    """Tables: the fastest of the rounds, and memory."""
    rows, length = results["sizes"]
    print(f"n {rows:,}, d {length}, float32; {results['machine']['processor']}")
    print(
        f"{'':24} {'seconds':>8} {'/ plain':>8} {'/ own':>6} {'value':>7} {'MB':>6}"
        f" {'PyTorch':>8} {'MB':>6}"
    )
    for name, found in results["in_batch"].items():
        best = {key: min(times) for key, times in found["times"].items()}
        ours, memory = best["ours"], found["memory"]
        theirs = f"{best['torch']:8.2f}" if "torch" in best else " " * 8
        sizes = [
            f"{memory[kind] / 1e6:6.0f}" if memory.get(kind) else " " * 6
            for kind in ("ours", "torch")
        ]
        print(
            f"{CASES[name].title:24} {ours:8.3f} {ours / best['plain']:8.2f} "
            f"{ours / best['own']:6.2f} {best['value']:7.3f} {sizes[0]} {theirs} {sizes[1]}"
        )
    if results["rows"]:
        print("\nRows: time over that of a copy of the same bytes")
    for name, found in results["rows"].items():
        ratio = min(found["ours"]) / min(found["floor"])
        kind, dtype, length = name.split()
        print(f"{ROWS[kind][0]:24} {dtype} {length:>5} {ratio:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embeddings", description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(16_384, 256), metavar=("N", "D"),
                        help="default: 16384 256")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=(*CASES, *ROWS), help="losses [all]")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results")
    parser.add_argument("--load", type=Path, metavar="FILE", help="print kept results again")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = tuple(arguments.size)
    if arguments.worker:
        work(*arguments.worker, sizes)
        return
    if arguments.load:
        show(json.loads(arguments.load.read_text()))
        return
    names = arguments.only or [*CASES, *ROWS]
    torch = importlib.util.find_spec("torch") is not None and not arguments.no_torch
    results: dict[str, Any] = {
        "machine": machine.describe(machine.processors()),
        "sizes": sizes,
        "in_batch": in_batch([n for n in names if n in CASES], sizes, arguments.rounds, torch),
        "rows": by_rows([n for n in names if n in ROWS], arguments.rounds, 1 << 23),
    }
    results["machine"]["load_after"] = machine.load()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    show(results)


if __name__ == "__main__":
    main()
