"""Dense targets: their domain and dtypes."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_LOSS, identify, row_inputs
from tests.support.rows import CE, FEW_WIDTHS, assert_same, everything, rows

WITH_DENSE = [loss for loss in EACH_ROW_LOSS if "dense" in loss.accepts and not loss.dense_logits]


@pytest.mark.every(5)
@pytest.mark.parametrize("loss", WITH_DENSE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [5, 130, 5000])
@pytest.mark.parametrize("wrong", [1.5, -0.5])
def test_dense_targets_outside_the_domain_are_named(loss, dtype, classes, wrong):
    logits, target = row_inputs(loss, "dense", 6, classes, seed=1)
    logits = logits.reshape(2, 3, classes).astype(dtype)
    target = target.reshape(2, 3, classes).astype(dtype)
    target[1, 2, 0] = target[1, 0, classes - 2] = wrong
    before = logits.tobytes()
    message = rf"target\[1, 0, {classes - 2}\] is {wrong}"
    for call in (loss, loss.value_and_grad, loss.value_grad_hess):
        with pytest.raises(ValueError, match=message):
            call(logits, target)
    with pytest.raises(ValueError, match=message):
        loss.value_and_grad(logits, target, out=logits)
    assert logits.tobytes() == before
    loss(logits, target, check=False)


@pytest.mark.parametrize(
    "kind", ["f2", "f4", ">f4", "f8", ">f8", "i1", "u1", "i8", "?", ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dense_targets_may_be_of_any_real_dtype(kind, dtype):
    for classes in FEW_WIDTHS:
        logits, _ = rows("labels", 6, classes, dtype=dtype)
        target = np.eye(classes, dtype=dtype)[np.arange(6) % classes]
        assert_same(everything(CE, logits, target.astype(kind)), everything(CE, logits, target))


def test_mass_need_not_be_one():
    logits = np.array([[1.0, 2.0, 4.0]])
    value, gradient = CE.value_and_grad(logits, [[0.25, 0.0, 0.25]])
    p = np.exp(logits[0]) / np.exp(logits).sum()
    assert value == pytest.approx(-0.25 * np.log(p[[0, 2]]).sum(), rel=1e-14)
    np.testing.assert_allclose(gradient[0], 0.5 * p - [0.25, 0.0, 0.25], rtol=1e-14)
    value, gradient = CE.value_and_grad(logits, [[0.0, 0.0, 0.0]])
    assert value == 0.0
    assert not gradient.any()


def test_a_teacher_need_not_be_probable_and_its_own_pupil_is_at_rest():
    logits = row_inputs(CE, "labels", 7, 33, seed=3)[0]
    for temperature in (0.5, 1.0, 4.0):
        loss = nl.Distillation(temperature)
        value, gradient = loss.value_and_grad(logits, logits, reduction="none")
        np.testing.assert_allclose(value, 0.0, atol=1e-14)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-15)
        # Adding a number to all logits of a row changes nothing.
        moved = loss(logits, logits[::-1] + 1e3, reduction="none")
        still = loss(logits, logits[::-1], reduction="none")
        np.testing.assert_allclose(moved, still, rtol=1e-10, atol=1e-14)
