"""Cross-entropy of a language model's last layer: ``python -m benchmarks.linear``.

Value and gradients by hidden vectors and weight. The measure of time is three products of
matrices of the full size, by NumPy into arrays that are there already: less than that nobody
with NumPy's BLAS can take. They run in the process of numbaloss, in turns with it. PyTorch,
where installed, runs in processes of its own: with all logits in memory, and in blocks of
rows of a loop that adds up gradients by autograd.

Memory is the peak of resident memory during one call, over the inputs; what is left when the
gradients are taken off stands beside it.
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

TITLES = {
    "products": "three products, nothing else",
    "ours": "numbaloss",
    "turned": "numbaloss, weight (C, H)",
    "value": "numbaloss, value alone",
    "torch": "PyTorch, all logits",
    "torch-blocks": "PyTorch, 512 rows at a time",
}
PROCESSES = {"ours": "numpy", "turned": "numpy", "torch": "torch", "torch-blocks": "torch"}
BLOCK = 512

Step = Callable[[], tuple[Any, Any, Any]]


def layer(rows: int, length: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hidden vectors, weight and labels, the same in every process."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((rows, length), dtype=np.float32)
    weight = rng.standard_normal((length, classes), dtype=np.float32)
    weight *= np.float32(2.0 / length**0.5)
    return hidden, weight, rng.integers(0, classes, rows)


def numpy_steps(name: str, given: tuple[Any, ...], workspace: int | None) -> dict[str, Step]:
    """Ours, and the products to compare it with."""
    import numbaloss

    hidden, weight, target = given
    loss = numbaloss.LinearCrossEntropy()
    own = np.ascontiguousarray(weight.T) if name == "turned" else weight
    out = np.empty_like(hidden), np.empty_like(own)
    options = {"workspace": workspace, "transposed": name == "turned"}
    arrays: list[np.ndarray] = []

    def products() -> tuple[Any, Any, Any]:
        if not arrays:
            arrays.append(np.zeros((len(hidden), weight.shape[1]), np.float32))
        logits, matrix = arrays[0], own.T if name == "turned" else own
        np.matmul(hidden, matrix, out=logits)
        np.matmul(logits, matrix.T, out=out[0])
        np.matmul(hidden.T, logits, out=out[1].T if name == "turned" else out[1])
        return None, None, None

    def ours() -> tuple[Any, Any, Any]:
        value, gradients = loss.value_and_grad(hidden, own, target, out=out, **options)
        return value, *gradients

    def ours_anew() -> tuple[Any, Any, Any]:
        value, gradients = loss.value_and_grad(hidden, own, target, **options)
        return value, *gradients

    def value() -> tuple[Any, Any, Any]:
        return loss(hidden, own, target, **options), None, None

    steps: dict[str, Step] = {"products": products, name: ours, f"memory of {name}": ours_anew}
    return steps | ({"value": value} if name == "ours" else {})


def torch_steps(name: str, given: tuple[Any, ...], workspace: int | None) -> dict[str, Step]:
    """PyTorch with autograd."""
    import torch

    torch.set_num_threads(machine.processors())
    hidden, weight, target = (torch.from_numpy(one) for one in given)
    entropy = torch.nn.functional.cross_entropy

    def step() -> tuple[Any, Any, Any]:
        h, w = hidden.detach().requires_grad_(), weight.detach().requires_grad_()
        total = 0.0
        size = len(h) if name == "torch" else BLOCK
        for start in range(0, len(h), size):
            block = h[start : start + size] @ w
            value = entropy(block, target[start : start + size], reduction="sum") / len(h)
            value.backward()
            total += float(value.detach())
        return total, h.grad, w.grad

    return {name: step}


def work(name: str, sizes: tuple[int, ...], workspace: int | None) -> None:
    """The process of a contestant: an order a line, an answer a line."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    given = layer(*sizes)
    make = numpy_steps if PROCESSES[name] == "numpy" else torch_steps
    steps = make(name, given, workspace)
    # Compilation and the memory that BLAS keeps are over after a call on a part.
    small = make(name, (given[0][:600], given[1], given[2][:600]), workspace)
    small[name]()
    del small
    for order in sys.stdin:
        answer: dict[str, Any] = {}
        if order.strip() == "memory" and can_measure():
            step = steps.pop(f"memory of {name}", steps[name])
            gradients = given[0].nbytes + given[1].nbytes
            answer = {"extra_bytes": extra_bytes(step), "gradient_bytes": gradients}
        elif order.strip() == "check":
            value, of_hidden, of_weight = steps[name]()
            turned = name == "turned"
            norms = [float(np.linalg.norm(np.asarray(one))) for one in (of_hidden, of_weight)]
            answer = {"value": float(value), "norms": norms, "turned": turned}
        elif order.strip() == "time":
            for key, step in steps.items():
                if not key.startswith("memory"):
                    start = perf_counter()
                    step()
                    answer[key] = perf_counter() - start
        channel.write(json.dumps(answer) + "\n")


