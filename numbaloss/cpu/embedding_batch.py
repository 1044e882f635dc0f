"""Losses of all pairs of a batch on CPU threads: products by BLAS, and what happens between them.

Vectors are copied once, rows of a label side by side, in the compute type, normalised or moved
to their mean where the loss compares them so. Loops over blocks of similarities are in `batch`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import all_pairs
from ..core.request import Outcome, Request
from ..formulas.raised import Raised, exception_of
from .batch.machine import Machine
from .products import one_thread_each

# Bytes of a block of similarities: one of whole rows, and one that is made twice, which is the
# faster for staying in the second-level cache.
WHOLE, TWICE = 32 << 20, 8 << 20
# Rows of a block that products are fast with.
ROWS = 512


def run(request: Request) -> Outcome:
    """Sum of the values of the rows; values and gradients receive what they are for."""
    batch, (values, *_) = request.details, request.outputs
    try:
        found, active = _evaluate(request)
    except Raised as error:
        raised = error
        return Outcome(raised=lambda: _exception(request, raised))
    if batch.weight is not None:
        with np.errstate(all="ignore"):
            found = np.where(batch.weight == 0.0, 0.0, found * batch.weight)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, where it is so large
        total = float(found.sum())
    if values is not None:
        with np.errstate(all="ignore"):  # what float32 cannot hold is infinite
            values.array[...] = batch.original(found)
    return Outcome(total, active=active)


def divisor(request: Request) -> Outcome:
    """What the sum of the values is divided by; weights have been tested."""
    return Outcome(request.details.divisor(request.reduction))


def _exception(request: Request, raised: Raised) -> BaseException:
    real = request.inputs[0].compute  # type: ignore[union-attr]
    return exception_of(request.loss, raised, real, " for a pair or triplet of the batch")


def _evaluate(request: Request) -> tuple[np.ndarray, int]:
    """Values of the rows, without their weights, in the batch's order; terms that are active."""
    loss, batch = request.loss, request.details
    vectors: Any = request.inputs
    gradients: Any = request.outputs[1:] if request.derivatives else None
    options = loss.batch_options()
    if batch.rows == 0 or not batch.terms.any():
        # Not a sum of products with 0: there may be NaN, which nobody is compared with.
        for one in gradients or ():
            one.array[...] = 0
        return np.zeros(batch.rows), 0
    machine = Machine(loss, vectors, batch, gradients, request.scale)
    itemsize = np.dtype(machine.real).itemsize
    several = batch.labelled or options.symmetric
    bytes_ = request.workspace or (TWICE if several and loss.form == "softmax" else WHOLE)
    numbers = max(1, bytes_ // itemsize)
    shape = all_pairs.shape_of(batch, loss.form, options.mining, options.symmetric, numbers, ROWS)
    # NaN and infinity are results like others; NumPy adds and multiplies some of them here.
    with one_thread_each(), np.errstate(all="ignore"):
        machine.prepare(shape)
        all_pairs.run(
            machine, batch, shape, loss.form, options.mining, options.symmetric,
            gradients is not None,
        )  # fmt: skip
        machine.finish()
    return machine.values, int(machine.active.sum())
