"""What a value gives beside its derivatives: all that a point gets, and errors."""

import math
import pickle
import warnings

import mpmath
import numpy as np
import pytest

import numbaloss as nl
from tests.support.formulas import as_loss, at
from tests.support.own_losses import (
    Branching,
    DecoupledValue,
    MellowValue,
    PairsValue,
    SoftTripletValue,
)


@pytest.mark.parametrize("loss", [Branching(), Branching(0.7, 2.5)], ids=repr)
def test_a_value_gets_all_that_a_point_gets(loss):
    rng = np.random.default_rng(3)
    p, t = rng.normal(0, 2, (2, 5, 7))
    weight = rng.random(5)
    points = np.array([loss.point(*pair) for pair in zip(p.flat, t.flat)]).T.reshape(3, 5, 7)
    plain = loss.value_grad_hess(p, t, reduction="none")
    np.testing.assert_allclose(plain, points, rtol=1e-13)
    value, slope, bend = loss.value_grad_hess(p, t, sample_weight=weight, reduction="weighted_mean")
    divisor = weight.sum() * 7
    assert value == pytest.approx((points[0] * weight[:, None]).sum() / divisor)
    np.testing.assert_allclose(slope, points[1] * weight[:, None] / divisor, rtol=1e-12)
    np.testing.assert_allclose(bend, points[2] * weight[:, None] / divisor, rtol=1e-12)
    total = loss - 0.5 * nl.LogCosh()
    other = nl.LogCosh().value_and_grad(p, t, reduction="none")[1]
    np.testing.assert_allclose(
        total.value_and_grad(p, t, reduction="none")[1], points[1] - 0.5 * other, rtol=1e-12
    )
    turned, out = p.T[::-1], p.copy().T[::-1]
    _, slope = loss.value_and_grad(out, t.T[::-1], out=out, reduction="none")
    assert slope is out
    np.testing.assert_allclose(slope, points[1].T[::-1], rtol=1e-13)
    assert not np.shares_memory(turned, out)
    halves = loss.value_and_grad(p.astype("f2"), t, reduction="none")[1]
    assert halves.dtype == np.float16
    assert pickle.loads(pickle.dumps(loss))(p, t) == loss(p, t)


def test_float32_stays_float32():
    rng = np.random.default_rng(3)
    p, t = rng.normal(0, 2, (2, 200))

    class Whole(nl.Elementwise):
        def value(self, prediction, target):
            return (2 * (prediction - target)) ** 2 / 3 + math.log(2) * prediction

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for loss in (Branching(), Whole()):
            single = loss.value_grad_hess(p.astype("f4"), t.astype("f4"), reduction="none")
            for one, other in zip(single, loss.value_grad_hess(p, t, reduction="none")):
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)
            twin = loss.point(np.float32(p[0]), np.float32(t[0]))
            assert {type(one) for one in twin} == {np.float32}


def test_softmax_and_vectors_in_plain_python():
    rng = np.random.default_rng(5)
    log_p = -rng.random()
    _, slope, bend = MellowValue().point(log_p, 1.0)
    assert (slope, bend) == pytest.approx((-math.exp(0.5 * log_p), -0.5 * math.exp(0.5 * log_p)))
    assert len(PairsValue().point(0.3, 1.0)) == 2
    _, by_similarity, by_sum = DecoupledValue().point(0.3, 1.0)
    assert by_sum == pytest.approx(1.0 / (1.0 + math.exp(-0.7)))
    assert by_similarity == pytest.approx(0.06 - by_sum)
    assert len(SoftTripletValue().point(0.3, 1.0)) == 3


@pytest.mark.parametrize("loss", [PairsValue(), DecoupledValue(), SoftTripletValue()], ids=repr)
def test_losses_of_vectors_by_their_value(loss):
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 8, 3))
    labels = rng.integers(0, 3, 8)
    given = {PairsValue: (a, b, labels), DecoupledValue: (a, b), SoftTripletValue: (a, labels)}
    assert nl.check_gradient(loss, *given[type(loss)]) < 1e-6


