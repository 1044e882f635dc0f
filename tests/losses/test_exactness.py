"""Values, gradients and hessians against mpmath and against differences."""

import math

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import numbaloss as nl
from catalogue.cases import EACH, LOSSES, identify, inputs
from numbaloss.core.loss import domain
from numbaloss.registry import snake_case
from tests.support.reference import elementwise as reference

EPSILON = 2.0**-52


def reference_of(loss):
    """The value of a loss as a function of two mpmath numbers."""
    formula = getattr(reference, snake_case(type(loss).__name__))
    names = [parameter.name for parameter in loss.parameters()]
    parameters = dict(zip(names, loss.values(), strict=True))
    return lambda p, t: formula(p, t, **parameters)


def expected(function, p, t):
    """Value, gradient, hessian, each with the size of error that rounding excuses.

    A result is as good as can be if it is the exact one for inputs that are off by an ULP
    or two: the excuse is the result itself plus what such a change of each input does.
    """
    p, t = mpf(p), mpf(t)
    by_p = [function(p, t)] + [mpmath.diff(lambda x: function(x, t), p, n) for n in (1, 2, 3)]
    step = mpf(2) ** -40 * max(abs(t), mpf(2) ** -100)
    mixed = [
        mpmath.diff(lambda x: function(x, t + step), p, n)
        - mpmath.diff(lambda x: function(x, t - step), p, n)
        if n
        else function(p, t + step) - function(p, t - step)
        for n in (0, 1, 2)
    ]
    return [
        (by_p[n], abs(by_p[n]) + abs(p * by_p[n + 1]) + abs(t * mixed[n] / (2 * step)))
        for n in (0, 1, 2)
    ]


def off_kinks(loss, p, t):
    """Whether differences around a point meet no kink of the loss."""
    name = type(loss).__name__
    size = abs(p - t)
    corners = {"Huber": "delta", "SmoothL1": "beta"}
    pointed = ("AbsoluteError", "Quantile", "Expectile", "AbsolutePercentageError", "SmoothL1")
    if name in pointed and size < 1e-3:
        return False
    if name in corners and abs(size - getattr(loss, corners[name])) < 1e-3:
        return False
    if "Hinge" in name or name == "ModifiedHuber":
        return abs(abs(p) - 1) > 1e-3
    if name == "AsymmetricFocal" and loss.margin:
        corner = math.log(loss.margin / (1 - loss.margin))
        return abs(p - corner) > 1e-3
    return True


def excuse(loss):
    # The factor |alpha - 2| / alpha times a power of a number near 1: what a logarithm of
    # some 20 loses in the exponential.
    if isinstance(loss, nl.GeneralRobust) and 0 < abs(loss.alpha - 2) < 0.1:
        return 64
    return 16 if isinstance(loss, (nl.GeneralRobust, nl.AsymmetricFocal, nl.Tweedie)) else 6


@pytest.mark.every(8)
@pytest.mark.parametrize("loss", LOSSES, ids=identify)
@pytest.mark.parametrize("spread", [1.5, 12.0], ids=["centre", "tails"])
def test_float64_results_are_exact_to_a_few_ulp(loss, spread):
    function = reference_of(loss)
    prediction, target = inputs(loss, 24, seed=17, spread=spread)
    keep = [off_kinks(loss, p, t) for p, t in zip(prediction, target, strict=True)]
    prediction, target = prediction[keep], target[keep]
    found = loss.value_grad_hess(prediction, target, reduction="none")
    for i, (p, t) in enumerate(zip(prediction, target, strict=True)):
        for n, (exact, size) in enumerate(expected(function, p, t)):
            error = abs(mpf(float(found[n][i])) - exact)
            # What mpmath leaves of differences of equal numbers is no error of ours.
            noise = mpf(10) ** -50 * max(1, abs(function(mpf(p), mpf(t))))
            bound = excuse(loss) * EPSILON * size + noise
            assert error <= bound, (
                p,
                t,
                n,
                found[n][i],
                float(exact),
                float(error / size / EPSILON),
            )


@pytest.mark.every(6)
@pytest.mark.parametrize("loss", LOSSES, ids=identify)
def test_gradient_agrees_with_central_differences(loss):
    prediction, target = inputs(loss, 400, seed=3)
    keep = [off_kinks(loss, p, t) for p, t in zip(prediction, target, strict=True)]
    of_prediction = domain(loss.prediction_domain)
    if not of_prediction.everything:  # the steps must stay inside
        keep &= (prediction > of_prediction.low + 0.02) & (prediction < of_prediction.high - 0.02)
    assert nl.check_gradient(loss, prediction[keep], target[keep], step=4e-4) < 1e-8


def test_gradient_check_notices_a_wrong_gradient():
    class Wrong(nl.Elementwise):
        def point(self, prediction, target):
            residual = prediction - target
            return residual * residual, 2.001 * residual, 2.0

    assert nl.check_gradient(Wrong(), [1.0, 2.0], [0.0, 0.5]) > 4e-4


