"""Hessians for trees: what each mode promises, for every loss."""

from __future__ import annotations

import inspect
import math
import pickle

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import LOSSES, ROW_LOSSES
from numbaloss.boosting import MODES, derivatives, hessian_mode, rearranged, row_hessian
from numbaloss.core.loss import domain

BOOSTED = [
    loss
    for loss in LOSSES
    if domain(loss.prediction_domain).everything or isinstance(loss, nl.SquaredLogError)
]
EVEN = [loss for loss in BOOSTED if hessian_mode(loss) == "secant"]


class Shortage(nl.Elementwise):
    short: float = 4.0

    def value(self, prediction, target):
        missing = (target - prediction) / 10.0
        return 10.0 * (self.short * nl.softplus(missing) + nl.softplus(-missing))


class Rate(nl.Elementwise):
    target_domain = "[0, inf)"

    def value(self, prediction, target):
        return nl.exp(prediction) - target * prediction


def sample(loss, rng, count=300):
    of = domain(loss.target_domain)
    if of.high < math.inf:
        return rng.normal(0.0, 3.0, count), rng.integers(0, 2, count).astype(float)
    target = rng.gamma(2.0, 3.0, count) if of.low > -math.inf else rng.normal(1.0, 2.0, count)
    return rng.normal(0.5, 1.0, count), target


@pytest.mark.every(7)
@pytest.mark.parametrize("loss", BOOSTED, ids=repr)
def test_auto_gives_gradients_and_hessians_that_trees_can_divide_by(loss):
    rng = np.random.default_rng(0)
    prediction, target = sample(loss, rng)
    weight = rng.random(300)
    weight[:9] = 0.0
    gradient, hessian = derivatives(loss, prediction, target, weight)
    inside = prediction
    if not domain(loss.prediction_domain).everything:
        inside = np.maximum(prediction, -1 + 1e-6)
    _, expected = loss.value_and_grad(inside, target, sample_weight=weight, reduction="none")
    np.testing.assert_array_equal(gradient, expected)
    assert np.isfinite(hessian).all()
    assert (hessian[9:] > 0.0).all()
    # Weights multiply both, once.
    unit = derivatives(loss, prediction[9:], target[9:], np.ones(291))
    twice = derivatives(loss, prediction[9:], target[9:], np.full(291, 2.0))
    for one, two in zip(unit, twice):
        np.testing.assert_allclose(two, 2.0 * one, rtol=1e-12, atol=1e-15)


@pytest.mark.every(2)
@pytest.mark.parametrize("loss", EVEN, ids=repr)
def test_a_secant_lies_nowhere_below_its_loss(loss):
    rng = np.random.default_rng(1)
    prediction, target = sample(loss, rng, 60)
    gradient, hessian = derivatives(loss, prediction, target, hessian="secant")
    value = loss(prediction, target, reduction="none")
    size = abs(prediction - loss.kink(target))
    far = size > 0.2 * np.median(size)
    for step in rng.normal(0.0, 3.0, (200, 60)):
        there = loss(prediction + step, target, reduction="none")
        above = value + gradient * step + 0.5 * hessian * step * step
        slack = 1e-9 * (1.0 + abs(value) + abs(above))
        assert (above >= there - slack)[far].all()


