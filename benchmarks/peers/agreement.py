"""Whether the contestants do the same work: values and gradients are compared first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .catalogue import CHECKED_SIZE, WORKS, Shape, arrays
from .contestants import ENTRIES
from .contestants.with_numpy import FORMULAS, cross_entropy_rows
from .race import Failed, Process, Report, results

# Relative to the size of each number and to the typical size in its array: polynomial exp,
# libm, and sums in another order differ by a few units in the last place.
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}
# Elements that the reference takes at a time.
BLOCK = 2**20


def places(shape: Shape) -> list[int]:
    """Where gradients are compared: everywhere in small arrays, in some rows of large ones."""
    wanted = max(3, CHECKED_SIZE // shape[-1]) if len(shape) > 1 else shape[0]
    return np.unique(np.linspace(0, shape[0] - 1, min(wanted, shape[0])).astype(int)).tolist()


def reference(loss: str, dtype: str, shape: Shape) -> tuple[float, np.ndarray]:
    """Value and gradient by NumPy in its widest type, from inputs rounded to ``dtype``."""
    prediction, target = arrays(WORKS[loss], dtype, shape)
    if len(shape) > 1:
        return _reference_rows(prediction, target)
    prediction, target = prediction.astype(np.longdouble), target.astype(np.longdouble)
    gradient, scratch = np.empty_like(prediction), np.empty_like(prediction)
    total = FORMULAS[loss](prediction, target, gradient, scratch)
    return float(total / shape[0]), (gradient / shape[0]).astype(np.float64)


def _reference_rows(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Only the rows that are compared, and float64 for the value: there may be millions."""
    rows = len(logits)
    some = places(logits.shape)
    wide = logits[some].astype(np.longdouble)
    gradient = np.empty_like(wide)
    cross_entropy_rows(wide, labels[some], gradient)
    total = 0.0
    block = max(1, BLOCK // logits.shape[1])
    for start in range(0, rows, block):
        part = logits[start : start + block].astype(np.float64)
        total += float(cross_entropy_rows(part, labels[start : start + block], part))
    return total / rows, (gradient / rows).astype(np.float64)


def errors(found: dict[str, np.ndarray], expected: tuple[float, np.ndarray]) -> dict[str, float]:
    """Worst error of each array, in the measure of TOLERANCES."""
    worst = {}
    for name, got in found.items():
        wanted = np.asarray(expected[name.endswith("gradient")])
        allowed = np.abs(wanted) + np.abs(wanted).mean()
        worst[name] = float(np.max(np.abs(got.astype(np.float64) - wanted) / allowed))
    return worst


def disagreeing(
    running: dict[str, Process],
    ready: Sequence[str],
    loss: str,
    dtype: str,
    shape: Shape,
    report: Report,
) -> dict[str, float]:
    """Who is wrong at what is prepared, with the worst error; each is reported."""
    wrong = {}
    expected = reference(loss, dtype, shape)
    for name in ready:
        if ENTRIES[name].kind == "floor":
            continue
        try:
            found = errors(results(running[name], places(shape)), expected)
        except Failed as failure:
            report(f"{ENTRIES[name].title}, {loss}, {dtype}: {failure}")
            continue
        # Written so that NaN is wrong.
        worst = max(found.values(), key=lambda error: (error != error, error), default=0.0)
        if not worst <= TOLERANCES[dtype]:
            wrong[name] = worst
            report(
                f"{ENTRIES[name].title} disagrees on {loss} in {dtype} by {worst:.1e} "
                f"and is left out of it: {found}"
            )
    return wrong
