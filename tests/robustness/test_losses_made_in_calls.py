"""Losses made where they are called, with other parameters each time: right, apart, not kept."""

import gc
import math
import threading
import weakref
from typing import ClassVar

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.core import composition, parameters
from numbaloss.cpu import blocks, maps, plans, row_plans
from numbaloss.formulas import plans as of_formulas
from numbaloss.formulas import structure

P = np.linspace(-3.0, 3.0, 100)
T = np.zeros(100)
ROWS = np.random.default_rng(0).normal(size=(6, 4))
LABELS = np.array([0, 1, 2, 3, 0, 1])


@pytest.fixture(autouse=True)
def unmet(monkeypatch):
    """As if no test before had made losses of many values."""
    monkeypatch.setattr(of_formulas, "_unmet", {})


class Scaled(nl.Elementwise):
    scale: float = 1.0

    def value(self, prediction, target):
        return (prediction - target) ** 2 * self.scale


class Chosen(nl.Elementwise):
    power: float = 2.0

    def lower(self):
        return nl.SquaredError() if self.power == 2.0 else Scaled(self.power)


class Limited(nl.Elementwise):
    limit: float = 1.0

    @property
    def target_domain(self):
        return f"[-{self.limit}, {self.limit}]"

    def value(self, prediction, target):
        return (prediction - target) ** 2


class Raising(nl.Elementwise):
    limit: float = 1.0

    def value(self, prediction, target):
        if prediction > self.limit:
            raise ValueError("beyond the limit")
        return self.limit * (prediction - target) ** 2


def huber(d):
    size = np.abs(P)
    return np.where(size <= d, 0.5 * P * P, d * (size - 0.5 * d)).mean()


def cross_entropy(epsilon, weight):
    log_p = ROWS - np.log(np.exp(ROWS).sum(1, keepdims=True))
    target = (1.0 - epsilon) * np.eye(4)[LABELS] + epsilon / 4
    return -(weight * target * log_p).sum(1).mean()


def sizes() -> dict[str, int]:
    """How much is kept that is not kept with losses."""
    counted = {
        "declarations": parameters._declarations,
        "classes": structure._known,
        "formulas": structure._formulas,
    }
    bounded = {
        "kernels": blocks.kernel,
        "maps": maps.loss_map,
        "programs": plans._program,
        "rows": row_plans._program,
        "ones": row_plans._ones,
        "outlines": of_formulas._outline,
        "domains": composition._common,
    }
    found = {name: len(one) for name, one in counted.items()}
    return found | {name: one.cache_info().currsize for name, one in bounded.items()}


def test_each_call_sees_its_own_parameters():
    for d in np.linspace(0.1, 1.9, 50):
        assert nl.Huber(d)(P, T) == pytest.approx(huber(d), rel=1e-14)
        assert nl.Huber(delta=np.float32(d))(P, T) == pytest.approx(huber(np.float32(d)), rel=1e-14)
        both = nl.Huber(d) + d * nl.SquaredError()
        assert both(P, T) == pytest.approx(huber(d) + d * nl.SquaredError()(P, T), rel=1e-14)
        assert Scaled(d)(P, T) == Chosen(d)(P, T) == pytest.approx(d * (P * P).mean(), rel=1e-14)
        weight = np.array([1.0, d, 2.0, 3.0])
        for epsilon in (0.0, 0.25 * d):
            loss = nl.CrossEntropy(class_weight=weight, label_smoothing=epsilon)
            assert loss(ROWS, LABELS) == pytest.approx(cross_entropy(epsilon, weight), rel=1e-13)
    assert Chosen(2.0)(P, T) == nl.SquaredError()(P, T)


def test_what_is_kept_does_not_grow_with_parameters():
    def call(d):
        nl.Huber(delta=d)(P, T)
        nl.BinaryCrossEntropy(pos_weight=d)(P, T)
        (nl.Huber(d) + d * nl.LogCosh())(P, T)
        Chosen(d)(P, T)
        nl.CrossEntropy(label_smoothing=0.1 * d, temperature=d)(ROWS, LABELS)

    call(0.5)
    before = sizes()
    for d in np.linspace(0.6, 1.9, 4_000):
        call(float(d))
    assert sizes() == before