@pytest.mark.exhaustive
def test_secants_in_closed_form():
    target = np.zeros(6)
    residual = np.array([-4.0, -0.5, 0.0, 0.1, 0.5, 8.0])
    least = 0.2 * 0.5
    size = np.maximum(abs(residual), least)
    for loss, expected in (
        (nl.AbsoluteError(), 1.0 / size),
        (nl.Quantile(0.8), 0.5 / size),
        (nl.Huber(2.0), np.minimum(1.0, 2.0 / size)),
        (nl.Cauchy(), 1.0 / (1.0 + size**2)),
        (nl.PseudoHuber(), 1.0 / np.sqrt(1.0 + size**2)),
        (2.0 * nl.SquaredError() + nl.AbsoluteError(), 4.0 + 1.0 / size),
        (nl.SquaredError(), np.full(6, 2.0)),
    ):
        for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-14)):
            _, hessian = derivatives(loss, residual.astype(dtype), target, hessian="secant")
            assert hessian.dtype == dtype
            np.testing.assert_allclose(hessian, expected, rtol=tolerance)
    labels = np.array([1.0, 0.0, 1.0])
    _, hessian = derivatives(nl.Hinge(), np.array([3.0, 3.0, 0.0]), labels, hessian="secant")
    np.testing.assert_allclose(hessian, [0.25, 0.125, 0.5])
    # Far from 0 a residual in float32 has few digits; targets are shifted out of the formula.
    far = np.float32(1e6) + np.array([0, 1, 2, 4], np.float32)
    _, hessian = derivatives(nl.AbsoluteError(), far, np.full(4, 1e6, np.float32))
    np.testing.assert_allclose(hessian, [1 / 0.3, 1.0, 0.5, 0.25], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "mode"),
    [
        (nl.SquaredError(), "exact"),
        (nl.Expectile(0.8), "exact"),
        (nl.BinaryCrossEntropy(), "exact"),
        (nl.Poisson(), "exact"),
        (nl.AbsoluteError(), "secant"),
        (nl.Quantile(0.8), "secant"),
        (nl.Huber(), "secant"),
        (nl.PseudoHuber(), "secant"),
        (nl.LogCosh(), "secant"),
        (nl.Cauchy(), "secant"),
        (nl.GeneralRobust(0.0), "secant"),
        (nl.GeneralRobust(2.5), "exact"),
        (nl.Hinge(), "secant"),
        (nl.Focal(), "fisher"),
        (nl.AsymmetricFocal(), "fisher"),
        (nl.CategoricalFocal(), "fisher"),
        (nl.CrossEntropy(), "upper"),
        (nl.SquaredHinge(), "upper"),
        (nl.Huber() + nl.SquaredError(), "secant"),
        (nl.Huber() - nl.SquaredError(), "absolute"),
        (nl.BinaryCrossEntropy() + nl.Focal(), "mixed"),
        (Shortage(), "secant"),
        (Rate(), "absolute"),
    ],
)
def test_auto_chooses_by_class(loss, mode):
    assert hessian_mode(loss) == mode
    assert hessian_mode(loss, "exact") == "exact"


def test_every_loss_of_numbers_and_classes_says_which_hessian_trees_want():
    for loss in (*LOSSES, *ROW_LOSSES[:-2]):
        assert loss.boosting_hessian in set(MODES) - {"auto", "library"}, loss


def test_terms_of_a_sum_keep_their_modes():
    rng = np.random.default_rng(2)
    prediction, target = rng.normal(size=50), rng.integers(0, 2, 50).astype(float)
    weight = rng.random(50)
    parts = [
        derivatives(one, prediction, target, weight)
        for one in (nl.BinaryCrossEntropy(), nl.Focal())
    ]
    whole = derivatives(
        0.5 * nl.BinaryCrossEntropy() + 2.0 * nl.Focal(), prediction, target, weight
    )
    for first, second, both in zip(*parts, whole):
        np.testing.assert_allclose(both, 0.5 * first + 2.0 * second, rtol=1e-13)


@pytest.mark.parametrize(
    "loss",
    [nl.Focal(), nl.Focal(alpha=0.25, targets="signed"), nl.AsymmetricFocal(),
     nl.BinaryCrossEntropy(pos_weight=3.0), nl.Exponential()],
    ids=repr,
)  # fmt: skip
def test_fisher_is_what_the_model_expects(loss):
    prediction = np.linspace(-2.0, 2.0, 41)
    ends = domain(loss.target_domain)
    at = [loss.hess(prediction, np.full(41, end), reduction="sum") for end in (ends.low, ends.high)]
    p = loss.inverse_link(prediction)
    expected = p * at[1] + (1.0 - p) * at[0]
    target = np.full(41, ends.high)
    _, hessian = derivatives(loss, prediction, target, hessian="fisher")
    np.testing.assert_allclose(hessian, expected, rtol=1e-12)
    # Far away, where focal losses expect it to be negative, it stays positive.
    _, hessian = derivatives(loss, np.array([-4.0, 0.0, 4.0]), target[:3], hessian="fisher")
    assert (hessian > 0.0).all()


