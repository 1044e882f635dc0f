"""Links are functions and their inverses; no constant is better than the best constant."""

from __future__ import annotations

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import LOSSES, ROW_LOSSES
from numbaloss.core import links
from numbaloss.core.loss import domain

CLASSES = 4
LIMIT = math.log1p(-1e-15) - math.log(1e-15)


class Logistic(nl.Elementwise):
    """Somebody's own, of which the library knows nothing but the formula."""

    def value(self, prediction, target):
        return nl.softplus(prediction) - target * prediction


class Asymmetric(nl.Elementwise):
    def value(self, prediction, target):
        residual = prediction - target
        return max(3.0 * residual, -residual)


def targets_of(loss, rng, count=401):
    of = domain(loss.target_domain)
    if (of.low, of.high) == (0.0, 1.0):
        return (rng.random(count) < 0.3).astype(float)
    if of.low in (0.0, -1.0):
        return rng.gamma(2.0, 3.0, count)
    return rng.normal(3.0, 2.0, count)


@pytest.mark.every(3)
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_no_constant_is_better(loss):
    rng = np.random.default_rng(0)
    target = targets_of(loss, rng)
    weight = rng.random(len(target)) * (rng.random(len(target)) < 0.9)
    found = loss.best_constant(target, weight)
    assert type(found) is float

    def cost(at):
        return loss(np.full(len(target), at), target, sample_weight=weight)

    least = cost(found)
    predictions = domain(loss.prediction_domain)
    near = [found + step for step in (-1.0, -0.1, -1e-3, -1e-5, 1e-5, 1e-3, 0.1, 1.0)]
    for other in (*near, *np.linspace(-8.0, 8.0, 33)):
        if other in predictions:
            assert least <= cost(other) + 1e-13 * abs(least)
    # Numbers of weight 0 may be anything; a weight of 2 is a sample twice.
    beside = np.append(target, np.nan), np.append(weight, 0.0)
    assert loss.best_constant(*beside) == found
    whole = rng.integers(1, 3, len(target))
    twice = loss.best_constant(np.repeat(target, whole))
    assert loss.best_constant(target, whole) == pytest.approx(twice, rel=1e-6, abs=1e-7)


@pytest.mark.every(2)
@pytest.mark.parametrize("form", ["labels", "dense"])
@pytest.mark.parametrize("loss", ROW_LOSSES[:-1], ids=repr)
def test_no_row_is_better(loss, form):
    if form not in loss.accepts:
        pytest.skip(f"takes no {form}")
    rng = np.random.default_rng(1)
    target = rng.choice(CLASSES, 300, p=[0.1, 0.2, 0.3, 0.4])
    if form == "dense":
        target = rng.dirichlet(np.arange(1.0, 1.0 + CLASSES), 300)
    weight = rng.random(300)
    found = loss.best_constant(target, weight)
    assert found.shape == (CLASSES,)
    assert np.isfinite(found).all()

    def cost(row):
        rows = np.ascontiguousarray(np.broadcast_to(row, (300, CLASSES)))
        return loss(rows, target, sample_weight=weight)

    least = cost(found)
    for _ in range(60):
        for size in (1e-4, 1e-2, 1.0):
            assert least <= cost(found + size * rng.normal(size=CLASSES)) + 1e-12 * abs(least)


