"""What starting costs: the import, and the first call with machine code on disk or not.

Every timing runs in a process of its own: asv times the returned program there, and runs
the second one of a pair before it.
"""

from __future__ import annotations

from .common import DTYPES

# NUMBALOSS_CACHE_DIR is read at the first call, so that setting it here is soon enough.
CALL = """
import os, numba, numbaloss, numpy
os.environ["NUMBALOSS_CACHE_DIR"] = {folder}
prediction = numpy.zeros({size}, "{dtype}")
target = numpy.zeros({size}, "{dtype}")
loss = numbaloss.get("{loss}")
"""

# A folder of its own a process, gone with it.
EMPTY = """
import tempfile
folder = tempfile.TemporaryDirectory()
"""

# Another process fills the folder first. Its program is one line: asv and timeit put it
# into programs of their own, where line ends would be escaped and indented anew.
FILLED = (
    EMPTY
    + """
import subprocess, sys
subprocess.run([sys.executable, "-c", "{program}", folder.name], check=True)
"""
)

MEASURED = "loss.value_and_grad(prediction, target)"


def _prepared(loss: str, dtype: str, size: int, folder: str = "folder.name") -> str:
    return CALL.format(loss=loss, dtype=dtype, size=size, folder=folder)


class Import:
    """Importing the package, NumPy being there already: Numba must not be loaded."""

    def timeraw_import(self) -> tuple[str, str]:
        return "import numbaloss", "import numpy"


class FirstCall:
    """The first call of a process, beyond importing Numba; the larger size runs in parallel."""

    params = (("squared_error", "focal"), DTYPES, (100, 2**20))
    param_names = ("loss", "dtype", "size")
    timeout = 300

    def timeraw_cold(self, loss: str, dtype: str, size: int) -> tuple[str, str]:
        return MEASURED, EMPTY + _prepared(loss, dtype, size)

    def timeraw_warm(self, loss: str, dtype: str, size: int) -> tuple[str, str]:
        lines = ["import sys", *_prepared(loss, dtype, size, "sys.argv[1]").split("\n"), MEASURED]
        program = "; ".join(line for line in lines if line).replace('"', "'")
        return MEASURED, FILLED.format(program=program) + _prepared(loss, dtype, size)

    timeraw_cold.repeat = (1, 3, 20.0)  # type: ignore[attr-defined]
    timeraw_warm.repeat = (3, 10, 20.0)  # type: ignore[attr-defined]
    timeraw_cold.number = timeraw_warm.number = 1  # type: ignore[attr-defined]
