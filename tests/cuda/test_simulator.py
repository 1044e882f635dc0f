"""Losses on a GPU, in Numba's simulator of one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.gpu.simulator_checks import CHECKS

ROOT = Path(__file__).parents[2]
# What takes long: the machine that runs PTX has the same losses, as they are compiled.
LONG = {
    "batches", "boosting", "elementwise", "errors", "families", "linear", "long rows",
    "options of calls", "other families", "rows",
    "rows of all dtypes", "rows with options", "training", "vectors", "vectors with options",
}  # fmt: skip


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
@pytest.mark.parametrize(
    "group",
    [pytest.param(one, marks=pytest.mark.exhaustive) if one in LONG else one for one in CHECKS],
)
def test_losses_in_the_simulator(group):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.gpu.simulator_checks", group],
        cwd=ROOT,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert list(outcomes) == list(CHECKS[group])
    problems = [f"{name}:\n{problem}" for name, problem in outcomes.items() if problem]
    assert not problems, "\n".join(problems)
