"""Rows that hold NaN and infinities."""

import math

import numpy as np
import pytest

from catalogue.cases import EACH_ROW_CASE, identify, row_inputs, with_class_weights
from tests.support.rows import CE, FEW_WIDTHS, FORMS, WIDTHS, everything, rows


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_in_its_row(loss, form, dtype):
    for classes in (1, 2, 3, 5, 8, 12, 17, 40, 130, 5000):
        of_width = with_class_weights(loss, classes, 3)
        logits, target = row_inputs(loss, form, 21, classes, seed=4)
        logits = logits.astype(dtype)
        clean = everything(of_width, logits, target, reduction="none")
        for row in (0, 10, 20) if classes < 1000 else (10,):
            for column in {0, classes // 2, classes - 1}:
                for array in (logits, target)[: 1 + (form == "dense")]:
                    keep = array[row, column]
                    array[row, column] = math.nan
                    found = everything(of_width, logits, target, reduction="none")
                    for got, expected in zip(found, clean):
                        assert np.isnan(got[row]).all(), (classes, row, column, got[row])
                        one, other = np.delete(got, row, 0), np.delete(expected, row, 0)
                        np.testing.assert_array_equal(one, other)
                    value, gradient = of_width.value_and_grad(logits, target)
                    assert math.isnan(value)
                    assert np.isnan(gradient[row]).all()
                    assert not np.isnan(np.delete(gradient, row, 0)).any()
                    array[row, column] = keep


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", WIDTHS)
def test_equal_huge_logits_are_equal_chances(form, dtype, classes):
    huge = np.finfo(dtype).max
    for level in (huge, -huge, 1e30, -1e30, 0.0):
        logits = np.full((5, classes), level, dtype)
        target = np.zeros(5, int)
        if form == "dense":
            target = np.full((5, classes), 1.0 / classes, dtype)
        value, gradient, hessian = everything(CE, logits, target, reduction="none")
        precision = 1e-5 if dtype is np.float32 else 1e-13
        np.testing.assert_allclose(value, math.log(classes), rtol=precision, atol=1e-12)
        wanted = np.full(classes, 1.0 / classes)
        wanted[0] -= 1.0
        wanted = wanted if form == "labels" else np.zeros(classes)
        np.testing.assert_allclose(gradient, np.tile(wanted, (5, 1)), rtol=precision, atol=1e-7)
        curve = (1.0 - 1.0 / classes) / classes
        np.testing.assert_allclose(hessian, curve, rtol=10 * precision, atol=1e-7)


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_a_row_of_minus_infinity_is_nan_and_alone(loss, form, classes):
    if loss.relative_to_label:
        pytest.skip("takes differences")
    logits, target = row_inputs(loss, form, 9, classes, seed=6)
    clean = everything(loss, logits, target, reduction="none")
    logits[4] = -math.inf
    for got, expected in zip(everything(loss, logits, target, reduction="none"), clean):
        assert np.isnan(got[4]).all()
        np.testing.assert_array_equal(np.delete(got, 4, 0), np.delete(expected, 4, 0))


@pytest.mark.every(6)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 12, 40, 130, 5000])
def test_an_excluded_class_without_mass_is_as_if_it_were_not_there(loss, form, dtype, classes):
    if loss.relative_to_label or loss.row_options().label_smoothing:
        pytest.skip("every class has a part in it")
    logits, target = row_inputs(loss, form, 7, classes - 1, seed=7)
    logits = logits.astype(dtype)
    without = everything(loss, logits, target, reduction="none")
    for place in {0, classes // 2, classes - 1}:
        wide = np.insert(logits, place, -math.inf, axis=1)
        if form == "labels":
            moved = target + (target >= place)
        else:
            moved = np.insert(target, place, -math.inf if loss.dense_logits else 0.0, axis=1)
        found = everything(loss, wide, moved, reduction="none")
        precision = 1e-12 if dtype is np.float64 else 1e-4
        np.testing.assert_allclose(found[0], without[0], rtol=precision, atol=precision)
        for got, expected in zip(found[1:], without[1:]):
            assert not got[:, place].any(), (place, got[:, place])
            size = np.abs(expected).max()
            np.testing.assert_allclose(
                np.delete(got, place, 1), expected, rtol=precision, atol=precision * size
            )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_plus_infinity_gives_nan_in_its_row_alone(form, classes):
    logits, target = rows(form, 9, classes)
    clean = everything(CE, logits, target, reduction="none")
    logits[5, 1] = math.inf
    found = everything(CE, logits, target, reduction="none")
    assert not np.isfinite(found[0][5])
    for got, expected in zip(found, clean):
        np.testing.assert_array_equal(np.delete(got, 5, 0), np.delete(expected, 5, 0))
