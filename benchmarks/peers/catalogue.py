"""What is raced: losses with their parameters, and the arrays they run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

SEED = 20240229
# Arrays for the comparison of results: not a multiple of any vector or block.
CHECKED_SIZE = 4099

# (elements,), or (rows, classes) of losses of rows of logits.
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """One loss, with the parameters that all contestants use."""

    loss: str
    title: str
    targets: str = "real"  # or "count", "binary"; "labels": of rows of logits
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
        Work("cross_entropy", "cross-entropy", "labels"),
    )
}
ELEMENTWISE = tuple(loss for loss, work in WORKS.items() if work.targets != "labels")
QUICK = ("squared_error", "huber", "binary_cross_entropy")

# Two to a few classes; digits; sizes beside powers of two; ImageNet; vocabularies of Llama 2,
# GPT-2, Llama 3 and Gemma, or close to them.
WIDTHS = (2, 3, 4, 7, 8, 10, 16, 31, 64, 100, 128, 129, 1000, 4096, 32000, 50257, 128256, 262144)
QUICK_WIDTHS = (2, 10, 128, 1000, 32000)
# A call on these costs microseconds: a batch of digits, the next token of a language model.
FEW_ROWS = ((100, 10), *((rows, width) for width in (32000, 262144) for rows in (1, 2, 3)))
# Compiling takes ten seconds a shape: a width of each kind.
COMPILED_WIDTHS = (4, 10, 128, 1000, 32000, 128256)
# Scikit-learn's losses are made for tens of classes. They take the exponentials of a row one
# by one, and more classes add nothing but waiting.
SKLEARN_WIDEST = 1000


def enters(name: str, shape: Shape) -> bool:
    """Whether a contestant runs on rows of this shape; on single elements all do."""
    if len(shape) == 1:
        return True
    if name == "compile":
        return shape[-1] in COMPILED_WIDTHS
    return name != "sklearn" or shape[-1] <= SKLEARN_WIDEST


def arrays(work: Work, dtype: Any, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target: the same in every process that asks."""
    generator = np.random.default_rng([SEED, *shape])
    prediction = generator.standard_normal(prod(shape), dtype=dtype).reshape(shape)
    size = prediction.size
    if work.targets == "real":
        return prediction, generator.standard_normal(size, dtype=dtype)
    if work.targets == "count":
        prediction *= 0.5
        return prediction, generator.integers(0, 6, size, dtype=np.int8).astype(dtype)
    prediction *= 3.0  # logits
    if work.targets == "labels":
        rows, classes = shape
        return prediction, generator.integers(0, classes, rows)
    return prediction, generator.integers(0, 2, size, dtype=np.int8).astype(dtype)


def parameters_of(loss: str) -> dict[str, Any]:
    """Parameters of a loss of the catalogue."""
    return WORKS[loss].parameters
