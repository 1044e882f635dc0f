"""Cross-entropy of a linear layer: time and memory, in a size that takes a fraction of a second.

The sizes of language models are those of ``python -m benchmarks.linear``.
"""

from __future__ import annotations

import numpy as np

from .. import high_water
from .common import make

ROWS, LENGTH, CLASSES = 512, 128, 8192
# Less than the logits, which take 17 MB: several blocks of rows.
WORKSPACE = 4_000_000


class Linear:
    """The layouts of the weight: as the product takes it, and as checkpoints keep it."""

    params = (("columns", "rows"), ("float32", "float16"))
    param_names = ("weight", "dtype")

    def setup(self, weight: str, dtype: str) -> None:
        self.loss = make("linear_cross_entropy")
        generator = np.random.default_rng(0)
        hidden = generator.standard_normal((ROWS, LENGTH), dtype=np.float32)
        matrix = generator.standard_normal((LENGTH, CLASSES), dtype=np.float32)
        matrix *= np.float32(2.0 / LENGTH**0.5)
        self.given = (
            hidden.astype(dtype),
            np.ascontiguousarray(matrix.T if weight == "rows" else matrix).astype(dtype),
            generator.integers(0, CLASSES, ROWS),
        )
        self.out = tuple(np.empty_like(one) for one in self.given[:2])
        self.time_value_and_grad(weight, dtype)

    def time_value(self, weight: str, dtype: str) -> None:
        self.loss(*self.given, workspace=WORKSPACE)

    def time_value_and_grad(self, weight: str, dtype: str) -> None:
        self.loss.value_and_grad(*self.given, out=self.out, workspace=WORKSPACE)

    def track_extra_memory(self, weight: str, dtype: str) -> int:
        """What a call takes at its peak, beyond inputs and gradients."""
        if not high_water.can_measure():
            raise NotImplementedError("only Linux tells the peak of a single call")
        return high_water.extra_bytes(lambda: self.time_value_and_grad(weight, dtype))

    track_extra_memory.unit = "bytes"  # type: ignore[attr-defined]
