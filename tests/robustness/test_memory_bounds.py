"""Kernels read and write the elements of their arrays, and not one byte beside them.

Compiled loops go past the end in vectors if they go wrong. So every size around the widths of
vectors, blocks and chunks is tried, on memory that tells: guard zones of a known pattern, NaN
beside the inputs, and pages that end the process when they are touched.
"""

import sys

import numpy as np
import pytest

import numbaloss as nl

# Around vectors of 4 to 64 elements; blocks are 1024 and 2048 long, chunks 8192.
SIZES = [*range(36), 63, 64, 65, 127, 129, 1023, 1024, 1025, 2047, 2048, 2049, 8191, 8193, 16401]
GUARD = 64  # elements on either side
LOSSES = [nl.SquaredError(), nl.BinaryCrossEntropy(pos_weight=2.0)]


def guarded(contents: np.ndarray, guard: float, step: int) -> tuple[np.ndarray, np.ndarray]:
    """The contents between two guard zones, with guards between the elements for steps > 1."""
    memory = np.full(2 * GUARD + abs(step) * contents.size, guard, contents.dtype)
    inside = memory[GUARD : GUARD + abs(step) * contents.size][::step]
    inside[:] = contents
    return memory, inside


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("step", [1, 2, -3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_guards_beside_inputs_are_not_read_and_those_beside_outputs_stay(
    loss, step, dtype, same_bits
):
    random = np.random.default_rng(0)
    for size in SIZES:
        contents = [random.random(size).astype(dtype) for _ in range(3)]
        (_, p), (_, t), (_, w) = (guarded(array, np.nan, step) for array in contents)
        # No result is the guard's number, so that writing one beside would show.
        (one, out), (other, hess_out) = (guarded(0 * array, 777.0, step) for array in contents[:2])
        value, _, _ = loss.value_grad_hess(
            p, t, sample_weight=w, reduction="sum", out=out, hess_out=hess_out
        )
        assert np.isfinite(value)
        assert np.isfinite(loss(p, t, reduction="sum"))
        expected = loss.value_grad_hess(
            contents[0], contents[1], sample_weight=contents[2], reduction="sum"
        )
        assert same_bits(value, expected[0])
        for memory, inside, wanted in ((one, out, expected[1]), (other, hess_out, expected[2])):
            assert same_bits(inside, wanted)
            inside[:] = 777.0
            assert (memory == 777.0).all()


PAGES = """
import ctypes, json, mmap, sys
import numpy as np
import numbaloss as nl

PAGE = mmap.PAGESIZE
library = ctypes.CDLL(None, use_errno=True)
library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
kept = []

def fenced(size, dtype, side):
    '''An array whose last byte, or first, lies beside a page that nobody may touch.'''
    dtype = np.dtype(dtype)
    needed = -(-max(size * dtype.itemsize, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, needed + 2 * PAGE)
    whole = np.frombuffer(memory, np.uint8)
    for place in (0, PAGE + needed):
        assert library.mprotect(whole.ctypes.data + place, PAGE, 0) == 0
    start = PAGE if side == "left" else PAGE + needed - size * dtype.itemsize
    kept.append(memory)
    return whole[start : start + size * dtype.itemsize].view(dtype)

def trespass():
    array = fenced(8, np.float32, "right")
    ctypes.memset(array.ctypes.data, 0, array.nbytes + 1)

if sys.argv[1] == "trespass":
    trespass()

calls = 0
random = np.random.default_rng(0)
for loss in (nl.BinaryCrossEntropy(pos_weight=2.0),):
    for dtype, target_dtype in (("f4", "f4"), ("f8", "f8"), ("f2", "u1"), (">f4", "f8")):
        for step in (1, 2, -2):
            for side in ("left", "right"):
                for size in json.loads(sys.argv[2]):
                    kinds = dtype, target_dtype, dtype, dtype, dtype
                    arrays = []
                    for kind in kinds:
                        wide = max(abs(step) * size - abs(step) + 1, 0) if size else 0
                        array = fenced(wide, kind, side)[::step]
                        array[...] = random.integers(0, 2, size)
                        arrays.append(array)
                    p, t, w, out, hess_out = arrays
                    values = loss(p, t, sample_weight=w, reduction="none")
                    value, _, _ = loss.value_grad_hess(
                        p, t, sample_weight=w, reduction="sum", out=out, hess_out=hess_out
                    )
                    assert abs(values.sum() - value) <= 1e-4 * value
                    assert loss(p, t, reduction="sum") >= 0.0
                    loss.value_and_grad(p, t, out=p)
                    calls += 1
                    del p, t, w, out, hess_out, arrays, array
                    kept.clear()
print(json.dumps([calls]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_arrays_at_the_edge_of_accessible_memory_are_fine(run, shared_cache):
    sizes = [*range(20), 31, 33, 63, 65, 1025, 2047, 8193, 40_001]
    options = {"NUMBALOSS_CACHE_DIR": shared_cache}
    assert run(PAGES, "stay inside", sizes, **options) == [4 * 3 * 2 * len(sizes)]
    # The fence is no paper one.
    with pytest.raises(AssertionError, match="exit code -"):
        run(PAGES, "trespass", sizes, **options)
