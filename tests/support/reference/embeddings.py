"""The formulas of the losses of vectors, written a second time, densely, in float64.

Nothing here uses the library's maths. All pairs, and all triplets, of a batch are in memory
at once; gradients are derived by hand, from slopes by similarities or distances.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Slopes = Callable[[np.ndarray], tuple[np.ndarray, ...]]


def reference(
    loss: Any,
    *vectors: Any,
    labels: Any = None,
    sample_weight: Any = None,
    reduction: str = "mean",
) -> tuple[Any, tuple[np.ndarray, ...]]:
    """Value and gradients; ``labels`` are the targets of pairs too."""
    wide = [np.asarray(one).astype(np.float64) for one in vectors]
    with np.errstate(all="ignore"):
        return _reduced(loss, wide, labels, sample_weight, reduction)


def _reduced(loss, vectors, labels, sample_weight, reduction):
    lead = vectors[0].shape[:-1]
    flat = [one.reshape(math.prod(one.shape[:-1]), one.shape[-1]) for one in vectors]
    count = len(flat[0])
    if labels is not None:
        labels = np.asarray(labels).reshape(-1)
    weight = np.ones(count)
    if sample_weight is not None:
        given = np.asarray(sample_weight).astype(np.float64)
        given = given.reshape(given.shape + (1,) * (len(lead) - given.ndim))
        weight = np.broadcast_to(given, lead).reshape(-1)
    if count:
        values, terms, slopes = FORMULAS[type(loss).__name__](loss, flat, labels)
    else:
        values, terms = np.zeros(0), np.zeros(0)
    divisor = {"mean": terms.sum(), "weighted_mean": (weight * terms).sum()}.get(reduction, 1.0)
    values = np.where(weight == 0, 0.0, weight * values)
    gradients = tuple(map(np.zeros_like, vectors))
    if count and divisor:
        found = slopes(weight / divisor)
        gradients = tuple(one.reshape(other.shape) for one, other in zip(found, vectors))
    if reduction == "none":
        return values.reshape(lead), gradients
    return values.sum() / divisor if divisor else np.nan, gradients


def scaled(factor: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Slopes of rows, each times its factor; nothing where that is 0."""
    factor = factor[:, None]
    return np.where(factor == 0, 0.0, factor * slopes)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


# Row by row.


def distance(a, b, p=2.0, squared=False):
    """Distances of rows, and their slopes by the rows of ``a``."""
    apart = a - b
    size = np.abs(apart)
    # Powers of numbers up to 1 neither overflow nor vanish.
    top = size.max(axis=1, keepdims=True, initial=0.0)
    shares = np.divide(size, top, out=np.zeros_like(size), where=top != 0)
    if squared:
        return (apart**2).sum(axis=1), 2.0 * apart
    length = top * (shares**p).sum(axis=1, keepdims=True) ** (1.0 / p)
    part = np.divide(size, length, out=np.zeros_like(size), where=length != 0)
    slope = np.sign(apart) * np.where(size > 0, part ** (p - 1.0), 0.0)
    slope = np.where(np.isnan(length), np.nan, slope)
    return length[:, 0], slope


def contrastive(loss, vectors, target):
    d, slope = distance(*vectors)
    t = target.astype(np.float64)
    short = np.maximum(0.0, loss.margin - d)
    values = t * d**2 + (1 - t) * short**2
    of_d = 2 * t * d - 2 * (1 - t) * short
    of_first = of_d[:, None] * slope
    return values, np.ones(len(d)), lambda f: (scaled(f, of_first), -scaled(f, of_first))


def cosine_embedding(loss, vectors, target):
    (a, of_a), (b, of_b) = map(directions, vectors)
    some = a.any(axis=1) & b.any(axis=1)
    c = np.where(some, (a * b).sum(axis=1), 0.0)
    t = target.astype(np.float64)
    values = t * (1 - c) + (1 - t) * np.maximum(0.0, c - loss.margin)
    of_c = np.where(some, (1 - t) * (c > loss.margin) - t, 0.0)[:, None]
    return (
        values,
        np.ones(len(c)),
        lambda f: (scaled(f, of_a(of_c * b)), scaled(f, of_b(of_c * a))),
    )


