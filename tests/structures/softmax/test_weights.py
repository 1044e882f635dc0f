"""Reductions, weights and masks of rows."""

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, identify, row_inputs, with_class_weights
from tests.support.rows import CE, FEW_WIDTHS, FORMS, REDUCTIONS, assert_same, everything, rows


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("extras", ["none", "weight", "mask", "ignored", "all"])
def test_reductions_and_their_gradients_follow_from_the_rows(loss, form, extras):
    if extras == "ignored" and form == "dense":
        pytest.skip("dense targets ignore no class")
    for classes in (2, 5, 17, 130):
        of_width = with_class_weights(loss, classes, 1)
        logits, target = row_inputs(loss, form, 15, classes, seed=2)
        values, slopes, curves = everything(of_width, logits, target, reduction="none")
        random = np.random.default_rng(3)
        options, share, counts = {}, np.ones(15), np.ones(15)
        if extras in ("weight", "all"):
            share = random.integers(0, 4, 15).astype(np.float64)
            options["sample_weight"] = share
        if extras in ("mask", "all"):
            options["mask"] = random.random(15) < 0.7
            counts = counts * options["mask"]
        of_class = of_width.row_options().class_weight
        of_row = np.ones(15)
        if of_class is not None:
            of_row = of_class[target] if form == "labels" else (target * of_class).sum(-1)
        if extras in ("ignored", "all") and form == "labels":
            ignored = random.random(15) < 0.3
            target = np.where(ignored, -100, target)
            counts = counts * ~ignored
        weight = share * counts
        divisors = {"mean": counts.sum(), "weighted_mean": (weight * of_row).sum(), "sum": 1.0}
        for reduction in REDUCTIONS:
            divisor = divisors.get(reduction, 1.0)
            got = everything(of_width, logits, target, reduction=reduction, **options)
            alone = of_width(logits, target, reduction=reduction, **options)
            once = of_width.value_and_grad(logits, target, reduction=reduction, **options)
            wanted = values * weight if reduction == "none" else (values * weight).sum() / divisor
            for value in (got[0], alone, once[0]):
                np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14)
            for gradient in (got[1], once[1]):
                expected = slopes * weight[:, None] / divisor
                np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)
            expected = curves * weight[:, None] / divisor
            np.testing.assert_allclose(got[2], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_weights_and_masks_are_one_a_row_or_one_for_all_rows_behind(form):
    logits, target = rows(form, 24)
    logits = logits.reshape(2, 3, 4, 5)
    target = target.reshape((2, 3, 4) if form == "labels" else logits.shape)
    random = np.random.default_rng(1)
    weight, mask = random.random((2, 3, 4)), random.random((2, 3, 4)) < 0.6
    for reduction in REDUCTIONS:
        for cut in ((), (0,), (0, 0), (0, 0, 0)):
            part = (..., *cut)
            options = {"sample_weight": weight[part], "mask": mask[part]}
            behind = (1,) * len(cut)
            full = {
                name: np.ascontiguousarray(
                    np.broadcast_to(given.reshape(given.shape + behind), (2, 3, 4))
                )
                for name, given in options.items()
            }
            got = everything(CE, logits, target, reduction=reduction, **options)
            assert_same(got, everything(CE, logits, target, reduction=reduction, **full))
    for name, wrong in (("sample_weight", np.ones(4)), ("mask", np.ones((2, 3, 4, 5), bool))):
        with pytest.raises(ValueError, match=rf"{name} must have the shape of the rows"):
            CE(logits, target, **{name: wrong})


@pytest.mark.every(6)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("by", ["weight", "mask"])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_a_row_that_does_not_count_may_hold_anything(loss, form, by, classes):
    of_width = with_class_weights(loss, classes, 2)
    logits, target = row_inputs(loss, form, 9, classes, seed=5)
    counts = np.arange(9) % 3 != 1
    options = {"mask": counts} if by == "mask" else {"sample_weight": counts.astype(float)}
    clean = {
        reduction: everything(of_width, logits, target, reduction=reduction, **options)
        for reduction in REDUCTIONS
    }
    logits[1] = math.nan
    logits[4, 0], logits[4, -1] = math.inf, math.nan
    logits[7] = -math.inf
    if form == "dense":
        target[1] = math.nan
    elif by == "mask":
        target[[1, 4, 7]] = [classes, -7, 2**40]
    for reduction in REDUCTIONS:
        got = everything(of_width, logits, target, reduction=reduction, **options)
        assert_same(got, clean[reduction])
        assert not got[1][~counts].any()
        assert not got[2][~counts].any()
    held = logits.copy()
    gradient = of_width.value_and_grad(held, target, out=held, **options)[1]
    np.testing.assert_array_equal(gradient, clean["mean"][1])


@pytest.mark.parametrize("classes", FEW_WIDTHS)
@pytest.mark.parametrize("by", ["ignore_index", "mask", "weight"])
@pytest.mark.parametrize("form", FORMS)
def test_no_rows_that_count_have_no_mean_and_no_gradient(classes, by, form):
    if by == "ignore_index" and form == "dense":
        pytest.skip("dense targets ignore no class")
    logits, target = rows(form, 6, classes)
    options = {}
    if by == "ignore_index":
        target = np.full(6, -100)
    elif by == "mask":
        options["mask"] = np.zeros(6, bool)
    else:
        options["sample_weight"] = np.zeros(6)
    for reduction in REDUCTIONS:
        value, gradient, hessian = everything(CE, logits, target, reduction=reduction, **options)
        if reduction == "none":
            np.testing.assert_array_equal(value, np.zeros(6))
        elif reduction == "sum" or (reduction == "mean" and by == "weight"):
            assert value == 0.0
        else:
            assert math.isnan(value)
        for result in (gradient, hessian):
            np.testing.assert_array_equal(result, np.zeros_like(logits))


def test_ignore_index_may_be_a_class_or_anything_else():
    logits, labels = rows("labels", 30)
    for index in (-100, -1, 0, 3, 7):
        loss = nl.CrossEntropy(ignore_index=index)
        given = np.where(np.arange(30) % 4 == 0, index, labels)
        counts = given != index
        value, gradient = loss.value_and_grad(logits, given)
        expected = CE.value_and_grad(logits[counts], given[counts])
        assert value == pytest.approx(expected[0], rel=1e-14)
        np.testing.assert_allclose(gradient[counts], expected[1], rtol=1e-13)
        assert not gradient[~counts].any()


def test_mean_over_classes_weights_of_nothing_is_no_number():
    loss = nl.CrossEntropy(class_weight=[1.0, 0.0])
    value, gradient = loss.value_and_grad([[1.0, 2.0]], [1], reduction="weighted_mean")
    assert math.isnan(value)
    np.testing.assert_array_equal(gradient, [[0.0, 0.0]])
    assert loss([[1.0, 2.0]], [1]) == 0.0
