"""Processes of their own, copies of the package, and comparison to the bit."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbaloss.disk import cache as disk_cache
from tests.support.processes import PACKAGE, Processes, environment_for

LAYERS = ("workqueue", "omp", "tbb")


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
def shared_cache() -> Path:
    """The cache folder of the test run, for all processes that are not about the cache."""
    return disk_cache.cache_folders()[0]


@cache
def _layer_works(name: str) -> bool:
    attempt = subprocess.run(
        [sys.executable, "-c", "import numba.np.ufunc.parallel as p; p._launch_threads()"],
        env=environment_for(PACKAGE, NUMBA_THREADING_LAYER=name),
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
