"""What goes wrong before a training does: one report of a loss, its data and a booster."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..check import check_gradient
from ..structures.softmax import Softmax
from .derivatives import hessian_mode
from .objectives import Objective

# Samples whose gradients are compared with differences.
_TRIED = 64
# A gradient that leaves differences by more is wrong, or has a kink close by.
_WRONG = 1e-4


class Finding(NamedTuple):
    """A line of a report."""

    title: str
    said: str
    advice: str = ""  # what to do about it; empty: nothing


class Report(NamedTuple):
    """What a check found; ``str`` of it is a table."""

    loss: str
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> list[Finding]:
        """The findings that want something done."""
        return [one for one in self.findings if one.advice]

    def __str__(self) -> str:
        width = max(len(one.title) for one in self.findings)
        lines = [self.loss]
        for one in self.findings:
            lines.append(f"  {'!' if one.advice else ' '} {one.title:<{width}}  {one.said}")
            if one.advice:
                lines.append(f"    {'':<{width}}  -> {one.advice}")
        count = len(self.problems)
        lines.append("no problems" if not count else f"{count} problem{'s' * (count > 1)}")
        return "\n".join(lines)


def examine(
    objective: Objective, target: Any, weight: Any, least_mass: float, option: str, rows: int
) -> Report:
    """Look at an objective and its data.

    ``least_mass`` is the least sum of hessians of a leaf, and ``option`` what the booster calls it.
    """
    loss, target = objective.loss, np.asarray(target)
    found: list[Finding] = []
    if target.ndim == 1 and rows and target.size != rows and target.size % rows == 0:
        target = target.reshape(rows, -1)
    if not target.size or len(target) != rows:
        found.append(Finding("targets", f"{target.size} for {rows} rows", "give every row a label"))
        return Report(repr(loss), tuple(found))
    found.append(_of_weights(weight))
    try:
        start = loss.best_constant(target, weight)
    except (ValueError, TypeError) as error:
        found.append(Finding("targets", str(error), "mend the targets, or take another loss"))
        return Report(repr(loss), tuple(found))
    found.append(_of_targets(loss, target))
    found += _of_start(loss, start)
    prediction = np.array(
        np.broadcast_to(start, (rows, *(np.shape(start) or target.shape[1:]))), np.float64
    )
    found.append(_of_gradient(loss, prediction, target))
    found += _of_derivatives(objective, prediction, target, weight, least_mass, option)
    return Report(repr(loss), tuple(found))


def _of_weights(weight: Any) -> Finding:
    if weight is None:
        return Finding("weights", "none: every sample counts as one")
    weight = np.asarray(weight, np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0.0).all()):
        return Finding("weights", "some are negative or not finite", "give weights >= 0")
    said = f"mean {weight.mean():.3g}, applied once, by the objective"
    if weight.mean() < 0.01:
        return Finding("weights", said, "scale them to a mean of 1: hessians are multiplied by it")
    return Finding("weights", said)


def _of_targets(loss: Any, target: np.ndarray) -> Finding:
    kinds = np.unique(target[:10_000])
    if len(kinds) <= 10:
        said = "values " + ", ".join(f"{one:g}" for one in kinds)
        if getattr(loss, "targets", "") == "signed" and kinds.tolist() == [0.0, 1.0]:
            # 0 is in the domain: a label that is as much the one as the other.
            return Finding("targets", f"{said}, of a loss of -1 and 1", "take targets='binary'")
        return Finding("targets", said)
    return Finding("targets", f"from {target.min():.4g} to {target.max():.4g}")


def _of_start(loss: Any, start: Any) -> list[Finding]:
    shown = np.array2string(np.asarray(start), precision=4, threshold=6)
    if loss.link_function == "identity":
        return [Finding("start", shown)]
    mean = np.array2string(np.asarray(loss.inverse_link(start)), precision=4, threshold=6)
    found = [Finding("start", f"margin {shown}, {loss.link_function} of {mean}")]
    if np.abs(start).max() > 30.0 and loss.link_function != "log":
        found.append(Finding("classes", "one has no samples", "leave the class out"))
    return found


def _of_gradient(loss: Any, prediction: np.ndarray, target: np.ndarray) -> Finding:
    """Gradients against differences, at the start and around it."""
    step = -(-len(target) // _TRIED)
    few, labels = prediction[::step], target[::step]
    spread = np.random.default_rng(0).normal(size=few.shape)
    scale = 1.0
    if loss.link_function == "identity" and not isinstance(loss, Softmax):
        scale = float(np.std(labels)) or 1.0
    few = few + scale * spread
    if isinstance(loss, Softmax) and labels.ndim == 1:
        labels = labels.astype(np.int64)
    error = check_gradient(loss, few, labels, step=1e-3)
    if not error < _WRONG:
        return Finding(
            "gradient", f"differences leave it by {error:.1e}",
            "look at point() of the loss: sign, or a kink near by",
        )  # fmt: skip
    return Finding("gradient", f"agrees with differences of the value to {max(error, 1e-15):.0e}")


def _of_derivatives(
    objective: Objective, prediction: np.ndarray, target: np.ndarray, weight: Any,
    least_mass: float, option: str,
) -> list[Finding]:  # fmt: skip
    weight = None if weight is None else np.asarray(weight)
    loss = objective.loss
    spread = np.random.default_rng(1).normal(size=prediction.shape)
    gradient, hessian = objective.derivatives(prediction, target, weight)
    _, around = objective.derivatives(prediction + spread, target, weight)
    counted = np.ones(len(target), bool) if weight is None else weight > 0.0
    mode = hessian_mode(loss, objective.hessian)
    said = f"{mode!r}, mean {hessian.mean():.3g} at the start"
    found = []
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        found.append(Finding("derivatives", "some are not finite", "look for NaN and huge targets"))
    # What is at the floor of 1e-16 divides to nothing that helps.
    flat = ((hessian <= 1e-15) | (around <= 1e-15))[counted].mean()
    if flat > 0.001:
        found.append(
            Finding("hessian", f"{said}; {flat:.1%} of samples have none or a negative one",
                    "take hessian='auto'")
        )  # fmt: skip
    else:
        found.append(Finding("hessian", said))
    mass = hessian.sum(axis=0).min()
    needed = least_mass / max(mass / len(target), 1e-300)
    if needed > len(target):
        said = f"all {len(target)} samples have less than {option} = {least_mass:g} together"
        found.append(Finding("leaves", said, f"no tree can grow: lower {option}, or scale"))
        return found
    said = f"{option} = {least_mass:g} asks for {needed:.3g} of {len(target)} samples a leaf"
    if needed > 0.5 * len(target):
        found.append(Finding("leaves", said, f"no tree can split: lower {option}"))
    elif needed > 0.05 * len(target) and needed > 20:
        found.append(Finding("leaves", said, f"trees stay coarse: lower {option}"))
    else:
        found.append(Finding("leaves", said))
    return found
