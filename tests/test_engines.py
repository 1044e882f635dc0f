"""The contract of engines: one in plain Python takes the place of the CPU's."""

from __future__ import annotations

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify
from numbaloss import engines
from tests.support.golden import elementwise, multiclass


@pytest.fixture
def plain():
    """The CPU's place is taken by an engine in plain Python."""
    # Losses have been computed before, by the engine that is replaced.
    nl.SquaredError()(np.ones(1), np.ones(1))
    nl.CrossEntropy()(np.ones((1, 2)), np.zeros(1, np.int64))
    engines.register("cpu", "tests.support.plain_engine")
    yield
    engines.register("cpu", "numbaloss.cpu")


def assert_golden(found, expected):
    for one, wanted in zip(found, expected, strict=True):
        if wanted is not None:
            np.testing.assert_allclose(one, wanted, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("row", elementwise.ROWS, ids=lambda row: identify(row[0]))
def test_numbers(plain, row):
    loss, prediction, target = row[:3]
    given = np.array(prediction, float), np.array(target, float)
    assert_golden(loss.value_grad_hess(*given, reduction="none"), row[3:6])
    mean, total = loss(*given), loss(*given, reduction="sum")
    np.testing.assert_allclose(mean * given[0].size, total, rtol=1e-14)


@pytest.mark.parametrize("row", multiclass.ROWS, ids=lambda row: f"{identify(row[0])} {row[6]}")
def test_rows(plain, row):
    logits, target = np.array(row[1], float), np.array(row[2])
    target = target if target.ndim == 1 else target.astype(float)
    assert_golden(row[0].value_grad_hess(logits, target, reduction="none"), row[3:6])


def test_a_structure_that_an_engine_has_not_is_refused(plain):
    with pytest.raises(TypeError, match="the engine 'cpu' computes no vectors losses"):
        nl.Triplet()([[1.0]], [[2.0]], [[3.0]])


def test_an_engine_that_was_registered_computes_from_then_on(plain):
    engines.register("cpu", "numbaloss.cpu")
    assert nl.Triplet()([[1.0]], [[2.0]], [[3.0]]) == 0.0
    engines.register("cpu", "tests.support.plain_engine")
    nl.SquaredError()(np.ones(1), np.ones(1))
    nl.CrossEntropy()(np.ones((1, 2)), np.zeros(1, np.int64))
    from numbaloss.call import near
    from tests.support.plain_engine import elementwise, rows

    assert near.DIRECT_ELEMENTS.run is elementwise.run_direct
    assert near.DIRECT_ROWS.run is rows.run_direct
