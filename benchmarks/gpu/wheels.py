"""Wheels that lie beside the repository: installed where their packages are missing.

For machines that reach no index: ``wheels/*.whl`` next to ``benchmarks/``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "wheels"


def missing(folder: Path = FOLDER) -> list[Path]:
    """The wheels of packages that are not installed."""
    found = []
    for path in sorted(folder.glob("*.whl")):
        name = re.sub(r"[-_.]+", "-", path.name.split("-")[0])
        try:
            distribution(name)
        except PackageNotFoundError:
            found.append(path)
    return found


def install(given: list[str], folder: Path = FOLDER) -> None:
    """Install what is missing, of these files alone, and start the command again."""
    paths = missing(folder)
    if not paths or os.environ.get("NUMBALOSS_WHEELS_INSTALLED"):
        return
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", *map(str, paths)]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode:
        print(f"{len(paths)} wheels of {folder} were not installed", file=sys.stderr)
        return
    os.environ["NUMBALOSS_WHEELS_INSTALLED"] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *given])
