"""Losses are immutable bundles of checked parameters."""

import copy
import inspect
import math
import pickle
from typing import ClassVar

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.core.intervals import Interval, interval


def test_parameters_are_normalised_by_their_annotation():
    loss = nl.Huber(2)
    assert type(loss.delta) is float
    assert loss == nl.Huber(delta=2.0) == nl.Huber(np.float32(2))
    assert hash(loss) == hash(nl.Huber(2.0))
    assert repr(loss) == "Huber(delta=2.0)"
    assert nl.Focal(alpha=None).alpha is None
    assert nl.Focal(alpha=1).alpha == 1.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nl.Huber(0.0), ValueError, r"delta must be in \(0, inf\), not 0.0"),
        (lambda: nl.Huber(-1), ValueError, "delta must be in"),
        (lambda: nl.Huber(math.nan), ValueError, "delta must not be NaN"),
        (lambda: nl.Huber("1"), TypeError, "delta must be a number"),
        (lambda: nl.Huber(None), TypeError, "delta must be a float, not None"),
        (lambda: nl.Huber([1.0]), TypeError, "delta must be a number"),
        (lambda: nl.Huber(1.0, 2.0), TypeError, "takes 1 parameters, 2 were given"),
        (lambda: nl.Huber(beta=1.0), TypeError, "no parameter 'beta'; its parameters: delta"),
        (lambda: nl.Huber(1.0, delta=2.0), TypeError, "got 'delta' twice"),
        (lambda: nl.GeneralRobust(), TypeError, "needs the parameter 'alpha'"),
        (lambda: nl.Quantile(1.0), ValueError, r"q must be in \(0, 1\)"),
        (lambda: nl.BinaryCrossEntropy(from_logits=1), TypeError, "must be True or False"),
        (lambda: nl.BinaryCrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing"),
        (lambda: nl.Tweedie(0.5), ValueError, "power must be <= 0 or >= 1"),
        (lambda: nl.Focal(-1.0), ValueError, "gamma must be in"),
    ],
)
def test_bad_parameters_are_refused_at_construction(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_losses_are_immutable():
    loss = nl.Huber()
    with pytest.raises(AttributeError, match="immutable"):
        loss.delta = 2.0
    with pytest.raises(AttributeError, match="immutable"):
        del loss.delta
    assert loss.replace(delta=2.0) == nl.Huber(2.0)
    assert loss.delta == 1.0


def test_losses_survive_pickle_and_copy_after_use():
    for loss in (nl.Huber(1.5), nl.Huber() + 0.1 * nl.LogCosh(), nl.Focal()):
        before = loss([1.0], [0.0])
        for other in (pickle.loads(pickle.dumps(loss)), copy.copy(loss), copy.deepcopy(loss)):
            assert other == loss
            assert other([1.0], [0.0]) == before


def test_parameters_merge_along_the_bases():
    class Base(nl.Elementwise):
        first: float = 1.0
        bounds: ClassVar = {"first": "[0, 9]"}

    class Derived(Base):
        second: int = 2
        note: ClassVar[str] = "no parameter"
        first = 3.0

    assert repr(Derived(second=5)) == "Derived(first=3.0, second=5)"
    with pytest.raises(ValueError, match="first"):
        Derived(10.0)
    with pytest.raises(TypeError, match="second must be a int"):
        Derived(second=1.5)


def test_parameters_cannot_take_the_name_of_a_method():
    class Clash(nl.Elementwise):
        values: float = 1.0

    with pytest.raises(TypeError, match="'values' is a method of every loss"):
        Clash()


def test_signature_tells_the_parameters():
    assert str(inspect.signature(nl.Huber)) == "(delta: float = 1.0)"
    assert list(inspect.signature(nl.GeneralRobust).parameters) == ["alpha", "scale"]


def test_equality_needs_the_same_class():
    assert nl.Huber(1.0) != nl.PseudoHuber(1.0)
    assert len({nl.Huber(1.0), nl.Huber(1), nl.PseudoHuber(1.0)}) == 2


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("[0, 1)", [0.0, 0.5], [1.0, -1e-300]),
        ("(-1, inf)", [math.inf, 0.0], [-1.0]),
        ("{0, 1}", [0, 1.0], [0.5, -1]),
        ("(-inf, inf)", [-math.inf, 3], ["x"]),
    ],
)
def test_intervals_contain_what_their_notation_says(text, inside, outside):
    assert all(value in interval(text) for value in inside)
    assert not any(value in interval(text) for value in outside)
    assert str(interval(text)) == text


def test_closed_ends_are_the_nearest_numbers_of_a_dtype():
    low, high = interval("(0, 1)").closed(np.dtype(np.float32))
    assert low == float(np.float32(1e-45))
    assert high == float(np.nextafter(np.float32(1), np.float32(0)))


def test_intersections_of_intervals():
    assert interval("[0, 2)").intersect(interval("(-inf, 1]")) == interval("[0, 1]")
    assert interval("[0, 1]").intersect(interval("{0, 1}")).binary
    assert interval("[0, 1)").intersect(interval("(0, 1]")) == Interval(0, 1, True, True)
    for one, other in (("[0, 1)", "[1, 2]"), ("(0, 1]", "{0, 1}"), ("[2, 3]", "[0, 1]")):
        with pytest.raises(ValueError, match="common"):
            interval(one).intersect(interval(other))


def test_malformed_intervals_are_refused():
    for text in ("0, 1", "[0; 1]", "[1]"):
        with pytest.raises(ValueError, match="interval"):
            interval(text)
