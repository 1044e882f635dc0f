"""Rows of logits with their targets, for tests of losses of many classes."""

import numpy as np

import numbaloss as nl
from catalogue.cases import row_inputs

# Widths that different kernels take: one class, narrow rows, wide ones, rows of two pieces.
WIDTHS = [1, 2, 3, 5, 8, 12, 17, 40, 128, 130, 5000]
FEW_WIDTHS = [2, 5, 17, 130, 5000]
REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]
CE = nl.CrossEntropy()
FORMS = ["labels", "dense"]


def rows(form, count=12, classes=5, seed=0, dtype=np.float64):
    logits, target = row_inputs(CE, form, count, classes, seed)
    return logits.astype(dtype), target.astype(dtype) if form == "dense" else target


def everything(loss, logits, target, **options):
    return loss.value_grad_hess(logits, target, **options)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