@pytest.mark.every(8)
@pytest.mark.parametrize("loss", LOSSES, ids=identify)
def test_float32_follows_float64(loss):
    prediction, target = inputs(loss, 5000, seed=8)
    p, t = prediction.astype(np.float32), target.astype(np.float32)
    single = loss.value_grad_hess(p, t, reduction="none")
    p, t = p.astype(np.float64), t.astype(np.float64)
    double = loss.value_grad_hess(p, t, reduction="none")
    up = loss.value_grad_hess(p * (1 + 2.0**-24), t, reduction="none", check=False)
    right = loss.value_grad_hess(p, t * (1 + 2.0**-24), reduction="none", check=False)
    for got, exact, moved, shifted in zip(single, double, up, right, strict=True):
        assert got.dtype == np.float32
        # As above: rounding the inputs once more is excused, and steps at kinks.
        size = np.abs(exact) * 2.0**-24 + np.abs(moved - exact) + np.abs(shifted - exact)
        error = np.abs(got - exact) / (size + 1e-38)
        assert np.mean(error > 2 * excuse(loss)) <= 0.001, np.sort(error)[-10:]


@pytest.mark.every(8)
@pytest.mark.parametrize("loss", EACH, ids=identify)
def test_values_agree_whatever_is_computed_beside_them(loss):
    prediction, target = inputs(loss, 1000, seed=5)
    value = loss(prediction, target)
    assert loss.value_and_grad(prediction, target)[0] == pytest.approx(value, rel=1e-14)
    assert loss.value_grad_hess(prediction, target)[0] == pytest.approx(value, rel=1e-14)
    apart = loss(prediction, target, reduction="none")
    assert apart.mean() == pytest.approx(value, rel=1e-13)
    _, gradient = loss.value_and_grad(prediction, target)
    np.testing.assert_array_equal(gradient, loss.value_grad_hess(prediction, target)[1])


LIMITS = [1e30, -1e30, 3.4e38, -3.4e38, math.inf, -math.inf, 0.0, -0.0, 1e-45, 1e-38]


@pytest.mark.parametrize("loss", LOSSES, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_predictions_give_no_nan(loss, dtype):
    of_prediction, of_target = domain(loss.prediction_domain), domain(loss.target_domain)
    low, high = of_prediction.closed(np.dtype(dtype))
    prediction = np.clip(np.array(LIMITS, dtype), low, high)
    for target in (0.0, 1.0):
        if target not in of_target:
            continue
        found = loss.value_grad_hess(prediction, np.full_like(prediction, target), reduction="none")
        for got in found[:2]:  # a hessian may be a difference of infinities
            finite = np.isfinite(prediction)
            assert not np.isnan(got[finite]).any(), (prediction, got)


@pytest.mark.parametrize("loss", [nl.Focal(), nl.AsymmetricFocal()], ids=identify)
def test_hessians_of_focal_losses_vanish_far_out(loss):
    largest = np.finfo(np.float32).max
    prediction = np.array([largest, -largest, largest, -largest], np.float32)
    target = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    _, _, hessian = loss.value_grad_hess(prediction, target, reduction="none")
    np.testing.assert_array_equal(hessian, 0.0)


def test_general_robust_is_continuous_in_alpha():
    r = np.linspace(-50, 50, 1001)
    zero = np.zeros_like(r)
    for limit in (0.0, 2.0):
        exact = nl.GeneralRobust(limit).value_grad_hess(r, zero, reduction="none")
        for step in (1e-7, -1e-7, 1e-12, -1e-12, 4e-16):
            near = nl.GeneralRobust(limit + step).value_grad_hess(r, zero, reduction="none")
            for one, other in zip(exact, near, strict=True):
                np.testing.assert_allclose(other, one, rtol=20 * abs(step) + 2e-14, atol=abs(step))


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_tweedie_derivatives_are_continuous_at_poisson_and_gamma(power):
    f, t = np.linspace(-3, 3, 50), np.linspace(0.1, 9, 50)
    exact = nl.Tweedie(power).value_grad_hess(f, t, reduction="none")
    near = nl.Tweedie(power + 1e-9).value_grad_hess(f, t, reduction="none")
    np.testing.assert_allclose(near[1], exact[1], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(near[2], exact[2], rtol=1e-6, atol=1e-8)


def test_probability_path_of_cross_entropy_is_cut_off_as_in_pytorch():
    loss = nl.BinaryCrossEntropy(from_logits=False)
    value, gradient, hessian = loss.value_grad_hess(
        np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]), reduction="none"
    )
    np.testing.assert_allclose(value, [100.0, 100.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(gradient, [-1e12, 1e12, 0.0], rtol=1e-12)
    assert np.isfinite(hessian).all()
