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

from ..jobs.products import TiledProduct
from .compile import Code, c_function
from .intrinsics import caller
from .products import ROW_MAJOR, TRANSPOSED, address_of_gemm, layout_of, multiply
from .records import at
from .threads import CHUNK_SIGNATURE, call_at, launch_described, sums_at

# Rows and columns of a tile. BLAS rearranges what it multiplies by for every tile: with 128 rows
# that takes a quarter of the time of the product, with 256 an eighth.
TILE_ROWS, TILE_COLUMNS = 256, 2048

product_at = at(TiledProduct)


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
    if of_into == TRANSPOSED:
        multiply_in_tiles(right.T, left.T, into.T, add)
        return
    rows, columns = into.shape
    product = TiledProduct()
    product.gemm, product.add = gemm, add
    product.rows, product.columns, product.inner = rows, columns, left.shape[1]
    product.left, product.left_order, product.left_step = left.ctypes.data, of_left, left_step
    product.right, product.right_order = right.ctypes.data, of_right
    product.right_step = right_step
    product.into, product.into_step = into.ctypes.data, into_step
    tiles = -(-rows // TILE_ROWS) * -(-columns // TILE_COLUMNS)
    launch_described(_code(into.dtype.name).address, product, tiles, 1)


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

    def tile(address, scale, index, result):
        product = product_at(call_at(address).description)
        across = (product.columns + TILE_COLUMNS - 1) // TILE_COLUMNS
        row = index // across * TILE_ROWS
        column = (index - index // across * across) * TILE_COLUMNS
        rows = min(TILE_ROWS, product.rows - row)
        columns = min(TILE_COLUMNS, product.columns - column)
        down = 1 if product.left_order == TRANSPOSED else product.left_step
        along = product.right_step if product.right_order == TRANSPOSED else 1
        call_gemm(
            product.gemm,
            (
                order, np.int32(product.left_order), np.int32(product.right_order),
                rows, columns, product.inner, one,
                product.left + row * down * itemsize, product.left_step,
                product.right + column * along * itemsize, product.right_step,
                one if product.add != 0 else zero,
                product.into + (row * product.into_step + column) * itemsize, product.into_step,
            ),
        )  # fmt: skip
        sums = sums_at(result)
        sums.value = sums.out_of_range = 0.0

    return tile
