"""Sums and means of float32: as good as in float64, whatever is computed beside them."""

import math

import numpy as np
import pytest

import numbaloss as nl

SIZES = [1, 15, 16, 100, 2047, 2048, 5000, 70_001]


@pytest.mark.parametrize("size", SIZES)
def test_the_mean_of_equal_terms_is_the_term(size):
    for loss, prediction in ((nl.BinaryCrossEntropy(), 0.0), (nl.SquaredError(), 0.3)):
        p, t = np.full(size, prediction, np.float32), np.zeros(size, np.float32)
        term = float(loss(p[:1], t[:1], reduction="none")[0])
        weight = np.full(size, 0.7, np.float32)
        assert loss(p, t) == pytest.approx(term, rel=2e-7)
        assert loss(p, t, sample_weight=weight, reduction="weighted_mean") == pytest.approx(
            term, rel=2e-7
        )


@pytest.mark.parametrize("loss", [nl.SquaredError(), nl.BinaryCrossEntropy()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", SIZES)
def test_one_value_whatever_is_computed_beside_it(loss, dtype, size):
    rng = np.random.default_rng(size)
    p, t = rng.normal(size=size).astype(dtype), (rng.random(size) < 0.5).astype(dtype)
    value = loss(p, t)
    assert loss.value_and_grad(p, t)[0] == value
    assert loss.value_grad_hess(p, t)[0] == value
    apart = loss(p, t, reduction="none")
    exact = math.fsum(apart.astype(float)) / size
    assert value == pytest.approx(exact, rel=2e-7 if dtype is np.float32 else 1e-15)


def test_a_mean_that_float32_holds_does_not_overflow():
    p = np.full(5000, math.sqrt(3e37), np.float32)
    p[::2] *= 3.0
    t, loss = np.zeros_like(p), nl.SquaredError()
    wanted = float(np.mean(p.astype(float) ** 2))
    assert loss(p, t) == pytest.approx(wanted, rel=2e-7)
    value, gradient = loss.value_and_grad(p, t)
    assert value == pytest.approx(wanted, rel=2e-7)
    np.testing.assert_allclose(gradient, 2 * p / 5000, rtol=3e-7)


def test_a_weighted_mean_that_float32_holds_does_not_overflow():
    """Nor do products of weights and values; a weight of 0 still removes what is infinite."""
    p, weight = np.full(5000, math.sqrt(3e37), np.float32), np.full(5000, 100.0, np.float32)
    p[7], weight[7] = math.inf, 0.0
    t, loss = np.zeros_like(p), nl.SquaredError()
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    value, gradient = loss.value_and_grad(p, t, **options)
    assert value == pytest.approx(3e37, rel=2e-7)
    assert loss(p, t, **options) == value
    np.testing.assert_allclose(np.delete(gradient, 7), 2 * p[0] / 4999, rtol=3e-7)
    assert gradient[7] == 0.0
    weight[4999] = -1.0
    with pytest.raises(ValueError, match=r"sample_weight\[4999\] is -1"):
        loss(p, t, **options)
    weight[4999], p[3] = 1.0, math.inf
    assert loss(p, t, **options) == math.inf
    p[3] = math.nan
    assert math.isnan(loss(p, t, **options))


# Rows, in tiles and one after the other, and of classes that each add to the value.
OF_ROWS = [
    (nl.CrossEntropy(), "labels", 3),
    (nl.CrossEntropy(), "labels", 130),
    (nl.CrossEntropy(), "labels", 5000),
    (nl.CrossEntropy(), "dense", 5),
    (nl.CrossEntropy(), "dense", 130),
    (nl.CrossEntropy(), "dense", 5000),
]


@pytest.mark.every(6)
@pytest.mark.parametrize(("loss", "form", "classes"), OF_ROWS, ids=str)
def test_means_of_rows_keep_the_digits_of_their_terms(loss, form, classes):
    rows = 3000 if classes < 300 else 40
    logits = np.zeros((rows, classes), np.float32)
    labels = np.arange(rows) % classes
    target = labels if form == "labels" else np.full_like(logits, 1.0 / classes)
    value = loss(logits, target)
    assert value == pytest.approx(math.log(classes), rel=2e-7)
    assert loss.value_and_grad(logits, target)[0] == value
    target = labels if form == "labels" else np.eye(classes, dtype=np.float32)[labels]
    logits[np.arange(rows), labels] = -3e37
    weight = np.full(rows, 100.0, np.float32)
    assert loss(logits, target) == pytest.approx(3e37, rel=2e-7)
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    assert loss(logits, target, **options) == pytest.approx(3e37, rel=2e-7)
    weight[3], logits[3] = 0.0, math.nan
    assert loss(logits, target, **options) == pytest.approx(3e37, rel=2e-7)
