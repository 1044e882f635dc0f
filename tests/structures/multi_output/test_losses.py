"""Losses of several outputs: published numbers, and derivatives that belong to the values."""

import math

import mpmath
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify
from catalogue.several import MULTI_OUTPUT_LOSSES, several_inputs


def values(loss, prediction, target=None):
    given = None if target is None else np.asarray(target, float)
    return np.asarray(loss(np.asarray(prediction, float), given, reduction="none"))


A, B, C, D = (-1, -1, 1, 1), (0, 0, 1, 1), (0, 1, 1, 2), (1, 1, 2, 2)
BOXES = np.array(
    [
        [296.55, 93.96, 314.97, 152.79],
        [328.94, 97.05, 342.49, 122.98],
        [356.62, 95.47, 372.33, 147.55],
    ]
)
TRUE = np.array([[300, 100, 315, 150], [330, 100, 350, 125], [350, 100, 375, 150]], float)


@pytest.mark.parametrize(
    ("loss", "first", "second", "wanted"),
    [
        # torchvision's tests
        (nl.GIoU(), [A, A, B, B], [A, B, C, D], [0.0, 0.75, 1.0, 1.5]),
        (nl.DIoU(), [A, A, A], [B, C, D], [0.8125, 1.1923, 1.25]),
        (nl.CIoU(), [A, A, A], [B, C, D], [0.8125, 1.1923, 1.25]),
        # torchmetrics' tests
        (nl.IoU(), BOXES, TRUE, 1.0 - np.array([0.6898, 0.5086, 0.5654])),
        (nl.GIoU(), BOXES, TRUE, 1.0 - np.array([0.6895, 0.4673, 0.5345])),
        (nl.DIoU(), BOXES, TRUE, 1.0 - np.array([0.6883, 0.4886, 0.5609])),
        (nl.CIoU(), BOXES, TRUE, 1.0 - np.array([0.6883, 0.4881, 0.5606])),
    ],
    ids=lambda one: identify(one) if isinstance(one, nl.MultiOutput) else "",
)
def test_boxes_have_published_values(loss, first, second, wanted):
    np.testing.assert_allclose(values(loss, first, second), wanted, atol=5e-5)


def test_forms_of_boxes_are_other_words_for_the_same():
    sides = [BOXES[:, 2:] - BOXES[:, :2], TRUE[:, 2:] - TRUE[:, :2]]
    corners = BOXES[:, :2], TRUE[:, :2]
    wanted = values(nl.CIoU(), BOXES, TRUE)
    by_corner = [np.hstack(pair) for pair in zip(corners, sides)]
    by_centre = [np.hstack([at + 0.5 * side, side]) for at, side in zip(corners, sides)]
    np.testing.assert_allclose(values(nl.CIoU("xywh"), *by_corner), wanted, rtol=1e-12)
    np.testing.assert_allclose(values(nl.CIoU("cxcywh"), *by_centre), wanted, rtol=1e-12)


@pytest.mark.parametrize("loss", [nl.IoU(), nl.GIoU(), nl.DIoU(), nl.CIoU()], ids=identify)
def test_boxes_without_area_and_inverted_ones_are_defined(loss):
    nothing, point, inverted = (0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 1, 1)
    flat = (0, 1, 4, 1)
    boxes = [(a, b) for a in (nothing, point, inverted, flat, B) for b in (nothing, inverted, B)]
    first, second = (np.array(one, float) for one in zip(*boxes))
    value, gradient = loss.value_and_grad(first, second, reduction="none")
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "wanted"),
    [
        # scoringrules' tests
        (nl.GaussianNLL(), (0.1, math.log(0.1)), 0.0, -0.8836466),
        (nl.LogNormalNLL(), (0.1, math.log(0.9)), 3.0, 2.527762),
        (nl.NegativeBinomialNLL(), (math.log(1.75), math.log(7.0)), 2.0, 1.448676),
        (nl.StudentTNLL(5.2), (13.8, math.log(2.3)), 11.1, 2.528398),
        (nl.CRPSLogistic(), (13.8, math.log(3.3)), 17.1, 2.067527),
        (nl.CRPSLaplace(), (0.0, 0.0), -3.0, 2.29978707),
        # By the formulas of the papers
        (nl.DPO(), (4.0, 0.0), (0.0, 0.0), 0.5130152524),
        (nl.DPO(), (0.0, 0.0), (0.0, 0.0), math.log(2.0)),
        (nl.IPO(), (4.0, 0.0), (1.0, 0.0), 4.0),
        (nl.SimPO(), (0.5, 0.0), None, math.log(2.0)),
        (nl.PairwiseLogistic(), (3.0, 3.0), None, math.log(2.0)),
        (nl.PairwiseHinge(), (0.25, 0.0), None, 0.75),
        (nl.KTO(), (1.0,), (1.0, 0.0, 1.0), 0.5),
    ],
    ids=lambda one: identify(one) if isinstance(one, nl.MultiOutput) else "",
)
def test_distributions_and_preferences_have_published_values(loss, prediction, target, wanted):
    assert float(values(loss, prediction, target)) == pytest.approx(wanted, abs=5e-7, rel=5e-7)


