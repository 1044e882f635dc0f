"""Losses of several numbers a sample, with the parameters they are tested with, and inputs."""

from __future__ import annotations

from typing import Any

import numpy as np

import numbaloss as nl
from numbaloss.core.loss import domain

MULTI_OUTPUT_LOSSES: list[Any] = [
    nl.GaussianNLL(),
    nl.GIoU(),
    nl.DPO(),
    nl.AFT(),
    nl.IoU(),
    nl.IoU("xywh"),
    nl.GIoU("cxcywh"),
    nl.DIoU(),
    nl.CIoU(),
    nl.CIoU("cxcywh"),
    nl.BetaNLL(),
    nl.BetaNLL(1.0),
    nl.LaplaceNLL(),
    nl.StudentTNLL(),
    nl.StudentTNLL(1.0),
    nl.LogNormalNLL(),
    nl.NegativeBinomialNLL(),
    nl.ZeroInflatedPoissonNLL(),
    nl.CRPSGaussian(),
    nl.CRPSLogistic(),
    nl.CRPSLaplace(),
    nl.PairwiseLogistic(),
    nl.PairwiseHinge(0.25),
    nl.DPO(0.5, 0.1),
    nl.IPO(),
    nl.SimPO(),
    nl.ORPO(),
    nl.KTO(desirable=1.5),
    nl.AFT("logistic", 0.5),
    nl.AFT("extreme", 2.0),
    nl.GaussianNLL() + 0.5 * nl.LaplaceNLL(),
]


def several_inputs(loss: Any, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """Random outputs and targets, inside the domains of a loss."""
    rng = np.random.default_rng(seed)
    term = loss.parts()[0]
    if hasattr(term, "form"):
        return _boxes(term.form, rng, size), _boxes(term.form, rng, size)
    if type(term) is nl.AFT:
        return rng.normal(size=(size, 1)), _times(rng, size)
    prediction = np.stack([_numbers(term, name, rng, size) for name in term.outputs], axis=-1)
    if not term.targets:
        return prediction, None
    target = np.stack([_numbers(term, name, rng, size) for name in term.targets], axis=-1)
    if type(term) in (nl.NegativeBinomialNLL, nl.ZeroInflatedPoissonNLL):
        target = np.floor(target * 2.0)
    return prediction, target


def _numbers(loss: Any, name: str, rng: Any, size: int) -> np.ndarray:
    of = domain(loss.domains.get(name, "(-inf, inf)"))
    numbers: np.ndarray = rng.normal(size=size)
    if of.binary:
        return np.where(numbers > 0.0, of.high, of.low)
    if of.low == 0.0:
        return np.abs(numbers) + 0.01
    return -np.abs(numbers) - 0.01 if of.high == 0.0 else numbers


def _boxes(form: str, rng: Any, size: int) -> np.ndarray:
    corner, sides = rng.random((size, 2)), rng.random((size, 2)) + 0.2
    if form == "xyxy":
        return np.hstack([corner, corner + sides])
    return np.hstack([corner if form == "xywh" else corner + 0.5 * sides, sides])


def _times(rng: Any, size: int) -> np.ndarray:
    """Events that were seen, that were not, that had happened before, and that lie between."""
    lower = np.exp(rng.normal(size=size))
    upper = lower * (1.1 + rng.random(size))
    upper[::4], upper[1::4] = lower[::4], np.inf
    lower[2::4] = 0.0
    return np.stack([lower, upper], axis=-1)
