"""Products of matrices for models: BLAS into arrays that are there, the same bits every time.

OpenBLAS sums in another order where it has more threads (44 of 120 products of common shapes came
out with other bits for 2 threads than for 1). Here every product is made by one thread of BLAS,
and large ones in tiles, which Numba's threads share: tiles depend on the shapes alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..cpu.products import multiply, one_thread_each, usable
from ..cpu.tiled_products import TILE_COLUMNS, TILE_ROWS, multiply_in_tiles

# Below so many multiplications a launch of threads costs more than it saves.
LARGE = 1 << 24


class _Free(threading.local):
    """Whether BLAS may take all its threads, in this thread."""

    on = False


_free = _Free()


@contextmanager
def one_blas_thread(wanted: bool = True) -> Iterator[None]:
    """A block in which BLAS takes one thread a product; if that is not wanted, all of them.

    What is not wanted is not done in blocks within this one either.
    Where NumPy's BLAS is not OpenBLAS with threads of its own the block changes nothing.
    """
    if not wanted:
        before, _free.on = _free.on, True
        try:
            yield
        finally:
            _free.on = before
    elif _free.on:
        yield
    else:
        with one_thread_each():
            yield


def product(left: np.ndarray, right: np.ndarray, into: np.ndarray) -> np.ndarray:
    """``into = left @ right``, all of one floating type; to be called in a block of one thread."""
    rows, columns = into.shape
    large = (rows > TILE_ROWS or columns > TILE_COLUMNS) and not _free.on
    if large and rows * columns * left.shape[1] >= LARGE and usable(left) and usable(right):
        multiply_in_tiles(left, right, into)
    else:
        multiply(left, right, into)
    return into
