"""Run a campaign of random calls, or one call of it again.

    python -m tests.fuzz --calls 100000 --seed 1 --processes 2 --json found.json
    python -m tests.fuzz --replay 1:4711

Exit code 1 where there were findings.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from .campaign import Campaign
from .families import stretch
from .memory import Arena
from .worker import LENGTH, one_call


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--calls", type=int, default=20_000, help="how many calls")
    parser.add_argument("--seed", type=int, default=0, help="which calls")
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the report, kept up to date")
    parser.add_argument("--length", type=int, default=LENGTH, help="calls of one class of losses")
    parser.add_argument(
        "--light", action="store_true", help="fewer kernels: short rows, one loss a stretch"
    )
    parser.add_argument("--quiet", action="store_true", help="say what was found, no more")
    parser.add_argument(
        "--trespass", type=int, default=-1, metavar="NUMBER", help="write beside an array there"
    )
    parser.add_argument("--replay", metavar="SEED:NUMBER", help="make one call again")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    if chosen.replay:
        seed, number = map(int, chosen.replay.split(":"))
        of = stretch(seed, number // chosen.length, not chosen.light)
        found = one_call(seed, number, of, Arena())
        print(json.dumps(found, indent=1))
        return int(found is not None)
    # Stopped from outside, it ends its processes and leaves its report.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    campaign = Campaign(
        seed=chosen.seed, first=chosen.first, calls=chosen.first + chosen.calls,
        minutes=chosen.minutes, processes=chosen.processes, length=chosen.length,
        heavy=not chosen.light, json=chosen.json, verbose=not chosen.quiet,
        trespass=chosen.trespass,
    )  # fmt: skip
    report = campaign.run()
    print(campaign.summary())
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(report, indent=1))
    return int(report["findings"] > 0)


if __name__ == "__main__":
    sys.exit(main())
