"""Losses of vectors give the numbers that others publish, and those of their formulas."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.golden.embeddings import ROWS
from tests.support.reference.embeddings import FORMULAS

IDS = [f"{row[0]!r} {row[6]}" for row in ROWS]


def found(row, dtype):
    """Mean value and gradients of a row."""
    loss, vectors, labels = row[:3]
    given = [np.array(one, dtype) for one in vectors]
    value, gradients = loss.value_and_grad(*given, *([] if labels is None else [labels]))
    return value, gradients if isinstance(gradients, tuple) else (gradients,)


def assert_met(row, dtype, precision, share):
    """Each gradient is compared relatively to the largest of its elements, too."""
    value, gradients = found(row, dtype)
    assert isinstance(value, float)
    assert value == pytest.approx(row[3], rel=max(precision, row[5]), abs=0.0)
    assert {one.dtype for one in gradients} == {np.dtype(dtype)}
    if row[4] is None:
        return
    for one, expected in zip(gradients, row[4], strict=True):
        atol = share * np.abs(expected).max()
        np.testing.assert_allclose(one, expected, rtol=precision, atol=atol)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_numbers_are_met(row):
    assert_met(row, np.float64, 1e-12, 1e-13)


@pytest.mark.every(4)
@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_numbers_are_met_in_float32(row):
    assert_met(row, np.float32, 1e-5, 5e-6)


def test_every_loss_of_vectors_has_golden_numbers():
    covered = {type(row[0]) for row in ROWS}
    losses = {cls for cls in nl.losses().values() if issubclass(cls, nl.Embedding)}
    assert losses - covered == set()
    assert {cls.__name__ for cls in losses} == set(FORMULAS)
