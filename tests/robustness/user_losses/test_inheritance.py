"""Subclasses of losses."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.defined import ONES

PREDICTION = np.linspace(-3.0, 3.0, 13)
TARGET = (PREDICTION > 1.0).astype(np.float64)


class _Override:
    def point(self, prediction, target):
        return 3.0 * prediction - target, 3.0, 0.5


@pytest.mark.parametrize("base", [nl.Huber, nl.BinaryCrossEntropy, nl.Focal, nl.Tweedie])
def test_a_plain_subclass_is_its_base(base):
    derived = type("Derived", (base,), {})
    both = [cls().value_grad_hess(PREDICTION, TARGET, reduction="none") for cls in (derived, base)]
    for got, wanted in zip(*both):
        np.testing.assert_array_equal(got, wanted)


def overriding_subclass(base: type) -> type:
    return type("Derived", (base,), {"point": _Override.point})


def overriding_mixin(base: type) -> type:
    return type("Derived", (_Override, base), {})


@pytest.mark.parametrize("derive", [overriding_subclass, overriding_mixin])
@pytest.mark.parametrize(
    ("base", "parameters"),
    # With and without a lower() of the base, which knows nothing of the new maths.
    [
        (nl.Huber, {}),
        (nl.SmoothL1, {"beta": 0.0}),
        (nl.BinaryCrossEntropy, {}),
        (nl.Focal, {"alpha": 0.25}),
    ],
)
def test_a_subclass_that_gives_its_own_point_is_what_it_says(base, parameters, derive):
    loss = derive(base)(**parameters)
    value, gradient, hessian = loss.value_grad_hess(PREDICTION, TARGET, reduction="sum")
    assert value == pytest.approx(float(np.sum(3.0 * PREDICTION - TARGET)))
    assert set(gradient) == {3.0}
    assert set(hessian) == {0.5}


def test_none_where_a_point_needs_a_number_is_named():
    with pytest.raises(TypeError, match=r"Derived.*alpha"):
        overriding_subclass(nl.Focal)(alpha=None)(PREDICTION, TARGET)


def test_a_subclass_may_add_parameters_and_change_defaults():
    class Shifted(nl.Huber):
        delta = 2.0
        shift: float = 10.0

        def point(self, prediction, target):
            return self.delta * prediction + self.shift, self.delta, 0.0

    assert repr(Shifted()) == "Shifted(delta=2.0, shift=10.0)"
    assert Shifted()(ONES, ONES) == 12.0
    assert Shifted(3, shift=1)(ONES, ONES) == 4.0
    assert nl.Huber().delta == 1.0
