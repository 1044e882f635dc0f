"""What is raced: losses with their parameters, and the arrays they run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SEED = 20240229
# Arrays for the comparison of results: not a multiple of any vector or block.
CHECKED_SIZE = 4099


@dataclass(frozen=True)
class Work:
    """One loss, with the parameters that all contestants use."""

    loss: str
    title: str
    targets: str = "real"
    parameters: dict[str, Any] = field(default_factory=dict)


WORKS = {
    work.loss: work
    for work in (
        Work("squared_error", "squared error"),
        Work("absolute_error", "absolute error"),
        Work("huber", "Huber", parameters={"delta": 1.0}),
        Work("quantile", "quantile", parameters={"q": 0.25}),
        Work("pseudo_huber", "pseudo-Huber", parameters={"delta": 1.0}),
        Work("log_cosh", "log-cosh"),
        Work("poisson", "Poisson", "count", parameters={"log_input": True}),
        Work("binary_cross_entropy", "binary cross-entropy", "binary"),
        Work("focal", "focal", "binary", parameters={"gamma": 2.0}),
    )
}
QUICK = ("squared_error", "huber", "binary_cross_entropy")


def arrays(work: Work, dtype: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target: the same in every process that asks."""
    generator = np.random.default_rng([SEED, size])
    prediction = generator.standard_normal(size, dtype=dtype)
    if work.targets == "real":
        return prediction, generator.standard_normal(size, dtype=dtype)
    if work.targets == "count":
        prediction *= 0.5
        return prediction, generator.integers(0, 6, size, dtype=np.int8).astype(dtype)
    prediction *= 3.0  # logits
    return prediction, generator.integers(0, 2, size, dtype=np.int8).astype(dtype)


def parameters_of(loss: str) -> dict[str, Any]:
    """Parameters of a loss of the catalogue."""
    return WORKS[loss].parameters
