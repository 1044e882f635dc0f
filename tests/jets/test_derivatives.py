"""Derivatives of values: kinks, extremes, constants, and objectives with published mistakes."""

import math

import numpy as np
import pytest

import numbaloss as nl
from tests.support.formulas import as_loss, at, exact
from tests.support.own_losses import (
    Branching,
)

# Kinks.


def test_at_a_kink_derivatives_are_means_of_those_of_both_sides():
    assert at(lambda p, t: abs(p), 0.0, -0.0, 2.0, -3.0)[1:] == [[0, 0, 1, -1], [0, 0, 0, 0]]
    assert at(lambda p, t: max(p, 0.0), 0.0)[1] == [0.5]
    assert at(lambda p, t: max(0.0, p), 0.0)[1] == [0.5]
    assert at(lambda p, t: min(3.0 * p, p), 0.0)[1] == [2.0]
    assert at(lambda p, t: max(p, -p, 2.0 * p), 0.0)[1] == [0.5]
    assert at(lambda p, t: max(p * p, p), 1.0)[1:] == [[1.5], [1.0]]
    assert at(lambda p, t: np.clip(p, -1.0, 1.0), -1.0, 1.0, 0.5, 7.0)[1] == [0.5, 0.5, 1, 0]
    assert at(lambda p, t: abs(abs(p) - 1.0), 0.0, 1.0, 1.5)[1] == [0.0, 0.0, 1.0]


@pytest.mark.exhaustive
def test_what_is_smooth_though_its_pieces_are_not_has_its_true_derivatives():
    for function in (
        lambda p, t: abs(p) * abs(p),
        lambda p, t: abs(p) ** 2,
        lambda p, t: max(p, 0.0) ** 2 + min(p, 0.0) ** 2,
        lambda p, t: abs(p * p),
        lambda p, t: max(p, -p) * abs(p),
        lambda p, t: max(p * p, 0.0),
    ):
        assert at(function, 0.0, 3.0)[1:] == [[0.0, 6.0], [2.0, 2.0]]
    assert at(lambda p, t: max(p, 0.0) + min(p, 0.0), 0.0)[1] == [1.0]
    assert at(lambda p, t: max(p, 0.0) - min(p, 0.0), 0.0)[1] == [0.0]
    log_cosh = at(lambda p, t: abs(p) + nl.log1p(nl.exp(-2.0 * abs(p))), 0.0)
    assert log_cosh[1:] == [[0.0], [1.0]]
    cross_entropy = at(lambda p, t: max(p, 0.0) - t * p + nl.softplus(-abs(p)), 0.0, target=0.25)
    assert cross_entropy[1:] == [[0.25], [0.25]]
    fair = at(lambda p, t: 4.0 * (abs(p) / 2.0 - nl.log1p(abs(p) / 2.0)), 0.0)
    assert fair[1:] == [[0.0], [1.0]]


def test_branches_take_the_side_that_they_say():
    assert at(lambda p, t: 2.0 * p if p >= 0.0 else p, 0.0)[1] == [2.0]
    assert at(lambda p, t: 2.0 * p if p > 0.0 else p, 0.0)[1] == [1.0]


def test_slopes_that_are_infinite_and_are_not():
    value, slope, bend = at(lambda p, t: nl.sqrt(p), 0.0, 4.0)
    assert (value, slope, bend) == ([0, 2], [math.inf, 0.25], [-math.inf, -0.03125])
    assert at(lambda p, t: nl.sqrt(p * p), 0.0, -2.0)[:2] == [[0, 2], [0, -1]]
    assert at(lambda p, t: math.hypot(p, 0.0), 0.0, -2.0)[:2] == [[0, 2], [0, -1]]
    assert at(lambda p, t: p**1.5, 0.0)[1:] == [[0.0], [math.inf]]
    assert at(lambda p, t: (p * p) ** 0.75, 0.0)[:2] == [[0.0], [0.0]]
    assert at(lambda p, t: p ** (t + 2.0), 0.0)[1:] == [[0.0], [2.0]]
    assert at(lambda p, t: p ** (t + 1.0), 0.0)[1:] == [[1.0], [0.0]]
    assert at(lambda p, t: p**t + p, 0.0)[1:] == [[1.0], [0.0]]