@pytest.mark.parametrize(
    ("loss", "target", "weight", "expected"),
    [
        (nl.SquaredError(), [1.0, 2.0, 6.0], None, 3.0),
        (nl.SquaredError(), [1.0, 2.0, 6.0], [1, 1, 2], 3.75),
        (nl.AbsoluteError(), [1.0, 2.0, 6.0, 8.0], None, 4.0),
        (nl.AbsoluteError(), [1.0, 2.0, 6.0, 8.0], [3, 1, 1, 0.5], 1.0),
        (nl.Quantile(0.75), np.arange(1.0, 9.0), None, 6.5),
        (nl.AbsolutePercentageError(), [1.0, 2.0, 10.0], None, 1.0),
        (nl.SquaredLogError(), np.expm1([1.0, 2.0, 6.0]), None, math.expm1(3.0)),
        (nl.Poisson(), [0, 3, 6], None, math.log(3.0)),
        (nl.Poisson(log_input=False), [0, 3, 6], None, 3.0),
        (nl.Gamma(), [1.0, 3.0], None, math.log(2.0)),
        (nl.Tweedie(1.2), [0.0, 3.0, 6.0], None, math.log(3.0)),
        (nl.BinaryCrossEntropy(), [1, 0, 0, 0], None, -math.log(3.0)),
        (nl.BinaryCrossEntropy(pos_weight=3.0), [1, 0, 0, 0], None, 0.0),
        (nl.BinaryCrossEntropy(targets="signed"), [1, -1, -1, -1], None, -math.log(3.0)),
        (nl.BinaryCrossEntropy(from_logits=False), [1, 0, 0, 0], None, 0.25),
        (nl.Exponential(), [1, 0, 0, 0], None, -0.5 * math.log(3.0)),
        (2.0 * nl.SquaredError(), [1.0, 2.0, 6.0], None, 3.0),
        # Without a word on links or forms:
        (Logistic(), [1, 0, 0, 0], None, -math.log(3.0)),
        (Asymmetric(), np.arange(1.0, 10.0), None, 3.0),
        (nl.SquaredHinge(), [1, 0, 0, 0], None, -0.5),
        (nl.SquaredError() + nl.PseudoHuber(), [1.0, 3.0], None, 2.0),
    ],
)  # fmt: skip
def test_best_constants_in_closed_form(loss, target, weight, expected):
    found = loss.best_constant(target, weight)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_best_of_several_minima_is_found():
    target = np.concatenate([np.full(40, -50.0), np.full(60, 70.0)])
    for loss in (nl.Cauchy(), nl.GeneralRobust(-2.0), nl.GeneralRobust(-math.inf)):
        assert loss.best_constant(target) == pytest.approx(70.0, abs=0.1)
        assert loss.best_constant(-target) == pytest.approx(-70.0, abs=0.1)
        # Many samples are tried by a part of them.
        assert loss.best_constant(np.repeat(target, 200)) == pytest.approx(70.0, abs=0.1)


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        (nl.BinaryCrossEntropy(), [1, 1], LIMIT),
        (nl.BinaryCrossEntropy(), [0.0], -LIMIT),
        (nl.Focal(), [1, 1], LIMIT),
        (nl.Exponential(), [1, 1], LIMIT / 2),
        (nl.Poisson(), [0, 0], math.log(1e-15)),
        (nl.Tweedie(), [0, 0], math.log(1e-15)),
    ],
)
def test_data_without_a_best_constant_give_a_large_one(loss, target, expected):
    found = loss.best_constant(target)
    assert found == pytest.approx(expected, rel=1e-12)
    assert math.isfinite(loss(np.full(len(target), found), target))


def test_degenerate_data_give_finite_numbers_for_any_loss():
    for loss in (Logistic(), nl.Hinge(), nl.SquaredHinge(), nl.ModifiedHuber()):
        for label in (0.0, 1.0):
            found = loss.best_constant([label] * 3)
            assert math.isfinite(found)
            assert loss(np.full(3, found), np.full(3, label)) < 1e-6
            assert found * (2 * label - 1) > 0
    row = nl.CrossEntropy().best_constant([1, 1], classes=3)
    np.testing.assert_allclose(row, [math.log(1e-15), 0.0, math.log(1e-15)], atol=1e-12)
    for loss in (nl.SquaredError(), nl.AbsoluteError(), nl.Huber(), nl.Cauchy()):
        assert loss.best_constant([7.25]) == pytest.approx(7.25)


def test_outputs_have_constants_of_their_own():
    target = np.array([[1.0, 10.0], [3.0, 30.0]])
    assert nl.SquaredError().best_constant(target).tolist() == [2.0, 20.0]
    labels = np.array([[1, 1], [0, 0], [0, 1], [0, 1]])
    several = nl.BinaryCrossEntropy(pos_weight=[3.0, 1.0])
    np.testing.assert_allclose(several.best_constant(labels), [0.0, math.log(3.0)], atol=1e-12)
    with pytest.raises(ValueError, match="2 labels; the target has 1 columns"):
        several.best_constant(labels[:, :1])
    with pytest.raises(ValueError, match="a weight a label"):
        several.best_constant(labels[:, 0])


