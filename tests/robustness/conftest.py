"""Processes of their own, copies of the package, and arrays that share no position by chance."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbaloss

PACKAGE = Path(numbaloss.__file__).resolve().parent
LAYERS = ("workqueue", "omp", "tbb")


def _environment(package: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    libraries = [str(Path(sys.prefix) / "lib"), kept.get("LD_LIBRARY_PATH", "")]
    return (
        kept
        | {
            "PYTHONPATH": str(package.parent),
            # A loss edited within the resolution of time stamps must not meet its old byte code.
            "PYTHONDONTWRITEBYTECODE": "1",
            # pip puts libtbb where the loader does not look by itself.
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        }
        | changes
    )


class Processes:
    """Run scripts in fresh interpreters; what they print is JSON, and comes back parsed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def start(
        self, script: str, *arguments: Any, package: Path = PACKAGE, **environment: Any
    ) -> subprocess.Popen[str]:
        # A file, and not -c: pickle, spawn and Numba want modules that have one.
        self._count += 1
        file = self.folder / f"script_{self._count}.py"
        file.write_text(textwrap.dedent(script))
        if package is not PACKAGE:
            # Sources that change within 10 ms of an import are not trusted with the cache, and
            # Python starts in hardly more.
            time.sleep(0.05)
        return subprocess.Popen(
            # The one warning that must never pass unseen: that the disk cache does not work.
            [sys.executable, "-W", "error::RuntimeWarning", file, *map(str, arguments)],
            env=_environment(package, **{k: str(v) for k, v in environment.items()}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 100.0) -> Any:
        try:
            printed, complaints = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0, f"exit code {process.returncode}\n{complaints}"
        # Numba's TBB layer writes warnings to the same stream when a process forks.
        results = [line for line in printed.splitlines() if line.startswith(("[", "{", "null"))]
        assert len(results) == 1, f"printed {printed!r}\n{complaints}"
        return json.loads(results[0])

    def __call__(self, script: str, *arguments: Any, **options: Any) -> Any:
        return self.finish(self.start(script, *arguments, **options))


@pytest.fixture
def run(tmp_path: Path) -> Processes:
    folder = tmp_path / "scripts"
    folder.mkdir()
    return Processes(folder)


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may edit, without byte code and machine code."""
    target = tmp_path / "copy" / PACKAGE.name
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "cli"))
    return target


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for all processes of a test run that are not about the cache."""
    return tmp_path_factory.mktemp("shared_cache")


@cache
def _layer_works(name: str) -> bool:
    attempt = subprocess.run(
        [sys.executable, "-c", "import numba.np.ufunc.parallel as p; p._launch_threads()"],
        env=_environment(PACKAGE, NUMBA_THREADING_LAYER=name),
        capture_output=True,
    )
    return attempt.returncode == 0


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> str:
    """Every threading layer of Numba that this machine has."""
    if not _layer_works(request.param):
        pytest.skip(f"Numba finds no {request.param} here")
    return request.param


@pytest.fixture(scope="session")
def same_bits() -> Callable[[Any, Any], bool]:
    """Whether two arrays hold the same numbers to the last bit; any NaN equals any other."""

    def canonical(array: Any) -> tuple[Any, ...]:
        array = np.asarray(array)
        native = array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind == "f" else array
        return array.shape, native.dtype.itemsize, np.where(native != native, 0.5, native).tobytes()

    def compare(one: Any, other: Any) -> bool:
        one, other = np.asarray(one), np.asarray(other)
        nans = (one != one), (other != other)
        return bool(np.array_equal(*nans)) and canonical(one) == canonical(other)

    return compare
