"""The machine itself: it computes what PTX says, and tells what a GPU may not do."""

import struct

import numpy as np
import pytest

from tests.support.gpu.machine import MEMORY
from tests.support.gpu.ptx_machine import Program

ADDRESS = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; "
OWN = ADDRESS + "add.s64 %rd1, %rd1, %rd2; "


def program(body, shared=""):
    """A kernel of one address, written by hand."""
    registers = ".reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>;"
    body = (registers + body + " ret;").replace("; ", ";\n")
    return Program(f"{shared}\n.visible .entry k(\n.param .u64 a\n)\n{{\n{body}\n}}\n")


def ran(body, array, threads=32, shared=""):
    """The array, once a kernel has run."""
    given = MEMORY.array(array.shape, array.dtype)
    given[...] = array
    program(body, shared).run(MEMORY, 1, threads, struct.pack("@q", given.ctypes.data))
    return given


def test_machine_rounds_once_in_fma():
    a = np.float32(1) + np.finfo(np.float32).eps
    given = np.array([a, a, -(a * a)], np.float32)
    body = (
        "ld.global.f32 %f1, [%rd1]; ld.global.f32 %f2, [%rd1+4]; ld.global.f32 %f3, [%rd1+8]; "
        "fma.rn.f32 %f4, %f1, %f2, %f3; mul.f32 %f5, %f1, %f2; add.f32 %f5, %f5, %f3; "
        "setp.ne.s32 %p1, %r1, 0; @%p1 bra END; "
        "st.global.f32 [%rd1], %f4; st.global.f32 [%rd1+4], %f5; END: "
    )
    # One thread writes last what all have read.
    found = ran(ADDRESS + body.replace("setp", "bar.sync 0; setp"), given)
    assert found[0] == np.float64(a) ** 2 + np.float64(given[2]) != 0
    assert found[1] == 0


def test_machine_shuffles():
    body = "shfl.sync.bfly.b32 %r3|%p1, %r1, 5, 31, -1; st.global.u32 [%rd1], %r3; "
    np.testing.assert_array_equal(ran(OWN + body, np.zeros(32, np.int32)), np.arange(32) ^ 5)


def test_machine_compares_nan():
    tests = ["lt", "ltu", "eq", "equ", "ne", "neu", "ge", "geu", "num", "nan"]
    body = "ld.global.f32 %f1, [%rd1]; mov.u32 %r3, 0; "
    for bit, test in enumerate(tests):
        body += f"setp.{test}.f32 %p1, %f1, 0f3F800000; selp.u32 %r4, {1 << bit}, 0, %p1; "
        body += "or.b32 %r3, %r3, %r4; "
    given = np.full(32, np.nan, np.float32)
    given[:3] = 0.5, 1, 2
    found = ran(OWN + body + "st.global.u32 [%rd1], %r3; ", given).view(np.uint32)
    names = [{t for bit, t in enumerate(tests) if found[i] >> bit & 1} for i in range(4)]
    assert names == [
        {"lt", "ltu", "ne", "neu", "num"},
        {"eq", "equ", "ge", "geu", "num"},
        {"ge", "geu", "ne", "neu", "num"},
        {"ltu", "equ", "neu", "geu", "nan"},
    ]


def test_machine_adds_and_finds_minima_atomically():
    body = (
        "add.s32 %r2, %r1, 7; cvt.u64.u32 %rd3, %r2; atom.global.add.u64 %rd4, [%rd1], 2; "
        "atom.global.min.u64 %rd4, [%rd1+8], %rd3; "
    )
    assert ran(ADDRESS + body, np.array([5, 1 << 62])).tolist() == [69, 7]


SHARED = ".visible .shared .align 4 .b8 s[256];"
EXCHANGE = (
    OWN + "mov.u64 %rd3, s; add.s64 %rd4, %rd3, %rd2; st.shared.u32 [%rd4], %r1; {} "
    "xor.b32 %r2, %r1, 33; mul.wide.u32 %rd5, %r2, 4; add.s64 %rd5, %rd5, %rd3; "
    "ld.shared.u32 %r3, [%rd5]; st.global.u32 [%rd1], %r3; "
)


def test_machine_waits_at_barriers():
    found = ran(EXCHANGE.format("bar.sync 0;"), np.zeros(64, np.int32), 64, SHARED)
    np.testing.assert_array_equal(found, np.arange(64) ^ 33)
    with pytest.raises(RuntimeError, match="race"):
        ran(EXCHANGE.format(""), np.zeros(64, np.int32), 64, SHARED)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("ld.global.u32 %r3, [%rd1+128]; ", IndexError, "not an array's"),
        ("st.global.u32 [%rd1+-4], %r1; ", IndexError, "not an array's"),
        ("ld.global.u32 %r3, [%rd1+2]; ", ValueError, "not aligned"),
        ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+8]; ", ValueError, "not aligned"),
        ("mov.u64 %rd4, s; ld.shared.u32 %r3, [%rd4+256]; ", IndexError, "shared memory"),
        ("mov.u64 %rd4, s; ld.shared.u32 %r3, [%rd4+1]; ", ValueError, "not aligned"),
        ("ld.local.u32 %r3, [%rd1]; ", NotImplementedError, "ld.local"),
        ("st.global.u32 [%rd1], 7; atom.global.inc.u32 %r3, [%rd1], %r1; ", RuntimeError, "fence"),
        ("popc.b32 %r3, %r1; ", NotImplementedError, "popc"),
        ("setp.eq.s32 %p1, %r1, 3; @%p1 bra END; bar.sync 0; END: ", RuntimeError, "barrier"),
        (
            "setp.eq.s32 %p1, %r1, 3; @%p1 bra END; shfl.sync.bfly.b32 %r3|%p2, %r1, 1, 31, -1; "
            "END: ",
            RuntimeError,
            "lanes of a warp",
        ),
        ("st.global.u32 [%rd1], %r1; ", RuntimeError, "race for byte .* of global memory"),
        (
            "ld.global.u64 %rd3, [%rd1]; atom.global.add.u64 %rd4, [%rd1], 1; ",
            RuntimeError,
            "race for byte .* of global memory",
        ),
    ],
)
def test_machine_tells_what_a_gpu_may_not(body, error, message):
    with pytest.raises(error, match=message):
        ran(ADDRESS + body, np.zeros(32, np.int32), shared=SHARED)


def test_machine_wants_the_arguments_of_the_kernel():
    for block in (b"", bytes(16)):
        with pytest.raises(TypeError, match=f"{len(block)} bytes for 8 of parameters"):
            program("").run(MEMORY, 1, 32, block)