def triplet(loss, vectors, target):
    a, p, n = vectors
    near, of_near = distance(a, p, loss.p, loss.squared)
    far, of_far = distance(a, n, loss.p, loss.squared)
    swapped = np.zeros((len(a), 1), bool)
    if loss.swap:
        across, of_across = distance(p, n, loss.p, loss.squared)
        swapped = (across < far)[:, None]
        far, of_far = np.where(swapped[:, 0], across, far), np.where(swapped, of_across, of_far)
    over = near - far + loss.margin
    active = (over > 0)[:, None]
    pull, push = active * of_near, active * of_far
    by_anchor = pull - np.where(swapped, 0.0, push)
    by_positive = -pull - np.where(swapped, push, 0.0)
    return (
        np.maximum(0.0, over),
        np.ones(len(a)),
        lambda f: tuple(scaled(f, one) for one in (by_anchor, by_positive, push)),
    )


# All pairs of a batch. Each gives the values of rows, the number of their terms, and the
# gradients of a sum of the rows with given factors.


def directions(x):
    """Unit vectors, zero ones as they are; what takes gradients by them to the vectors."""
    length = np.sqrt((x**2).sum(axis=1, keepdims=True))
    unit = np.divide(x, length, out=np.zeros_like(x), where=length != 0)

    def back(gradient):
        across = gradient - (gradient * unit).sum(axis=1, keepdims=True) * unit
        return np.divide(across, length, out=np.zeros_like(x), where=length != 0)

    return unit, back


def as_they_are(x):
    return x, lambda gradient: gradient


def seen(loss, x):
    return directions(x) if loss.normalize else as_they_are(x)


def log_sums(s, which):
    """Log of the sum of exponentials of each row, over ``which``, and the share of each."""
    held = np.where(which, s, -np.inf)
    top = held.max(axis=1, keepdims=True, initial=-np.inf)
    top = np.where(top > -np.inf, top, 0.0)
    sums = np.exp(held - top).sum(axis=1, keepdims=True)
    log_sum = np.log(sums) + top
    shares = np.divide(np.exp(held - top), sums, out=np.zeros_like(s), where=sums != 0)
    return log_sum, shares


def info_nce(loss, vectors, labels):
    (q, of_q), (k, of_k) = (seen(loss, one) for one in vectors)
    s = q @ k.T / loss.temperature
    own = np.eye(*s.shape)
    log_sum, shares = log_sums(s, True)
    values, forth = log_sum[:, 0] - np.diagonal(s), shares - own
    if loss.symmetric:
        log_sum, shares = log_sums(s.T, True)
        values = (values + log_sum[:, 0] - np.diagonal(s)) / 2
        forth, back = forth / 2, (shares - own) / 2

    def slopes(f):
        of_s = scaled(f, forth) / loss.temperature
        if loss.symmetric:
            of_s += scaled(f, back).T / loss.temperature
        return of_q(of_s @ k), of_k(of_s.T @ q)

    return values, np.ones(len(q)), slopes


def siglip(loss, vectors, labels):
    (q, of_q), (k, of_k) = (seen(loss, one) for one in vectors)
    s = q @ k.T / loss.temperature + loss.bias
    z = 2 * np.eye(*s.shape) - 1

    def slopes(f):
        of_s = scaled(f, -z * sigmoid(-z * s)) / loss.temperature
        return of_q(of_s @ k), of_k(of_s.T @ q)

    return np.logaddexp(0.0, -z * s).sum(axis=1), np.ones(len(q)), slopes


def kinds(labels):
    """Which pairs are positive, and which negative."""
    same = labels[:, None] == labels[None, :]
    return same & ~np.eye(len(labels), dtype=bool), ~same


