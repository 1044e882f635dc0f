"""The floor: what moving the same bytes takes, with nothing to compute."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from . import Contestant, Step

# Few enough elements for an even spread over threads, enough to make starts and ends of
# loops vanish.
CHUNK = 16_384


@numba.njit(parallel=True)
def _move(first, second, out):
    size = first.size
    for chunk in numba.prange((size + CHUNK - 1) // CHUNK):
        start = chunk * CHUNK
        stop = min(start + CHUNK, size)
        # Views, indexed from 0: with an offset inside prange the loop does not vectorise.
        a, b, c = first[start:stop], second[start:stop], out[start:stop]
        for i in range(stop - start):
            c[i] = a[i] + b[i]


@numba.njit(parallel=True)
def _move_rows(logits, labels, out, shift):
    size, rows = logits.size, labels.size
    chunks = (size + CHUNK - 1) // CHUNK
    total = 0
    for chunk in numba.prange(chunks):
        start = chunk * CHUNK
        stop = min(start + CHUNK, size)
        a, c = logits[start:stop], out[start:stop]
        for i in range(stop - start):
            c[i] = a[i] + shift
        share = labels[chunk * rows // chunks : (chunk + 1) * rows // chunks]
        for i in range(share.size):
            total += share[i]
    return total


class Floor(Contestant):
    """Read prediction and target once, write one array once, on all threads.

    Labels are summed up: what nobody uses would not be read.
    """

    def versions(self) -> dict[str, str]:
        return {"numba": numba.__version__}

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        out = np.empty_like(prediction)
        if prediction.ndim == 2:
            logits, gradient = prediction.reshape(-1), out.reshape(-1)
            shift = prediction.dtype.type(1.0)
            return {"copy": lambda: _move_rows(logits, target, gradient, shift)}
        return {"copy": lambda: _move(prediction, target, out)}
