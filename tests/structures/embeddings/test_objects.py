"""Losses of vectors as objects, and what all of them promise."""

import pickle

import numba
import numpy as np
import pytest

import numbaloss as nl
from tests.support.vectors import EACH, MINED_DIRECTIONS, batch, both, drawn


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_losses_are_pickled_compared_and_found(loss):
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert hash(pickle.loads(pickle.dumps(loss))) == hash(loss)
    for name in (type(loss).__name__, *loss.aliases):
        assert type(nl.get(name)) is type(loss)
    with pytest.raises(AttributeError):
        loss.margin = 3.0
    with pytest.raises(TypeError, match="sums"):
        loss + loss
    with pytest.raises(TypeError, match="sums"):
        2.0 * loss
    assert not hasattr(loss, "value_grad_hess")


@pytest.mark.parametrize("loss", [*EACH, nl.InfoNCE(normalize=False)], ids=repr)
def test_results_are_the_same_bits_for_any_number_of_threads(loss):
    in_batch = isinstance(loss, nl.KeyedEmbedding | nl.LabelledEmbedding)
    # Enough for several threads, and for several blocks.
    vectors, rows = batch(loss, 700 if in_batch else 7000, 33, np.float32)
    weight = np.random.default_rng(1).random(len(vectors[0]))
    options = {"sample_weight": weight}
    if in_batch:
        options["workspace"] = 200_000
    before = numba.get_num_threads()
    results = set()
    try:
        for threads in (1, 2, 1, 2, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            value, gradients = both(loss, vectors, rows, **options)
            values = loss(*vectors, *rows, reduction="none", **options)
            bits = [np.float64(value), values, *gradients]
            results.add(b"".join(one.tobytes() for one in bits))
    finally:
        numba.set_num_threads(before)
    assert np.isfinite(value)
    assert len(results) == 1


@pytest.mark.parametrize(
    ("loss", "rest"),
    [
        (nl.Contrastive(2.0), (np.array([0, 1, 0, 1, 0, 1]),)),
        (nl.Triplet(2.0), (drawn(2, 6, 4)[1],)),
        (nl.InfoNCE(), ()),
        (nl.SupervisedContrastive(0.5), ()),
    ],
)
def test_gradients_of_vectors_are_checked_by_differences(loss, rest):
    a, b = drawn(2, 6, 4)
    given = (a, [0, 0, 1, 1, 2, 2]) if isinstance(loss, nl.LabelledEmbedding) else (a, b, *rest)
    assert nl.check_gradient(loss, *given) < 1e-7
    with pytest.raises(TypeError, match="takes a prediction and a target, no more"):
        nl.check_gradient(nl.Huber(), [1.0], [0.0], [0.0])