# XGBoost's tests of AFT: gradients by the margin ln 2 (1 + 14 i / 19) for i = 0, 1, 2 and 19.
MARGINS = math.log(2.0) * (1.0 + 14.0 * np.array([0, 1, 2, 19]) / 19.0)


@pytest.mark.parametrize(
    ("distribution", "bounds", "wanted"),
    [
        ("normal", (100.0, 100.0), (-3.9120, -3.4013, -2.8905, 5.7920)),
        ("logistic", (100.0, 100.0), (-0.9608, -0.9355, -0.8948, 0.9939)),
        # Theirs are clipped at -15.
        ("extreme", (100.0, 100.0), (-49.0, -29.0026, -17.0031, 0.9969)),
        ("normal", (0.0, 20.0), (0.0285, 0.0832, 0.1951)),
        ("normal", (60.0, math.inf), (-3.6583, -3.1815, -2.7135)),
        ("normal", (16.0, 200.0), (-2.4435, -1.9965, -1.5691)),
    ],
)
def test_times_have_published_gradients(distribution, bounds, wanted):
    margins = MARGINS[: len(wanted), None]
    target = np.tile(bounds, (len(wanted), 1))
    found = nl.AFT(distribution).grad(margins, target, reduction="sum")
    np.testing.assert_allclose(found[:, 0], wanted, atol=6e-5)


def log_of_interval(low, high):
    """ln(F(high) - F(low)) of the normal distribution."""
    return mpmath.log((mpmath.erfc(low / mpmath.sqrt(2)) - mpmath.erfc(high / mpmath.sqrt(2))) / 2)


@pytest.mark.parametrize("margin", [-40.0, -13.0, -11.0, -1.0, 0.0, 0.5, 3.0, 30.0])
@pytest.mark.parametrize(
    "bounds", [(0.0, 1.0), (1.0, math.inf), (1.0, 1.5), (2.0, 2.0 + 1e-6)], ids=str
)
def test_tails_of_the_normal_distribution_keep_their_digits(margin, bounds):
    mpmath.mp.dps = 500
    low, high = (mpmath.log(one) if one else -mpmath.inf for one in bounds)
    at = mpmath.mpf(margin)
    wanted = -log_of_interval(low - at, high - at)
    value, gradient = nl.AFT().value_and_grad([[margin]], [list(bounds)])
    slope = mpmath.diff(lambda m: -log_of_interval(low - m, high - m), at)
    mpmath.mp.dps = 15
    # The bounds are logarithms: a width of 1e-6 leaves ten digits.
    near = 1e-8 if bounds[1] < 2.1 and bounds[0] == 2.0 else 1e-13
    assert value == pytest.approx(float(wanted), rel=near, abs=1e-300)
    assert gradient[0, 0] == pytest.approx(float(slope), rel=max(near, 1e-12), abs=1e-300)


@pytest.mark.parametrize("logit", [-60.0, -1.0, 0.0, 3.0, 60.0])
@pytest.mark.parametrize("log_rate", [-40.0, -1.0, 0.0, 2.0, 5.0])
def test_zeros_of_two_kinds_keep_their_digits(logit, log_rate):
    with mpmath.workdps(80):
        pi, rate = 1 / (1 + mpmath.exp(-logit)), mpmath.exp(log_rate)
        wanted = float(-mpmath.log(pi + (1 - pi) * mpmath.exp(-rate)))
        some = float(-mpmath.log(1 - pi) + rate - 3 * log_rate + mpmath.log(6))
    loss = nl.ZeroInflatedPoissonNLL()
    assert loss([logit, log_rate], 0.0) == pytest.approx(wanted, rel=1e-13, abs=1e-300)
    assert loss([logit, log_rate], 3.0) == pytest.approx(some, rel=1e-13)


