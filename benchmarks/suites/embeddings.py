"""Losses of embeddings: time and memory, in sizes that take a fraction of a second.

Sizes of real batches are those of ``python -m benchmarks.embeddings``.
"""

from __future__ import annotations

import numpy as np

from .. import high_water
from .common import make

ROWS, LENGTH, CLASSES = 2048, 128, 128
# Less than the similarities, which take 17 MB: several blocks of rows.
WORKSPACE = 4_000_000
KEYED = ("info_nce", "info_nce:symmetric", "sig_lip")
LABELLED = ("nt_xent", "supervised_contrastive", "batch_triplet:hard", "batch_triplet:semi-hard",
            "batch_triplet:all")  # fmt: skip


class InBatch:
    """All pairs of a batch."""

    params = ((*KEYED, *LABELLED), ("float32", "float64"))
    param_names = ("loss", "dtype")

    def setup(self, loss: str, dtype: str) -> None:
        name, _, choice = loss.partition(":")
        options = {"symmetric": True} if choice == "symmetric" else {}
        self.loss = make(name, **({"mining": choice} if name == "batch_triplet" else options))
        generator = np.random.default_rng(0)
        vectors = generator.standard_normal((2, ROWS, LENGTH)).astype(dtype)
        self.given: tuple[np.ndarray, ...] = (vectors[0], generator.integers(0, CLASSES, ROWS))
        self.out = np.empty_like(vectors[0])
        if loss in KEYED:
            self.given, self.out = (vectors[0], vectors[1]), (self.out, np.empty_like(self.out))
        self.time_value_and_grad(loss, dtype)

    def time_value(self, loss: str, dtype: str) -> None:
        self.loss(*self.given, workspace=WORKSPACE)

    def time_value_and_grad(self, loss: str, dtype: str) -> None:
        self.loss.value_and_grad(*self.given, out=self.out, workspace=WORKSPACE)

    def track_extra_memory(self, loss: str, dtype: str) -> int:
        """What a call takes at its peak, beyond inputs and gradients."""
        if not high_water.can_measure():
            raise NotImplementedError("only Linux tells the peak of a single call")
        return high_water.extra_bytes(lambda: self.time_value_and_grad(loss, dtype))

    track_extra_memory.unit = "bytes"  # type: ignore[attr-defined]


class Rows:
    """Pairs and triplets, row by row."""

    params = (("contrastive", "cosine_embedding", "triplet"), ("float32", "float64", "float16"))
    param_names = ("loss", "dtype")

    def setup(self, loss: str, dtype: str) -> None:
        self.loss = make(loss)
        generator = np.random.default_rng(0)
        count = 3 if loss == "triplet" else 2
        vectors = generator.standard_normal((count, 1 << 14, LENGTH), dtype=np.float32)
        self.given = tuple(vectors.astype(dtype))
        self.out = tuple(np.empty_like(one) for one in self.given)
        if count == 2:
            self.given += (generator.integers(0, 2, 1 << 14),)
        self.time_value_and_grad(loss, dtype)

    def time_value_and_grad(self, loss: str, dtype: str) -> None:
        self.loss.value_and_grad(*self.given, out=self.out)
