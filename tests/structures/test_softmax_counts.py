"""Rows that do not count, and numbers that do not count in a row."""

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify, row_inputs

FEW_WIDTHS = [2, 5, 17, 130, 5000]
FORMS = ["labels", "dense"]
CE = nl.CrossEntropy()


def rows(form, count=12, classes=5):
    return row_inputs(CE, form, count, classes, 0)


def everything(loss, logits, target, **options):
    return loss.value_grad_hess(logits, target, **options)


@pytest.mark.parametrize("classes", FEW_WIDTHS)
@pytest.mark.parametrize("by", ["mask", "weight"])
@pytest.mark.parametrize("loss", [CE, nl.Brier()], ids=identify)
def test_targets_of_a_row_that_does_not_count_may_leave_the_domain(loss, classes, by):
    """Whether or not the gradient comes in place."""
    logits, target = row_inputs(loss, "dense", 6, classes, seed=1)
    counts = np.array([True, True, False, True, False, True])
    options = {"mask": counts} if by == "mask" else {"sample_weight": counts.astype(float)}
    target[2, 0], target[4, -1] = 7.0, math.nan
    value, gradient = loss.value_and_grad(logits, target, **options)
    assert math.isfinite(value)
    other, _ = loss.value_and_grad(logits, target, out=logits, **options)
    assert other == value
    np.testing.assert_array_equal(logits, gradient)


def test_a_target_out_of_place_is_refused_in_the_name_of_its_loss():
    for loss in (nl.CrossEntropy(), nl.Brier()):
        name = type(loss).__name__
        with pytest.raises(
            ValueError, match=rf"target\[0, 1\] is 2; {name}\(.* takes dense targets in"
        ):
            loss([[0.0, 1.0]], [[0.5, 2.0]])


def test_a_mask_may_be_a_list():
    assert CE([[0.0, 0.0], [math.nan, 0.0]], [0, 1], mask=[True, False]) == math.log(2.0)


def test_an_error_names_a_dense_target_of_a_row_that_counts():
    target = np.full((3, 2), 0.5)
    target[0, 1] = target[2, 0] = 2.0
    with pytest.raises(ValueError, match=r"target\[2, 0\] is 2"):
        CE(np.zeros((3, 2)), target, mask=np.array([False, True, True]))


@pytest.mark.parametrize("form", FORMS)
def test_nan_stays_in_its_row_under_the_weighted_mean(form):
    logits, target = rows(form, 8, 5)
    loss = nl.CrossEntropy(class_weight=np.linspace(0.5, 2.0, 5))
    logits[3, 2] = math.nan
    value, gradient = loss.value_and_grad(logits, target, reduction="weighted_mean")
    assert math.isnan(value)
    assert np.isnan(gradient[3]).all()
    assert not np.isnan(np.delete(gradient, 3, 0)).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("classes", [5, 130])
def test_the_weighted_mean_of_narrow_targets_keeps_the_digits_of_wide_logits(classes, dtype):
    """The divisor too, of more rows than a sum in the targets' dtype would bear."""
    logits, target = rows("dense", 3000, classes)
    target = target.astype(dtype)
    loss = nl.CrossEntropy(class_weight=np.linspace(0.1, 2.0, classes) ** 2)
    wide = loss.value_and_grad(logits, target.astype(np.float64), reduction="weighted_mean")
    value, gradient = loss.value_and_grad(logits, target, reduction="weighted_mean")
    assert value == pytest.approx(wide[0], rel=4e-16)
    np.testing.assert_allclose(gradient, wide[1], rtol=1e-15, atol=0)
    hidden, weight = np.eye(3000, 4), np.zeros((4, classes))
    linear = nl.LinearCrossEntropy(class_weight=loss.class_weight)
    options = {"reduction": "weighted_mean"}
    wide = linear(hidden, weight, target.astype(np.float64), **options)
    assert linear(hidden, weight, target, **options) == pytest.approx(wide, rel=4e-16)


@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_weight_zero_of_a_class_excuses_an_excluded_label(classes):
    """0 times infinity: the class does not count, and so neither does its loss."""
    weights = np.ones(classes)
    weights[1] = 0.0
    loss = nl.CrossEntropy(weights)
    logits = np.zeros((2, classes))
    logits[0, 1] = -math.inf
    labelled = everything(loss, logits, [1, 1], reduction="none")
    dense = np.zeros((2, classes))
    dense[:, 1] = 1.0
    for result in (*labelled, *everything(loss, logits, dense, reduction="none")):
        assert not result.any()
