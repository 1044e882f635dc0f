"""The engine of CUDA GPUs: which module computes which structure of losses."""

from __future__ import annotations

from typing import Any

from ..core.request import Outcome, Request
from . import repeats
from .backend import Place

STRUCTURES = {
    "elementwise": "elementwise",
    "rows": "softmax",
    "vectors": "embedding_rows",
    "batch": "embedding_batch",
    "linear": "linear",
}


def run(kernels: Any, request: Request) -> Outcome:
    """Ask the GPU for a request; arrays of the host are streamed through it, piece by piece."""
    if request.device is None:
        from . import host

        loss, derivatives, inputs, outputs = request[:4]
        rows = loss.contract.of_classes
        total, out_of_range = host.evaluate(
            kernels, loss, derivatives, inputs, outputs, request.scale, request.check, rows
        )
        return Outcome(total, out_of_range)
    record = kernels.run(request, Place(request.device, request.stream))
    recorder = repeats.recorder()
    if recorder is not None:
        recorder.end(record, request.device)
    return Outcome(record=record)
