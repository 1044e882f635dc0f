"""Shapes of logits, targets and results."""

import math

import numpy as np
import pytest

from catalogue.cases import EACH_ROW_CASE, identify
from tests.support.rows import CE, FORMS, everything, rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lead", [(), (1,), (7,), (2, 3), (2, 1, 3), (0,), (3, 0)])
@pytest.mark.parametrize("classes", [1, 2, 5, 40, 130, 5000])
def test_results_have_the_shapes_of_logits_and_rows(form, lead, classes):
    logits, target = rows(form, math.prod(lead), classes)
    logits = logits.reshape(*lead, classes)
    target = target.reshape(lead if form == "labels" else logits.shape)
    value, gradient, hessian = CE.value_grad_hess(logits, target)
    apart = CE(logits, target, reduction="none")
    assert type(value) is float
    assert isinstance(apart, np.ndarray)
    assert apart.shape == lead
    for result in (gradient, hessian):
        assert isinstance(result, np.ndarray)
        assert result.shape == logits.shape
    if apart.size:
        assert value == pytest.approx(apart.mean(), rel=1e-14, abs=1e-300)


def test_no_rows_have_a_sum_and_no_mean():
    for form in FORMS:
        for classes in (0, 3, 200):
            logits = np.empty((0, classes))
            target = np.empty(0, int) if form == "labels" else logits
            for extra in ({}, {"sample_weight": np.empty(0), "mask": np.empty(0, bool)}):
                assert CE(logits, target, reduction="sum", **extra) == 0.0
                assert math.isnan(CE(logits, target, **extra))
                assert math.isnan(CE(logits, target, reduction="weighted_mean", **extra))
                value, gradient = CE.value_and_grad(logits, target, reduction="none", **extra)
                assert value.shape == (0,)
                assert gradient.shape == (0, classes)


def test_no_classes_take_no_label_and_sum_to_nothing():
    empty = np.empty((3, 0))
    with pytest.raises(ValueError, match=r"no classes: its shape is \(3, 0\)"):
        CE(empty, np.zeros(3, int))
    value, gradient = CE.value_and_grad(empty, empty, reduction="none")
    np.testing.assert_array_equal(value, np.zeros(3))
    assert gradient.shape == (3, 0)


def test_a_prediction_without_classes_axis_is_refused():
    with pytest.raises(ValueError, match="at least one dimension"):
        CE(1.0, 0)


def test_lists_and_scalars_become_float64():
    value, gradient = CE.value_and_grad([0.0, 0.0], 1)
    assert value == pytest.approx(math.log(2.0), rel=1e-15)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, [0.5, -0.5])
    assert CE([[0, 0], [0, 0]], [0, 1]) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE([[0.0, 0.0]], [[0, 1]]) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE(np.zeros(2), np.int8(1)) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE(((0.0, 0.0),), (1,)) == pytest.approx(math.log(2.0), rel=1e-15)


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
def test_one_class_is_certain(loss, form):
    logits = np.array([[3.0], [-1e9], [0.0]])
    target = np.zeros(3, int) if form == "labels" else np.ones((3, 1))
    if loss.dense_logits:
        target = np.array([[5.0], [0.0], [-7.0]])
    for result in everything(loss, logits, target, reduction="none"):
        np.testing.assert_array_equal(result, np.zeros_like(result))
