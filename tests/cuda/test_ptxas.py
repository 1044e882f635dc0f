"""What kernels take of a GPU, by the assembler that comes with CUDA; no GPU is needed."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.gpu.kernels import (
    ALL,
    CAPABILITIES,
    IN_REGISTERS,
    KEPT,
    OF_CLASSES,
    every_case,
    in_batch_cases,
    of_one_loss,
    ptx,
)

pytestmark = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")

# Of 64 Ki registers, by the dtype that is computed in; the kernel that most losses run most of the
# time leaves a multiprocessor room for 4 blocks.
REGISTERS, MOST_REGISTERS = 64, {"float32": 96, "float64": 144}
# Of kernels that keep two or three tuples of 16 numbers.
REGISTERS_OF_MANY = {"float32": 128, "float64": 255}
SHARED_BYTES = 1024
# A number and a place a thread, where warps compare columns.
SHARED_BYTES_IN_BATCH = 256 * (8 + 8)

# Rows of halves that begin anywhere need all 64 registers, and one more before compute capability
# 9: for a condition that the kernel stores as it begins and reads as it ends, not once a row.
STACK_OF_A_CONDITION, SPILLS_OF_A_CONDITION = 8, 4 + 2 * 4

# Those of `test_ptx.py`, so that a process compiles them once for both. Hessians of long rows along
# several axes are rare, and do spill registers.
OFTEN = [
    pytest.param(case, id=str(case), marks=[] if few else pytest.mark.exhaustive)
    for case, few in of_one_loss()
    if not (case.kernel == "long" and case.traversed)
]


class Use(NamedTuple):
    """What the assembler reports of a kernel."""

    registers: int
    stack: int
    spilled: int
    shared: int


@pytest.fixture(scope="module")
def assembler():
    """The assembler of the version of CUDA that the kernels are compiled with, best of all."""
    from numbaloss.cuda import backend

    if backend.SIMULATED:
        pytest.skip("the simulator compiles nothing")
    found = find_spec("nvidia")
    folders = list(found.submodule_search_locations or ()) if found else []
    wheels = [str(path) for one in folders for path in sorted(Path(one).glob("*/bin/ptxas"))]
    programs = [*wheels[::-1], *filter(None, [shutil.which("ptxas")])]
    for program in programs:
        if assembled(program, of_one_loss()[0][0]) is not None:
            return program
    pytest.skip("no ptxas is as new as the compiler" if programs else "needs ptxas")


def assembled(program, case):
    """What a kernel takes; None where the assembler does not know PTX of this version."""
    major, minor = case.capability
    done = subprocess.run(
        [program, "-v", f"-arch=sm_{major}{minor}", "-o", "/dev/null", "-"],
        input=ptx(case), capture_output=True, text=True,
    )  # fmt: skip
    told = done.stdout + done.stderr
    if "Unsupported .version" in told or "Unsupported .target" in told:
        return None
    assert done.returncode == 0, told

    def number(pattern):
        return sum(map(int, re.findall(pattern, told)))

    return Use(
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes spill"),
        number(r"(\d+) bytes smem"),
    )


@pytest.mark.every(8)
@pytest.mark.parametrize("case", list(every_case()) if ALL else OFTEN)
def test_kernels_leave_room_for_many_threads(assembler, case):
    use = assembled(assembler, case)
    rare = case.kernel == "register_rows" and case.kind == "float16" and not case.whole
    assert use.stack <= (STACK_OF_A_CONDITION if rare else 0)
    assert use.spilled <= (SPILLS_OF_A_CONDITION if rare else 0)
    often = case.kernel == "vectors" and case.kind == "float32"
    computed = "float64" if case.kind == "float64" else "float32"
    many = case.kernel in OF_CLASSES or (case.kernel == "register_rows" and case.derivatives > 1)
    most = (REGISTERS_OF_MANY if many else MOST_REGISTERS)[computed]
    assert 0 < use.registers <= (REGISTERS if often else most)
    assert use.shared <= SHARED_BYTES


@pytest.mark.every(6)
@pytest.mark.parametrize("case", list(in_batch_cases()), ids=str)
def test_kernels_over_similarities_leave_room_for_many_threads(assembler, case):
    use = assembled(assembler, case)
    assert use.stack == use.spilled == 0
    assert 0 < use.registers <= MOST_REGISTERS["float64" if case.kind == "float64" else "float32"]
    assert use.shared <= SHARED_BYTES_IN_BATCH


def test_the_list_has_every_kernel_and_capability():
    kernels = {"vectors", "strided", *IN_REGISTERS, *OF_CLASSES, "staged", "long", "general"}
    kernels |= {"embedding_rows", KEPT, "clusters"}
    few = [case for case, few in of_one_loss() if few]
    assert {case.kernel for case in few} == kernels
    assert {case.capability for case in few} == set(CAPABILITIES)
    assert len({case for case, _ in of_one_loss()}) == len(of_one_loss())