def labelled(loss, x, form):
    """What losses of similarities share; ``form`` gives values and slopes, from similarities."""
    z, of_z = seen(loss, x)
    values, terms, of_s = form(z @ z.T / loss.temperature)

    def slopes(f):
        each = scaled(f, of_s) / loss.temperature
        return (of_z(each @ z + each.T @ z),)

    return values, terms, slopes


def nt_xent(loss, vectors, labels):
    positive, negative = kinds(labels)

    def form(s):
        log_sum, shares = log_sums(s, negative)
        against = np.where(positive, log_sum - s, -np.inf)
        pull = sigmoid(against)
        of_s = shares * pull.sum(axis=1, keepdims=True) - pull
        return np.logaddexp(0.0, against).sum(axis=1), positive.sum(axis=1), of_s

    return labelled(loss, vectors[0], form)


def supervised_contrastive(loss, vectors, labels):
    positive, negative = kinds(labels)

    def form(s):
        count = positive.sum(axis=1, keepdims=True)
        log_sum, shares = log_sums(s, positive | negative)
        each = positive / np.maximum(count, 1)
        values = np.where(positive, each * (log_sum - s), 0.0).sum(axis=1)
        return values, (count[:, 0] > 0).astype(int), np.where(count > 0, shares - each, 0.0)

    return labelled(loss, vectors[0], form)


def mined(loss, d, labels):
    """The triplets (anchor, positive, negative) that are the terms of a loss, and of no other."""
    positive, negative = kinds(labels)
    if loss.mining == "all":
        return np.nonzero(positive[:, :, None] & negative[:, None, :])
    found = []
    for a in range(len(d)):
        friends, strangers = np.flatnonzero(positive[a]), np.flatnonzero(negative[a])
        if not len(friends) or not len(strangers):
            continue
        if loss.mining == "hard":
            friends = friends[[d[a, friends].argmax()]]
        for p in friends:
            candidates = strangers[d[a, strangers] > d[a, p]]
            if loss.mining == "hard" or len(candidates):
                pool = strangers if loss.mining == "hard" else candidates
                n = pool[d[a, pool].argmin()]
            else:
                n = strangers[d[a, strangers].argmax()]
            found.append((a, p, n))
    return tuple(np.array(found, int).reshape(-1, 3).T)


def batch_triplet(loss, vectors, labels):
    x, of_x = seen(loss, vectors[0])
    squares = np.array([((x - one) ** 2).sum(axis=1) for one in x])
    d = squares if loss.squared else np.sqrt(squares)
    a, p, n = mined(loss, d, labels)
    over = d[a, p] - d[a, n] + loss.margin
    count = len(x)
    of_d = np.zeros((count, count))
    np.add.at(of_d, (a, p), (over > 0) * 1.0)
    np.add.at(of_d, (a, n), (over > 0) * -1.0)
    of_d *= 2.0 if loss.squared else np.divide(1.0, d, out=np.zeros_like(d), where=d != 0)
    values = np.bincount(a, np.maximum(0.0, over), count)

    def slopes(f):
        each = scaled(f, of_d)
        each = each + each.T
        return (of_x(each.sum(axis=1, keepdims=True) * x - each @ x),)

    return values, np.bincount(a, minlength=count), slopes


FORMULAS = {
    "Contrastive": contrastive,
    "CosineEmbedding": cosine_embedding,
    "Triplet": triplet,
    "InfoNCE": info_nce,
    "SigLIP": siglip,
    "NTXent": nt_xent,
    "SupervisedContrastive": supervised_contrastive,
    "BatchTriplet": batch_triplet,
}


def differences(function: Callable[..., float], arrays: Any, step: float = 1e-4) -> list[Any]:
    """Gradients of a function of float64 arrays, by central differences of the fourth order."""
    found = []
    for i, one in enumerate(arrays):
        gradient = np.zeros(one.shape)
        for place in np.ndindex(one.shape):
            moved = [np.array(each) for each in arrays]
            for steps, share in ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0)):
                moved[i][place] = one[place] + steps * step
                gradient[place] += share * function(*moved) / (12.0 * step)
        found.append(gradient)
    return found
