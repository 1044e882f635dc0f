"""A look at labels and weights before anything is computed: how many rows count, which are bad.

It reads a few bytes a row, so that all that follows can trust every label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ..arrays import Operand
from ..core.out_of_range import raise_first_row
from ..vmath import vectors
from ..vmath.bits import select, shift_right
from . import threads
from .compile import Code, c_function
from .intrinsics import pointer, prefer_wide_vectors, stack_memory
from .movers import describe, with_layouts
from .rows import (
    CHECKED,
    CHUNK_SIGNATURE,
    CLASS_WEIGHT,
    CLASSES,
    FIELDS,
    IGNORE,
    IGNORES,
    LABELLED,
    MASK,
    MASK_LAYOUT,
    WEIGHTED,
    block_size,
    call_mover,
    inner,
)
from .threads import CHUNK, LAYOUTS, SIZE, TARGET, WEIGHT

BLOCK = 512
CHUNK_ROWS = 32_768


def scan(
    loss: Any,
    inputs: Sequence[Operand | None],
    labelled: bool,
    weighted: bool,
    count: int,
    check: bool,
) -> float:
    """Number of rows that count, or the sum of their weights where ``weighted``.

    Raises
    ------
    ValueError
        For the first label out of range; where ``check`` says so, for the first weight that is
        negative or NaN.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    options = loss.row_options()
    labels = target if labelled else None
    fields = fields_of(prediction.array.shape[-1], options.ignore_index)
    fields[LABELLED] = labelled
    fields[WEIGHTED], fields[CHECKED] = weighted, check
    weights = None
    if weighted and labelled and options.class_weight is not None:
        weights = options.class_weight
        fields[CLASS_WEIGHT] = weights.ctypes.data
    described = [
        [],
        describe(labels, "int64", "load"),
        describe(weight, "float64", "load"),
        [],
        [],
        [],
    ]
    if mask is not None:
        fields[MASK] = mask.array.ctypes.data
        described.append(describe(mask, "float64", "load"))
    fields = with_layouts(fields, described)
    handles = [0 if one is None else threads.handle(one.array) for one in (labels, weight)]
    total, bad = launch(fields, count, *handles)
    if bad:
        raise_first_row(loss, prediction, labels, weight if check else None, mask)
        raise ValueError("labels or weights were out of range while another thread changed them")
    return total


