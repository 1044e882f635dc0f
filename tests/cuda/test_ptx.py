"""What kernels are compiled to, checked without a GPU.

A run compiles each kernel with each loss of the registry and each dtype, several losses at a time,
for an A100 (sm_80) and an H100 (sm_90) by turns: the two differ in a line at the top. With
``NUMBALOSS_TEST_ALL=1`` in the environment it compiles each combination on its own, for both, with
every number of derivatives, and for rows along one axis and along several.
"""

import re
from importlib.util import find_spec

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.kernels import (
    ALL,
    CAPABILITIES,
    IN_REGISTERS,
    KEPT,
    OF_CLASSES,
    Case,
    compiled,
    every_case,
    in_batch_cases,
    instructions,
    intrinsics,
    of_one_loss,
    ptx,
    refused,
    sums_of_all,
    without_gpu,
)

pytestmark = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")

# Of 16 bytes, by dtype.
VECTORS = {
    "float32": ("v4.f32", "v4.b32"),
    "float64": ("v2.f64", "v2.b64"),
    "float16": ("v4.u32", "v4.b32"),
    "bfloat16": ("v4.u32", "v4.b32"),
}
# Only what is rounded right, and nothing that takes denormals for zeros, but for what the float32
# functions are made of.
INEXACT = re.compile(r"\.(approx|full|ftz)\b")
OF_FUNCTIONS = {"ex2.approx.ftz.f32", "rcp.approx.ftz.f32"}
# Instructions on float64 that compute nothing: a float64 that was read is rounded at once.
MOVES = re.compile(r"(ld|st|mov|selp)\.|cvt\.rn\.f32\.f64$")


OF_ONE_LOSS = [
    pytest.param(case, id=str(case), marks=[] if few else pytest.mark.exhaustive)
    for case, few in of_one_loss()
]


@pytest.fixture(autouse=True)
def _no_simulator():
    from numbaloss.cuda import backend

    if backend.SIMULATED:
        pytest.skip("the simulator compiles nothing")


def in_float64(found):
    """What is computed in float64."""
    return {name: n for name, n in found.items() if ".f64" in name and not MOVES.match(name)}


def complaints(case):
    """What is not as it should be in the PTX of a kernel."""
    text, intrinsics_ = compiled(case)
    found = instructions(text)
    names = " ".join(found)
    if re.search(r"\.local\b|\bcall", text):
        yield "has local memory or calls"
    if some := refused(intrinsics_):
        yield f"has intrinsics that some versions of CUDA refuse: {some}"
    if generic := re.findall(r"\b(?:ld|st)\.(?!volatile|global|shared|param|const)\S+", names):
        yield f"does not know what memory it accesses: {generic}"
    inexact = {name for name in found if INEXACT.search(name)}
    if case.kind != "float64":
        inexact -= OF_FUNCTIONS
    if inexact:
        yield f"is inexact: {inexact}"
    if case.kind == "float64":
        if single := [n for n in found if re.match(r"(add|sub|mul|fma|div|sqrt)\S*f32", n)]:
            yield f"computes in float32: {single}"
    else:
        allowed = in_float64(instructions(ptx(smallest(case.capability))))
        own = in_float64(found)
        if case.kernel == "total":  # nothing is ever out of place: some sums are of constants
            own = {name: n for name, n in own.items() if n > allowed.get(name, 0)}
        # Others over blocks of similarities leave no value.
        if not within({} if case.in_batch else allowed, own):
            yield f"computes in float64: {own}"
    vectors = {name for name in found if name.startswith(("ld.global.v", "st.global.v"))}
    loads, stores = (
        {f"{access}.global.{vector}" for vector in VECTORS[case.kind]} for access in ("ld", "st")
    )
    in_vectors = "vectors", "staged", "embedding_rows", *IN_REGISTERS, KEPT, "clusters", *OF_CLASSES
    if case.kernel in (*in_vectors, "long") and not vectors & loads:
        # Values alone of rows in shared memory come in vectors too.
        yield f"has no loads of 16 bytes: {vectors}"
    stores_vectors = case.kernel in in_vectors and case.derivatives > 0
    if case.kernel == "long" and not case.traversed:
        stores_vectors = case.derivatives == 1
    if stores_vectors and not vectors & stores:
        yield f"has no stores of 16 bytes: {vectors}"


