"""What a batch holds."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl

LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


@pytest.mark.parametrize(
    ("mining", "terms", "active", "value"),
    [("hard", 4, 2, 1.0), ("semi-hard", 4, 2, 0.75), ("all", 8, 3, 6.5 / 8)],
)
def test_diagnosis_counts_triplets(mining, terms, active, value):
    loss = nl.BatchTriplet(margin=1.5, mining=mining)
    found = loss.diagnose(LINE, [0, 0, 1, 1])
    # The mean of 0, 1, 3 and 7 is 2.75, and that of their squares 14.75.
    spread = pytest.approx(1.0 - 2.75**2 / 14.75, rel=1e-14)
    assert found == nl.Diagnosis(4, 4, terms, active, 1, spread)
    assert loss(LINE, [0, 0, 1, 1]) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("mining", "terms", "active", "value"),
    [("hard", 4, 2, 1.0), ("semi-hard", 4, 1, 0.125), ("all", 12, 3, 6.5 / 12)],
)
def test_rows_without_a_positive_are_no_anchors(mining, terms, active, value):
    loss = nl.BatchTriplet(margin=1.5, mining=mining)
    line, labels = np.append(LINE, [[20.0]], axis=0), [0, 0, 1, 1, 5]
    found = loss.diagnose(line, labels)
    assert found[:5] == (5, 4, terms, active, 1)
    assert loss(line, labels) == pytest.approx(value, rel=1e-14)
    assert loss.diagnose(line, [3] * 5)[:4] == (5, 0, 0, 0)
    assert loss.diagnose(line, [*range(5)])[:4] == (5, 0, 0, 0)


def test_diagnosis_counts_rows_of_pairs_and_triplets():
    first = [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    second = [[3.0, 4.0], [3.0, 4.0], [1.0, 1.0]]
    spread = pytest.approx(1.0 - (8.0**2 + 10.0**2) / 36.0 / 9.0, rel=1e-14)
    found = nl.Contrastive().diagnose(first, second, [1, 0, 1])
    assert found == nl.Diagnosis(3, 3, 3, 1, 2, spread)
    found = nl.Triplet().diagnose(first, second, [[0.0, 5.5], [0.0, 6.5], [9.0, 9.0]])
    assert found[:5] == (3, 3, 3, 1, 2)
    with pytest.raises(ValueError, match=r"target\[2\] is 3"):
        nl.Contrastive().diagnose(first, second, [1, 0, 3])


def test_diagnosis_counts_pairs_of_a_batch():
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))
    keys[2] = 0.0
    assert nl.InfoNCE().diagnose(queries, keys)[:5] == (2, 2, 2, 2, 1)
    assert nl.SigLIP().diagnose(queries, keys)[:5] == (2, 2, 6, 6, 1)
    vectors = rng.normal(size=(6, 3))
    for loss in (nl.NTXent(), nl.SupervisedContrastive()):
        assert loss.diagnose(vectors, [0, 0, 0, 1, 2, 2])[:5] == (6, 5, 8, 8, 0)
        assert loss.diagnose(vectors, [*range(6)])[:5] == (6, 0, 0, 0, 0)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_spread_is_1_where_vectors_balance_each_other(dtype):
    rng = np.random.default_rng(0)
    half = rng.normal(size=(1300, 3)).astype(dtype)
    found = nl.NTXent().diagnose(np.concatenate([half, -half]), np.arange(2600) % 7)
    assert found.spread == pytest.approx(1.0, rel=1e-12)


def test_vectors_without_elements_can_be_looked_at():
    found = nl.InfoNCE().diagnose(np.zeros((3, 0)), np.zeros((3, 0)))
    assert found == nl.Diagnosis(3, 3, 3, 3, 6, 0.0)
