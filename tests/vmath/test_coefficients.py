"""The coefficients are those that the fitting script derives."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.exhaustive
def test_coefficients_are_reproduced_by_the_fitting_script():
    script = Path(__file__).resolve().parents[2] / "tools" / "fit_polynomials.py"
    command = [sys.executable, str(script), "--check"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
