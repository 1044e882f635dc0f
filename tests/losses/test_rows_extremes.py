"""Losses of rows where numbers end, and rows beside other rows."""

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, ROW_CASES, identify, row_inputs, with_class_weights
from tests.support.reference import rows as reference


@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
def test_rows_do_not_know_of_each_other(loss, form):
    """A row alone and the same row anywhere among others, in groups of every size."""
    for classes in (1, 2, 3, 4, 7, 8, 9, 16, 17, 32, 33, 64, 100, 128, 129, 500):
        of_width = with_class_weights(loss, classes, 5)
        logits, target = row_inputs(loss, form, 70, classes, seed=3)
        together = of_width.value_grad_hess(logits, target, reduction="none")
        for start, stop in ((0, 1), (69, 70), (5, 8), (11, 27), (20, 53), (1, 70)):
            part = slice(start, stop)
            apart = of_width.value_grad_hess(logits[part], target[part], reduction="none")
            for one, other in zip(apart, together):
                np.testing.assert_array_equal(one, other[part], err_msg=f"{classes} {part}")


@pytest.mark.every(4)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, 3, 9, 17, 130, 5000])
def test_extreme_logits_give_no_nan(loss, form, dtype, classes):
    large = [1e30, 3e38, 1e4, 800.0, 105.0, 89.0] + [1e300, 1.7e308] * (dtype is np.float64)
    for scale in large:
        logits = np.zeros((8, classes), dtype)
        logits[0, 0] = logits[1, -1] = logits[3] = scale
        logits[2, 0] = logits[4] = -scale
        logits[5, 0], logits[5, -1] = 0.5 * scale, -0.5 * scale
        logits[6], logits[6, 0] = -0.5 * scale, 0.5 * scale
        logits[7] = np.linspace(-0.5, 0.5, classes) * scale
        for label in (0, classes - 1):
            target = np.full(8, label)
            if form == "dense":
                target = reference.one_hot(target, classes).astype(dtype)
            found = loss.value_grad_hess(logits, target, reduction="none")
            # Derivatives are finite; values may leave the range of the dtype.
            assert not np.isnan(found[0]).any(), (scale, label, found[0])
            margin = loss.relative_to_label and loss.p == 2
            if not margin:
                assert np.isfinite(found[1]).all(), (scale, label)
            assert np.isfinite(found[2]).all(), (scale, label, found[2])


@pytest.mark.parametrize("gamma", [0.25, 0.5, 0.9, 1.0, 1.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_focal_of_a_certain_row_is_flat_for_every_gamma(gamma, dtype, form):
    loss = nl.CategoricalFocal(gamma)
    for logits in ([[3.0]], [[800.0, 0.0]], [[0.0, -math.inf]], [[0.0, -1e30, -1e30]]):
        target = np.array([0])
        if form == "dense":
            target = reference.one_hot(target, len(logits[0])).astype(dtype)
        for result in loss.value_grad_hess(np.array(logits, dtype), target, reduction="none"):
            assert not result.any(), (logits, result)


def test_jensen_shannon_survives_probabilities_below_the_normal_numbers():
    for dtype, distances in ((np.float64, range(700, 760)), (np.float32, range(85, 108))):
        logits = np.zeros((len(distances), 2), dtype)
        logits[:, 1] = -np.array(distances)
        target = np.array([[1.0, 0.0]] * len(distances), dtype)
        value, gradient, hessian = nl.JensenShannon().value_grad_hess(
            logits, target, reduction="none"
        )
        for result in (value, gradient, hessian):
            assert np.isfinite(result).all()
            np.testing.assert_allclose(result, 0.0, atol=1e-36)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_distillation_keeps_its_digits_near_the_teacher(classes, dtype, digits):
    """Where the plain sum of q (log q - log p) is rounding alone, and may be negative."""
    rng = np.random.default_rng(7)
    teacher = rng.normal(size=(6, classes)).astype(dtype)
    away = rng.normal(size=(6, classes))
    for temperature in (1.0, 100.0):
        loss = nl.Distillation(temperature)
        same = loss(teacher, teacher, reduction="none")
        assert ((same >= 0.0) & (same < (digits * temperature) ** 2)).all()
        for distance in (1e-2 * temperature, 1e-4 * temperature, 30.0):
            student = (teacher + distance * away).astype(dtype)
            value = loss(student, teacher, reduction="none")
            # What p and q are off by moves log(p / q) by a few ulp of its own terms.
            p, q = (one.astype(np.longdouble) / temperature for one in (student, teacher))
            p, q = (one - np.log(np.exp(one).sum(axis=1, keepdims=True)) for one in (p, q))
            wanted = temperature**2 * (np.exp(q) * (q - p)).sum(axis=1)
            moved = digits * temperature * np.sqrt(2.0 * wanted.astype(float))
            assert (abs(value - wanted) <= digits * wanted + moved).all()


def test_distillation_of_classes_that_a_teacher_or_student_excludes():
    inf = math.inf
    teacher = np.array([[0.0, -inf, 0.0], [0.0, -inf, 0.0], [0.0, 0.0, 0.0]])
    student = np.array([[1.0, 0.0, 0.0], [0.0, -inf, 0.0], [0.0, -inf, 0.0]])
    value = nl.Distillation(1.0)(student, teacher, reduction="none")
    wanted = math.log(math.e + 2.0) - math.log(2.0) - 0.5
    np.testing.assert_allclose(value, [wanted, 0.0, inf], rtol=1e-14, atol=1e-16)
