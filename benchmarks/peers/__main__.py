"""The command: ``python -m benchmarks.peers``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import machine, runs, startup
from .catalogue import ELEMENTWISE, FEW_ROWS, QUICK, QUICK_WIDTHS, WIDTHS

PARTS = ("speed", "rows", "small", "memory", "startup")


def main() -> None:
    arguments = _arguments()
    results = json.loads(arguments.load.read_text()) if arguments.load else _run(arguments)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        _say(f"results are in {arguments.json}")
    cells, rows = _selected(results, arguments), _selected_rows(results, arguments)
    if arguments.plot:
        from .chart import draw

        draw(results, cells, arguments.plot)
        _say(f"the chart is in {arguments.plot}")
    if arguments.plot_rows:
        from .chart_rows import draw_rows

        draw_rows(rows, arguments.plot_rows)
        _say(f"the chart is in {arguments.plot_rows}")
    if arguments.beside:
        from . import beside

        other = json.loads(arguments.beside.read_text())
        chosen = [_selected(other, arguments), _selected_rows(other, arguments)]
        print(beside.render([(results, cells, rows), (other, *chosen)]))
    elif arguments.markdown:
        from .markdown import render

        print(render(results, cells, rows))
    else:
        from .tables import show

        show(results, cells, rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Race numbaloss against NumPy, scikit-learn, PyTorch and JAX on this machine.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} [speed]")
    parser.add_argument("--all", action="store_true", help="all parts")
    parser.add_argument(
        "--size", type=int, nargs="+", metavar="N", help="[2**22 2**24; rows 2**24]"
    )
    parser.add_argument("--dtype", nargs="+", choices=("float32", "float64"), metavar="DTYPE")
    parser.add_argument("--loss", nargs="+", choices=ELEMENTWISE, metavar="LOSS", help="[all]")
    parser.add_argument("--classes", type=int, nargs="+", metavar="C", help="widths of rows [18]")
    parser.add_argument("--threads", type=int, help="threads a contestant may use [all]")
    parser.add_argument(
        "--vectors", choices=tuple(machine.HELD_BACK), help="hold every library back to these"
    )
    parser.add_argument("--rounds", type=int, help="rounds of the race [9; rows 5]")
    parser.add_argument("--seconds", type=float, help="work in a round [0.15; rows 0.1]")
    parser.add_argument("--quick", action="store_true", help="few losses, one size, few rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results")
    parser.add_argument("--load", type=Path, metavar="FILE", help="read results, run nothing")
    parser.add_argument(
        "--beside", type=Path, metavar="FILE", help="print tables of these results and those"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a chart of speed")
    parser.add_argument("--plot-rows", type=Path, metavar="FILE", help="draw a chart of rows")
    parser.add_argument("--markdown", action="store_true", help="print tables for the README")
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    return arguments


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    quick = arguments.quick
    parts = PARTS if arguments.all else arguments.parts or ["speed"]
    threads = arguments.threads or machine.processors()
    common: dict[str, Any] = {
        "threads": threads,
        "rounds": arguments.rounds or (3 if quick else 9),
        "seconds": arguments.seconds or (0.05 if quick else 0.15),
        "report": _say,
    }
    if arguments.vectors:
        machine.hold_back(arguments.vectors)
    results: dict[str, Any] = {"machine": machine.describe(threads, arguments.vectors)}
    results["settings"] = {"rounds": common["rounds"], "seconds": common["seconds"]}
    if "speed" in parts:
        results["speed"] = runs.speed(
            arguments.loss or (QUICK if quick else ELEMENTWISE),
            arguments.dtype or (["float32"] if quick else ["float32", "float64"]),
            arguments.size or ([2**20] if quick else [2**22, 2**24]),
            **common,
        )
    if "rows" in parts:
        # A width has its own code in many libraries, so widths are many, and rounds fewer.
        budget = {
            "rounds": arguments.rounds or (2 if quick else 5),
            "seconds": arguments.seconds or (0.05 if quick else 0.1),
        }
        results["settings"]["rows"] = budget
        widths = arguments.classes or (QUICK_WIDTHS if quick else WIDTHS)
        results["rows"] = runs.rows(
            arguments.dtype or ["float32"],
            arguments.size or [2**20 if quick else 2**24],
            widths,
            [shape for shape in FEW_ROWS if shape[1] in widths],
            **common | budget,
        )
    if "small" in parts:
        results["small"] = runs.small_calls(**common)
    if "memory" in parts:
        results["memory"] = runs.memory(threads=threads, report=_say)
    if "startup" in parts:
        results["startup"] = startup.measure(3 if quick else 11, _say)
    results["machine"]["load_after"] = machine.load()
    return results


def _selected(results: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The cells of the race that the options ask for."""
    return [
        cell
        for cell in results.get("speed", {}).get("cells", ())
        if (not arguments.size or cell["size"] in arguments.size)
        and (not arguments.dtype or cell["dtype"] in arguments.dtype)
        and (not arguments.loss or cell["loss"] in arguments.loss)
    ]


def _selected_rows(results: dict[str, Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The cells of rows that the options ask for."""
    return [
        cell
        for cell in results.get("rows", {}).get("cells", ())
        if (not arguments.size or cell["total"] in (0, *arguments.size))
        and (not arguments.dtype or cell["dtype"] in arguments.dtype)
        and (not arguments.classes or cell["shape"][1] in arguments.classes)
    ]


def _say(message: str) -> None:
    """Progress goes to stderr: stdout holds tables only."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
