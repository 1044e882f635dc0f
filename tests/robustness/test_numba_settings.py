"""Settings of Numba's that no loss can run under are named, at every call."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import numpy as np
import numbaloss as nl

rows, labels = np.zeros((2, 3)), np.array([0, 1])
calls = {
    "elementwise": lambda: nl.Huber().value_and_grad(rows, rows),
    "again": lambda: nl.Huber().value_and_grad(rows, rows),
    "softmax": lambda: nl.CrossEntropy()(rows, labels),
    "embedding": lambda: nl.Triplet()(rows, rows, rows),
    "linear": lambda: nl.LinearCrossEntropy()(rows, rows, labels),
}
said = {}
for name, call in calls.items():
    try:
        call()
    except RuntimeError as error:
        said[name] = f"{type(error).__name__}: {error}"
# What needs no compiler works.
assert nl.SquaredError().point(1.0, 3.0) == (4.0, -4.0, 2.0)
assert nl.exp(0.0) == 1.0
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [("NUMBA_DISABLE_JIT", "1"), ("NUMBA_NUM_THREADS", "0"), ("NUMBA_NUM_THREADS", "-2")],
)
def test_settings_without_a_compiler_or_a_thread_are_named(run, name, value):
    said = run(SCRIPT, **{name: value})
    assert set(said) == {"elementwise", "again", "softmax", "embedding", "linear"}
    for text in said.values():
        assert text.startswith(f"SettingsError: {name}")


def test_a_switch_that_is_thrown_while_a_process_runs_is_named(run, shared_cache):
    script = """
        import json
        import numpy as np
        import numba
        import numbaloss as nl

        ones = np.ones(3)
        before = nl.SquaredError()(ones, ones)
        numba.config.DISABLE_JIT = 1
        class Mine(nl.Elementwise):
            def value(self, prediction, target):
                return prediction * target
        try:
            Mine()(ones, ones)
        except RuntimeError as error:
            print(json.dumps([before, str(error)]))
    """
    before, said = run(script, NUMBALOSS_CACHE_DIR=shared_cache)
    assert before == 0.0
    assert said.startswith("NUMBA_DISABLE_JIT is set")


@pytest.mark.parametrize("command", ["score", "devices"])
def test_the_command_line_says_it_in_one_line(tmp_path, command):
    table = tmp_path / "x.csv"
    table.write_text("prediction,target\n1,2\n")
    arguments = [table, "--loss", "mae"] if command == "score" else []
    found = subprocess.run(
        [sys.executable, "-m", "numbaloss", command, *arguments],
        env=os.environ | {"NUMBA_NUM_THREADS": "0"},
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("numbaloss: NUMBA_NUM_THREADS=0 leaves no thread")
    assert found.stderr.count("\n") == 1
