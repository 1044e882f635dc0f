"""Kernels of rows read and write the elements of their arrays, and not one byte beside them.

As `test_memory_bounds` for single elements: rows of every width around the vectors, tiles and
pieces of the kernels, between guard zones and beside pages that nobody may touch.
"""

import sys

import numpy as np
import pytest

import numbaloss as nl

WIDTHS = [1, *range(2, 18), 31, 33, *range(63, 67), 100, *range(127, 131), 257, 2049, 4097]
COUNTS = [1, 2, 7, 8, 9, 16, 17, 33, 65]
GUARD = 96  # elements on either side
LOSSES = [
    nl.CrossEntropy(),
    nl.CrossEntropy(label_smoothing=0.1, z_loss=0.01),
    nl.Brier(),
    nl.MultiMargin(),
    nl.CrossEntropy(from_logits=False),
]


def guarded(contents, guard, step):
    """The contents between two guard zones, with guards between the elements for steps > 1."""
    memory = np.full(2 * GUARD + abs(step) * contents.size, guard, contents.dtype)
    inside = memory[GUARD : GUARD + abs(step) * contents.size]
    if step > 1:
        rows = inside.reshape(*contents.shape[:-1], step * contents.shape[-1])
        inside = rows[..., ::step]
    else:
        inside = inside.reshape(contents.shape)
    inside[...] = contents
    return memory, inside


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_guards_beside_rows_are_not_read_and_those_beside_outputs_stay(
    loss, step, dtype, form, same_bits
):
    if form not in loss.accepts:
        pytest.skip("takes labels alone")
    random = np.random.default_rng(0)
    for classes in WIDTHS:
        for count in COUNTS if classes < 40 else COUNTS[:3]:
            x = random.random((count, classes)).astype(dtype)
            y = random.integers(0, classes, count)
            w = random.random(count).astype(dtype)
            if form == "dense":
                y = random.dirichlet(np.ones(classes), count).astype(dtype)
            # A guard beside the labels is a label out of range.
            guard = 10**9 if form == "labels" else np.nan
            (_, p), (_, t), (_, s) = (
                guarded(x, np.nan, step),
                guarded(y, guard, step),
                guarded(w, np.nan, step),
            )
            (one, out), (other, hess_out) = (guarded(0 * x, 777.0, step) for _ in range(2))
            value, _, _ = loss.value_grad_hess(
                p, t, sample_weight=s, reduction="sum", out=out, hess_out=hess_out
            )
            assert np.isfinite(value)
            assert np.isfinite(loss(p, t, reduction="sum"))
            expected = loss.value_grad_hess(x, y, sample_weight=w, reduction="sum")
            assert same_bits(value, expected[0]), (classes, count)
            for memory, inside, wanted in ((one, out, expected[1]), (other, hess_out, expected[2])):
                assert same_bits(inside, wanted), (classes, count)
                inside[...] = 777.0
                assert (memory == 777.0).all(), (classes, count)


PAGES = """
import ctypes, json, mmap, sys
import numpy as np
import numbaloss as nl

PAGE = mmap.PAGESIZE
library = ctypes.CDLL(None, use_errno=True)
library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
kept = []

def fenced(shape, dtype, side):
    '''An array whose last byte, or first, lies beside a page that nobody may touch.'''
    dtype = np.dtype(dtype)
    size = int(np.prod(shape))
    needed = -(-max(size * dtype.itemsize, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, needed + 2 * PAGE)
    whole = np.frombuffer(memory, np.uint8)
    for place in (0, PAGE + needed):
        assert library.mprotect(whole.ctypes.data + place, PAGE, 0) == 0
    start = PAGE if side == "left" else PAGE + needed - size * dtype.itemsize
    kept.append(memory)
    return whole[start : start + size * dtype.itemsize].view(dtype).reshape(shape)

def trespass():
    array = fenced((8,), np.float32, "right")
    ctypes.memset(array.ctypes.data, 0, array.nbytes + 1)

if sys.argv[1] == "trespass":
    trespass()

calls = 0
random = np.random.default_rng(0)
losses = [nl.CrossEntropy(), nl.CrossEntropy(label_smoothing=0.1), nl.Brier()]
for dtype, kind in (("f4", "i8"), ("f8", "i4"), (">f2", "u1")):
    for side in ("left", "right"):
        for classes in json.loads(sys.argv[2]):
            for count in (1, 2, 9, 33) if classes < 1000 else (1, 2):
                x, out, hess_out = (fenced((count, classes), dtype, side) for _ in range(3))
                labels, weight = fenced((count,), kind, side), fenced((count,), dtype, side)
                dense, mask = fenced((count, classes), dtype, side), fenced((count,), "?", side)
                x[...] = random.normal(size=x.shape)
                labels[...] = random.integers(0, min(classes, 200), count)
                dense[...] = random.integers(0, 2, dense.shape)
                weight[...] = random.integers(0, 3, count)
                mask[...] = random.random(count) < 0.8
                for loss in losses:
                    for target in (labels, dense):
                        options = {"sample_weight": weight, "mask": mask, "reduction": "sum"}
                        value, _, _ = loss.value_grad_hess(
                            x, target, out=out, hess_out=hess_out, **options
                        )
                        again = loss(x, target, **options)
                        assert abs(again - value) <= 1e-4 * abs(value)
                        loss(x, target, reduction="weighted_mean")
                        copy = x.copy()
                        loss.value_and_grad(x, target, out=x)
                        x[...] = copy
                        calls += 1
                del x, out, hess_out, labels, weight, dense, mask, target, options
                kept.clear()
print(json.dumps([calls]))
"""


@pytest.mark.exhaustive  # the random calls are on fenced memory too
@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_rows_at_the_edge_of_accessible_memory_are_fine(run):
    widths = [1, 3, 9, 17, 129, 4097]  # each may be a kernel to compile
    calls = 3 * 2 * 6 * sum(4 if classes < 1000 else 2 for classes in widths)
    process = run.start(PAGES, "stay inside", widths)
    assert run.finish(process, timeout=300.0) == [calls]
    # The fence is no paper one.
    with pytest.raises(AssertionError, match="exit code -"):
        run(PAGES, "trespass", widths)
