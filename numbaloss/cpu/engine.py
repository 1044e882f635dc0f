"""The engine of CPU threads: which module computes which structure of losses."""

from __future__ import annotations

from typing import Any

from ..core.request import Outcome, Request

STRUCTURES = {
    "elementwise": "elementwise",
    "rows": "softmax",
    "direct_rows": "direct_rows",  # plain arrays, a few us sooner
    "vectors": "embedding_rows",
    "batch": "embedding_batch",
    "linear": "linear",
    "multi_output": "multi_output",
}


def run(kernels: Any, request: Request) -> Outcome:
    """Compute a request; how many numbers are out of range the outcome says."""
    found: Outcome = kernels.run(request)
    return found
