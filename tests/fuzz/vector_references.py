"""What calls of losses of vectors should give, by tests/support/reference/embeddings.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.reference import embeddings as reference_embeddings

from .bands import Band, Float, around
from .calls import Call
from .draws import seen
from .elementwise_formulas import Number
from .reductions import Expected, samples, scale_of


def vectors(call: Call) -> Expected:
    """Of vectors of usual sizes; of others, where NaN must show."""
    names = call.gradient_names
    wide = [seen(call.arrays[name].array, np.dtype(np.float64)) for name in names]
    unknown = Expected(None, [None] * (len(names) * call.derivatives))
    if not all(np.isfinite(one).all() and (np.abs(one) < 1e4).all() for one in wide):
        return _with_nan(call, wide, unknown)
    sizes = [np.sqrt((one**2).sum(-1)) for one in wide]
    # Squares of small numbers may be too small for the reference.
    if any((one.any(-1) & (size < 1e-2)).any() for one, size in zip(wide, sizes)):
        return unknown
    labels = call.arrays.get("target", call.arrays.get("labels"))
    given = None if labels is None else labels.array
    if labels is not None and getattr(call.loss, "targets", "") == "signed":
        given = (seen(labels.array, np.dtype(np.float64)) + 1) / 2
    weight = call.arrays.get("sample_weight")
    weights = None if weight is None else seen(weight.array, np.dtype(np.float64))
    loss, reduction = call.loss, call.options["reduction"]
    divisor = 1.0
    if "mask" in call.arrays:  # as weights of 0, of rows that are not counted
        of = samples(call, wide[0].shape[:-1])
        weights = np.where(of.removed, 0.0, of.weight.astype(np.float64))
        reduction = "none" if reduction == "none" else "sum"
        divisor = of.divisor
        if divisor == 0.0:
            return unknown

    def at(moved: list[np.ndarray]) -> tuple[Any, Any]:
        value, gradients = reference_embeddings.reference(
            loss, *moved, labels=given, sample_weight=weights, reduction=reduction
        )
        return value / divisor, [one / divisor for one in gradients]

    value, gradients = at(wide)
    eps = float(Float.of(call.real).epsilon)
    # How results answer to small changes; a hinge or a choice that tips over shows as a jump.
    rng = np.random.default_rng(len(wide[0]))
    moves = [
        at([one * (1 + 16 * eps * rng.choice((-1.0, 1.0), one.shape)) for one in wide])
        for _ in range(3)
    ]
    if _undecided(call, wide, 64 * eps):
        return unknown
    inverse = [_inverse_lengths(loss, one) for one in sizes]
    size = max([float(np.max(one * of, initial=0.0)) for one, of in zip(sizes, inverse)])
    heat = 1.0 / min(getattr(loss, "temperature", 1.0), 1.0)
    units = (
        (1 + size) ** 2 * heat**2 * (1 + np.max(weights, initial=0.0) if weights is not None else 1)
    )
    many = 4 + (max(one.shape[-1] for one in wide) + len(wide[0])) ** 0.5
    bound = 4 * eps * units * many
    jump = 8 * max(float(np.max(np.abs(np.asarray(one) - value), initial=0.0)) for one, _ in moves)
    base = bound * (1 if reduction in ("mean", "none", "weighted_mean") else many)
    base += 16 * eps * float(np.max(np.abs(value), initial=0.0))
    nan = np.isnan(value)
    of_value = around(value, base + jump, nan, np.dtype(np.float64))
    scale = scale_of(call)
    bands = []
    for i, one in enumerate(gradients[: len(names) * call.derivatives]):
        jump = 8 * max(float(np.max(np.abs(m[i] - one), initial=0.0)) for _, m in moves)
        error = (bound * (1 + many * eps) * inverse[i][..., None] + jump) * abs(scale)
        error = error + abs(scale) * 32 * eps * np.abs(one)
        bands.append(around(scale * one, error + 1e-37, False, call.real))
    return Expected(of_value, bands)


def _inverse_lengths(loss: Any, lengths: np.ndarray) -> np.ndarray:
    """What takes vectors to what the loss compares, and gradients back: 1, or 1 / length.

    With u = x / |x|, a gradient g by u is (g - (g.u) u) / |x| by x. A rounding of u by eps leaves
    eps g of the part along u, which should vanish (of vectors of length 1 that part is all there
    is): an error as large as those of g, and divided by |x| as they are.
    """
    if not getattr(loss, "normalize", type(loss).__name__ == "CosineEmbedding"):
        return np.ones_like(lengths)
    return np.divide(1.0, lengths, out=np.ones_like(lengths), where=lengths != 0)


def _with_nan(call: Call, wide: list[np.ndarray], unknown: Expected) -> Expected:
    """Pairs and triplets that hold NaN have a value of NaN; nothing is said of the others."""
    if call.structure != "pairs" or call.options["reduction"] != "none":
        return unknown
    shape = wide[0].shape[:-1]
    nan = np.any([np.isnan(one).any(-1) for one in wide], axis=0)
    nan = nan & ~samples(call, shape).removed
    zero = np.zeros(shape, Number)
    return Expected(Band(zero, zero, nan, ~nan), unknown.derivatives)


def _undecided(call: Call, vectors: list[np.ndarray], share: float) -> bool:
    """Whether rounding may tip a hinge over, or choose another triplet."""
    loss = call.loss
    name = type(loss).__name__
    if name in ("InfoNCE", "SigLIP", "NTXent", "SupervisedContrastive"):
        return False
    rows = [one.reshape(-1, one.shape[-1]) for one in vectors]
    if name == "CosineEmbedding":
        (a, _), (b, _) = map(reference_embeddings.directions, rows)
        return bool((np.abs((a * b).sum(-1) - loss.margin) < share).any())
    size = 1 + max(float(np.abs(one).max(initial=0.0)) for one in rows) * rows[0].shape[-1] ** 0.5
    near = share * size
    if name in ("Contrastive", "Triplet"):
        p, squared = getattr(loss, "p", 2.0), getattr(loss, "squared", False)
        d = [reference_embeddings.distance(rows[0], one, p, squared)[0] for one in rows[1:]]
        if name == "Contrastive":
            return bool((np.abs(d[0] - loss.margin) < near).any())
        across = reference_embeddings.distance(rows[1], rows[2], p, squared)[0]
        far = np.minimum(d[1], across) if loss.swap else d[1]
        near = near * size
        close = np.abs(d[0] - far + loss.margin) < near
        if loss.swap:
            close |= np.abs(d[1] - across) < near
        # Differences of elements change sign where powers of them bend.
        return bool(close.any())
    x = rows[0]
    if loss.normalize:
        x, _ = reference_embeddings.directions(x)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    d = squares if loss.squared else np.sqrt(squares)
    off = ~np.eye(len(x), dtype=bool)
    ordered = np.sort(d[off].reshape(len(x), -1), axis=1) if len(x) > 1 else d
    # Candidates come from a matrix product, which knows squares to the rounding of lengths.
    gap = 64 * share * (1 + size) ** 2
    close = np.diff(ordered**2 if not loss.squared else ordered, axis=1) < gap
    over = d[:, :, None] - d[:, None, :] + loss.margin
    return bool(close.any() or (np.abs(over) < 64 * near * size).any())
