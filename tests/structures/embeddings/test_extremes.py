"""Vectors of tiny and huge numbers."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.vectors import drawn


@pytest.mark.parametrize("mining", ["hard", "semi-hard", "all"])
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e25])
def test_triplets_of_tiny_and_huge_vectors_have_the_same_gradients(mining, scale):
    rows, labels = drawn(40, 6), np.arange(40) % 5
    value, gradient = nl.BatchTriplet(1.0, mining).value_and_grad(rows, labels)
    small = (rows * scale).astype(np.float32)
    found, slopes = nl.BatchTriplet(scale, mining).value_and_grad(small, labels)
    assert found / scale == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(slopes, gradient, atol=1e-7)


@pytest.mark.parametrize("mining", ["hard", "semi-hard", "all"])
def test_triplets_of_vectors_next_to_the_largest_number_are_found(mining):
    rows, labels = 1.0 + 0.02 * drawn(12, 3), np.arange(12) % 4
    rows /= np.abs(rows).max()
    value, gradient = nl.BatchTriplet(0.0, mining).value_and_grad(rows, labels, reduction="none")
    found, slopes = nl.BatchTriplet(0.0, mining).value_and_grad(
        rows * 1.7e308, labels, reduction="none"
    )
    np.testing.assert_allclose(found / 1.7e308, value, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(slopes, gradient, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_directions_of_tiny_and_huge_vectors_are_what_they_are(scale):
    a, b = drawn(2, 9, 4)
    value, gradients = nl.InfoNCE().value_and_grad(a, b)
    found, slopes = nl.InfoNCE().value_and_grad(a * scale, b * scale)
    assert found == pytest.approx(value, rel=1e-12)
    for one, other in zip(slopes, gradients):
        np.testing.assert_allclose(one * scale, other, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-5])
def test_a_sum_of_exponentials_is_never_below_its_largest(temperature):
    a = drawn(64, 32).astype(np.float32)
    b = a + 0.05 * np.random.default_rng(8).normal(size=a.shape).astype(np.float32)
    for loss in (nl.InfoNCE(temperature), nl.InfoNCE(temperature, symmetric=True)):
        assert loss(a, b, reduction="none").min() >= 0.0


def test_infinite_distances_stay_in_their_memory():
    x = np.zeros((6, 4), np.float32)
    x[:, 0] = np.array([1, -1, -1, -1, 1, 1]) * 1.5e19
    for mining in ("hard", "semi-hard", "all"):
        found = nl.BatchTriplet(mining=mining, squared=True)(x, [0, 0, 0, 0, 1, 1])
        assert found > 1e38 or not np.isfinite(found)  # of squared distances of 9e38
        loss = nl.BatchTriplet(mining=mining)
        expected = loss(x.astype(np.float64), [0, 0, 0, 0, 1, 1])
        assert loss(x, [0, 0, 0, 0, 1, 1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("workspace", [None, 1])
@pytest.mark.parametrize(
    "loss",
    [
        nl.BatchTriplet(0.5, "hard", squared=True),
        nl.BatchTriplet(0.5, "semi-hard", squared=True),
        nl.BatchTriplet(0.5, "all", squared=True),
        nl.NTXent(),
        nl.SupervisedContrastive(),
    ],
    ids=repr,
)
def test_products_out_of_range_warn_of_nothing(loss, workspace):
    x = drawn(6, 3).astype(np.float32)
    x[4, 0] = 3.4e38
    weight = np.float32([2, 0, 0, 0.4, 1, 1])
    loss.value_and_grad(
        x, [1, 1, 0, 1, 1, 0], sample_weight=weight, reduction="none", workspace=workspace
    )
