"""Kernels of rows read and write the elements of their arrays, and not one byte beside them.

As `test_memory_bounds` for single elements: rows of every width around the vectors, tiles and
pieces of the kernels, between guard zones.
"""

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
