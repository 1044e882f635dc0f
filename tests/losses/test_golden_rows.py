"""Losses of rows give the numbers that papers and other libraries publish for them."""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify
from tests.support.golden.multiclass import ROWS

IDS = [f"{identify(row[0])} {row[6]}" for row in ROWS]


def arrays(row, dtype):
    target = np.array(row[2])
    return np.array(row[1], dtype), target if target.ndim == 1 else target.astype(dtype)


def as_dense(logits, target):
    if target.ndim == logits.ndim:
        return target
    return (target[:, None] == np.arange(logits.shape[-1])).astype(logits.dtype)


# Relative alone: an absolute tolerance would accept anything in the tails.
def assert_relative(got, expected, precision):
    for name, one, wanted in zip(("value", "gradient", "hessian"), got, expected):
        if wanted is not None:
            wanted = np.asarray(wanted, one.dtype)  # tails beyond float32 become 0
            np.testing.assert_allclose(one, wanted, rtol=precision, atol=0.0, err_msg=name)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_published_numbers_are_met(row):
    logits, target = arrays(row, np.float64)
    assert_relative(row[0].value_grad_hess(logits, target, reduction="none"), row[3:6], 1e-14)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_published_numbers_are_met_in_float32(row):
    logits, target = arrays(row, np.float32)
    if (logits != row[1]).any() or (target != row[2]).any():
        pytest.skip("the inputs are no float32 numbers")
    found = row[0].value_grad_hess(logits, target, reduction="none")
    assert {one.dtype for one in found} == {np.dtype(np.float32)}
    assert_relative(found, row[3:6], 2e-6)


@pytest.mark.every(12)
@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("padding", [1, 6, 12, 29, 60, 150, 5000])
def test_excluded_classes_change_no_published_number(row, padding):
    """Logits of -inf beside, so that the kernels of other widths compute the same."""
    loss, logits, target = row[0], *arrays(row, np.float64)
    if loss.relative_to_label or loss.dense_logits:
        pytest.skip("divides by the number of classes, or has a teacher for each")
    options = loss.row_options()
    if options.label_smoothing:
        pytest.skip("every class has a share of the mass")
    if options.class_weight is not None:
        weights = np.concatenate([options.class_weight, np.ones(padding)])
        loss = loss.replace(class_weight=weights)
    rows, classes = logits.shape
    wide = np.concatenate([logits, np.full((rows, padding), -np.inf)], axis=1)
    if target.ndim == 2:
        target = np.concatenate([target, np.zeros((rows, padding))], axis=1)
    value, gradient, hessian = loss.value_grad_hess(wide, target, reduction="none")
    found = value, gradient[:, :classes], hessian[:, :classes]
    assert_relative(found, row[3:6], 1e-14)
    assert not gradient[:, classes:].any()
    assert not hessian[:, classes:].any()


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_labels_are_dense_targets_of_one_class(row):
    loss, logits, target = row[0], *arrays(row, np.float64)
    if "dense" not in loss.accepts or target.ndim == 2:
        pytest.skip("takes labels alone, or the row has none")
    found = loss.value_grad_hess(logits, as_dense(logits, target), reduction="none")
    labelled = loss.value_grad_hess(logits, target, reduction="none")
    for one, other in zip(found, labelled):
        # Where p is almost 1, dense targets leave 1 - p to rounding.
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=4e-16)


def test_every_softmax_loss_of_the_registry_has_golden_numbers():
    covered = {type(row[0]) for row in ROWS}
    losses = nl.losses().items()
    assert [
        name for name, cls in losses if issubclass(cls, nl.Softmax) and cls not in covered
    ] == []
