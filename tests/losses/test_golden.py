"""Losses give the numbers that papers and other libraries publish for them."""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify
from tests.support.golden.elementwise import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: identify(row[0]))
def test_published_numbers_are_met(row):
    loss, prediction, target = row[:3]
    found = loss.value_grad_hess(
        np.array(prediction, float), np.array(target, float), reduction="none"
    )
    for name, got, expected in zip(("value", "gradient", "hessian"), found, row[3:6], strict=True):
        if expected is not None:
            # Relative alone: an absolute tolerance would accept anything in the tails.
            np.testing.assert_allclose(got, expected, rtol=4e-13, atol=0.0, err_msg=name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: identify(row[0]))
def test_published_numbers_are_met_in_float32(row):
    loss, prediction, target = row[:3]
    p, t = np.array(prediction, np.float32), np.array(target, np.float32)
    if np.any(p.astype(float) != prediction) or np.any(t.astype(float) != target):
        pytest.skip("the inputs are no float32 numbers")
    found = loss.value_grad_hess(p, t, reduction="none")
    for got, expected in zip(found, row[3:6], strict=True):
        assert got.dtype == np.float32
        if expected is not None:
            expected = np.asarray(expected, np.float32)  # tails beyond float32 become 0
            np.testing.assert_allclose(got, expected, rtol=2e-6, atol=0.0)


def test_mean_of_binary_cross_entropy_on_extreme_logits():
    # optax, tests of sigmoid_binary_cross_entropy
    value = nl.BinaryCrossEntropy()([-1e9, -1e-9], [1.0, 0.0])
    assert value == pytest.approx(500000000.3465736, rel=1e-15)


def test_every_elementwise_loss_of_the_registry_has_golden_numbers():
    covered = {type(row[0]) for row in ROWS}
    losses = nl.losses().items()
    missing = [n for n, cls in losses if issubclass(cls, nl.Elementwise) and cls not in covered]
    assert missing == [
        "asymmetric_focal"  # no paper gives a number; test_exactness compares it with mpmath
    ]
