"""Whether the contestants do the same work: values and gradients are compared first."""

from __future__ import annotations

import numpy as np

from .catalogue import CHECKED_SIZE, WORKS, arrays
from .contestants import ENTRIES
from .contestants.with_numpy import FORMULAS
from .race import Failed, Process, Report, results

# Relative to the size of each number and to the typical size in its array: polynomial exp,
# libm, and sums in another order differ by a few units in the last place.
TOLERANCES = {"float32": 2e-5, "float64": 1e-12}


def reference(loss: str, dtype: str) -> tuple[float, np.ndarray]:
    """Value and gradient by NumPy in its widest type, from inputs rounded to ``dtype``."""
    prediction, target = (
        array.astype(np.longdouble) for array in arrays(WORKS[loss], dtype, CHECKED_SIZE)
    )
    gradient, scratch = np.empty_like(prediction), np.empty_like(prediction)
    total = FORMULAS[loss](prediction, target, gradient, scratch)
    return float(total / CHECKED_SIZE), (gradient / CHECKED_SIZE).astype(np.float64)


def errors(found: dict[str, np.ndarray], loss: str, dtype: str) -> dict[str, float]:
    """Worst error of each array, in the measure of TOLERANCES."""
    value, gradient = reference(loss, dtype)
    worst = {}
    for name, got in found.items():
        expected = np.asarray(gradient if name.endswith("gradient") else value)
        allowed = np.abs(expected) + np.abs(expected).mean()
        worst[name] = float(np.max(np.abs(got.astype(np.float64) - expected) / allowed))
    return worst


def disagreeing(
    running: dict[str, Process], loss: str, dtype: str, report: Report
) -> dict[str, float]:
    """Contestants whose results are wrong, with their worst error; each is reported."""
    wrong = {}
    for name, process in running.items():
        if ENTRIES[name].kind == "floor":
            continue
        try:
            found = errors(results(process, loss, dtype), loss, dtype)
        except Failed as failure:
            report(f"{ENTRIES[name].title}, {loss}, {dtype}: {failure}")
            continue
        worst = max(found.values(), default=0.0)
        # Written so that NaN is wrong.
        if not worst <= TOLERANCES[dtype]:
            wrong[name] = worst
            report(
                f"{ENTRIES[name].title} disagrees on {loss} in {dtype} by {worst:.1e} "
                f"and is left out of it: {found}"
            )
    return wrong
