"""What a point may not be."""

import warnings
from dataclasses import dataclass
from functools import wraps

import pytest

import numbaloss as nl
from tests.support.defined import ONES, TWOS, outcome


def _no_point():
    return {}


def _unknown_attribute():
    def point(self, prediction, target):
        return prediction * self.colour, 0.0, 0.0

    return {"point": point}


def _unknown_name():
    def point(self, prediction, target):
        return prediction * undefined_colour, 0.0, 0.0  # noqa: F821

    return {"point": point}


def _two_results():
    def point(self, prediction, target):
        return prediction, target

    return {"point": point}


def _four_results():
    def point(self, prediction, target):
        return prediction, target, prediction, target

    return {"point": point}


def _one_result():
    def point(self, prediction, target):
        return prediction - target

    return {"point": point}


def _tuple_result():
    def point(self, prediction, target):
        return (prediction, target), 1.0, 0.0

    return {"point": point}


def _too_few_arguments():
    def point(self, prediction):
        return prediction, 1.0, 0.0

    return {"point": point}


def _decorated():
    def point(self, prediction, target):
        return prediction, 1.0, 0.0

    @wraps(point)
    def wrapper(*arguments):
        return point(*arguments)

    return {"point": wrapper}


def _string_parameter():
    def point(self, prediction, target):
        return prediction, 1.0, 0.0

    return {"point": point, "__annotations__": {"colour": str}, "colour": "red"}


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (_no_point, "point"),
        (_unknown_attribute, "colour"),
        (_unknown_name, "undefined_colour"),
        (_one_result, "three|value, gradient"),
        (_two_results, "three|value, gradient"),
        (_four_results, "three|value, gradient"),
        (_tuple_result, "point"),
        (_too_few_arguments, r"point must take \(self, prediction, target\)"),
        (_decorated, r"point must take \(self, prediction, target\)"),
        (_string_parameter, "colour"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_faulty_point_is_named_with_its_fault_and_harms_nobody_else(make, hint):
    body = make()
    if "point" in body:
        body["point"].__qualname__ = "Faulty.point"
    faulty = type("Faulty", (nl.Elementwise,), body)()
    # Twice: a failed attempt must not be remembered as a success.
    for _ in range(2):
        with pytest.raises((TypeError, NotImplementedError), match=f"(?s)Faulty.*({hint})"):
            faulty(ONES, TWOS)
        with pytest.raises((TypeError, NotImplementedError), match="Faulty"):
            faulty.value_and_grad(ONES, TWOS)
        assert nl.SquaredError()(ONES, 3.0 * ONES) == 4.0

    def point(self, prediction, target):
        return 7.0 * prediction, 7.0, 0.0

    mended = type("Faulty", (nl.Elementwise,), {"point": point})()
    assert outcome(mended) == (7.0, 7.0)


NAMES = {"a": 1.0}
NUMBERS = [1.0, 2.0]


class Settings:
    width = 2.0


def endless(x):
    return 1.0 if x < 1.0 else endless(x - 1.0)


def _imports(self, prediction, target):
    import math

    return math.exp(prediction - target)


def _of_a_method(self, prediction, target):
    return self.helper(prediction - target)


def _of_an_undeclared(self, prediction, target):
    return self.width * (prediction - target) ** 2


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (_imports, "put the import at the top"),
        (lambda self, prediction, target: NAMES["a"] * prediction, "NAMES is a dict"),
        (lambda self, prediction, target: NUMBERS[0] * prediction, "NUMBERS is a list"),
        (lambda self, prediction, target: Settings.width * prediction, "Settings is a class"),
        (lambda self, prediction, target: endless(prediction), "endless calls itself"),
        (_of_a_method, "write helper as a function outside the class"),
        (_of_an_undeclared, "declared with its type: width: float = 2.0"),
    ],
    ids=["import", "dict", "list", "class", "recursion", "method", "undeclared"],
)
def test_what_formulas_cannot_do_is_told_with_what_to_write_instead(value, hint):
    body = {"value": value, "helper": lambda self, x: x * x, "width": 2.0}
    with pytest.raises(TypeError, match=f"Tried.value does not compile: .*{hint}"):
        type("Tried", (nl.Elementwise,), body)()(ONES, TWOS)


def test_a_loss_has_no_init_of_its_own_and_is_no_dataclass():
    class OwnInit(nl.Elementwise):
        def __init__(self, width):
            self.width = width

        def value(self, prediction, target):
            return self.width * (prediction - target) ** 2

    with pytest.raises(AttributeError, match=r"annotated attributes of the class.*width: float"):
        OwnInit(2.0)

    @dataclass
    class Data(nl.Elementwise):
        width: float = 1.0

        def value(self, prediction, target):
            return self.width * (prediction - target) ** 2

    with pytest.raises(AttributeError, match="no @dataclass"):
        Data(2.0)
    with pytest.raises(AttributeError, match=r"loss.replace\(delta=2.0\)"):
        nl.Huber().delta = 2.0


def test_a_failed_compilation_leaves_no_warning_for_the_mended_class():
    def slow_and_faulty(self, prediction, target):
        return 2 * prediction, (target, target), 0.0

    def point(self, prediction, target):
        return 2.0 * prediction, 2.0, 0.0

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        with pytest.raises(TypeError):
            type("Cell", (nl.Elementwise,), {"point": slow_and_faulty})().value_and_grad(ONES, TWOS)
    # A warning would be an error.
    assert outcome(type("Cell", (nl.Elementwise,), {"point": point})()) == (2.0, 2.0)
