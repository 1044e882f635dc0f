"""What the asv suites share: arrays, losses, and a place for machine code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

# One folder an environment: asv installs one commit after another into it, and numbaloss
# keeps the code of different sources apart by itself. Set before numbaloss reads it.
os.environ.setdefault(
    "NUMBALOSS_CACHE_DIR",
    str(Path(os.environ.get("ASV_ENV_DIR") or sys.prefix) / "machine-code"),
)

METHODS = ("value", "value_and_grad", "value_grad_hess")
DTYPES = ("float32", "float64")
# Targets that suit a loss; all others take real numbers.
BINARY = ("binary_cross_entropy", "focal", "hinge")
COUNTS = ("poisson", "tweedie", "gamma")


def arrays(loss: str, dtype: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target for a loss, the same in every process and commit."""
    generator = np.random.default_rng(size)
    prediction = generator.standard_normal(size, dtype=dtype)
    if loss in BINARY:
        return prediction, generator.integers(0, 2, size, dtype=np.int8).astype(dtype)
    if loss in COUNTS:
        return prediction, generator.integers(1, 6, size, dtype=np.int8).astype(dtype)
    return prediction, generator.standard_normal(size, dtype=dtype)


def logits(dtype: Any, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of logits and their labels, the same in every process and commit."""
    generator = np.random.default_rng([rows, classes])
    prediction = generator.standard_normal((rows, classes), dtype=np.float32)
    prediction *= 3.0
    return prediction.astype(dtype, copy=False), generator.integers(0, classes, rows)


def make(loss: str, **parameters: Any) -> Any:
    """The loss; a commit that does not have it yet skips the benchmark."""
    import numbaloss

    if loss not in numbaloss.losses():
        raise NotImplementedError(f"this version of numbaloss has no {loss}")
    return numbaloss.get(loss, **parameters)


def by_value(loss: str) -> Any:
    """A loss without derivatives; a commit that cannot take them skips the benchmark."""
    import numbaloss as nl

    if not hasattr(nl, "stop_gradient"):
        raise NotImplementedError("this version of numbaloss takes no derivatives")

    class LogCosh(nl.Elementwise):
        def value(self, prediction: Any, target: Any) -> Any:
            size = abs(prediction - target)
            return size + nl.log1p(nl.exp(-2.0 * size)) - 0.6931471805599453

    class Focal(nl.Elementwise):
        def value(self, prediction: Any, target: Any) -> Any:
            right = target * nl.sigmoid(-prediction) ** 2 * nl.softplus(-prediction)
            return right + (1.0 - target) * nl.sigmoid(prediction) ** 2 * nl.softplus(prediction)

    return {"log_cosh": LogCosh, "focal": Focal}[loss]()


def method(loss: Any, name: str) -> Any:
    """One of the three public ways to call a loss."""
    return loss if name == "value" else getattr(loss, name)
