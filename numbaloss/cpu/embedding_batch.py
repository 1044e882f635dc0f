"""Losses of all pairs of a batch on CPU threads: products by BLAS, and what happens between them.

Vectors are copied once, rows of a label side by side, in the compute type, normalised or moved
to their mean where the loss compares them so. Loops over blocks of similarities are in `batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import all_pairs
from ..arrays import Operand
from ..formulas.raised import Raised, exception_of
from .batch.machine import Machine
from .products import one_thread_each

# Bytes of a block of similarities: one of whole rows, and one that is made twice, which is the
# faster for staying in the second-level cache.
WHOLE, TWICE = 32 << 20, 8 << 20
# Rows of a block that products are fast with.
ROWS = 512


def evaluate(
    loss: Any,
    vectors: Sequence[Operand],
    batch: all_pairs.Batch,
    gradients: Sequence[Operand] | None,
    scale: float,
    budget: int | None,
) -> tuple[np.ndarray, int]:
    """Values of the rows, without their weights, in the batch's order; terms that are active.

    The gradients receive what they are for.
    """
    options = loss.batch_options()
    if batch.rows == 0 or not batch.terms.any():
        # Not a sum of products with 0: there may be NaN, which nobody is compared with.
        for one in gradients or ():
            one.array[...] = 0
        return np.zeros(batch.rows), 0
    machine = Machine(loss, vectors, batch, gradients, scale)
    itemsize = np.dtype(machine.real).itemsize
    several = batch.labelled or options.symmetric
    bytes_ = budget or (TWICE if several and loss.form == "softmax" else WHOLE)
    numbers = max(1, bytes_ // itemsize)
    shape = all_pairs.shape_of(batch, loss.form, options.mining, options.symmetric, numbers, ROWS)
    try:
        # NaN and infinity are results like others; NumPy adds and multiplies some of them here.
        with one_thread_each(), np.errstate(all="ignore"):
            machine.prepare(shape)
            all_pairs.run(
                machine, batch, shape, loss.form, options.mining, options.symmetric,
                gradients is not None,
            )  # fmt: skip
            machine.finish()
    except Raised as raised:
        error = exception_of(loss, raised, machine.real, " for a pair or triplet of the batch")
        raise error from None
    return machine.values, int(machine.active.sum())