def test_what_is_kept_by_parameters_has_an_end():
    for limit in range(1, 1200):
        assert Limited(limit)(P, T) == pytest.approx((P * P).mean())
        nl.CrossEntropy(ignore_index=-limit)(ROWS, LABELS)
    found = sizes()
    assert found["programs"] <= 1024
    assert found["rows"] <= 256
    with pytest.raises(ValueError, match="target"):
        Limited(0.5)(P, T + 0.75)


@pytest.mark.parametrize(
    "make",
    [
        nl.Huber,
        nl.BinaryCrossEntropy,
        nl.CrossEntropy,
        lambda: nl.Huber() + nl.LogCosh(),
        lambda: nl.Triplet(0.5),
        Chosen,
    ],
)
def test_a_loss_goes_as_soon_as_nobody_holds_it(make):
    loss = make()
    if isinstance(loss, nl.Triplet):
        loss(ROWS, ROWS, ROWS)
    else:
        loss(*(ROWS, LABELS) if isinstance(loss, nl.Softmax) else (P, T))
    known = weakref.ref(loss)
    gc.disable()
    try:
        del loss
        assert known() is None
    finally:
        gc.enable()


def test_a_changed_formula_is_noticed_by_losses_made_after(monkeypatch):
    assert Chosen(3.0)(P, T) == Scaled(3.0)(P, T)
    loss = Chosen(3.0)
    before = loss(P, T)
    with monkeypatch.context() as patch:
        patch.setattr(Scaled, "value", lambda self, p, t: 7.0 * (p - t) ** 2 * self.scale)
        assert Scaled(3.0)(P, T) == pytest.approx(7.0 * before)
        assert Chosen(3.0)(P, T) == loss(P, T) == Scaled(3.0)(P, T)
        patch.setattr(nl.Huber, "point", lambda self, p, t: (self.delta * p, 0.0 * p, 0.0))
        assert nl.Huber(2.0)(P + 1.0, T) == pytest.approx(2.0)
    assert Chosen(3.0)(P, T) == loss(P, T) == before
    assert nl.Huber(2.0)(P, T) == pytest.approx(huber(2.0))


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_threads_with_other_parameters_see_nothing_of_each_other(size):
    prediction, target = np.linspace(0.0, 4.0, size), np.zeros(size)
    inside = np.minimum(prediction, 0.5)
    wrong: list = []

    def work(limit):
        for _ in range(40):
            for step in range(4):
                d = limit + 0.125 * step
                if abs(Raising(d)(inside, target) / (d * expected) - 1.0) > 1e-14:
                    wrong.append(("value", d))
                try:
                    Raising(d)(prediction, target)
                except ValueError as error:
                    at = float(error.__notes__[0].split("prediction = ")[1].split(",")[0])
                    if not d < at <= d + 4.0 / (size - 1):
                        wrong.append(("raised", d, at))
                    if d >= 4.0:
                        wrong.append(("raised", d))
                else:
                    if d < 4.0:
                        wrong.append(("silent", d))
                if abs(nl.Huber(0.25 / d)(prediction, target) / huber(d) - 1.0) > 1e-13:
                    wrong.append(("huber", d))

    def huber(d):
        return np.where(
            prediction <= 0.25 / d, 0.5 * prediction**2, 0.25 / d * (prediction - 0.125 / d)
        ).mean()

    expected = (inside**2).mean()
    threads = [threading.Thread(target=work, args=(limit,)) for limit in (1.0, 3.0, 8.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_losses_of_defaults_share_what_engines_keep_and_nothing_else():
    nl.CrossEntropy()(ROWS, LABELS)
    first, second = nl.CrossEntropy(), nl.CrossEntropy()
    assert first.__dict__["_plans"] is second.__dict__["_plans"]
    other = nl.CrossEntropy(temperature=2.0)
    assert "_plans" not in other.__dict__
    assert other(ROWS, LABELS) == nl.CrossEntropy()(ROWS * 0.5, LABELS)
    assert nl.CrossEntropy(temperature=1.0)(ROWS, LABELS) == first(ROWS, LABELS)
    whole = nl.LogCosh() + nl.LogCosh()
    whole(P, T)
    assert parameters.declaration_of(type(whole)).kept == {}


class Bounded(nl.Elementwise):
    a: float = 1.0
    b: float = -1.0
    c: int = 1
    d: bool = True
    bounds: ClassVar = {"a": "(0, 1]", "b": "(-inf, 0)", "c": "[0, 5)"}
    spans: ClassVar = {"a": (2, 2)}

    def value(self, prediction, target):
        return self.a * prediction


def test_values_within_ranges_are_those_that_a_closer_look_accepts():
    tiny, numbers = 5e-324, [0.0, -0.0, 0.5, 1.0, 2.0, 5.0, math.inf, math.nan, 1e-160, 1e308]
    numbers += [tiny, np.nextafter(1.0, 2.0), 2**63, 2**63 - 1, 1, 4, True, np.float32(0.5)]
    numbers += [np.int8(1), np.bool_(True), "1", None, [1.0], np.array(0.5)]
    numbers += [-one for one in numbers[:14]]
    for parameter in Bounded.parameters():
        for value in numbers:
            outcomes = []
            for make in (
                lambda one, value: parameters.accept(Bounded, one, value),
                lambda one, value: getattr(Bounded(**{one.name: value}), one.name),
            ):
                try:
                    found = make(parameter, value)
                    outcomes.append((type(found), repr(found)))
                except (TypeError, ValueError) as error:
                    outcomes.append((type(error), str(error)))
            assert outcomes[0] == outcomes[1], (parameter, value)


def test_what_tests_the_inputs_of_a_loss_tests_those_of_no_other():
    # In place, so that inputs are tested before anything is written.
    anything = np.array([0.5, -7.0])
    for loss, bad in [(nl.Poisson(), -1.0), (nl.Hinge(), 0.5), (nl.BinaryCrossEntropy(), 2.0)]:
        for _ in range(2):
            prediction = np.array([0.25, 0.75])
            with pytest.raises(ValueError, match="target"):
                loss.value_and_grad(prediction, np.array([1.0, bad]), out=prediction)
            assert prediction.tolist() == [0.25, 0.75]
            weights = np.ones(2)
            nl.SquaredError().value_and_grad(prediction, anything, sample_weight=weights)
            nl.SquaredError().value_and_grad(
                prediction, anything, sample_weight=weights, out=prediction
            )


def test_equal_losses_share_what_engines_keep_until_there_are_many(monkeypatch):
    kept = of_formulas
    made = nl.CrossEntropy(class_weight=[1.0, 2.0, 3.0, 4.0], label_smoothing=0.1)
    again = made.replace()
    assert made(ROWS, LABELS) == again(ROWS, LABELS)
    assert made.__dict__["_plans"] is again.__dict__["_plans"]
    zero, minus = (0.0 * nl.SquaredError() + nl.Huber(), -0.0 * nl.SquaredError() + nl.Huber())
    assert zero(P, T) == minus(P, T)
    assert zero.__dict__["_plans"] is not minus.__dict__["_plans"]
    monkeypatch.setattr(kept, "_MANY", 1)
    for step in range(3 * kept._MOST_KEPT):
        nl.Focal(gamma=2.0 + 1e-3 * step)(P, np.ones_like(P))
    assert all(len(of_kind) <= kept._MOST_KEPT for of_kind in kept._kept.values())


def test_losses_of_new_values_each_time_are_soon_no_longer_kept(monkeypatch):
    kept, ones = of_formulas, np.ones_like(P)
    monkeypatch.setattr(kept, "_kept", {})
    for step in range(20 * kept._MANY):
        nl.Focal(gamma=2.0 + 1e-3 * step)(P, ones)
    assert kept._MANY <= len(kept._kept["_plans"]) < kept._MANY + 20
    # Of equal ones some loss is the first to be kept; from then on they share.
    same = [nl.Focal(gamma=1.25) for _ in range(2 * kept._MANY + 2)]
    assert len({loss(P, ones) for loss in same}) == 1
    assert same[-1].__dict__["_plans"] is same[-2].__dict__["_plans"]
    assert not kept._unmet
