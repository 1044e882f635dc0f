"""The loop over the tiles of a chunk, which depends on no loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ...jobs.samples import SampleDescription
from ...vmath.vectors import register_bytes
from ..compile import Code, c_function
from ..intrinsics import caller, pointer, stack_memory
from ..movers import layout
from ..options import inner
from ..records import at
from ..rows import numbers
from ..sums import tools
from ..threads import CHUNK_SIGNATURE, call_at, sums_at
from ..tiles import tiling
from .tile import WIDTH

description_at = at(SampleDescription)


def planes_of(outputs: int, targets: int, hessians: int) -> int:
    """Planes of a tile: those of all arrays, a weight and a value; a power of two, at least 16."""
    return max(16, 1 << (2 * outputs + targets + hessians + 2 - 1).bit_length())


@cache
def chunk(real: str, planes: int) -> Code:
    """The machine code of the loop over the tiles of a chunk, for one compute dtype."""
    name = f"samples chunk {planes} {real}"
    return c_function(lambda: _chunk(real, planes), CHUNK_SIGNATURE, name, error_model="numpy")


def _moves(real: str) -> Any:
    """Functions that bring the planes of a tile in and out."""
    t, of_rows = numbers(real), tiling(real, WIDTH)
    zero, step = t.zero, WIDTH * t.itemsize

    @njit(**inner)
    def gather(call, array, layout_word, planes_word, transpose, row, size, count, tile, spare):
        if planes_word == 0:
            whole = array, layout(call, layout_word), 0
            of_rows.gather_tile(whole, transpose, row, size, count, tile, spare)
            return
        planes = pointer(call.description + 8 * planes_word, 1)
        for plane in range(count):
            source = planes[2 * plane], layout(call, planes[2 * plane + 1])
            place = tile + plane * step
            t.load(source, row, size, place)
            rest = pointer(place, zero)
            for k in range(size, WIDTH):
                rest[k] = zero

    @njit(**inner)
    def spread(call, array, layout_word, planes_word, transpose, row, size, count, tile, spare):
        if planes_word == 0:
            whole = array, layout(call, layout_word), 0
            of_rows.spread_tile(whole, transpose, row, size, count, tile, spare)
            return
        planes = pointer(call.description + 8 * planes_word, 1)
        for plane in range(count):
            target = planes[2 * plane], layout(call, planes[2 * plane + 1])
            t.store(target, row, size, tile + plane * step)

    return gather, spread


def _chunk(real: str, planes: int) -> Callable:
    t, (gather, spread) = numbers(real), _moves(real)
    zero, one, step = t.zero, t.one, WIDTH * t.itemsize
    block_sum, weighted_sum = tools(real)
    spare_bytes = planes * register_bytes()
    scratch_bytes = planes * step + spare_bytes
    run = caller(types.void, *[types.int64] * 8, getattr(types, real), types.int64)
    cast = np.dtype(real).type

    def sample_chunk(address, scale, index, result):
        call = call_at(address)
        d = description_at(call.description)
        start = index * call.chunk
        stop = min(start + call.chunk, call.size)
        spare = stack_memory(scratch_bytes)
        weight = spare + spare_bytes
        value = weight + step
        prediction = value + step
        target = prediction + d.outputs * step
        gradient = target + d.targets * step
        hessian = gradient + d.outputs * step
        of_weight = call.weight, layout(call, d.weight_layout)
        of_value = call.value, layout(call, d.value_layout)
        weights, values = pointer(weight, zero), pointer(value, zero)
        sums = sums_at(result)
        sums.value = sums.out_of_range = 0.0
        t.fill(weights, WIDTH, one)
        while start < stop:
            size = min(WIDTH, stop - start)
            gather(
                call, call.prediction, d.prediction_layout, d.prediction_planes,
                d.prediction_transpose, start, size, d.outputs, prediction, spare,
            )  # fmt: skip
            if d.targets != 0:
                gather(
                    call, call.target, d.target_layout, d.target_planes,
                    d.target_transpose, start, size, d.targets, target, spare,
                )  # fmt: skip
            if call.weight != 0:
                t.load(of_weight, start, size, weight)
            for k in range(size, WIDTH):
                weights[k] = zero  # what fills the tile up counts for nothing
            given = (
                0, call.parameters, prediction, target, weight, value, gradient, hessian,
                cast(scale), result,
            )  # fmt: skip
            run(call.kernel, given)
            if call.weight != 0:
                # Products in float64: of values that are finite they do not overflow.
                sums.value += weighted_sum(values, weights, size)
            else:
                sums.value += block_sum(values, size)
            if call.value != 0:
                if call.weight != 0:
                    for k in range(size):
                        values[k] = zero if weights[k] == zero else values[k] * weights[k]
                t.store(of_value, start, size, value)
            if call.gradient != 0:
                spread(
                    call, call.gradient, d.gradient_layout, d.gradient_planes,
                    d.gradient_transpose, start, size, d.outputs, gradient, spare,
                )  # fmt: skip
            if call.hessian != 0:
                spread(
                    call, call.hessian, d.hessian_layout, d.hessian_planes,
                    d.hessian_transpose, start, size, d.hessians, hessian, spare,
                )  # fmt: skip
            start += size

    return sample_chunk