@pytest.mark.exhaustive
def test_fisher_of_other_links():
    prediction = np.array([-1.0, 0.5, 2.0])
    target = np.array([1.0, 2.0, 3.0])
    for loss, expected in (
        (nl.Poisson(), np.exp(prediction)),
        (nl.Gamma(), np.ones(3)),
        (nl.Tweedie(1.5), np.exp(0.5 * prediction)),
    ):
        _, hessian = derivatives(loss, prediction, target, hessian="fisher")
        np.testing.assert_allclose(hessian, expected, rtol=1e-13)
    rows = np.random.default_rng(3).normal(size=(20, 4))
    labels = np.arange(20) % 4
    p = nl.CrossEntropy().inverse_link(rows)
    for loss in (nl.CategoricalFocal(), nl.CrossEntropy(), nl.GeneralizedCrossEntropy()):
        each = [loss.hess(rows, np.full(20, k), reduction="sum") for k in range(4)]
        expected = sum(p[:, [k]] * each[k] for k in range(4))
        _, hessian = derivatives(loss, rows, labels, hessian="fisher")
        good = expected > 0.1 * p * (1 - p) * expected.clip(0).sum() / (p * (1 - p)).sum()
        np.testing.assert_allclose(hessian[good], expected[good], rtol=1e-9)
        assert (hessian > 0.0).all()


@pytest.mark.exhaustive
def test_upper_absolute_library_and_floors():
    rng = np.random.default_rng(4)
    rows, labels, weight = rng.normal(size=(30, 5)), rng.integers(0, 5, 30), rng.random(30)
    p = nl.CrossEntropy().inverse_link(rows)
    spread = p * (1 - p) * weight[:, None]
    for mode, library, factor in (
        ("upper", None, 2.0), ("auto", None, 2.0), ("exact", None, 1.0),
        ("library", "xgboost", 2.0), ("library", "lightgbm", 5 / 4), ("library", "catboost", 1.0),
    ):  # fmt: skip
        _, hessian = derivatives(nl.CrossEntropy(), rows, labels, weight, mode, library=library)
        np.testing.assert_allclose(hessian, factor * spread, rtol=1e-12)
    prediction, target = rng.normal(size=(2, 30))
    for mode, expected in (
        ("exact", np.where(abs(prediction - target) <= 0.5, 1.0, 0.0)),
        (0.25, np.where(abs(prediction - target) <= 0.5, 1.0, 0.25)),
        ("upper", np.ones(30)),
    ):
        _, hessian = derivatives(nl.Huber(0.5), prediction, target, weight, mode)
        np.testing.assert_allclose(hessian, expected * weight, rtol=1e-12)
    _, exact = derivatives(nl.Cauchy(0.5), prediction, target, hessian="exact")
    _, hessian = derivatives(nl.Cauchy(0.5), prediction, target, hessian="absolute")
    assert (exact < 0.0).any()
    np.testing.assert_array_equal(hessian, abs(exact))
    _, hessian = derivatives(
        nl.Poisson(), prediction, abs(target), hessian="library", library="lightgbm"
    )
    np.testing.assert_allclose(hessian, np.exp(prediction + 0.7), rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "loss",
    [nl.CrossEntropy(), nl.CrossEntropy(class_weight=[1.0, 2.0, 0.5], label_smoothing=0.1),
     nl.CrossEntropy(temperature=2.0), nl.KLDivergence(), 2.0 * nl.CrossEntropy(),
     nl.Distillation()],
    ids=repr,
)  # fmt: skip
def test_the_full_hessian_of_rows_is_the_derivative_of_the_gradient(loss):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(6, 3))
    target = rng.integers(0, 3, 6) if "labels" in loss.accepts else rng.normal(size=(6, 3))
    weight = rng.random(6)
    found = row_hessian(loss, rows, target, weight)
    step = 1e-5
    for k in range(3):
        moved = [rows.copy(), rows.copy()]
        moved[0][:, k] += step
        moved[1][:, k] -= step
        high, low = (loss.grad(one, target, sample_weight=weight, reduction="sum") for one in moved)
        np.testing.assert_allclose(found[:, :, k], (high - low) / (2 * step), atol=1e-9)
    with pytest.raises(ValueError, match="not that of a softmax"):
        row_hessian(nl.Brier(), rows, rng.integers(0, 3, 6))


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (nl.BinaryCrossEntropy(from_logits=False), TypeError, r"\[0, 1\].*from_logits=True"),
        (nl.CrossEntropy(from_logits=False), TypeError, "from_logits=True"),
        (nl.Poisson(log_input=False), TypeError, r"\[0, inf\).*log_input=True"),
        (nl.Triplet(), TypeError, "cannot be boosted"),
        (lambda p, t: p, TypeError, "is no loss: cannot be boosted"),
    ],
)
def test_losses_that_trees_cannot_learn_by_are_refused(loss, error, words):
    with pytest.raises(error, match=words):
        derivatives(loss, np.zeros(2), np.ones(2))


