"""Sums and multiples of losses are losses."""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import inputs
from numbaloss.core.loss import Loss


def test_sum_equals_the_sum_of_its_terms():
    loss = nl.Huber() + 0.1 * nl.LogCosh() - nl.AbsoluteError() / 4
    p, t = inputs(nl.Huber(), 1000, seed=1)
    for kind in (np.float64, np.float32):
        p, t = p.astype(kind), t.astype(kind)
        parts = [
            part.value_grad_hess(p, t, reduction="none")
            for part in (nl.Huber(), nl.LogCosh(), nl.AbsoluteError())
        ]
        found = loss.value_grad_hess(p, t, reduction="none")
        for got, huber, log_cosh, absolute in zip(found, *parts, strict=True):
            expected = huber + 0.1 * log_cosh - absolute / 4
            tolerance = 1e-14 if kind is np.float64 else 1e-6
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def test_a_multiple_of_one_loss_is_no_plain_loss():
    p, t = [3.0, -1.0], [0.0, 0.0]
    assert (0.1 * nl.Huber(2.0))(p, t) == pytest.approx(0.1 * nl.Huber(2.0)(p, t), rel=1e-15)
    assert (-nl.Huber(2.0))(p, t) == pytest.approx(-nl.Huber(2.0)(p, t), rel=1e-15)
    assert (np.float64(0.5) * nl.SquaredError())(p, t) == 2.5


def test_same_classes_with_other_weights_share_no_results():
    p, t = [2.0], [0.0]
    assert (nl.Huber(1.0) + nl.Huber(3.0))(p, t) == 1.5 + 2.0
    assert (2 * nl.Huber(1.0) + nl.Huber(3.0))(p, t) == 3.0 + 2.0
    assert (nl.Huber(3.0) + 2 * nl.Huber(1.0))(p, t) == 3.0 + 2.0


def test_sums_are_flat_and_work_with_sum():
    loss = sum([nl.Huber(), 2 * (nl.LogCosh() + 3 * nl.SquaredError())])
    assert [weight for weight, _ in loss.terms] == [1.0, 2.0, 6.0]
    assert repr(loss) == "Huber(delta=1.0) + 2.0 * LogCosh() + 6.0 * SquaredError()"
    assert repr(-nl.LogCosh() - 0.5 * nl.Huber()) == "-LogCosh() - 0.5 * Huber(delta=1.0)"


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_a_sum_may_have_very_many_terms(count):
    loss = sum(0.01 * nl.Huber(1.0 + i) for i in range(count))
    assert loss([0.5], [0.0]) == pytest.approx(count * 0.01 * 0.125, rel=1e-12)


def test_terms_that_lower_to_other_losses_are_flattened():
    # GeneralRobust(2) is a multiple of the squared error, SmoothL1(0) another class.
    loss = nl.GeneralRobust(2.0, 3.0) + 0.5 * nl.SmoothL1(0.0)
    assert loss([4.0], [1.0]) == pytest.approx(0.5 + 1.5, rel=1e-15)


def test_domains_intersect():
    loss = nl.BinaryCrossEntropy() + 0.1 * nl.Hinge()
    assert str(loss.target_domain) == "{0, 1}"
    with pytest.raises(ValueError, match=r"target\[1\] is 0.5"):
        loss([0.0, 0.0], [1.0, 0.5])
    with pytest.raises(ValueError, match="common"):
        nl.Gamma() + nl.Hinge()


def test_sums_compare_and_hash_by_their_terms():
    one, other = nl.Huber() + 2 * nl.LogCosh(), nl.Huber() + 2 * nl.LogCosh()
    assert one == other
    assert hash(one) == hash(other)
    assert one != nl.Huber() + 3 * nl.LogCosh()


def test_sums_with_anything_else_are_refused():
    class Other(Loss):
        """A loss of a structure of its own."""

    with pytest.raises(TypeError, match="one structure"):
        nl.Huber() + Other()
    for wrong in (
        lambda: nl.Huber() + 1.0,
        lambda: nl.Huber() * nl.Huber(),
        lambda: "2" * nl.Huber(),
    ):
        with pytest.raises(TypeError):
            wrong()
    for factor in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            factor * nl.Huber()
    with pytest.raises(TypeError, match="no parameters"):
        (nl.Huber() + nl.LogCosh()).replace(delta=2.0)
