"""A pass over labels and weights before anything is computed: how many rows count, which are bad.

It reads a few bytes a row, so that all that follows can trust every label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numba import njit

from ..arrays import Operand
from ..jobs.rows import ScanCall
from ..vmath import vectors
from ..vmath.bits import select, shift_right
from . import threads
from .compile import Code, c_function
from .intrinsics import pointer, prefer_wide_vectors, stack_memory
from .movers import describe, flat_layout, layout, move
from .options import block_size, inner, namespace
from .records import at
from .threads import CHUNK_SIGNATURE, call_at, sums_at

scan_at = at(ScanCall)

BLOCK = 512
CHUNK_ROWS = 32_768


def scan(
    loss: Any,
    inputs: Sequence[Operand | None],
    labelled: bool,
    weighted: bool,
    count: int,
    check: bool,
) -> tuple[float, float]:
    """Number of rows that count, or the sum of their weights where ``weighted``.

    And how many labels are out of range; where ``check`` says so, weights negative or NaN too.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    options = loss.row_options()
    labels = target if labelled else None
    call = call_of(prediction.array.shape[-1], options.ignore_index).followed_by(
        {
            "target_layout": describe(labels, "int64", "load"),
            "weight_layout": describe(weight, "float64", "load"),
            "mask_layout": describe(mask, "float64", "load"),
        }
    )
    call.labelled, call.weighted, call.weight_tested = labelled, weighted, check
    weights = options.class_weight if weighted and labelled else None
    if weights is not None:
        call.class_weight = weights.ctypes.data
    if mask is not None:
        call.mask = mask.array.ctypes.data
    handles = [0 if one is None else threads.handle(one.array) for one in (labels, weight)]
    return launch(call.words, count, *handles)


def launch(words: np.ndarray, count: int, labels: int, weight: int) -> tuple[float, float]:
    """Look through so many rows: what they come to, and how many labels and weights are bad.

    ``words`` are those of a `ScanCall`.
    """
    chunk = max(CHUNK_ROWS, -(-count // 1024))
    arrays = 0, labels, weight, 0, 0, 0
    arguments = address(), 0, 0, count, chunk, threads.handle(words), 1.0, *arrays
    return threads.launch_chunks(arguments, -(-count // chunk))


@lru_cache(maxsize=256)
def call_of(classes: int, ignored: int | None) -> ScanCall:
    """A scan of labels, and nothing else; nobody may write to it."""
    call = ScanCall()
    call.classes, call.labelled = classes, 1
    if ignored is not None:
        call.ignores, call.ignored_label = 1, ignored
    call.words.flags.writeable = False
    return call


@lru_cache(maxsize=256)
def words_of_weights(
    classes: int, ignored: int | None, kind: str, masked: bool, weighted: bool, check: bool
) -> np.ndarray:
    """The words of a scan of labels, of weights of a dtype and of a mask, all of them plain.

    Nobody may write to them: what has a mask, whose address they lack, copies them.
    """
    parts = {}
    if kind not in ("", "float64"):
        parts["weight_layout"] = flat_layout(kind, "float64")
    if masked:
        parts["mask_layout"] = flat_layout("bool", "float64")
    call = call_of(classes, ignored).followed_by(parts)
    call.weighted, call.weight_tested = weighted, check
    call.words.flags.writeable = False
    return call.words


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


def _plain_labels() -> Callable:
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
            # The sign of either number marks a label out of range.
            outside = shift_right(label | (classes - one - label), np.int64(63))
            left_out = left_out + ignore
            bad = bad + (outside & (ignore - one))
        return size - vectors.sum_lanes(left_out), vectors.sum_lanes(bad)

    return count_plain


def _counts() -> Any:
    """What a block of rows comes to, number by number."""

    @njit(**inner)
    def count_rows(call, rows, row, size, place):
        """1 for rows that count, by the mask alone."""
        counts = pointer(place, 1.0)
        if rows.mask != 0:
            move(rows.mask, layout(call, rows.mask_layout), row, size, place)
        else:
            for k in range(size):
                counts[k] = 1.0

    @njit(**inner)
    def count_labels(call, rows, row, size, counts, of_labels, of_kept):
        """Leave out rows whose labels do not count, weigh those that do; how many are bad."""
        ignores, ignored, classes = rows.ignores != 0, rows.ignored_label, rows.classes
        labels, kept = pointer(of_labels, 1), pointer(of_kept, 1)
        if rows.target_layout == 0:
            labels = pointer(call.target + 8 * row, 1)
        else:
            move(call.target, layout(call, rows.target_layout), row, size, of_labels)
        bad = 0
        for k in range(size):
            # Read once: somebody may write meanwhile, and what has been tested must be
            # what is looked up.
            label = labels[k]
            outside = (label < 0) | (label >= classes)
            left_out = (counts[k] == 0.0) | (ignores & (label == ignored))
            bad += 1 if outside & ~left_out else 0
            counts[k] = 0.0 if left_out else 1.0
            kept[k] = 0 if outside else label
        if rows.class_weight != 0:
            of_class = pointer(rows.class_weight, 1.0)
            for k in range(size):
                counts[k] = of_class[kept[k]] if counts[k] != 0.0 else 0.0
        return bad

    @njit(**inner)
    def count_weights(call, rows, row, size, counts, of_weights):
        """Weigh rows that count by their own weights, where that is wanted; how many are bad."""
        weighted = rows.weighted != 0
        weights = pointer(of_weights, 1.0)
        if rows.weight_layout == 0:
            weights = pointer(call.weight + 8 * row, 1.0)
        else:
            move(call.weight, layout(call, rows.weight_layout), row, size, of_weights)
        bad = 0
        for k in range(size):
            weight = weights[k]
            bad += 0 if weight >= 0.0 else 1
            if weighted:
                counts[k] = weight * counts[k] if counts[k] != 0.0 else 0.0
        return bad if rows.weight_tested != 0 else 0

    return namespace(locals())


def _scan_chunk() -> Callable:
    block_bytes, block = 8 * BLOCK, block_size("float64")
    count_plain, o = _plain_labels(), _counts()

    def scan_rows(address, scale, index, result):
        prefer_wide_vectors()
        call, sums = call_at(address), sums_at(result)
        rows = scan_at(call.description)
        of_labels, of_kept = stack_memory(block_bytes), stack_memory(block_bytes)
        of_weights, of_mask = stack_memory(block_bytes), stack_memory(block_bytes)
        labelled, weighted = rows.labelled != 0, (call.weight != 0) | (rows.class_weight != 0)
        total, bad = 0.0, 0
        row, stop = index * call.chunk, min((index + 1) * call.chunk, call.size)
        if labelled & (rows.target_layout == 0) & (rows.mask == 0) & (not weighted):
            # What most calls are.
            size = (stop - row) // block * block
            ignores, ignored, classes = rows.ignores != 0, rows.ignored_label, rows.classes
            counted, bad = count_plain(call.target + 8 * row, size, ignores, ignored, classes)
            total += counted
            row += size
        while row < stop:
            size = min(BLOCK, stop - row)
            counts = pointer(of_mask, 1.0)
            o.count_rows(call, rows, row, size, of_mask)
            if labelled:
                bad += o.count_labels(call, rows, row, size, counts, of_labels, of_kept)
            if call.weight != 0:
                bad += o.count_weights(call, rows, row, size, counts, of_weights)
            part = 0.0
            for k in range(size):
                part += counts[k]
            total += part
            row += size
        sums.value, sums.out_of_range = total, bad

    return scan_rows
