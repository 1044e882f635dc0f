"""Losses of vectors and inputs for them."""

import numpy as np

import numbaloss as nl
from tests.support.reference.embeddings import reference

PAIRS = [nl.Contrastive(), nl.CosineEmbedding()]
TRIPLETS = [nl.Triplet(), nl.Triplet(p=1.0), nl.Triplet(p=3.0, swap=True), nl.Triplet(squared=True)]
KEYED = [nl.InfoNCE(), nl.InfoNCE(symmetric=True), nl.SigLIP()]
MINED = [nl.BatchTriplet(mining=mining) for mining in ("hard", "semi-hard", "all")]
LABELLED = [nl.NTXent(), nl.SupervisedContrastive(), *MINED]
MINED_DIRECTIONS = [one.replace(normalize=True) for one in MINED]
EACH = [*PAIRS, *TRIPLETS, *KEYED, *LABELLED]


def inputs_of(loss):
    if isinstance(loss, nl.TripletEmbedding):
        return 3
    return 1 if isinstance(loss, nl.LabelledEmbedding) else 2


def batch(loss, count=9, length=4, dtype=np.float64, seed=0):
    """Vectors and the arguments behind them."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(count, length)).astype(dtype) for _ in range(inputs_of(loss))]
    if isinstance(loss, nl.PairEmbedding):
        return vectors, [np.arange(count) % 2]
    return vectors, [np.arange(count) % 3] if isinstance(loss, nl.LabelledEmbedding) else []


def both(loss, vectors, rows, **options):
    """Value and gradients, as a tuple in any case."""
    value, gradients = loss.value_and_grad(*vectors, *rows, **options)
    return value, gradients if isinstance(gradients, tuple) else (gradients,)


def assert_as_formula(loss, vectors, rows, **options):
    found = both(loss, vectors, rows, **options)
    wanted = reference(loss, *vectors, labels=rows[0] if rows else None, **options)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-10, atol=1e-13)
    for one, other in zip(found[1], wanted[1], strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    return found


def drawn(*shape):
    return np.random.default_rng(7).normal(size=shape)
