"""No kernel stores under a mask: 12 cycles and more on AVX2, where a plain store takes one.

LLVM makes such stores of ``a[k] = x if c else a[k]`` over memory. Maxima belong in registers, a
sum takes ``+=`` of a choice, and last registers overlap those before them.
"""

import platform

import llvmlite.binding as llvm
import pytest

from benchmarks import machine_code
from benchmarks.machine_code import PARTS, PROCESSORS, REALS, counts, of_processor

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86 machine code"
)

# What is left to be mended, by part and without the compute type, and where; whoever mends it
# takes it out.
KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "elementwise": {"elementwise chunk": PROCESSORS},
}

QUICK = [
    ("sapphirerapids", "elementwise", "float32"),
    pytest.param("znver3", "rows", "float32", marks=pytest.mark.exhaustive),
]
# Every part in both types, each for one of the processors: `python -m benchmarks.machine_code
# --everything` has them all.
ALL = [
    (PROCESSORS[(i + j) % len(PROCESSORS)], part, real)
    for i, part in enumerate(PARTS)
    for j, real in enumerate(reversed(REALS))
]


def known(processor: str, part: str, real: str) -> set[str]:
    return {f"{name} {real}" for name, where in KNOWN.get(part, {}).items() if processor in where}


def check(processor: str, part: str, real: str, everything: bool) -> None:
    found = of_processor(processor, [part], [real], everything)
    assert found
    masked = {name for name, one in found.items() if one["masked stores"]}
    own = known(processor, part, real)
    # A part takes kernels of others too, some of them in the other type.
    accepted = {name for one in PARTS for kind in REALS for name in known(processor, one, kind)}
    assert not masked - accepted, {name: found[name] for name in masked - accepted}
    if llvm.llvm_version_info[0] >= 22:  # the first to make them of choices
        mended = own - masked if everything else own & set(found) - masked
        assert not mended, f"mended or gone, to be taken out of KNOWN: {mended}"


@pytest.mark.parametrize(("processor", "part", "real"), QUICK)
def test_no_kernel_stores_under_a_mask(processor, part, real):
    check(processor, part, real, everything=False)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("processor", "part", "real"), ALL)
def test_no_kernel_at_all_stores_under_a_mask(processor, part, real):
    check(processor, part, real, everything=True)


LINES = {
    "vmaskmovps\t%ymm3, %ymm1, (%rdi)": 1,
    "vmaskmovpd\t%ymm3, %ymm1, 32(%rdi,%rax,8)": 1,
    "vpmaskmovd\t%xmm3, %xmm1, .Lsums(%rip)": 1,
    "vmaskmovps\t(%rdi), %ymm1, %ymm0": 0,
    "vmovups\t%zmm0, 64(%rdi,%rax,4) {%k1}": 1,
    "vcompressps\t%zmm0, (%rdi) {%k2}": 1,
    "vmovups\t(%rdi), %zmm0 {%k1}": 0,
    "vmovups\t(%rdi), %zmm0 {%k1} {z}": 0,
    "vscatterdps\t%zmm0, (%rdi,%zmm1,4) {%k1}": 0,
    "vmovups\t%zmm0, (%rdi)": 0,
}


@pytest.mark.parametrize(("line", "masked"), LINES.items())
def test_stores_under_a_mask_are_told_from_other_instructions(line, masked):
    assert counts(f".LBB0_1:\n\t{line}\n\tretq\n")["masked stores"] == masked


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("masked", [True, False])
def test_stores_under_a_mask_are_found_in_what_llvm_prints(processor, masked):
    kind, lanes = "<16 x float>", "<16 x i1>"
    store = f"call void @llvm.masked.store.v16f32.p0({kind} %x, ptr %p, i32 4, {lanes} %m)"
    store = store if masked else f"store {kind} %x, ptr %p, align 4"
    module = llvm.parse_assembly(
        f"declare void @llvm.masked.store.v16f32.p0({kind}, ptr, i32, {lanes})\n"
        f'define void @f({kind} %x, ptr %p) "prefer-vector-width"="512" {{\n'
        f"%m = fcmp ogt {kind} %x, zeroinitializer\n{store}\nret void\n}}"
    )
    module.triple = llvm.get_default_triple()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(module.triple).create_target_machine(cpu=processor, opt=2)
    found = counts(target.emit_assembly(module))
    assert (found["masked stores"] > 0) == masked
    assert found["instructions"] > 2


def test_nothing_runs_while_kernels_are_collected(monkeypatch):
    """Code for another processor would end the process."""
    from numba import njit

    from numbaloss.cpu import threads

    launchers = threads.serial, threads._parallel
    with machine_code.collected() as found:
        assert threads.serial()(1, 2, 3) == (1.0, 0.0)
        with pytest.raises(AssertionError, match="would run"):
            njit(lambda x: x)(1)
    assert not found
    assert (threads.serial, threads._parallel) == launchers
    assert njit(lambda x: x + 1)(1) == 2