def test_powers_of_negative_numbers():
    assert at(lambda p, t: p**3, -2.0) == [[-8.0], [12.0], [-12.0]]
    assert at(lambda p, t: p ** (t + 3.0), -2.0) == [[-8.0], [12.0], [-12.0]]
    assert at(lambda p, t: p**-1, -2.0) == [[-0.5], [-0.25], [-0.25]]
    assert np.isnan(as_loss(lambda p, t: p**1.5)([-2.0], [0.0]))


@pytest.mark.exhaustive
def test_far_away_slopes_neither_overflow_nor_vanish():
    for kind, far in ((np.float32, 40.0), (np.float64, 300.0)):
        _, slope, bend = at(lambda p, t: nl.log_cosh(p), far, -far, kind=kind)
        assert slope == [1, -1]
        assert 0 < bend[0] < 1e-30
        assert at(lambda p, t: nl.softplus(p), far, kind=kind)[1] == [1.0]
        _, slope, bend = at(lambda p, t: nl.tanh(p), 0.4 * far, kind=kind)
        assert 0 < slope[0] < 1e-10
        assert bend[0] == pytest.approx(-2.0 * slope[0])
        large = 1e30 if kind is np.float32 else 1e300
        assert at(lambda p, t: math.hypot(p, 1.0), large, kind=kind)[1] == [1.0]


def test_nan_goes_where_it_came_from():
    p, t = np.array([1.0, np.nan, 2.0, 0.5]), np.array([0.0, 0.0, np.nan, 0.0])
    for one in Branching().value_grad_hess(p, t, reduction="none"):
        assert np.isnan(one).tolist() == [False, True, True, False]


@pytest.mark.exhaustive
def test_where_one_wins_on_both_sides_its_bend_counts():
    for function, bend in (
        (lambda p, t: min(abs(p), p * p), 2.0),
        (lambda p, t: min(abs(p), 0.5 * p * p), 1.0),
        (lambda p, t: max(nl.log1p(abs(p)), 0.0), -1.0),
        (lambda p, t: max(abs(p) + p * p, 0.0), 2.0),
        (lambda p, t: max(p * p, abs(p)), 0.0),
        (lambda p, t: abs(abs(p) + p * p), 2.0),
        (lambda p, t: abs(nl.expm1(abs(p))), 1.0),
        (lambda p, t: nl.sqrt(p * p) ** 2, 2.0),
        (lambda p, t: math.hypot(p, 0.0) ** 2, 2.0),
        (lambda p, t: ((p * p) ** 0.5) ** 2, 2.0),
    ):
        assert at(function, 0.0)[1:] == [[0.0], [bend]]


@pytest.mark.every(2)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_derivatives_neither_overflow_nor_vanish_before_they_must(kind):
    """Of a composition that is harmless, whose parts are large or small."""
    single = kind is np.float32
    far = [-45.0, -60.0, -86.0] if single else [-400.0, -500.0, -700.0]
    _, slope, bend = at(lambda p, t: nl.log(nl.sigmoid(p)), *far, kind=kind)
    assert slope == pytest.approx([1.0, 1.0, 1.0], rel=1e-6)
    assert bend == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
    _, slope, bend = at(lambda p, t: nl.sigmoid(p) ** 0.5, *far[:2], kind=kind)
    half = 0.5 * np.exp(0.5 * np.array(far[:2]))
    np.testing.assert_allclose(slope, half, rtol=1e-5)
    np.testing.assert_allclose(bend, 0.5 * half, rtol=1e-5)
    for deep in [-89.0, -95.0, -103.0] if single else [-715.0, -740.0]:
        for function in (lambda p, t: nl.sigmoid(p) ** 1.5, lambda p, t: nl.exp(p) ** (t + 2.0)):
            assert np.abs(at(function, deep, kind=kind)).max() < 1e-35
    assert at(lambda p, t: p ** (t + 1.0), 1e-39 if single else 1e-310, kind=kind)[1] == [1.0]
    assert at(lambda p, t: p ** (t + 2.0), 1e-23 if single else 1e-170, kind=kind)[2] == [2.0]
    large, small = (1e20, 1e-20) if single else (1e200, 1e-200)
    assert at(lambda p, t: nl.exp(-p * p), large, kind=kind) == [[0.0], [0.0], [0.0]]
    angle = lambda p, t: np.arctan2(p, t)  # noqa: E731
    for size in (large, small):
        assert at(angle, size, target=size, kind=kind)[1] == pytest.approx([0.5 / size], rel=1e-6)