@pytest.mark.parametrize(
    ("loss", "hessian", "words"),
    [
        (nl.Huber(), "builtin", "hessian must be one of"),
        (nl.Huber(), 0.0, "must be a number > 0"),
        (nl.Huber(), math.inf, "must be a number > 0"),
        (nl.Huber(), "library", "library must be one of"),
        (nl.AbsoluteError(), "upper", "no bound that is known"),
        (nl.Huber(), "fisher", "expects nothing"),
    ],
)
def test_modes_that_a_loss_does_not_have_are_refused(loss, hessian, words):
    with pytest.raises(ValueError, match=words):
        derivatives(loss, np.zeros(2), np.ones(2), hessian=hessian)


@pytest.mark.exhaustive
def test_inputs_stay_as_they_are_and_order_is_as_asked():
    rows = np.asfortranarray(np.random.default_rng(6).normal(size=(8, 3)))
    labels = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0])
    before = rows.copy()
    plain = derivatives(nl.CrossEntropy(), rows, labels)
    turned = derivatives(nl.CrossEntropy(), rows, labels, order="F")
    np.testing.assert_array_equal(rows, before)
    for one, other in zip(plain, turned):
        assert one.flags.c_contiguous
        assert other.flags.f_contiguous
        np.testing.assert_array_equal(one, other)
    assert pickle.loads(pickle.dumps(nl.Huber())) == nl.Huber()


@pytest.mark.exhaustive
def test_focal_losses_are_finite_far_out():
    # In logits: of probabilities that are rounded to 0 and 1 no gradient would be left.
    margin = np.array([-1e4, -300.0, -40.0, 40.0, 300.0, 1e4])
    for dtype in (np.float32, np.float64):
        for target in (np.zeros(6), np.ones(6)):
            for loss in (nl.Focal(), nl.Focal(gamma=0.5, alpha=0.3), nl.AsymmetricFocal()):
                gradient, hessian = derivatives(loss, margin.astype(dtype), target)
                assert np.isfinite(gradient).all()
                assert np.isfinite(hessian).all()
                assert (hessian > 0.0).all()
                if isinstance(loss, nl.Focal):  # the other forgets what it is sure of
                    wrong = (margin > 0.0) != (target > 0.0)
                    assert (abs(gradient[wrong]) > 0.1).all()
    rows = np.array([[1e4, 0.0, -1e4], [-300.0, 300.0, 0.0]])
    gradient, hessian = derivatives(nl.CategoricalFocal(), rows, np.array([2, 0]))
    assert np.isfinite(gradient).all()
    assert (hessian > 0.0).all()


def test_quantiles_in_order_are_no_worse():
    rng = np.random.default_rng(5)
    shares = [0.2, 0.4, 0.5, 0.7]
    target = rng.normal(size=500)
    crossing = np.quantile(target, shares) + rng.normal(0.0, 0.4, (500, 4))
    kept = crossing.copy()
    quantiles, crossed = rearranged(crossing)
    assert 0.3 < crossed < 1.0
    assert (np.diff(quantiles, axis=1) >= 0.0).all()
    assert rearranged(quantiles).crossed == 0.0
    np.testing.assert_array_equal(crossing, kept)

    def mean_loss(found):
        return sum(
            nl.Quantile(q)(np.ascontiguousarray(found[:, k]), target) for k, q in enumerate(shares)
        )

    assert mean_loss(quantiles) < mean_loss(crossing)
    with pytest.raises(ValueError, match=r"\(n, quantiles\)"):
        rearranged(target)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_what_boosters_share_is_said_for_each(library):
    pytest.importorskip(library)
    pytest.importorskip("sklearn")
    module = __import__(f"numbaloss.{library}", fromlist=["check"])
    for name in module.__all__:
        text = inspect.getdoc(getattr(module, name))
        if name == "sklearn_objective":  # its parameters are those of `objective`
            continue
        assert "Parameters\n----------\n" in text, name
        assert text.count("Parameters\n") == 1, name
        assert "{" not in text or '{"' in text, name
        assert max(map(len, text.splitlines())) <= 100
        for one in inspect.signature(getattr(module, name)).parameters:
            assert one in text, (name, one)
