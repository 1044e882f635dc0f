"""What is checked of losses on a GPU; importing the package enlists all of it."""

from . import batches, elementwise, embeddings, families, linear, options, rows, training
from .common import CHECKS, PARTS, Library, check

__all__ = [
    "CHECKS",
    "PARTS",
    "Library",
    "batches",
    "check",
    "elementwise",
    "embeddings",
    "families",
    "linear",
    "options",
    "rows",
    "training",
]