def within(allowed, own):
    """Whether nothing but values is added up in float64, at as many places or fewer."""
    sums = {"add.f64", "add.rn.f64", "cvt.f64.f32"}
    return own.keys() == allowed.keys() and all(
        count == allowed[name] or (name in sums and count < allowed[name])
        for name, count in own.items()
    )


def smallest(capability):
    """A kernel that computes in float64 nothing but the sum of the values."""
    return Case("vectors", (nl.SquaredError,), False, "float32", 1, False, capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_in_float64_only_values_are_added_up(capability):
    found = in_float64(instructions(ptx(smallest(capability))))
    kinds = {name.split(".")[0] for name in found}
    assert kinds == {"add", "div", "setp", "cvt"}
    # The value, and the scale of kernels to follow; values of whole vectors, others, and how many
    # are wrong in a block.
    assert (found["div.rn.f64"], found["cvt.f64.f32"]) == (2, 3)


@pytest.mark.every(106)
@pytest.mark.parametrize("case", list(every_case() if ALL else sums_of_all()), ids=str)
def test_kernels_are_what_they_should_be(case):
    assert not list(complaints(case))


@pytest.mark.every(6)
@pytest.mark.parametrize("case", list(in_batch_cases()), ids=str)
def test_kernels_over_similarities_are_what_they_should_be(case):
    assert not list(complaints(case))


@pytest.mark.every(8)
@pytest.mark.parametrize("case", OF_ONE_LOSS)
def test_kernels_of_one_loss_are_what_they_should_be(case):
    assert not list(complaints(case))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("traversed", [False, True])
def test_scans_and_sums_have_neither_local_memory_nor_calls(traversed, capability):
    from numbaloss.cuda import elementwise_kernels, scan

    with without_gpu(capability), intrinsics() as found:
        kernel = scan.kernel(True) if traversed else elementwise_kernels.sum_kernel()
        text = kernel.ptx(capability)
    assert not re.search(r"\.local\b|\bcall", text)
    assert found
    assert not refused(found)


def test_capabilities_differ_in_nothing_but_the_target():
    def body(capability):
        case = Case("strided", (nl.Huber,), False, "float32", 2, False, capability)
        # Symbols have numbers in them that count compilations.
        text = re.sub(r"\b_(?:Z|cudapy)\w+|//.*", "", ptx(case))
        return [line for line in text.splitlines() if not line.startswith(".target")]

    assert body((8, 0)) == body((9, 0))


def test_formulas_that_can_raise_are_refused_for_a_gpu():
    from numbaloss.cuda.elementwise_kernels import vectors
    from numbaloss.formulas.structure import Structure

    table = np.array([1.0, 2.0])

    class Raising(nl.Elementwise):
        def value(self, prediction, target):
            if target > 1.0:
                raise ValueError("large")
            return (prediction - target) ** 2

    class LookUp(nl.Elementwise):
        def value(self, prediction, target):
            return table[int(target)] * (prediction - target) ** 2

    class Clamped(nl.Elementwise):
        def value(self, prediction, target):
            return table[min(max(int(target), 0), 1)] * (prediction - target) ** 2

    with without_gpu((9, 0)):
        for cls in (Raising, LookUp):
            kernel = vectors(Structure.of(cls()), "float32", 0)
            with pytest.raises(TypeError, match=f"{cls.__name__} can raise an exception"):
                kernel.ptx((9, 0))
        for cls in (Clamped, type("Trusted", (LookUp,), {"check_bounds": False})):
            assert "ld.const" in vectors(Structure.of(cls()), "float32", 0).ptx((9, 0))