def measure(
    names: list[str], sizes: tuple[int, ...], rounds: int, workspace: int | None
) -> dict[str, Any]:
    """Memory, agreement and times of contestants."""
    results: dict[str, Any] = {
        "machine": machine.describe(machine.processors()),
        "sizes": sizes,
        "times": {},
        "memory": {},
    }
    given = ["--size", *map(str, sizes), *(["--workspace", str(workspace)] if workspace else [])]
    running = {name: Contestant("linear", ["--worker", name, *given]) for name in names}
    try:
        for name, process in running.items():
            print(f"memory of {TITLES[name]} ...", file=sys.stderr, flush=True)
            results["memory"][name] = process.ask("memory")
        checks = {name: process.ask("check") for name, process in running.items()}
        first = next(iter(checks.values()))
        for name, check in checks.items():
            found = [check["value"], *check["norms"]]
            if not np.allclose(found, [first["value"], *first["norms"]], rtol=1e-4):
                raise RuntimeError(f"{TITLES[name]} disagrees: {check}, {first}")
        for number in range(rounds):
            print(f"round {number + 1} of {rounds} ...", file=sys.stderr, flush=True)
            for name, process in running.items():
                for key, seconds in process.ask("time").items():
                    label = f"products of {name}" if key == "products" else key
                    results["times"].setdefault(label, []).append(seconds)
    finally:
        for process in running.values():
            process.end()
    results["machine"]["load_after"] = machine.load()
    return results


def show(results: dict[str, Any]) -> None:
    """A table: the fastest of the rounds, and memory."""
    rows, length, classes = results["sizes"]
    print(f"n {rows}, H {length}, C {classes}, float32; {results['machine']['processor']}")
    print(f"{'':32} {'seconds':>8} {'/ products':>11} {'extra MB':>9} {'- gradients':>12}")
    times = results["times"]
    best = {name: min(found) for name, found in times.items()}
    floor = min([seconds for name, seconds in best.items() if name.startswith("products")] or [0])
    for name, title in TITLES.items():
        seconds = floor if name == "products" else best.get(name)
        if not seconds:
            continue
        # Ours beside the products of the same process.
        beside = best.get(f"products of {name}", floor)
        ratio = f"{seconds / beside:11.2f}" if beside else " " * 11
        memory = results["memory"].get(name) or {}
        extra = memory.get("extra_bytes")
        columns = "" if extra is None else f" {extra / 1e6:9.1f}"
        if extra is not None:
            columns += f" {(extra - memory['gradient_bytes']) / 1e6:12.1f}"
        print(f"{title:32} {seconds:8.3f} {ratio}{columns}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linear", description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(4096, 1024, 50257),
                        metavar=("N", "H", "C"), help="default: 4096 1024 50257")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workspace", type=int, help="bytes, for numbaloss")
    parser.add_argument("--only", nargs="+", choices=tuple(PROCESSES), help="contestants [all]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results")
    parser.add_argument("--worker", choices=tuple(PROCESSES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = tuple(arguments.size)
    if arguments.worker:
        work(arguments.worker, sizes, arguments.workspace)
        return
    names = arguments.only or list(PROCESSES)
    if importlib.util.find_spec("torch") is None:
        names = [name for name in names if PROCESSES[name] != "torch"]
    results = measure(names, sizes, arguments.rounds, arguments.workspace)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    show(results)


if __name__ == "__main__":
    main()
