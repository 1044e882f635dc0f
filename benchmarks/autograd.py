"""Value and gradient of cross-entropy inside of PyTorch: ``python -m benchmarks.autograd``.

A forward and a backward pass by ``numbaloss.torch.Loss``, by ``torch.nn.CrossEntropyLoss`` and,
without autograd, by ``value_and_grad`` on NumPy arrays, in turns, in one process. The least of all
times counts: what others do on the machine makes none of them shorter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

import numbaloss
from numbaloss.torch import Loss

from .peers import machine

SHAPES = ((64, 10), (256, 1000), (1024, 32000))


def steps(rows: int, classes: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator).requires_grad_()
    labels = torch.randint(classes, (rows,), generator=generator)
    arrays = logits.detach().numpy(), labels.numpy()
    plain = numbaloss.CrossEntropy()
    losses = {"numbaloss.torch": Loss(plain), "PyTorch": torch.nn.CrossEntropyLoss()}

    def both(loss: Callable[..., torch.Tensor]) -> Callable[[], object]:
        def step() -> object:
            logits.grad = None
            loss(logits, labels).backward()
            return logits.grad

        return step

    found = {name: both(loss) for name, loss in losses.items()}
    return found | {"NumPy call": lambda: plain.value_and_grad(*arrays)}


def least(functions: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The least microseconds of each, in turns."""
    found = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        function()
    end = perf_counter() + seconds
    while perf_counter() < end:
        for name, function in functions.items():
            for _ in range(5):
                start = perf_counter()
                result = function()
                found[name] = min(found[name], 1e6 * (perf_counter() - start))
                del result
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="a shape")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    print(f"{'rows x classes':>16} {'ours':>10} {'PyTorch':>10} {'NumPy call':>10} us"
          f"{'PyTorch / ours':>17}")  # fmt: skip
    for rows, classes in SHAPES:
        us = least(steps(rows, classes), arguments.seconds)
        ours, its, plain = us.values()
        print(f"{rows:>8} x {classes:<5} {ours:>10.1f} {its:>10.1f} {plain:>10.1f}"
              f"{its / ours:>19.2f}")  # fmt: skip
        results.append({"rows": rows, "classes": classes, "us": us})
    if arguments.json:
        report = {
            "machine": machine.describe(torch.get_num_threads()),
            "torch": torch.__version__,
            "results": results,
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
