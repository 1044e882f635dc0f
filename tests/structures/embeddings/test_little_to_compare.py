"""Batches with little to compare: few rows, zero or equal vectors, NaN."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.reference.embeddings import reference
from tests.support.vectors import (
    EACH,
    KEYED,
    LABELLED,
    MINED,
    MINED_DIRECTIONS,
    PAIRS,
    TRIPLETS,
    assert_as_formula,
    batch,
    both,
    drawn,
)


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_no_rows_have_the_mean_nan_and_the_sum_0(loss):
    vectors, rows = batch(loss, 0)
    for reduction, expected in (("mean", np.nan), ("weighted_mean", np.nan), ("sum", 0.0)):
        for weight in (None, np.zeros(0)):
            options = {"reduction": reduction, "sample_weight": weight}
            value, gradients = both(loss, vectors, rows, **options)
            np.testing.assert_equal(value, expected)
            assert {one.shape for one in gradients} == {(0, 4)}
    assert loss(*vectors, *rows, reduction="none").shape == (0,)
    assert loss.diagnose(*vectors, *rows) == nl.Diagnosis(0, 0, 0, 0, 0, 0.0)


@pytest.mark.parametrize("loss", [nl.InfoNCE(), nl.SigLIP()], ids=repr)
def test_keys_without_queries_get_no_gradient(loss):
    out = np.full((0, 4), 7.0), np.full((3, 4), 7.0)
    value, gradients = loss.value_and_grad(
        np.zeros((0, 4)), np.ones((3, 4)), reduction="sum", out=out
    )
    assert value == 0.0
    assert gradients[1] is out[1]
    assert not out[1].any()


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_one_row_is_a_batch(loss):
    vectors, rows = batch(loss, 1)
    for reduction in ("mean", "weighted_mean", "sum", "none"):
        assert_as_formula(loss, vectors, rows, reduction=reduction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*LABELLED, *MINED_DIRECTIONS], ids=repr)
@pytest.mark.parametrize("labels", [[4], [3, 1, 2, 0], [7] * 5])
def test_a_mean_of_nothing_to_compare_is_nan_and_pulls_nowhere(loss, labels, dtype):
    vectors = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(dtype)
    if isinstance(loss, nl.SupervisedContrastive) and len(set(labels)) < len(labels):
        pytest.skip("positives are compared with each other")
    for reduction in ("mean", "weighted_mean", "sum"):
        for weight in (None, np.arange(len(labels)) / 2):
            out = np.full(vectors.shape, 7.0, dtype)
            value, gradient = loss.value_and_grad(
                vectors, labels, reduction=reduction, sample_weight=weight, out=out
            )
            # A pair without negatives is a term, worth nothing.
            terms = isinstance(loss, nl.NTXent) and len(set(labels)) < len(labels)
            wanted = 0.0 if terms or reduction == "sum" else np.nan
            np.testing.assert_equal(value, wanted)
            assert gradient is out
            assert not out.any()
    assert loss(vectors, labels, reduction="none").tolist() == [0.0] * len(labels)


@pytest.mark.parametrize("loss", [*LABELLED, *MINED_DIRECTIONS], ids=repr)
def test_classes_of_one_member_are_negatives_alone(loss):
    vectors = np.random.default_rng(1).normal(size=(7, 3))
    for labels in ([0, 1, 0, 2, 3, 0, 4], [0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 2, 2, 2]):
        for reduction in ("mean", "sum", "none"):
            found = assert_as_formula(loss, [vectors], [np.array(labels)], reduction=reduction)
        alone = [labels.count(label) == 1 for label in labels]
        assert not found[0][alone].any()


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_that_are_all_the_same_pull_nowhere(loss, dtype):
    vectors, rows = batch(loss, 12, 5, dtype)
    vectors = [np.repeat(vectors[0][:1], 12, axis=0)] * len(vectors)
    value, gradients = both(loss, vectors, rows)
    wanted, _ = reference(loss, *vectors, labels=rows[0] if rows else None)
    assert value == pytest.approx(wanted, rel=1e-5 if dtype == np.float32 else 1e-12, abs=1e-6)
    for one in gradients:
        assert np.isfinite(one).all()
        assert np.abs(one).max() < (1e-5 if dtype == np.float32 else 1e-12)
        if isinstance(loss, nl.Contrastive | nl.Triplet | nl.BatchTriplet):
            assert not one.any()
    assert loss.diagnose(*vectors, *rows).spread == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_zero_vectors_are_finite_and_have_no_direction(loss, dtype):
    vectors, rows = batch(loss, 9, 4, dtype)
    zero = np.arange(9) % 4 == 1
    for one in vectors[:2]:
        one[zero] = 0.0
    value, gradients = both(loss, vectors, rows)
    wanted = reference(loss, *vectors, labels=rows[0] if rows else None)
    precision = 1e-4 if dtype == np.float32 else 1e-11
    assert value == pytest.approx(wanted[0], rel=precision)
    for one, other in zip(gradients, wanted[1]):
        atol = precision * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=precision, atol=atol)
        if getattr(loss, "normalize", isinstance(loss, nl.CosineEmbedding)):
            assert not one[zero].any()
    vectors = [np.zeros_like(one) for one in vectors]
    for one in both(loss, vectors, rows)[1]:
        assert not one.any()
    found = loss.diagnose(*vectors, *rows)
    assert (found.zero_vectors, found.spread) == (9 * len(vectors), 0.0)


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_vectors_of_no_length_are_zero_vectors(loss):
    vectors, rows = batch(loss, 6, 0)
    assert_as_formula(loss, vectors, rows)


@pytest.mark.parametrize("loss", [*PAIRS, *TRIPLETS], ids=repr)
def test_nan_stays_in_its_row(loss):
    vectors, rows = batch(loss)
    clean = both(loss, vectors, rows, reduction="none")
    for i in range(len(vectors)):
        moved = [one.copy() for one in vectors]
        moved[i][5, 2] = np.nan
        value, gradients = both(loss, moved, rows, reduction="none")
        assert np.isnan(value[5])
        np.testing.assert_array_equal(np.delete(value, 5), np.delete(clean[0], 5))
        for one, other in zip(gradients, clean[1]):
            np.testing.assert_array_equal(np.delete(one, 5, 0), np.delete(other, 5, 0))
        assert np.isnan(gradients[i][5]).any()
        assert np.isnan(loss(*moved, *rows))


@pytest.mark.parametrize("loss", [*KEYED, *LABELLED, *MINED_DIRECTIONS], ids=repr)
def test_nan_reaches_all_that_is_compared_with_it(loss):
    vectors, rows = batch(loss)
    vectors[-1][5, 2] = np.nan
    value, gradients = both(loss, vectors, rows)
    assert np.isnan(value)
    assert np.isnan(loss(*vectors, *rows, reduction="none")).all()
    assert np.isnan(gradients[0]).any(axis=1).all()
    assert np.isnan(gradients[-1][5]).any()


def test_a_nan_is_not_forgotten_from_block_to_block():
    a, b = drawn(2, 30, 5)
    b[11] = np.nan
    labels = np.arange(30) % 3
    for loss in (nl.InfoNCE(), nl.InfoNCE(symmetric=True), nl.SigLIP()):
        assert np.isnan(loss(a, b, reduction="none", workspace=300)).all()
    for loss in (nl.NTXent(), nl.SupervisedContrastive(), nl.BatchTriplet()):
        assert np.isnan(loss(b, labels, reduction="none", workspace=300)).all()


@pytest.mark.parametrize("loss", MINED, ids=repr)
def test_a_nan_that_nothing_is_compared_with_stays_alone(loss):
    a = drawn(5, 3)
    a[2] = np.nan
    for labels in (np.zeros(5, int), np.arange(5)):
        value, gradient = loss.value_and_grad(a, labels, reduction="sum")
        assert value == 0.0
        assert not np.delete(gradient, 2, axis=0).any()
        assert np.isnan(loss(a, labels))
