"""Denormal results are flushed while rows are computed, on x86 and on AArch64."""

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir
from numba import njit

from numbaloss.cpu.intrinsics import FloatMode, flush_denormals, restore_denormals


def assembly_for(triple):
    """What a function that flushes denormals and goes back is on some processor."""
    module = ir.Module()
    module.triple = triple
    function = ir.Function(module, ir.FunctionType(ir.IntType(32), []), "modes")
    builder = ir.IRBuilder(function.append_basic_block())
    mode = FloatMode(builder)
    assert mode.known
    former = mode.read()
    mode.write(builder.or_(former, ir.Constant(ir.IntType(32), mode.flush)))
    mode.write(former)
    builder.ret(former)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return llvm.Target.from_triple(triple).create_target_machine().emit_assembly(parsed).lower()


@pytest.mark.parametrize(
    ("triple", "reads", "writes"),
    [
        ("x86_64-unknown-linux-gnu", "stmxcsr", "ldmxcsr"),
        ("aarch64-unknown-linux-gnu", "mrs", "msr"),
        ("arm64-apple-macosx", "mrs", "msr"),
    ],
)
def test_the_mode_is_read_changed_and_restored(triple, reads, writes):
    code = assembly_for(triple)
    assert code.count(reads) == 1
    assert code.count(writes) == 2
    if writes == "msr":
        assert "fpcr" in code
        assert "#0x1000000" in code or "#16777216" in code


def test_other_processors_are_left_alone():
    module = ir.Module()
    module.triple = "riscv64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), []), "modes")
    assert not FloatMode(ir.IRBuilder(function.append_basic_block())).known


@njit
def halves(numbers, flush):
    mode = flush_denormals() if flush else np.int32(0)
    for i in range(numbers.size):
        numbers[i] *= 0.5
    if flush:
        restore_denormals(mode)
    return numbers[0]


def test_denormal_results_are_zero_between_the_two_and_not_after():
    smallest = np.finfo(np.float64).tiny
    assert halves(np.array([smallest, 1.0]), False) == smallest / 2
    assert halves(np.array([smallest, 1.0]), True) == 0.0
    assert halves(np.array([smallest, 1.0]), False) == smallest / 2
    assert np.array([smallest])[0] * 0.5 == smallest / 2
