"""Sums that do not round: the same bits for every way of cutting rows into parts."""

import json
import math
import pickle

import numba
import numpy as np
import pytest

import numbaloss as nl
from numbaloss import metrics as m
from numbaloss.metrics.exact import Sums

ROWS = 70_001


@pytest.mark.parametrize("seed", range(40))
def test_sums_are_those_of_fsum(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(0, 5000))
    spread = 300 if seed % 2 else 10
    numbers = rng.normal(size=size) * 10.0 ** rng.integers(-spread, spread, size)
    if seed % 5 == 0:
        numbers[rng.random(size) < 0.3] = 0.0
    if seed % 7 == 0:
        numbers = numbers * 5e-324
    sums = Sums(4)
    for part in np.array_split(numbers, rng.integers(1, 5)):
        sums.add(part)
    assert sums.value() == math.fsum(numbers)
    keys = rng.integers(1, 4, size)
    sums.add_by_key(numbers, keys)
    again = Sums.from_state(json.loads(json.dumps(sums.state())))
    for key in (1, 2, 3):
        assert again.value(key) == math.fsum(numbers[keys == key])


def test_sums_of_what_is_not_finite():
    for numbers, expected in [
        ([1.0, np.inf], np.inf), ([-np.inf, 3.0], -np.inf), ([np.inf, -np.inf], np.nan),
        ([np.nan, np.inf], np.nan), ([1.7e308, 1.7e308], np.inf),
        ([1.7e308, 1.7e308, -1.7e308], 1.7e308),
    ]:  # fmt: skip
        sums = Sums(1)
        sums.add(np.array(numbers))
        np.testing.assert_equal(sums.value(), expected)


def rows():
    rng = np.random.default_rng(0)
    prediction = rng.random(ROWS)
    target = (rng.random(ROWS) < prediction).astype(np.int64)
    return prediction, target, rng.random(ROWS)


METRICS = [
    m.MeanSquaredError(), m.R2(), m.MeanPinballLoss(alpha=0.2), m.Accuracy(), m.FBeta(), m.RocAuc(),
    m.AveragePrecision(), m.RocAuc(bins=512), m.LogLoss(), m.Brier(), m.CalibrationError(),
    nl.Mean(nl.Huber()), nl.Mean(nl.SquaredError(), reduction="weighted_mean"),
    nl.Scorer(losses=["mse"], metrics=["mae", "r2", "roc_auc", "accuracy"]),
]  # fmt: skip


@pytest.mark.every(5)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", METRICS, ids=lambda one: type(one).__name__)
def test_any_parts_and_threads_give_the_same_bits(metric, weighted):
    prediction, target, w = rows()
    found = []
    for parts in (1, 2, 7, 1000):
        metric = pickle.loads(pickle.dumps(metric)).reset()
        for some in np.array_split(np.arange(ROWS), parts):
            metric.update(prediction[some], target[some], *([w[some]] if weighted else []))
        found.append(metric.compute())
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        metric = metric.reset().update(prediction, target, *([w] if weighted else []))
        found.append(metric.compute())
    finally:
        numba.set_num_threads(before)
    # Halves that were merged after a trip as plain data.
    first = pickle.loads(pickle.dumps(metric)).reset()
    first.update(prediction[:100], target[:100], *([w[:100]] if weighted else []))
    rest = pickle.loads(pickle.dumps(metric)).reset()
    rest.update(prediction[100:], target[100:], *([w[100:]] if weighted else []))
    rest = type(rest).from_state(json.loads(json.dumps(rest.state())))
    found.append(first.merge(rest).compute())
    assert all(one == found[0] for one in found), found


def test_order_does_not_matter_to_sums():
    prediction, target, w = rows()
    order = np.random.default_rng(1).permutation(ROWS)
    for metric in (m.MeanSquaredError, m.R2, m.Accuracy, m.Brier, m.CalibrationError):
        one = metric().update(prediction, target, w).compute()
        assert one == metric().update(prediction[order], target[order], w[order]).compute()
    areas = [m.roc_auc(prediction[i], target[i], sample_weight=w[i]) for i in (slice(None), order)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-15)


@pytest.mark.parametrize("metric", [m.RocAuc, m.AveragePrecision])
@pytest.mark.parametrize("bins", [64, 4096])
def test_bins_are_as_near_as_they_say(metric, bins):
    prediction, target, w = rows()
    for weights in (None, w):
        exact = metric().update(prediction, target, weights).compute()
        binned = metric(bins=bins).update(prediction, target, weights)
        assert abs(binned.compute() - exact) <= binned.error_bound() < 4.0 / bins


def test_memory_of_sums_is_flat():
    metric = m.R2()
    prediction, target, _ = rows()
    sizes = [len(pickle.dumps(metric.update(prediction, target))) for _ in range(3)]
    assert sizes[0] == sizes[1] == sizes[2] < 8000


def test_metrics_that_differ_are_not_merged():
    with pytest.raises(TypeError, match="must be alike"):
        m.FBeta(beta=2.0).merge(m.FBeta())
    with pytest.raises(TypeError, match="must be alike"):
        m.Accuracy().merge(m.R2())
    with pytest.raises(ValueError, match="not of R2"):
        m.R2.from_state(m.Accuracy().state())
    with pytest.raises(TypeError, match="same losses and metrics"):
        nl.Scorer(metrics=["mae"]).merge(nl.Scorer(metrics=["mse"]))