def launch(fields: np.ndarray, count: int, labels: int, weight: int) -> tuple[float, float]:
    """Look through so many rows: what they come to, and how many labels and weights are bad."""
    chunk = max(CHUNK_ROWS, -(-count // 1024))
    arrays = 0, labels, weight, 0, 0, 0
    arguments = address(), 0, 0, count, chunk, threads.handle(fields), 1.0, *arrays
    return threads.launch_chunks(arguments, -(-count // chunk))


def fields_of(classes: int, ignored: int | None) -> np.ndarray:
    """The description of a scan of labels, and nothing else."""
    fields = np.zeros(FIELDS, np.int64)
    fields[CLASSES] = classes
    fields[LABELLED] = 1
    if ignored is not None:
        fields[IGNORES], fields[IGNORE] = 1, ignored
    return fields


def address() -> int:
    """Where the loop over labels and weights is."""
    return _code().address


@cache
def _code() -> Code:
    # reassoc lets the sums of a block run in lanes.
    return c_function(
        _scan_chunk,
        CHUNK_SIGNATURE,
        "softmax scan",
        error_model="numpy",
        fastmath={"contract", "reassoc"},
    )


def _scan_chunk() -> Callable:
    integers, doubles = 8 * BLOCK, 8 * BLOCK
    block = block_size("float64")
    zero, one = np.int64(0), np.int64(1)

    @njit(**inner)
    def count_plain(labels, size, ignores, ignored, classes):
        """Labels that count and bad ones, of whole blocks.

        In integers: a choice of two conditions is packed into bytes where a register holds four.
        """
        prefer_wide_vectors()
        left_out = bad = vectors.splat(zero, block)
        yes = one if ignores else zero
        for place in range(labels, labels + 8 * size, 8 * block):
            label = vectors.load(place, zero, block)
            ignore = select(label == ignored, yes, zero)
            # The sign of either number says that the label is out of range.
            outside = shift_right(label | (classes - one - label), np.int64(63))
            left_out = left_out + ignore
            bad = bad + (outside & (ignore - one))
        return size - vectors.sum_lanes(left_out), vectors.sum_lanes(bad)

    def scan_rows(job, scale, index, result):
        prefer_wide_vectors()
        fields = pointer(job[LAYOUTS], 1)
        of_labels, of_kept, of_weights, of_mask = (
            stack_memory(integers),
            stack_memory(integers),
            stack_memory(doubles),
            stack_memory(doubles),
        )
        labelled, masked = fields[LABELLED] != 0, fields[MASK] != 0
        weighted, of_class = fields[WEIGHTED] != 0, fields[CLASS_WEIGHT]
        checked = fields[CHECKED] != 0
        ignores, ignored, classes = fields[IGNORES] != 0, fields[IGNORE], fields[CLASSES]
        total, bad = 0.0, 0
        row, stop = index * job[CHUNK], min((index + 1) * job[CHUNK], job[SIZE])
        if labelled & (fields[TARGET] == 0) & (of_class == 0) & (job[WEIGHT] == 0) & (not masked):
            # What most calls are.
            size = (stop - row) // block * block
            counted, bad = count_plain(job[TARGET] + 8 * row, size, ignores, ignored, classes)
            total += counted
            row += size
        while row < stop:
            size = min(BLOCK, stop - row)
            counts = pointer(of_mask, 1.0)
            if masked:
                layout = job[LAYOUTS] + 8 * fields[MASK_LAYOUT]
                call_mover(pointer(layout, 1)[0], (fields[MASK], layout, row, size, of_mask))
            else:
                for k in range(size):
                    counts[k] = 1.0
            if labelled:
                labels = pointer(of_labels, 1)
                layout = fields[TARGET]
                if layout == 0:
                    labels = pointer(job[TARGET] + 8 * row, 1)
                else:
                    layout = job[LAYOUTS] + 8 * layout
                    call_mover(pointer(layout, 1)[0], (job[TARGET], layout, row, size, of_labels))
                wrong = 0
                kept = pointer(of_kept, 1)
                for k in range(size):
                    # Read once: somebody may write meanwhile, and what has been tested must be
                    # what is looked up.
                    label = labels[k]
                    outside = (label < 0) | (label >= classes)
                    left_out = (counts[k] == 0.0) | (ignores & (label == ignored))
                    wrong += 1 if outside & ~left_out else 0
                    counts[k] = 0.0 if left_out else 1.0
                    kept[k] = 0 if outside else label
                bad += wrong
                if of_class != 0:
                    share = pointer(of_class, 1.0)
                    for k in range(size):
                        counts[k] = share[kept[k]] if counts[k] != 0.0 else 0.0
            if job[WEIGHT] != 0:
                weights = pointer(of_weights, 1.0)
                layout = fields[WEIGHT]
                if layout == 0:
                    weights = pointer(job[WEIGHT] + 8 * row, 1.0)
                else:
                    layout = job[LAYOUTS] + 8 * layout
                    call_mover(pointer(layout, 1)[0], (job[WEIGHT], layout, row, size, of_weights))
                wrong = 0
                for k in range(size):
                    weight = weights[k]
                    wrong += 0 if weight >= 0.0 else 1
                    if weighted:
                        counts[k] = weight * counts[k] if counts[k] != 0.0 else 0.0
                bad += wrong if checked else 0
            part = 0.0
            for k in range(size):
                part += counts[k]
            total += part
            row += size
        sums = pointer(result, 1.0)
        sums[0], sums[1] = total, bad

    return scan_rows
