"""Arrays for a case: fresh random numbers, and outputs that hold NaN until somebody writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .cases import OUTPUTS, Case
from .libraries import Library


@dataclass
class Arrays:
    """One set of arrays: what goes into a call, and what comes out."""

    prediction: Any
    target: Any
    weight: Any
    gradient: Any
    hessian: Any

    def poison(self, library: Library) -> None:
        """What a kernel leaves out shows."""
        for output in (self.gradient, self.hessian):
            if output is not None:
                library.fill(output, float("nan"))


def make(library: Library, case: Case) -> Arrays:
    outputs = OUTPUTS[case.method]
    scale = {"real": 1.0, "count": 0.5}.get(case.targets, 3.0)
    return Arrays(
        prediction=_laid_out(library, case, scale),
        target=_target(library, case),
        # Positive, around 1.
        weight=abs(library.normal(case.shape[:1], case.dtype)) if case.weighted else None,
        gradient=library.empty(case.shape, case.dtype) if outputs > 0 else None,
        hessian=library.empty(case.shape, case.dtype) if outputs > 1 else None,
    )


def _laid_out(library: Library, case: Case, scale: float) -> Any:
    """Normal numbers; where the case says so, in a part of a larger array."""
    shape = case.shape
    if case.layout == "columns":
        whole = library.normal((shape[0], shape[1] + shape[1] // 2), case.dtype)
    elif case.layout == "step":
        whole = library.normal((2 * shape[0],), case.dtype)
    else:
        whole = library.normal(shape, case.dtype)
    if scale != 1.0:
        whole *= scale
    if case.layout == "columns":
        return whole[:, : shape[1]]
    return whole[::2] if case.layout == "step" else whole


def _target(library: Library, case: Case) -> Any:
    if case.targets == "labels":
        return library.integers(case.shape[1], case.shape[:1])
    if case.targets == "dense":
        return library.softmax(library.normal(case.shape, case.dtype))
    if case.targets in ("binary", "count"):
        return library.integers(2 if case.targets == "binary" else 6, case.shape, case.dtype)
    return _laid_out(library, case, 3.0 if case.targets == "logits" else 1.0)
