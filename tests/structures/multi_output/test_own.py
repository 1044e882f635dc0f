"""Losses of several outputs of one's own."""

import math
from typing import ClassVar

import numpy as np
import pytest

import numbaloss as nl


class Sphere(nl.MultiOutput):
    outputs = ("x", "y", "z")
    targets = ("radius", "height")
    stretch: float = 2.0

    def value(self, x, y, z, radius, height):
        distance = nl.sqrt(x * x + y * y + self.stretch * z * z)
        return (distance - radius) ** 2 + x * y * height


class ByHand(nl.MultiOutput):
    outputs = ("a", "b")

    def point(self, a, b, target):
        residual = a * b - target
        return (
            residual * residual,
            (2.0 * residual * b, 2.0 * residual * a),
            (2.0 * b * b, 2.0 * a * a),
        )


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    return rng.normal(size=(150, 3)) + 2.0, rng.normal(size=(150, 2))


def test_a_formula_gets_kernels_with_all_derivatives(numbers):
    (x, y, z), (radius, height) = numbers[0].T, numbers[1].T
    value, gradient, hessian = Sphere(3.0).value_grad_hess(
        *numbers, hessian="full", reduction="none"
    )
    distance = np.sqrt(x * x + y * y + 3.0 * z * z)
    np.testing.assert_allclose(value, (distance - radius) ** 2 + x * y * height, rtol=1e-12)
    off = 2.0 * (1.0 - radius / distance)
    wanted = np.stack([off * x + y * height, off * y + x * height, 3.0 * off * z], axis=-1)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-11, atol=1e-12)
    pull = 2.0 * radius / distance**3
    np.testing.assert_allclose(hessian[:, 0, 1], pull * x * y + height, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(hessian[:, 2, 0], 3.0 * pull * x * z, rtol=1e-10, atol=1e-10)
    assert nl.check_gradient(Sphere(), *numbers) < 1e-8


def test_derivatives_by_hand_are_taken_as_they_are():
    prediction, target = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([1.0, 0.0])
    value, gradient, hessian = ByHand().value_grad_hess(prediction, target, reduction="none")
    np.testing.assert_array_equal(value, [1.0, 9.0])
    np.testing.assert_array_equal(gradient, [[4.0, 2.0], [6.0, -18.0]])
    np.testing.assert_array_equal(hessian, [[8.0, 2.0], [2.0, 18.0]])
    with pytest.raises(TypeError, match="takes a class with a value"):
        ByHand().hess(prediction, target, hessian="full")


def test_a_formula_that_changes_is_compiled_anew():
    class Line(nl.MultiOutput):
        outputs = ("a", "b")

        def value(self, a, b, target):
            return a + b * target

    prediction, target = np.array([[1.0, 2.0]]), np.array([3.0])
    assert Line()(prediction, target) == 7.0
    Line.value = lambda self, a, b, target: a - b * target
    assert Line()(prediction, target) == -5.0


def test_faults_are_named():
    class Two(nl.MultiOutput):
        outputs = ("a", "b")

        def value(self, a, b, target):
            return a, b

    class Raises(nl.MultiOutput):
        outputs = ("a", "b")

        def value(self, a, b, target):
            if a > 1.0:
                raise ValueError("too large")
            return a * b

    class Few(nl.MultiOutput):
        outputs = ("a", "b")

        def value(self, a, target):
            return a

    prediction, target = np.array([[1.0, 2.0]]), np.array([3.0])
    with pytest.raises(TypeError, match=r"Two\.value does not compile: .*must return one number"):
        Two()(prediction, target)
    with pytest.raises(TypeError, match="Raises can raise an exception"):
        Raises()(prediction, target)
    with pytest.raises(TypeError, match=r"Few\.value"):
        Few()(prediction, target)
    with pytest.raises(TypeError, match="neither value"):
        type("Empty", (nl.MultiOutput,), {"outputs": ("a",)})()([[1.0]], [1.0])


def test_a_number_a_rounding_beyond_its_domain_is_named():
    class Share(nl.MultiOutput):
        outputs = ("a", "b")
        domains: ClassVar = {"target": "[0, 1]"}

        def value(self, a, b, target):
            return (a * b - target) ** 2

    target = np.array([0.5, np.nextafter(1.0, 2.0)])
    with pytest.raises(ValueError, match=r"target\[1\] is 1\.0000000000000002; .* in \[0, 1\]"):
        Share()(np.ones((2, 2)), target)


def test_more_numbers_than_a_thread_has_room_for_are_refused():
    names = tuple(f"output_{i}" for i in range(600))
    many = type("Many", (nl.MultiOutput,), {"outputs": names})
    with pytest.raises(ValueError, match=r"1201 numbers a sample.* up to 1022 are computed"):
        many()(np.zeros((2, 600)), np.zeros(2))


def test_declarations_that_contradict_themselves_are_refused():
    with pytest.raises(TypeError, match="have one name"):
        type("Twice", (nl.MultiOutput,), {"outputs": ("a", "target")})
    with pytest.raises(TypeError, match="names b, and has no such number"):
        type("Stray", (nl.MultiOutput,), {"outputs": ("a",), "domains": {"b": "[0, 1]"}})
    with pytest.raises(TypeError, match="numbers have a domain each"):
        type("Wrong", (nl.MultiOutput,), {"outputs": ("a",), "target_domain": "[0, 1]"})


def test_plain_python_and_kernels_agree():
    found = Sphere().point(1.0, 2.0, 3.0, 0.5, -1.0)
    value, gradient, hessian = Sphere().value_grad_hess([1.0, 2.0, 3.0], [0.5, -1.0])
    assert found[0] == pytest.approx(value, rel=1e-14)
    assert found[1] == pytest.approx(tuple(gradient), rel=1e-13)
    assert found[2] == pytest.approx(tuple(hessian), rel=1e-13)
    assert math.isnan(Sphere().point(math.nan, 2.0, 3.0, 0.5, -1.0)[0])
