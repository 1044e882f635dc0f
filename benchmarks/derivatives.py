"""What derivatives cost that nobody wrote: ``python -m benchmarks.derivatives``.

Every elementwise loss of the registry runs twice, by the derivatives that stand in the library and
by its value alone (``catalogue/value_twins/``), in turns in one process, into arrays that are
there already. Figures are the least of many times; the ratio is what counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from catalogue.cases import LOSSES, inputs
from catalogue.value_twins import as_written, twin_of

from .peers import machine

ORDERS = {"gradient": 1, "hessian": 2}


def pairs() -> dict[str, tuple[Any, Any]]:
    """Losses as kernels see them, each with its twin, by what they are called."""
    from numbaloss.core.composition import Sum
    from numbaloss.formulas.structure import lower

    found: dict[str, tuple[Any, Any]] = {}
    seen = set()
    for loss in LOSSES:
        lowered = lower(loss)
        if isinstance(lowered, Sum) or type(lowered) in seen:
            continue
        seen.add(type(lowered))
        found[title(loss)] = loss, as_written(loss) or twin_of(loss)
    return found


def title(loss: Any) -> str:
    """A loss with the parameters that are not the default."""
    changed = [
        f"{parameter.name}={value!r}"
        for parameter, value in zip(loss.parameters(), loss.values())
        if value != parameter.default
    ]
    return f"{type(loss).__name__}({', '.join(changed)})" if changed else type(loss).__name__


def calls(loss: Any, kind: str, size: int) -> dict[str, Callable[[], Any]]:
    """One call of each kind, ready to be timed."""
    prediction, target = (one.astype(kind) for one in inputs(loss[0], size, 1))
    gradient, hessian = np.empty_like(prediction), np.empty_like(prediction)

    def make(one: Any, order: int) -> Callable[[], Any]:
        # The domains of twins are not declared: neither tests them.
        if order == 1:
            return lambda: one.value_and_grad(prediction, target, out=gradient, check=False)
        return lambda: one.value_grad_hess(
            prediction, target, out=gradient, hess_out=hessian, check=False
        )

    return {
        f"{name} {who}": make(one, order)
        for name, order in ORDERS.items()
        for who, one in zip(("by hand", "by value"), loss)
    }


def least(timed: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least time of each call, in seconds; all take turns."""
    for call in timed.values():
        call()
    best = dict.fromkeys(timed, np.inf)
    for _ in range(rounds):
        for name, call in timed.items():
            for _ in range(3):
                start = perf_counter()
                call()
                best[name] = min(best[name], perf_counter() - start)
    return best


def measure(size: int, rounds: int, only: str) -> dict[str, Any]:
    """Nanoseconds an element of every loss, by hand and by value."""
    losses = {name: one for name, one in pairs().items() if only.lower() in name.lower()}
    times: dict[str, Any] = {}
    for name, loss in losses.items():
        for kind in ("float32", "float64"):
            found = least(calls(loss, kind, size), rounds)
            times[f"{name} {kind}"] = {key: 1e9 * one / size for key, one in found.items()}
            print(line(name, kind, times[f"{name} {kind}"]), flush=True)
    return {"machine": machine.describe(machine.processors()), "size": size, "times": times}


def line(name: str, kind: str, times: dict[str, float]) -> str:
    """A row for the terminal."""
    cells = []
    for order in ORDERS:
        hand, value = times[f"{order} by hand"], times[f"{order} by value"]
        cells.append(f"{hand:6.3f}{value:7.3f}{value / hand:6.2f}")
    return f"{name:34.34s} {kind[-2:]} {'  '.join(cells)}"


def markdown(times: dict[str, Any]) -> str:
    """The ratios as a table for documents."""
    names = list(dict.fromkeys(key.rpartition(" ")[0] for key in times))
    rows = ["| loss | float32, by hand | by value | ratio | float64, by hand | by value | ratio |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for name in names:
        cells = []
        for kind in ("float32", "float64"):
            one = times[f"{name} {kind}"]
            hand, value = one["gradient by hand"], one["gradient by value"]
            cells += [f"{hand:.2f}", f"{value:.2f}", f"{value / hand:.2f}"]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=1 << 22, help="elements (4,194,304)")
    parser.add_argument("--rounds", type=int, default=12, help="three calls each (12)")
    parser.add_argument("--only", default="", help="losses with this in their name")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--load", type=Path, help="show saved results as a Markdown table")
    given = parser.parse_args()
    if given.load:
        print(markdown(json.loads(given.load.read_text())["times"]))
        return
    print(f"{'ns an element':34s}    {'gradient':>19s}  {'and hessian':>19s}")
    print(f"{'':34s}    {'hand  value ratio':>19s}  {'hand  value ratio':>19s}")
    found = measure(given.size, given.rounds, given.only)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