@pytest.mark.exhaustive
def test_infinity_has_the_derivatives_that_it_tends_to():
    flat = at(lambda p, t: math.erf(p) - math.erfc(p) + math.atan(p), np.inf, -np.inf)
    assert flat[1:] == [[0.0, 0.0], [0.0, 0.0]]
    assert at(lambda p, t: math.asinh(p), np.inf, -np.inf)[1:] == [[0.0, 0.0], [0.0, 0.0]]
    assert at(lambda p, t: np.logaddexp(p, t), -np.inf, target=-np.inf)[0] == [-np.inf]


@pytest.mark.exhaustive
def test_quotients_and_remainders_are_those_of_python():
    p = [2.5, -2.5, 1e17, 0.3]
    for divisor in (0.1, -0.7, 3.0):
        whole, rest, left = (
            at(function, *p, target=divisor)[0]
            for function in (
                lambda p, t: p * 0.0 + p // t,
                lambda p, t: p % t,
                lambda p, t: math.fmod(p, t),
            )
        )
        assert whole == [one // divisor for one in p]
        assert rest == [one % divisor for one in p]
        assert left == [math.fmod(one, divisor) for one in p]
    assert at(lambda p, t: p % t, 2.5, target=np.inf) == [[2.5], [1.0], [0.0]]
    assert at(lambda p, t: 5.0 % p, 1.5) == [[0.5], [-3.0], [0.0]]


def test_a_power_of_a_number_is_one_whatever_the_number():
    """Whole exponents make products of powers: of integers too they are powers of floats."""
    constant = 5

    class OfInteger(nl.Elementwise):
        count: int = 10

        def value(self, prediction, target):
            total = prediction * constant**-1.0 + prediction * self.count**20.0
            for i in range(1, 4):
                total += prediction * i**-2.0
            return total + prediction**2.0 * (prediction > 0.0) ** 2.0

    (slope,) = OfInteger().value_and_grad([2.0], [0.0])[1]
    assert slope == pytest.approx(0.2 + 1e20 + 1.0 + 0.25 + 1.0 / 9.0 + 4.0, rel=1e-15)
    assert OfInteger().point(2.0, 0.0)[1] == pytest.approx(slope, rel=1e-15)

    class ByHand(nl.Elementwise):
        count: int = 3

        def point(self, prediction, target):
            return prediction * self.count**-1.0, self.count**-1.0, 0.0

    assert ByHand()([3.0], [0.0]) == 1.0


def test_branches_may_give_numbers():
    hinge = lambda p, t: p * p if p > 0.0 else 0  # noqa: E731
    assert at(hinge, -1.0, 3.0) == [[0, 9], [0, 6], [0, 2]]
    assert as_loss(hinge).point(-1.0, 0.0) == (0.0, 0.0, 0.0)

    def counted(p, t):
        total = 0
        for i in range(3):
            total += p * i
        largest = 0
        if p > 0.0:
            largest = abs(p)
        return sum((total, largest, p))

    assert at(counted, 2.0)[:2] == [[10.0], [5.0]]


def test_functions_of_the_target_alone():
    def function(p, t):
        return np.where(t > 0.0, t, -t) * p + np.clip(t, a_min=0.0, a_max=None) * math.copysign(
            1, p
        )

    assert at(function, 3.0, -3.0, target=-2.0)[:2] == [[6.0, -6.0], [2.0, 2.0]]


def doubled(x):
    return 2.0 * x


def test_names_inside_functions_inside():
    def function(p, t):
        def inner(x):
            return doubled(math.exp(x))

        return inner(p) + (lambda x: (lambda y: math.exp(y))(x))(p)

    assert at(function, 0.0)[1] == [3.0]


# Constants.


def test_steps_are_constants():
    assert at(lambda p, t: p * np.floor(p) + np.sign(p) * p + round(p) * p, 2.5)[1] == [5.0]
    assert at(lambda p, t: p * (p > 1.0), 2.0, 0.5)[1] == [1.0, 0.0]


def test_stop_gradient_makes_a_constant():
    def focal(p, t):
        fade = nl.stop_gradient((1.0 - nl.sigmoid(p)) ** 2)
        return fade * nl.softplus(-p)

    (value,), (slope,), (bend,) = at(focal, 0.7)
    wrong = 1.0 / (1.0 + math.exp(0.7))
    assert value == pytest.approx(wrong**2 * math.log1p(math.exp(-0.7)), rel=1e-14)
    assert slope == pytest.approx(-(wrong**3), rel=1e-14)
    assert bend == pytest.approx(wrong**3 * (1.0 - wrong), rel=1e-14)
    assert nl.stop_gradient(2.5) == 2.5

    class ByHand(nl.Elementwise):
        def point(self, prediction, target):
            return nl.stop_gradient(prediction) * prediction, prediction, 0.0

    assert ByHand()([1.0, 3.0], [0.0, 0.0]) == 5.0


# Objectives whose published derivatives are wrong in one copy or another.


def focal(p, t):
    """Copies leave out the derivative of the fading factor, or have another in the hessian."""
    right = nl.log_sigmoid(p)
    wrong = nl.log_sigmoid(-p)
    fade, other = nl.sigmoid(-p) ** 2, nl.sigmoid(p) ** 2
    return -0.25 * t * fade * right - 0.75 * (1.0 - t) * other * wrong


def squared_log_error(p, t):
    """Copies leave out the part of the hessian that holds the difference."""
    return (nl.log1p(p) - nl.log1p(t)) ** 2


def fair(p, t):
    """Copies subtract the prediction from the target, which turns the gradient round."""
    size = abs(p - t) / 1.5
    return 2.25 * (size - nl.log1p(size))


def symmetric_percentage_error(p, t):
    """Copies take the denominator for a constant."""
    return 2.0 * abs(p - t) / (abs(p) + abs(t))


@pytest.mark.parametrize("function", [focal, squared_log_error, fair, symmetric_percentage_error])
def test_objectives_that_are_published_with_wrong_derivatives(function):
    p, t = np.array([0.3, 2.0, 0.9, 4.0, 1e-3, 7.0]), np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    if function is not focal:
        t = np.array([1.2, 0.4, 1.0, 3.0, 2.0, 6.9])
    found = np.array(as_loss(function).value_grad_hess(p, t, reduction="none"))
    wanted = np.array([exact(function, *pair) for pair in zip(p, t)]).T
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_written_as_a_square_less_the_derivative_of_its_factor_is_another_number():
    """What a copy of the focal loss leaves out is not small."""
    p, t = np.array([0.3, -1.0]), np.array([1.0, 1.0])
    _, slope, _ = as_loss(focal).value_grad_hess(p, t, reduction="none")
    share = 1.0 / (1.0 + np.exp(-p))
    assert (np.abs(slope / (0.25 * (1.0 - share) ** 2 * (share - t)) - 1.0) > 0.5).all()
