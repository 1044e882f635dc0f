"""Arrays that results of rows are written to."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, identify, row_inputs, with_class_weights
from tests.support.rows import CE, FEW_WIDTHS, FORMS, assert_same, everything, rows


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_outputs_receive_the_results(form, dtype, classes):
    logits, target = rows(form, 10, classes)
    logits = logits.astype(dtype)
    expected = everything(CE, logits, target)
    layouts = [
        (np.empty((10, classes), dtype), np.empty((10, classes), dtype)),
        (np.empty((20, classes), dtype)[::2], np.empty((10, classes), dtype, order="F")),
        (np.empty((10, 2 * classes), dtype)[:, ::-2], np.empty((10, 3 * classes), dtype)[:, ::3]),
    ]
    for out, hess_out in layouts:
        found = everything(CE, logits, target, out=out, hess_out=hess_out)
        assert found[1] is out
        assert found[2] is hess_out
        assert_same(found, expected)


@pytest.mark.every(6)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("layout", ["contiguous", "strided", "half", "weighted", "fortran"])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_gradient_may_replace_the_logits(loss, form, layout, classes):
    of_width = with_class_weights(loss, classes, 4)
    for count in (3, 40):  # threads share few rows piece by piece
        logits, target = row_inputs(loss, form, count, classes, seed=6)
        logits = logits.astype(np.float16 if layout == "half" else np.float32)
        options = {"reduction": "sum"}
        if layout == "strided":
            logits = np.repeat(logits, 2, axis=1)[:, ::2]
        if layout == "fortran":
            logits = np.asfortranarray(logits)
        if layout == "weighted":
            options["sample_weight"] = np.random.default_rng(0).random(count)
        expected = of_width.value_and_grad(logits, target, **options)
        full = everything(of_width, logits, target, **options)
        copy = logits.copy(order="K") if layout != "strided" else np.repeat(logits, 2, 1)[:, ::2]
        value, gradient = of_width.value_and_grad(logits, target, out=logits, **options)
        assert gradient is logits
        assert value == expected[0]
        np.testing.assert_array_equal(logits, expected[1])
        value, gradient, hessian = everything(of_width, copy, target, out=copy, **options)
        assert_same((value, gradient, hessian), full)


@pytest.mark.parametrize("form", FORMS)
def test_overlapping_outputs_are_refused(form):
    buffer = np.zeros((8, 4))
    logits = buffer[:4]
    target = np.ones((4, 4)) if form == "dense" else np.zeros(4, int)
    for out in (buffer[1:5], logits[::-1], logits.T):
        with pytest.raises(ValueError, match="out shares memory with prediction"):
            CE.value_and_grad(logits, target, out=out)
    if form == "dense":
        with pytest.raises(ValueError, match="out shares memory with target"):
            CE.value_and_grad(logits, target, out=target)
    weight = np.ones(16)
    with pytest.raises(ValueError, match="out shares memory with sample_weight"):
        CE.value_and_grad(logits, target, sample_weight=weight[:4], out=weight.reshape(4, 4))
    mask = np.ones(128, bool)
    with pytest.raises(ValueError, match="out shares memory with mask"):
        CE.value_and_grad(logits, target, mask=mask[:4], out=mask.view(float).reshape(4, 4))
    with pytest.raises(ValueError, match="hess_out shares memory with prediction"):
        CE.value_grad_hess(logits, target, hess_out=logits)
    out = np.zeros((4, 4))
    with pytest.raises(ValueError, match="out and hess_out share memory"):
        CE.value_grad_hess(logits, target, out=out, hess_out=out)
    assert not buffer.any()


def test_inputs_are_never_written():
    for form in FORMS:
        for classes in FEW_WIDTHS:
            logits, target = rows(form, 40, classes)
            weight, mask = np.ones(40), np.arange(40) % 2 == 0
            weights = np.ones(classes)
            loss = nl.CrossEntropy(class_weight=weights, label_smoothing=0.1)
            for array in (logits, target, weight, mask):
                array.flags.writeable = False
            loss.value_grad_hess(
                logits, target, sample_weight=weight, mask=mask, reduction="weighted_mean"
            )
            weights[0] = 5.0  # the loss has a copy
            assert loss.class_weight[0] == 1.0


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_scale_multiplies_gradient_and_hessian_alone(reduction, form):
    for classes in FEW_WIDTHS:
        logits, target = rows(form, 6, classes)
        plain = everything(CE, logits, target, reduction=reduction)
        scaled = everything(CE, logits, target, reduction=reduction, gradient_scale=1024.0)
        np.testing.assert_array_equal(scaled[0], plain[0])
        for got, expected in zip(scaled[1:], plain[1:]):
            np.testing.assert_allclose(got, 1024 * expected, rtol=1e-15)
        nothing = everything(CE, logits, target, reduction=reduction, gradient_scale=0.0)
        np.testing.assert_array_equal(nothing[0], plain[0])
        assert not nothing[1].any()
