"""Products of matrices on Numba's threads, each of which lets BLAS make a tile alone.

Where loops and products take turns, every 2 to 30 ms, one pool of threads has to do both: see
`products.one_thread_each`. Tiles depend on the sizes alone, so that results do not depend on
the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import types

from . import threads
from .compile import Code, c_function
from .intrinsics import caller, pointer
from .products import ROW_MAJOR, TURNED, address_of_gemm, layout_of, multiply
from .rows import CHUNK_SIGNATURE
from .threads import LAYOUTS

# Rows and columns of a tile. BLAS rearranges what it multiplies by for every tile: with 128 rows
# that takes a quarter of the time of the product, with 256 an eighth.
TILE_ROWS, TILE_COLUMNS = 256, 2048

(
    GEMM,
    OF_LEFT,
    OF_RIGHT,
    ROWS,
    COLUMNS,
    INNER,
    LEFT,
    LEFT_STEP,
    RIGHT,
    RIGHT_STEP,
    INTO,
    INTO_STEP,
    ADD,
) = range(13)
FIELDS = 13


def multiply_in_tiles(
    left: np.ndarray, right: np.ndarray, into: np.ndarray, add: bool = False
) -> None:
    """``into = left @ right``, or ``+=``; all three are usable by BLAS.

    To be called within :func:`~.products.one_thread_each`.
    """
    gemm = address_of_gemm(into.dtype.name)
    described = [layout_of(one) for one in (left, right, into)]
    if not gemm or None in described or left.shape[1] == 0:
        multiply(left, right, into, add)
        return
    (of_left, left_step), (of_right, right_step), (of_into, into_step) = described  # type: ignore
    if of_into == TURNED:
        multiply_in_tiles(right.T, left.T, into.T, add)
        return
    rows, columns = into.shape
    fields = np.array([
        gemm, of_left, of_right, rows, columns, left.shape[1], left.ctypes.data, left_step,
        right.ctypes.data, right_step, into.ctypes.data, into_step, add,
    ])  # fmt: skip
    tiles = -(-rows // TILE_ROWS) * -(-columns // TILE_COLUMNS)
    code = _code(into.dtype.name)
    arguments = code.address, 0, 0, tiles, 1, threads.handle(fields), 1.0, *[0] * 6
    threads.launch_chunks(arguments, tiles)


@cache
def _code(real: str) -> Code:
    return c_function(
        lambda: _tile(real), CHUNK_SIGNATURE, f"product tile {real}", error_model="numpy"
    )


def _tile(real: str) -> Callable:
    cast, itemsize = np.dtype(real).type, np.dtype(real).itemsize
    zero, one = cast(0), cast(1)
    order = np.int32(ROW_MAJOR)
    number = getattr(types, real)
    word, size = types.int32, types.int64
    call_gemm = caller(
        types.void, word, word, word, size, size, size, number, size, size, size, size, number,
        size, size,
    )  # fmt: skip

    def tile(job, scale, index, result):
        fields = pointer(job[LAYOUTS], 1)
        across = (fields[COLUMNS] + TILE_COLUMNS - 1) // TILE_COLUMNS
        row = index // across * TILE_ROWS
        column = (index - index // across * across) * TILE_COLUMNS
        rows = min(TILE_ROWS, fields[ROWS] - row)
        columns = min(TILE_COLUMNS, fields[COLUMNS] - column)
        down = 1 if fields[OF_LEFT] == TURNED else fields[LEFT_STEP]
        along = fields[RIGHT_STEP] if fields[OF_RIGHT] == TURNED else 1
        call_gemm(
            fields[GEMM],
            (
                order, np.int32(fields[OF_LEFT]), np.int32(fields[OF_RIGHT]),
                rows, columns, fields[INNER], one,
                fields[LEFT] + row * down * itemsize, fields[LEFT_STEP],
                fields[RIGHT] + column * along * itemsize, fields[RIGHT_STEP],
                one if fields[ADD] != 0 else zero,
                fields[INTO] + (row * fields[INTO_STEP] + column) * itemsize, fields[INTO_STEP],
            ),
        )  # fmt: skip
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0

    return tile
