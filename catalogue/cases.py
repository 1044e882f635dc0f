"""Every loss of the registry with the parameters it is tested with, and inputs for each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import numbaloss as nl
from numbaloss.core.loss import domain

LOSSES: list[Any] = [
    nl.SquaredError(),
    nl.AbsoluteError(),
    nl.Quantile(),
    nl.Quantile(0.25),
    nl.Expectile(0.8),
    nl.SquaredLogError(),
    nl.AbsolutePercentageError(),
    nl.Huber(),
    nl.Huber(0.3),
    nl.SmoothL1(),
    nl.SmoothL1(0.5),
    nl.SmoothL1(0.0),
    nl.PseudoHuber(),
    nl.PseudoHuber(2.5),
    nl.LogCosh(),
    nl.Cauchy(),
    nl.Cauchy(0.4),
    nl.GeneralRobust(1.0),
    nl.GeneralRobust(1.0, 0.5),
    nl.GeneralRobust(2.0, 3.0),
    nl.GeneralRobust(2.0 - 1e-9),
    nl.GeneralRobust(2.5),
    nl.GeneralRobust(0.0, 2.0),
    nl.GeneralRobust(1e-9),
    nl.GeneralRobust(-2.0),
    nl.GeneralRobust(-1000.0),
    nl.GeneralRobust(-math.inf, 1.5),
    nl.GeneralRobust(math.inf, 4.0),
    nl.Poisson(),
    nl.Poisson(log_input=False),
    nl.Gamma(),
    nl.Tweedie(),
    nl.Tweedie(1.0),
    nl.Tweedie(1.0 + 1e-6),
    nl.Tweedie(2.0),
    nl.Tweedie(3.0),
    nl.Tweedie(0.0),
    nl.Tweedie(-1.0),
    nl.BinaryCrossEntropy(),
    nl.BinaryCrossEntropy(pos_weight=2.5),
    nl.BinaryCrossEntropy(label_smoothing=0.1),
    nl.BinaryCrossEntropy(from_logits=False),
    nl.BinaryCrossEntropy(from_logits=False, pos_weight=0.3, label_smoothing=0.2),
    nl.Focal(),
    nl.Focal(alpha=0.25),
    nl.Focal(0.0),
    nl.Focal(1.3, 0.7, label_smoothing=0.2),
    nl.Focal(alpha=0.4, label_smoothing=0.1),
    nl.AsymmetricFocal(),
    nl.AsymmetricFocal(2.5, 0.5, 0.1, label_smoothing=0.3),
    nl.AsymmetricFocal(label_smoothing=0.1),
    nl.AsymmetricFocal(margin=0.0),
    nl.Hinge(),
    nl.SquaredHinge(),
    nl.Exponential(),
    nl.ModifiedHuber(),
]

# Losses of rows. Class weights depend on the width of the rows: see `with_class_weights`.
ROW_LOSSES: list[Any] = [
    nl.CrossEntropy(),
    nl.CrossEntropy(label_smoothing=0.1),
    nl.CrossEntropy(z_loss=0.01),
    nl.CrossEntropy(temperature=2.5),
    nl.CrossEntropy(label_smoothing=0.3, z_loss=0.1, temperature=0.5),
    nl.CategoricalFocal(),
    nl.CategoricalFocal(0.5),
    nl.CategoricalFocal(0.0),
    nl.CategoricalFocal(1.0),
    nl.CategoricalFocal(3.3, label_smoothing=0.1),
    nl.GeneralizedCrossEntropy(),
    nl.GeneralizedCrossEntropy(1.0),
    nl.GeneralizedCrossEntropy(0.05),
    nl.SymmetricCrossEntropy(),
    nl.SymmetricCrossEntropy(6.0, 0.1, -2.0),
    nl.Poly1(),
    nl.Poly1(-0.8),
    nl.MultiMargin(1.1),
    nl.MultiMargin(0.3, 2),
    nl.KLDivergence(),
    nl.JensenShannon(),
    nl.Distillation(),
    nl.Distillation(1.0),
    nl.Brier(),
    nl.CrossEntropy() + 0.5 * nl.Brier(),
    0.25 * nl.CrossEntropy(z_loss=0.01) - 2.0 * nl.Poly1(),
]
# What integer labels and dense targets each of them takes.
ROW_CASES: list[Any] = [(loss, form) for loss in ROW_LOSSES for form in loss.accepts]

# Losses of pairs and triplets of vectors.
EMBEDDING_ROW_LOSSES: list[Any] = [
    nl.Contrastive(),
    nl.Contrastive(3.5),
    nl.CosineEmbedding(),
    nl.CosineEmbedding(0.3),
    nl.Triplet(),
    nl.Triplet(0.2, swap=True),
    nl.Triplet(p=1.0),
    nl.Triplet(p=1.0, swap=True),
    nl.Triplet(p=3.0),
    nl.Triplet(p=1.5, swap=True),
    nl.Triplet(squared=True),
    nl.Triplet(2.0, squared=True, swap=True),
]

# Losses of all pairs of a batch: of queries and keys, and of rows with labels.
KEYED_LOSSES: list[Any] = [
    nl.InfoNCE(),
    nl.InfoNCE(0.5, symmetric=True),
    nl.InfoNCE(3.0, normalize=False),
    nl.SigLIP(),
    nl.SigLIP(0.3, -1.0),
]
LABELLED_LOSSES: list[Any] = [
    nl.NTXent(),
    nl.NTXent(2.0, normalize=False),
    nl.SupervisedContrastive(),
    nl.SupervisedContrastive(0.5),
    nl.BatchTriplet(),
    nl.BatchTriplet(0.2, squared=True),
    nl.BatchTriplet(0.5, normalize=True),
    nl.BatchTriplet(mining="semi-hard"),
    nl.BatchTriplet(0.2, "semi-hard", squared=True),
    nl.BatchTriplet(0.5, "semi-hard", normalize=True),
    nl.BatchTriplet(mining="all"),
    nl.BatchTriplet(0.2, "all", squared=True),
    nl.BatchTriplet(0.5, "all", normalize=True),
]

# The same, one loss a class: for promises that do not depend on parameters.
EACH: list[Any] = list({type(loss): loss for loss in reversed(LOSSES)}.values())[::-1]
EACH_ROW_LOSS: list[Any] = list({type(loss): loss for loss in reversed(ROW_LOSSES)}.values())[::-1]
EACH_ROW_CASE: list[Any] = [(loss, form) for loss in EACH_ROW_LOSS for form in loss.accepts]


def inputs(loss: Any, size: int, seed: int, spread: float = 2.0) -> tuple[Any, Any]:
    """Random predictions and targets, inside the domains of a loss and off its kinks."""
    rng = np.random.default_rng(seed)
    of_target, of_prediction = domain(loss.target_domain), domain(loss.prediction_domain)
    prediction, target = rng.normal(0.0, spread, (2, size))
    if of_target.binary:
        target = (target > 0).astype(np.float64)
    elif of_target.high == 1.0:
        target = np.where(rng.random(size) < 0.5, target > 0, rng.random(size))
    elif of_target.low == 0.0:
        target = np.abs(target) + 0.01
    elif of_target.low == -1.0:
        target = np.expm1(target)
    if of_prediction.high == 1.0:
        prediction = rng.uniform(0.001, 0.999, size)
    elif of_prediction.low == 0.0:
        prediction = np.abs(prediction) + 0.01
    elif of_prediction.low == -1.0:
        prediction = np.expm1(prediction)
    return prediction, target


def with_class_weights(loss: Any, classes: int, seed: int) -> Any:
    """The loss with class weights, some of them 0, where it has any."""
    if all(parameter.name != "class_weight" for parameter in loss.parameters()):
        return loss
    rng = np.random.default_rng([seed, classes])
    weights = rng.uniform(0.25, 4.0, classes) * (rng.random(classes) < 0.9)
    return loss.replace(class_weight=weights)


def row_inputs(
    loss: Any, form: str, rows: int, classes: int, seed: int, spread: float = 2.0
) -> tuple[Any, Any]:
    """Random logits, and labels or dense targets: distributions, some with zeros."""
    rng = np.random.default_rng([seed, rows, classes])
    logits = rng.normal(0.0, spread, (rows, classes))
    if loss.relative_to_label:  # off the kinks of margins that are no multiples of 1/4
        logits = np.round(4.0 * logits) / 4.0
    if form == "labels":
        return logits, rng.integers(0, classes, rows)
    if loss.dense_logits:
        return logits, rng.normal(0.0, spread, (rows, classes))
    targets = rng.dirichlet(np.ones(classes), rows)
    targets *= rng.random((rows, classes)) < 0.8
    targets[rows // 2 : rows // 2 + 1] = rng.integers(0, classes) == np.arange(classes)
    return logits, targets


def identify(loss: Any) -> str:
    """Name of a case in the list of tests."""
    return loss if isinstance(loss, str) else repr(loss)
