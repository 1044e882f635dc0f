"""What the loops over narrow and over wide rows share.

With integer labels most losses depend on one number of a row, the log-probability l of its
label: what is made of it is in `coefficients`. Here is what comes before and after: weights and
labels of a group of rows, and their values.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit, types

from ..jobs.rows import RowCall, RowStatistics
from ..vmath import float32, float64
from ..vmath.overloads import install as install_vmath
from .coefficients import coefficients, column_of
from .compile import Code, c_function
from .intrinsics import caller, no_alias, pointer, prefer_wide_vectors
from .movers import layout, move
from .options import exact, inner, namespace
from .records import at
from .threads import call_at

rows_at = at(RowCall)
statistic = RowStatistics.column

# Of (call, row, size, statistics, labels, scratch) and (call, statistics): what all loops share,
# compiled once for all of them.
DESCRIBE_SIGNATURE = types.void(*[types.int64] * 6)
FINISH_SIGNATURE = types.void(*[types.int64] * 2)
call_describe = caller(types.void, *DESCRIBE_SIGNATURE.args)
call_finish = caller(types.void, *FINISH_SIGNATURE.args)


@cache
def shared(real: str, group: int) -> tuple[Code, Code]:
    """Machine code of `describe_rows` and `finish` for groups of one size."""
    of_group = tools(real, group)
    return tuple(  # type: ignore[return-value]
        c_function(
            lambda function=function: function.py_func,  # type: ignore[misc]
            signature,
            f"softmax {name} {group} {real}",
            error_model="numpy",
        )
        for name, function, signature in (
            ("describe", of_group.describe_rows, DESCRIBE_SIGNATURE),
            ("finish", of_group.finish, FINISH_SIGNATURE),
        )
    )


@cache
def tools(real: str, group: int) -> Any:
    """Functions over rows of one compute type, in groups of up to ``group`` rows."""
    return namespace(
        numbers(real),
        _descriptions(real, group),
        coefficients(real, group),
        _values(real, group),
    )


@cache
def numbers(real: str) -> Any:
    """Numbers of one compute type: constants, and functions that move them."""
    install_vmath()
    cast = np.dtype(real).type
    zero, one = cast(0), cast(1)
    lowest = cast(-np.inf)
    itemsize = np.dtype(real).itemsize
    integer = {"float32": np.int32, "float64": np.int64}[real]  # as wide
    # Of distances from a maximum, which are no larger than 0.
    decay = (float32 if real == "float32" else float64).exp_of_negative

    @njit(**inner)
    def fill(target, size, value):
        prefer_wide_vectors()
        for i in range(size):
            target[i] = value

    @njit(**inner)
    def copy(source, target, size):
        prefer_wide_vectors()
        no_alias()
        for i in range(size):
            target[i] = source[i]

    @njit(**inner)
    def load(array, start, size, scratch):
        """Elements of an array, in C order, into scratch; it is an address and a layout, or 0."""
        address, of_array = array
        if of_array == 0:
            copy(pointer(address + start * itemsize, zero), pointer(scratch, zero), size)
        else:
            move(address, of_array, start, size, scratch)

    @njit(**inner)
    def store(array, start, size, scratch):
        address, of_array = array
        if of_array == 0:
            copy(pointer(scratch, zero), pointer(address + start * itemsize, zero), size)
        else:
            move(address, of_array, start, size, scratch)

    return namespace(locals())


def _descriptions(real: str, group: int) -> Any:
    """The rows of a call."""
    t = numbers(real)
    zero, one, load, fill = t.zero, t.one, t.load, t.fill
    step, column = group * t.itemsize, column_of(real, group)

    @njit(**inner)
    def describe_labels(call, rows, row, size, statistics, place, scratch):
        labels = pointer(place, 1)
        weight = column(statistics, statistic.row_weight)
        ignores, ignored, classes = rows.ignores != 0, rows.ignored_label, rows.classes
        if rows.target_layout == 0:
            given = pointer(call.target + 8 * row, 1)
        else:
            move(call.target, layout(call, rows.target_layout), row, size, scratch)
            given = pointer(scratch, 1)
        for k in range(size):
            label = given[k]
            weight[k] = zero if ignores & (label == ignored) else weight[k]
            # All that count have been tested; this holds if somebody writes meanwhile.
            labels[k] = label if (label >= 0) & (label < classes) else 0
        if rows.class_weight != 0:
            of_class, of_label = (
                pointer(rows.class_weight, zero),
                column(statistics, statistic.label_weight),
            )
            for k in range(size):
                of_label[k] = of_class[labels[k]]

    @njit(**inner)
    def describe_rows(address, row, size, statistics, place, scratch):
        """Weights and labels of rows; weight 0 and label 0 for those that do not count."""
        prefer_wide_vectors()
        call = call_at(address)
        rows = rows_at(call.description)
        weight = column(statistics, statistic.row_weight)
        if call.weight != 0:
            weights = call.weight, layout(call, rows.weight_layout)
            load(weights, row, size, statistics + statistic.row_weight * step)
        else:
            fill(weight, size, one)
        if rows.mask != 0:
            move(rows.mask, layout(call, rows.mask_layout), row, size, scratch)
            counts = pointer(scratch, zero)
            for k in range(size):
                weight[k] = weight[k] if counts[k] != zero else zero
        fill(column(statistics, statistic.label_weight), size, one)
        if rows.labelled != 0:
            describe_labels(call, rows, row, size, statistics, place, scratch)

    return namespace(locals())


def _values(real: str, group: int) -> Any:
    """Memory for what is known of a group of rows, and what is done with their values."""
    t = numbers(real)
    store, decay, fill, zero = t.store, t.decay, t.fill, t.zero
    step, column = group * t.itemsize, column_of(real, group)
    statistics_bytes, count = RowStatistics.count * step, RowStatistics.count * group

    @njit(**inner)
    def clear_statistics(statistics):
        fill(pointer(statistics, zero), count, zero)

    @njit(**inner)
    def store_values(call, rows, row, size, statistics):
        """Store the values of rows where they are wanted."""
        if call.value != 0:
            values = call.value, layout(call, rows.value_layout)
            store(values, row, size, statistics + statistic.weighted_value * step)

    @njit(**inner)
    def widen(value, lanes, size):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            lanes[k] += np.float64(value[k])

    @njit(**inner)
    def weigh(value, weight, lanes, size):
        prefer_wide_vectors()
        no_alias()
        for k in range(size):
            w = np.float64(weight[k])
            lanes[k] += 0.0 if w == 0.0 else w * np.float64(value[k])

    @njit(**inner)
    def add_values(call, statistics, size, lanes):
        """Add the values of rows to a float64 sum for each place of a group.

        One sum for all places would take its time, where a group has a few numbers.
        """
        prefer_wide_vectors()
        if call.weight == 0:
            widen(column(statistics, statistic.weighted_value), lanes, size)
        else:
            # Products of the compute type might overflow where their mean does not.
            value, weight = statistic.value, statistic.row_weight
            weigh(column(statistics, value), column(statistics, weight), lanes, size)

    @njit(**inner)
    def sum_of(lanes):
        total = 0.0
        for k in range(group):
            total += lanes[k]
        return total

    @njit(**inner)
    def deliver_value(call, rows, row, statistics):
        """Store the value of a row where it is wanted; what it adds to the sum."""
        store_values(call, rows, row, 1, statistics)
        w = np.float64(column(statistics, statistic.row_weight)[0])
        return 0.0 if w == 0.0 else w * np.float64(column(statistics, statistic.value)[0])

    @njit(**exact)
    def exponentiate(numbers, results):
        """e to the power of numbers <= 0."""
        prefer_wide_vectors()
        no_alias()
        for k in range(group):
            results[k] = decay(numbers[k])

    return namespace(locals())
