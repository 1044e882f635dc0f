"""Where rows begin in arrays: rows along one axis, and along several ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .backend import device_function
from .memory import raw_reader


@cache
def beginnings(traversed: bool, numbers: int) -> Callable:
    """``find(layout, row, stride, place)``: where a row begins in an array, in elements.

    ``stride`` is that of its rows. Rows along several axes are traversed by a layout instead: the
    number of axes, then so many ``numbers`` each, the first of them its length; the array's stride
    is at ``place`` among them. Kernels for these are a compilation of their own, which spares the
    others the registers.
    """
    if not traversed:

        @device_function
        def find_simple(layout, row, stride, place):
            return row * stride

        return find_simple
    number = raw_reader("int64")

    @device_function
    def find(layout, row, stride, place):
        axes, start, left, found = number(layout, 0), 1, row, 0
        axis = 0
        while axis < axes:
            index = left
            if axis + 1 < axes:
                length = number(layout, start)
                left = index // length
                index = index - left * length
            found += index * number(layout, start + place)
            start += numbers
            axis += 1
        return found

    return find