def test_the_newest_of_value_and_point_is_the_maths():
    class ByValue(nl.SquaredError):
        def value(self, prediction, target):
            return (prediction - target) ** 4

    class ByHand(ByValue):
        def point(self, prediction, target):
            return 7.0 * prediction, 7.0, 0.0

    class Both(nl.Elementwise):
        def value(self, prediction, target):
            return prediction

        def point(self, prediction, target):
            return 2.0 * prediction, 2.0, 0.0

    class Mixin:
        def value(self, prediction, target):
            return 5.0 * prediction

    class Mixed(Mixin, nl.BinaryCrossEntropy):
        """Its base has a lower(), which knows nothing of this value."""

    slopes = {ByValue: 32.0, ByHand: 7.0, Both: 2.0, Mixed: 5.0}
    for cls, slope in slopes.items():
        assert cls().value_and_grad([2.0], [0.0])[1].tolist() == [slope]
        assert cls().point(2.0, 0.0)[1] == slope


def test_helpers_of_all_kinds():
    scale = 3.0

    def pair(x, by=2.0, plus=1.0):
        return x * by + plus, x - by

    def again(x, count):
        while count > 0:
            x, count = x * 0.5, count - 1
        return x

    def function(p, t):
        first, second = pair(p, plus=0.5)
        return (lambda x: x * x)(first) * scale + second + again(p, 2)

    value, slope, bend = at(function, 1.5)
    assert (value, slope, bend) == ([3.0 * 12.25 - 0.5 + 0.375], [42.0 + 1.25], [24.0])


# Errors.


def broken(function):
    with pytest.raises(TypeError) as caught:
        as_loss(function).value_and_grad([1.0, 2.0], [0.0, 0.0])
    return str(caught.value)


def test_an_unknown_function_is_named_with_its_line():
    def of_digits(x):
        return math.frexp(x)[0]

    def function(p, t):
        return of_digits(p * p)

    message = broken(function)
    assert "Function.value does not compile" in message
    assert "nothing is known of the derivative of frexp" in message
    assert "test_values.py" in message
    assert "return math.frexp(x)[0]" in message
    assert "stop_gradient" in message
    assert "nextafter" in broken(lambda p, t: math.nextafter(p, 2.0))


def test_a_value_that_has_no_slope_is_an_error_and_not_zero():
    assert "has no slope anywhere" in broken(lambda p, t: 1.0 if p > t else 0.0)
    assert "has no slope anywhere" in broken(lambda p, t: t * t)
    assert "has no slope anywhere" in broken(lambda p, t: np.floor(p))
    assert "has no slope anywhere" in broken(lambda p, t: nl.stop_gradient(p * p))


def test_a_value_is_one_number():
    assert "it must return one number" in broken(lambda p, t: (p, 1.0, 0.0))
    with pytest.raises(TypeError, match="it must return one number"):
        as_loss(lambda p, t: (p, 1.0, 0.0)).point(1.0, 2.0)

    class OfOne(nl.Elementwise):
        def value(self, prediction):
            return prediction

    with pytest.raises(TypeError, match=r"value must take \(self, prediction, target\)"):
        OfOne()([1.0], [2.0])

    class OfTwo(nl.Softmax):
        def value(self, log_probability):
            return log_probability

    with pytest.raises(TypeError, match=r"value must take \(self, log_probability, target\)"):
        OfTwo()([[1.0, 2.0]], [1])


def test_a_loss_without_maths_says_what_it_needs():
    class Empty(nl.Elementwise):
        pass

    with pytest.raises(TypeError, match=r"neither value\(self, prediction, target\).* nor point"):
        Empty()([1.0], [2.0])
    with pytest.raises(NotImplementedError, match="Empty has neither value"):
        Empty().value(1.0, 2.0)


def test_the_error_function_of_mpmath_is_ours():
    """The oracle and the library agree on what is differentiated."""
    found = at(lambda p, t: math.erf(p), 0.75)
    slope = 2.0 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-mpmath.mpf("0.5625"))
    assert found[1] == pytest.approx([float(slope)], rel=1e-15)
