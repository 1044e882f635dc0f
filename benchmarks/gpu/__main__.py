"""The command: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from . import (
    calls,
    cases,
    clock,
    embeddings,
    figures,
    hosts,
    libraries,
    linear,
    machine,
    race,
    report,
    tables,
    wheels,
)
from .cases import Case
from .libraries import Library, Torch

# The parts, and how they share the time where there is a limit.
PARTS = {
    "elementwise": 0.25,
    "rows": 0.45,
    "linear": 0.08,
    "embeddings": 0.12,
    "calls": 0.05,
    "hosts": 0.05,
}
# Of a part's time, what may go into torch.compile.
COMPILE_SHARE = 0.3
NO_GPU = 3
# A copy of 1 GiB; seconds of device time a figure; seconds that torch.compile may take.
COPIED = 2**28
SECONDS = 0.2
COMPILE_SECONDS = {"elementwise": 40.0, "rows": 60.0}
DRY_COMPILE_SECONDS = {"elementwise": 5.0, "rows": 5.0}


def main(given: list[str] | None = None) -> int:
    arguments = _arguments(given)
    if arguments.markdown:
        print(tables.render(json.loads(arguments.markdown.read_text())))
        return 0
    if arguments.load:
        results = json.loads(arguments.load.read_text())
    else:
        if arguments.report and not arguments.dry_run:
            wheels.install(sys.argv[1:] if given is None else given)
        names, obstacles = (["torch"], []) if arguments.dry_run else libraries.usable()
        if not names:
            print(f"no CUDA GPU is usable: {', '.join(obstacles)}", file=sys.stderr)
            return NO_GPU
        results = _run(arguments, names, obstacles)
    tables.show(results)
    failed = any("traceback" in step for step in results.get("steps", {}).values())
    return 1 if failed or any("error" in one for one in results["results"]) else 0


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Measure numbaloss on a CUDA GPU, beside the speed of a copy, PyTorch and "
        "CuPy. Exit codes: 0 fine, 1 a result is wrong, 3 there is no GPU.",
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART",
                        help=f"some of {', '.join(PARTS)} [all]")  # fmt: skip
    parser.add_argument("--report", action="store_true",
                        help="what tells where we stand, tests too, in seven minutes")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few cases, no torch.compile")
    parser.add_argument("--seconds", type=float, metavar="N",
                        help="begin nothing later; what tells most comes first")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results")
    parser.add_argument("--load", type=Path, metavar="FILE", help="read results, run nothing")
    parser.add_argument("--markdown", type=Path, metavar="FILE",
                        help="print tables of a file of results for the README")  # fmt: skip
    parser.add_argument("--library", choices=("torch", "cupy"),
                        help="whose arrays [PyTorch's, where it can]")  # fmt: skip
    parser.add_argument("--seed", type=int, help="of the random inputs [another every time]")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="tiny arrays of PyTorch on the CPU: does this program run?",
    )
    return parser.parse_args(given)


def _run(arguments: argparse.Namespace, names: list[str], obstacles: list[str]) -> dict[str, Any]:
    """Everything that is asked for; the file is written anew after every case."""
    started = perf_counter()
    seed = random.SystemRandom().getrandbits(31) if arguments.seed is None else arguments.seed
    library = _library(arguments, names, seed)
    timer = _clock(arguments, library)
    compile_seconds = COMPILE_SECONDS if library.on_gpu else DRY_COMPILE_SECONDS
    results: dict[str, Any] = {
        "command": "python -m benchmarks.gpu " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": machine.describe(library),
        "host": machine.host(),
        "versions": machine.versions(),
        "settings": {"seed": seed, "library": library.name, "quick": arguments.quick,
                     "dry_run": arguments.dry_run},
        "copy": {},
        "results": [],
        "notes": [],
        "steps": {},
    }  # fmt: skip

    def save() -> None:
        results["elapsed"] = perf_counter() - started
        figures.finish(results)
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(results, indent=1) + "\n")

    work = race.Run(
        library=library,
        clock=timer,
        cache_bytes=results["device"]["cache_bytes"],
        report=_say,
        save=save,
        results=results["results"],
        notes=results["notes"],
        copies=results["copy"],
        options={"wait": False} if library.on_gpu else {},
        compile_seconds={} if _without_compile(arguments) else dict(compile_seconds),
    )
    for obstacle in obstacles:
        work.note(obstacle)
    if arguments.report:
        report.run(work, names, seed, results["steps"], lambda when: _copy(work, when))
    else:
        _parts(arguments, work, names, seed)
    save()
    _say(f"{results['elapsed']:.0f} s")
    return results


def _without_compile(arguments: argparse.Namespace) -> bool:
    """Whether torch.compile is left out: it takes seconds a case, on a CPU too."""
    dry_report = arguments.report and arguments.dry_run
    return bool(arguments.quick or arguments.no_compile or dry_report)


def _parts(arguments: argparse.Namespace, work: race.Run, names: list[str], seed: int) -> None:
    """What is asked for, between two measurements of the copy."""
    parts, quick = arguments.only or PARTS, arguments.quick

    def chosen(found: Iterable[Case]) -> list[Case]:
        return list(found) if work.library.on_gpu else [cases.shrunk(case) for case in found]

    makers: dict[str, Callable[[], None]] = {
        "elementwise": lambda: race.run(work, chosen(cases.elementwise(quick))),
        "rows": lambda: race.run(work, chosen(cases.rows(quick))),
        "linear": lambda: linear.run(work),
        "embeddings": lambda: embeddings.run(work),
        "calls": lambda: calls.run(work, names, 400 if work.library.on_gpu else 3),
        "hosts": lambda: hosts.run(work, seed),
    }
    _copy(work, "before")
    left = sum(PARTS[part] for part in parts)
    end = perf_counter() + arguments.seconds if arguments.seconds else inf
    for part, share in PARTS.items():
        if part in parts:
            if arguments.seconds:
                # What a part leaves over goes to those that follow.
                box = max(0.0, end - perf_counter()) * share / left
                work.deadline = perf_counter() + box
                if part in work.compile_seconds:
                    work.compile_seconds[part] = COMPILE_SHARE * box
            left -= share
            try:
                makers[part]()
            except Exception as error:
                work.failed(part, error)
    work.deadline = inf
    _copy(work, "after")


def _copy(work: race.Run, when: str) -> None:
    """The ceiling: everything else is a share of it."""
    work.report(f"copy from device to device, {when} all else")
    try:
        size = COPIED if work.library.on_gpu else 2**14
        work.copies[when] = clock.copy_bandwidth(work.library, work.clock, size)
    except Exception as error:
        work.failed("copy", error)


def _library(arguments: argparse.Namespace, names: list[str], seed: int) -> Library:
    if arguments.dry_run:
        return Torch("cpu", seed)
    wanted = arguments.library if arguments.library in names else names[0]
    return libraries.load(wanted, seed)


def _clock(arguments: argparse.Namespace, library: Library) -> clock.Clock:
    if not library.on_gpu:
        return clock.HostClock(library)
    return clock.EventClock(library, SECONDS / 4 if arguments.quick else SECONDS)


def _say(message: str) -> None:
    """Progress goes to stderr: stdout holds tables only."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
