"""The loops vectorise: read from the machine code that Numba made."""

import platform
import re

import numpy as np
import pytest
from numba import njit, typeof

from numbaloss import vmath

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86 machine code"
)
PACKED = {np.float32: "ps", np.float64: "pd"}


def machine_code(kernel, *arguments) -> str:
    """The assembly of ``kernel`` for arguments of these types."""
    kernel(*arguments)
    signature = tuple(typeof(argument) for argument in arguments)
    return kernel.inspect_asm(signature)


def hot_loop(kernel, *arguments) -> str:
    """The basic block with the most packed arithmetic."""
    blocks = re.split(r"\n(?=\.LBB)", machine_code(kernel, *arguments))
    return max(blocks, key=lambda block: len(packed(block, "p[sd]")))


def packed(block: str, suffix: str) -> list[str]:
    names = "add|sub|mul|div|max|sqrt|fn?m(?:add|sub)(?:132|213|231)"
    return re.findall(rf"\bv?(?:{names}){suffix}\b", block)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", vmath.__all__)
def test_loops_over_contiguous_arrays_are_packed_and_free_of_calls(name, dtype, compiled):
    arguments = [np.ones(64, dtype) for _ in range(3 if name == "pow" else 2)]
    block = hot_loop(compiled.kernel(name), *arguments)
    # float32 pow computes in float64 by design.
    assert packed(block, "pd" if name == "pow" else PACKED[dtype])
    assert not re.search(r"\bcall", block)
    assert not re.findall(r"\bv?(?:add|mul|fmadd(?:132|213|231))s[sd]\b", block), (
        "scalar arithmetic"
    )


@pytest.mark.parametrize("name", [name for name in vmath.__all__ if name != "pow"])
def test_float32_functions_do_no_float64_arithmetic(name, compiled):
    x = np.ones(64, np.float32)
    code = machine_code(compiled.kernel(name), x, x.copy())
    assert not re.findall(r"cvtps2pd|cvtss2sd|(?:add|mul|div|sqrt|fmadd...)[ps]d\b", code)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_sigmoid_and_log_sigmoid_of_one_logit_share_one_exponential(dtype, compiled):
    @njit
    def all_three(x, value, slope, mirrored):
        for i in range(x.size):
            logit = x[i]
            a = vmath.softplus(logit)
            b = vmath.sigmoid(-logit)
            c = vmath.log_sigmoid(logit)
            value[i], slope[i], mirrored[i] = a, b, c

    arrays = [np.ones(64, dtype) for _ in range(4)]
    # Only the exponential shifts bits to the left: its count is that of the exponentials.
    together = hot_loop(all_three, *arrays)
    alone = hot_loop(compiled.kernel("sigmoid"), *arrays[:2])
    divisions = rf"\bv?div{PACKED[dtype]}\b"
    shifts = r"\bv?psll[dq]\b"
    ratio = len(re.findall(shifts, alone)) / len(re.findall(divisions, alone))
    assert len(re.findall(shifts, together)) / len(re.findall(divisions, together)) == ratio
