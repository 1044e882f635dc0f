"""The machine that runs PTX in the place of a GPU."""

import os
from importlib.util import find_spec

import pytest

# The simulator compiles nothing.
if find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def machine(monkeypatch):
    from tests.support.gpu.machine import installed

    return installed(monkeypatch)


@pytest.fixture
def no_registers(monkeypatch):
    """Rows take the paths of those that registers cannot keep."""
    from numbaloss.cuda import narrow_rows, register_rows

    for module in (narrow_rows, register_rows):
        monkeypatch.setattr(module, "shape", lambda *given: None)
