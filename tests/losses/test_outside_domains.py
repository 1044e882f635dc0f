"""Targets outside the domain, unchecked, and residuals that leave the range of their scale."""

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import numbaloss as nl
from catalogue.cases import LOSSES, ROW_LOSSES, identify, inputs, row_inputs
from numbaloss.core.loss import domain
from numbaloss.registry import snake_case
from tests.support.reference import elementwise as reference

UNCHECKED = {"reduction": "none", "check": False}
STRAY = np.array([-2.0, -1.5, -0.3, 0.4, 1.7, 3.0])


@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES if not domain(loss.target_domain).everything], ids=identify
)
def test_value_and_derivatives_belong_together_for_any_target(loss):
    prediction, _ = inputs(loss, 60, seed=4)
    prediction = prediction[(abs(prediction) < 4) & (abs(prediction - 0.5) < 0.45)]
    prediction = np.repeat(prediction, STRAY.size)
    target = np.resize(STRAY, prediction.shape)
    step = 1e-5
    _, gradient, hessian = loss.value_grad_hess(prediction, target, **UNCHECKED)
    up = loss.value_grad_hess(prediction + step, target, **UNCHECKED)
    down = loss.value_grad_hess(prediction - step, target, **UNCHECKED)
    smooth = (up[2] == down[2]) | (abs(up[2] - down[2]) < 1e-3 * (1 + abs(hessian)))
    assert smooth.mean() > 0.5
    for n, found in enumerate((gradient, hessian)):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(up[n]))
        difference = (up[n] - down[n]) / (2 * step)
        error = abs(found - difference)[smooth & ~np.isnan(found)]
        size = 1e-6 * (1 + abs(difference)) + 1e-15 * abs(up[n]) / step
        assert (error < size[smooth & ~np.isnan(found)]).all()


@pytest.mark.parametrize(
    "loss", [loss for loss in ROW_LOSSES if "dense" in loss.accepts], ids=identify
)
def test_value_and_derivatives_belong_together_for_any_dense_target(loss):
    logits, _ = row_inputs(loss, "dense", 8, 3, seed=6)
    target = np.random.default_rng(5).choice([-0.7, -0.2, 0.0, 0.3, 1.0, 1.8], (8, 3))
    value, gradient, _ = loss.value_grad_hess(logits, target, **UNCHECKED)
    step = 1e-5
    for column in range(3):
        moved = step * (np.arange(3) == column)
        up = loss.value_grad_hess(logits + moved, target, **UNCHECKED)[0]
        down = loss.value_grad_hess(logits - moved, target, **UNCHECKED)[0]
        difference = (up - down) / (2 * step)
        np.testing.assert_array_equal(np.isnan(gradient[:, column]), np.isnan(value))
        np.testing.assert_allclose(gradient[:, column], difference, rtol=1e-7, atol=1e-7)


def exact(loss, p, t):
    formula = getattr(reference, snake_case(type(loss).__name__))
    names = [parameter.name for parameter in loss.parameters()]
    parameters = dict(zip(names, loss.values(), strict=True))
    return formula(p, mpf(t), **parameters)


# The scale and the residual, as powers of ten: their quotient, or a square, is out of range.
DISTANT = {
    np.float32: [(-30, 10), (-5, 35), (-20, 19), (-10, 29), (15, 35), (-3, -25)],
    np.float64: [(-150, 100), (-10, 303), (-5, 305), (-160, 148), (100, -40), (-3, -160)],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        (nl.PseudoHuber, ()),
        (nl.Cauchy, ()),
        (nl.SmoothL1, ()),
        (nl.Huber, ()),
        (nl.GeneralRobust, (1.0,)),
        (nl.GeneralRobust, (0.5,)),
        (nl.GeneralRobust, (-2.0,)),
        (nl.GeneralRobust, (2.0 - 1e-9,)),
        (nl.GeneralRobust, (0.0,)),
        (nl.GeneralRobust, (-np.inf,)),
    ],
    ids=str,
)
def test_results_in_range_are_right_however_far_the_residual(family, parameters, dtype):
    limits = np.finfo(dtype)
    # A power as an exponential loses what its exponent has in front of the point.
    digits = 3000 if family is nl.GeneralRobust and dtype is np.float64 else 400
    with mpmath.workdps(900):
        for scale, size in DISTANT[dtype]:
            scale = float(dtype(10.0**scale))
            residual = np.array([1, -1, 3.3], dtype) * dtype(10.0**size)
            loss = family(*parameters, scale)
            found = loss.value_grad_hess(residual, np.zeros_like(residual), **UNCHECKED)
            for i, r in enumerate(residual):
                x = mpf(float(r))
                h = x / mpf(10) ** 40
                wanted = [exact(loss, x, 0)]
                up, down = exact(loss, x + h, 0), exact(loss, x - h, 0)
                wanted += [(up - down) / (2 * h), (up - 2 * wanted[0] + down) / h**2]
                for n, (got, one) in enumerate(zip(found, wanted, strict=True)):
                    if abs(one) > limits.max:
                        one = mpf("inf") if one > 0 else mpf("-inf")
                        assert got[i] == one, (n, scale, r, got[i])
                        continue
                    error = abs(mpf(float(got[i])) - one)
                    bound = digits * float(limits.eps) * abs(one) + 100 * float(limits.tiny)
                    assert error <= bound, (n, scale, r, got[i], float(one))


@pytest.mark.parametrize("weight", [0.0, 1e-9, 0.3, 1.0, 2.5])
def test_gradient_of_probabilities_does_not_cancel(weight):
    loss = nl.BinaryCrossEntropy(from_logits=False, pos_weight=weight)
    p = np.array([1e-11, 1e-6, 0.2, 0.5, 0.9, 1 - 1e-7])
    for t in (0.0, 0.5, 0.999, 1.0):
        gradient = loss.value_grad_hess(p, np.full_like(p, t), **UNCHECKED)[1]
        for got, one in zip(gradient, p, strict=True):
            x = mpf(float(one))
            terms = (1 - mpf(t)) * x, weight * mpf(t) * (1 - x)
            wanted = (terms[0] - terms[1]) / (x * (1 - x))
            size = max(terms) / (x * (1 - x))
            assert abs(mpf(float(got)) - wanted) <= 6 * 2.0**-53 * size


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_hessian_of_small_probabilities_is_no_square_that_vanishes(weight):
    loss = nl.BinaryCrossEntropy(from_logits=False, pos_weight=weight)
    p = np.array([1e-30, 7e-28, 1e-22, 1e-13, 1e-9, 0.3], np.float32)
    exact = p.astype(np.float64)
    # (1 - t) p² / (p (1 - p))², with the quotient cut off where PyTorch cuts it off.
    wanted = (exact / np.maximum(exact * (1 - exact), 1e-12)) ** 2
    hessian = loss.value_grad_hess(p, np.zeros_like(p), reduction="none")[2]
    np.testing.assert_allclose(hessian, wanted, rtol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 2.0])
def test_gradient_of_probabilities_below_normal_numbers_keeps_its_digits(weight):
    loss = nl.BinaryCrossEntropy(from_logits=False, pos_weight=weight)
    p = np.array([1e-45, 3e-45, 1e-40, 1e-30], np.float32)
    for t in (0.0, 0.3):
        gradient = loss.value_and_grad(p, np.full_like(p, t), reduction="sum")[1]
        exact, t = p.astype(np.float64), float(np.float32(t))
        wanted = ((1 - t) * exact - weight * t * (1 - exact)) / 1e-12
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6)