@pytest.mark.every(16)
@pytest.mark.parametrize("loss", MULTI_OUTPUT_LOSSES, ids=identify)
def test_derivatives_belong_to_the_values(loss):
    prediction, target = several_inputs(loss, 24, 1)
    frozen = any(type(one) in (nl.BetaNLL, nl.CIoU) for one in loss.parts())
    gradient, full = loss.value_grad_hess(prediction, target, hessian="full", reduction="sum")[1:]
    _, same, diagonal = loss.value_grad_hess(prediction, target, reduction="sum")
    np.testing.assert_array_equal(same, gradient)
    np.testing.assert_array_equal(np.einsum("nii->ni", full), diagonal)
    np.testing.assert_array_equal(full, np.swapaxes(full, 1, 2))
    step = 1e-6
    for place in range(prediction.shape[1]):
        high, low = prediction.copy(), prediction.copy()
        high[:, place] += step
        low[:, place] -= step
        there, back = (loss.value_and_grad(one, target, reduction="none") for one in (high, low))
        assert np.abs(loss.grad(high, target, reduction="sum") - there[1]).max() < 1e-6
        if frozen:
            continue
        slope = (there[0] - back[0]) / (2.0 * step)
        np.testing.assert_allclose(gradient[:, place], slope, rtol=1e-5, atol=1e-6)
        bend = (there[1] - back[1]) / (2.0 * step)
        np.testing.assert_allclose(full[:, place], bend, rtol=1e-5, atol=2e-5)


@pytest.mark.every(16)
@pytest.mark.parametrize("loss", MULTI_OUTPUT_LOSSES, ids=identify)
def test_float32_follows_float64_and_plain_python(loss):
    prediction, target = several_inputs(loss, 40, 2)
    given = prediction.astype("f4"), None if target is None else target.astype("f4")
    wide = given[0].astype("f8"), None if target is None else given[1].astype("f8")
    value, gradient = loss.value_and_grad(*given, reduction="none")
    exact, slope = loss.value_and_grad(*wide, reduction="none")
    assert value.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(value, exact, rtol=3e-5, atol=3e-5)
    np.testing.assert_allclose(gradient, slope, rtol=2e-4, atol=2e-4)
    if len(loss.parts()) == 1 and type(loss).lower is nl.MultiOutput.lower:
        numbers = [*wide[0][3], *(() if target is None else wide[1][3])]
        found = loss.point(*numbers)
        assert found[0] == pytest.approx(exact[3], rel=1e-13)
        assert found[1] == pytest.approx(tuple(slope[3]), rel=1e-12)


def test_frozen_factors_are_constants_to_the_gradient():
    mean, log_scale, target = 0.5, 0.7, 2.0
    plain = nl.GaussianNLL().grad([mean, log_scale], target)
    weighed = nl.BetaNLL(0.5).grad([mean, log_scale], target)
    np.testing.assert_allclose(weighed, math.exp(log_scale) * plain, rtol=1e-14)


@pytest.mark.parametrize(
    "loss", [nl.GaussianNLL(), nl.LaplaceNLL(), nl.StudentTNLL(), nl.LogNormalNLL()], ids=identify
)
def test_information_is_the_mean_square_of_slopes_under_the_model(loss):
    rng = np.random.default_rng(0)
    mean, log_scale, count = 0.5, -0.3, 400_000
    draws = {
        nl.GaussianNLL: lambda: rng.normal(size=count),
        nl.LaplaceNLL: lambda: rng.laplace(size=count),
        nl.StudentTNLL: lambda: rng.standard_t(5.0, count),
        nl.LogNormalNLL: lambda: rng.normal(size=count),
    }[type(loss)]()
    target = mean + math.exp(log_scale) * draws
    target = np.exp(target) if type(loss) is nl.LogNormalNLL else target
    prediction = np.tile([mean, log_scale], (count, 1))
    _, gradient, hessian = loss.value_grad_hess(
        prediction, target, hessian="fisher", reduction="sum"
    )
    np.testing.assert_allclose((gradient**2).mean(axis=0), hessian[0], rtol=0.02)