def test_rows_that_are_ignored_do_not_count():
    loss = nl.CrossEntropy(ignore_index=9)
    whole = loss.best_constant([0, 1, 1, 1, 9, 9])
    np.testing.assert_allclose(loss.inverse_link(whole), [0.25, 0.75])
    with pytest.raises(ValueError, match="all rows are ignored"):
        loss.best_constant([9, 9])


@pytest.mark.parametrize(
    ("loss", "target", "weight", "words"),
    [
        (nl.Huber(), [], None, "target is empty"),
        (nl.Huber(), [1.0, 2.0], [0, 0], "0 everywhere"),
        (nl.Huber(), [1.0, math.nan], None, r"target\[1\] is nan"),
        (nl.Huber(), [1.0, math.inf], None, r"target\[1\] is inf"),
        (nl.Huber(), [1.0, 2.0], [1, -1], r"sample_weight\[1\] is -1; weights are >= 0"),
        (nl.Huber(), [1.0, 2.0], [1], r"shape \(1,\); expected one weight a sample"),
        (nl.Poisson(), [1.0, -2.0], None, r"target\[1\] is -2; Poisson.*\[0, inf\)"),
        (nl.Hinge(), [1.0, 0.5], None, r"target\[1\] is 0.5; .*\{0, 1\}"),
        (nl.BinaryCrossEntropy(), [1, 2], [0, 1], r"target\[1\] is 2"),
        (nl.Huber(), np.zeros((1, 1, 1)), None, r"expected \(n,\) or \(n, C\)"),
        (nl.CrossEntropy(), [], None, "target is empty"),
        (nl.CrossEntropy(), [0, 5], None, None),
        (nl.CrossEntropy(), [0.5], None, "whole numbers"),
        (nl.CrossEntropy(), [-1], None, "labels of 0 classes|is -1"),
        (nl.CrossEntropy(), [[0.5, math.nan]], None, r"target\[0, 1\] is nan"),
        (nl.CrossEntropy(class_weight=[1, 1]), [0, 2], None, "labels of 2 classes"),
        (nl.MultiMargin(), [[0.5, 0.5]], None, "takes labels, not dense"),
    ],
)
def test_bad_targets_and_weights_are_refused(loss, target, weight, words):
    if words is None:
        assert loss.best_constant(target).shape == (6,)
        return
    with pytest.raises(ValueError, match=words):
        loss.best_constant(target, weight)
    with pytest.raises(TypeError, match="texts"):
        loss.best_constant(["a", "b"])


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_links_have_inverses(loss):
    assert loss.link_function in links.LINKS
    margins = np.array([-0.9, -0.25, 0.0, 0.5, 0.75])
    for dtype in (np.float32, np.float64):
        there = loss.inverse_link(margins.astype(dtype))
        assert there.dtype == dtype
        np.testing.assert_allclose(loss.link(there), margins, rtol=1e-5, atol=1e-6)
    assert np.isfinite(loss.inverse_link(np.array([-800.0, 800.0]))).sum() >= 1


def test_links_are_those_of_the_probabilities_that_minimise():
    labels = np.array([1, 0, 0, 0, 0])
    for loss in (
        nl.BinaryCrossEntropy(), nl.Exponential(), nl.SquaredHinge(), nl.ModifiedHuber(),
    ):  # fmt: skip
        assert loss.inverse_link(loss.best_constant(labels)) == pytest.approx(0.2, abs=1e-9)
    for loss in (nl.CrossEntropy(temperature=2.5), nl.Brier(), nl.KLDivergence()):
        np.testing.assert_allclose(loss.inverse_link(loss.best_constant(labels)), [0.8, 0.2])
    assert nl.Hinge().link_function == "identity"
    assert nl.MultiMargin().link_function == nl.Brier(from_logits=False).link_function == "identity"
    assert (nl.Huber() + nl.LogCosh()).link_function == "identity"
    with pytest.raises(ValueError, match="mean different things: identity, logit"):
        (nl.BinaryCrossEntropy() + 0.1 * nl.Hinge()).inverse_link(0.0)


def test_probabilities_sum_to_one_at_any_logits():
    rows = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]])
    found = nl.CrossEntropy(temperature=0.1).inverse_link(rows)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-15)
    np.testing.assert_array_equal(found[0], [1.0, 0.0, 0.0])
