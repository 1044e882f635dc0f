"""Which losses a stretch of calls is about: any of the registry, with any parameters.

Calls of one stretch share a class of losses, the type of the computation and the width of rows,
so that they share machine code.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import numbaloss as nl

from .draws import ALL, FEW, Kinds, chance, pick

STRUCTURES = ("elementwise", "softmax", "pairs", "elementwise", "batch", "linear")
# Rows around the vectors, tiles and pieces of the kernels.
WIDTHS = (
    tuple(range(1, 18)),
    (15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 95, 96, 97, 100, 127, 128, 129, 130),
    (131, 200, 255, 256, 257, 300, 511, 512, 513, 700),
    (1000, 2047, 2048, 2049, 4095, 4096, 4097),
)


class Stretch(NamedTuple):
    """What calls that follow each other have in common."""

    structure: str
    losses: tuple[Any, ...]
    real: str
    labels: bool
    widths: tuple[int, ...]
    kinds: Kinds


def registered(structure: str) -> list[type]:
    """The classes of the registry that have a structure; those of pairs hold the triplets too."""
    kinds: dict[str, Any] = {
        "elementwise": nl.Elementwise,
        "softmax": nl.Softmax,
        "pairs": (nl.PairEmbedding, nl.TripletEmbedding),
        "batch": (nl.KeyedEmbedding, nl.LabelledEmbedding),
        "linear": nl.Linear,
    }
    own = [one for one in nl.losses().values() if one.__module__.startswith("numbaloss.")]
    return [one for one in own if issubclass(one, kinds[structure])]


def stretch(seed: int, number: int, heavy: bool = True) -> Stretch:
    """The stretch of that number; those that are not ``heavy`` need few kernels."""
    rng = np.random.default_rng([seed, number])
    structure = STRUCTURES[number % len(STRUCTURES)]
    classes = registered(structure)
    # One after the other, from a place that the seed decides, so that none is left out.
    cls = classes[(seed * 7 + number // len(STRUCTURES) * 2 + number % 2) % len(classes)]
    losses = [drawn(rng, cls) for _ in range(3 if heavy else 1)]
    if structure in ("elementwise", "softmax") and chance(rng, 0.15):
        losses = [_sum(rng, one, structure) for one in losses]
    real = pick(rng, ("float32", "float32", "float64"))
    accepts = getattr(cls, "accepts", ("labels", "dense"))
    labels = "dense" not in accepts or ("labels" in accepts and chance(rng, 0.6))
    widths = WIDTHS[int(rng.choice(4, p=(0.5, 0.25, 0.2, 0.05)))] if heavy else WIDTHS[0][:9]
    return Stretch(structure, tuple(losses), real, labels, widths, ALL if heavy else FEW)


def _sum(rng: np.random.Generator, loss: Any, structure: str) -> Any:
    others = {"elementwise": nl.SquaredError(), "softmax": nl.Brier()}
    if structure == "softmax" and (not loss.accepts or loss.relative_to_label or loss.dense_logits):
        return loss
    try:
        return loss + pick(rng, (0.5, -0.25, 2.0)) * others[structure]
    except (TypeError, ValueError):  # options of rows that do not agree
        return loss


def _number(rng: np.random.Generator, low: float, high: float) -> float:
    """A number of float32 between two others."""
    return float(np.float32(rng.uniform(low, high)))


def _size(rng: np.random.Generator, most: float = 1.5) -> float:
    return 1.0 if chance(rng, 0.3) else float(np.float32(10.0 ** rng.uniform(-most, most)))


_GAMMAS = (0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 2.25, 4.0)
_PARAMETERS: dict[tuple[str, str], Any] = {
    ("Quantile", "q"): lambda rng: _number(rng, 0.03, 0.97),
    ("Expectile", "alpha"): lambda rng: _number(rng, 0.03, 0.97),
    ("SmoothL1", "beta"): lambda rng: 0.0 if chance(rng, 0.3) else _size(rng),
    ("GeneralRobust", "alpha"): lambda rng: pick(
        rng, (2.0, 0.0, 1.0, -2.0, math.inf, -math.inf, 2.5, _number(rng, -4, 4))
    ),
    ("Tweedie", "power"): lambda rng: pick(
        rng, (1.0, 2.0, 3.0, 0.0, -1.0, _number(rng, 1.05, 1.95))
    ),
    ("BinaryCrossEntropy", "from_logits"): lambda rng: chance(rng, 0.6),
    ("BinaryCrossEntropy", "pos_weight"): lambda rng: pick(rng, (1.0, _size(rng), 0.0)),
    ("Focal", "alpha"): lambda rng: pick(rng, (None, 0.25, 0.0, 1.0, _number(rng, 0, 1))),
    ("AsymmetricFocal", "margin"): lambda rng: pick(rng, (0.0, 0.05, _number(rng, 0.01, 0.6))),
    ("GeneralizedCrossEntropy", "q"): lambda rng: pick(rng, (1.0, 0.7, _number(rng, 0.05, 1))),
    ("SymmetricCrossEntropy", "log_zero"): lambda rng: _number(rng, -9, -0.5),
    ("Poly1", "epsilon"): lambda rng: _number(rng, -1, 3),
    ("MultiMargin", "p"): lambda rng: pick(rng, (1, 2)),
    ("MultiMargin", "margin"): lambda rng: pick(rng, (1.0, _number(rng, 0, 3))),
    ("Triplet", "p"): lambda rng: pick(rng, (2.0, 1.0, 3.0, 1.5)),
    ("CosineEmbedding", "margin"): lambda rng: _number(rng, -0.9, 0.9),
    ("SigLIP", "bias"): lambda rng: pick(rng, (-10.0, 0.0, _number(rng, -2, 2))),
    ("BatchTriplet", "mining"): lambda rng: pick(rng, ("hard", "semi-hard", "all")),
}
_BY_NAME: dict[str, Any] = {
    "gamma": lambda rng: pick(rng, _GAMMAS),
    "gamma_neg": lambda rng: pick(rng, _GAMMAS),
    "gamma_pos": lambda rng: pick(rng, _GAMMAS),
    "from_logits": lambda rng: True,
    "label_smoothing": lambda rng: pick(rng, (0.0, 0.0, 0.125, _number(rng, 0, 1))),
    "z_loss": lambda rng: pick(rng, (0.0, 0.0, 0.0078125)),
    "temperature": lambda rng: pick(rng, (1.0, 1.0, _number(rng, 0.3, 4.0))),
    "ignore_index": lambda rng: pick(rng, (-100, -100, -1, 2, 255)),
    "margin": lambda rng: _size(rng, 0.5),
    "targets": lambda rng: pick(rng, ("binary", "binary", "binary", "signed")),
    "class_weight": lambda rng: None,  # depends on the number of classes: see `with_class_weights`
}


def drawn(rng: np.random.Generator, cls: type) -> Any:
    """A loss of a class with any parameters."""
    parameters = {}
    for parameter in cls.parameters():  # type: ignore[attr-defined]
        if chance(rng, 0.35) and not parameter.required:
            continue
        name = parameter.name
        draw = _PARAMETERS.get((cls.__name__, name)) or _BY_NAME.get(name)
        if draw is not None:
            parameters[name] = draw(rng)
        elif parameter.kind is bool:
            parameters[name] = chance(rng, 0.5)
        elif parameter.kind is float:
            parameters[name] = _size(rng)
    if cls is nl.Triplet and parameters.get("squared"):
        parameters["p"] = 2.0
    if cls in (nl.InfoNCE, nl.SigLIP, nl.NTXent, nl.SupervisedContrastive):
        parameters["temperature"] = _number(rng, 0.3, 2.0)
    return cls(**parameters)


def with_weights_of_labels(rng: np.random.Generator, loss: Any, shape: tuple[int, ...]) -> Any:
    """The loss with a weight of positives for each label, where it takes that."""
    if type(loss) is not nl.BinaryCrossEntropy or not shape or 0 in shape:
        return loss
    found = 10.0 ** rng.uniform(-1, 1, shape[-1])
    return loss.replace(pos_weight=found.astype(np.float32))


def with_class_weights(rng: np.random.Generator, loss: Any, classes: int) -> Any:
    """The loss with class weights, some of them 0, where it has any."""
    if all(parameter.name != "class_weight" for parameter in loss.parameters()):
        return loss
    found = rng.uniform(0.25, 4.0, classes).astype(np.float32) * (rng.random(classes) < 0.9)
    return loss.replace(class_weight=found)
