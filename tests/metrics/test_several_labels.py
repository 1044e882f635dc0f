"""Targets with several labels a row, pairs of classes, quantiles that cross, differences."""

import json

import numpy as np
import pytest

import numbaloss as nl
from numbaloss import metrics as m

sklearn = pytest.importorskip("sklearn.metrics")

OF_CLASSES = [
    (m.Precision, {}, "precision_score"),
    (m.Recall, {}, "recall_score"),
    (m.FBeta, {"beta": 0.7}, "fbeta_score"),
    (m.Jaccard, {}, "jaccard_score"),
]


def in_parts(metric, options, rows, cuts=3):
    """The metric of all rows, which parts that are merged as JSON must give too."""
    whole = metric(**options).update(*rows).compute()
    parts = metric(**options)
    for some in np.array_split(np.arange(len(rows[0])), cuts):
        part = metric(**options).update(*[None if one is None else one[some] for one in rows])
        parts.merge(metric.from_state(json.loads(json.dumps(part.state()))))
    np.testing.assert_array_equal(parts.compute(), whole)
    return whole


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples", None])
@pytest.mark.parametrize(("metric", "more", "name"), OF_CLASSES)
def test_several_labels_a_row(metric, more, name, average):
    rng = np.random.default_rng(0)
    for turn in range(12):
        size, labels = int(rng.integers(1, 200)), int(rng.integers(2, 7))
        target = rng.integers(0, 2, (size, labels))
        target[:, 0] *= turn % 3 > 0  # a label that never is
        scores = rng.random((size, labels))
        w = rng.integers(0, 3, size) * rng.random(size) + 1e-3 if turn % 2 else None
        expected = getattr(sklearn, name)(
            target, scores > 0.5, sample_weight=w, average=average, zero_division=0, **more
        )
        for prediction in (scores, (scores > 0.5).astype(np.int64)):
            found = in_parts(metric, {"average": average, **more}, (prediction, target, w))
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_rows_that_are_right_in_all_labels():
    rng = np.random.default_rng(1)
    target, scores, w = rng.integers(0, 2, (300, 3)), rng.random((300, 3)), rng.random(300)
    for weight in (None, w):
        found = in_parts(m.Accuracy, {}, (scores, target, weight))
        expected = sklearn.accuracy_score(target, scores > 0.5, sample_weight=weight)
        assert found == pytest.approx(expected, rel=1e-12)
    scorer = nl.Scorer(metrics={"f": m.FBeta(average="samples"), "accuracy": m.Accuracy()})
    for some in np.array_split(np.arange(300), 4):
        scorer.update(scores[some], target[some])
    f = sklearn.f1_score(target, scores > 0.5, average="samples", zero_division=0)
    assert scorer.compute()["f"] == pytest.approx(f, rel=1e-12)
    scores[5, 1] = np.nan
    assert np.isnan(m.accuracy(scores, target))
    assert np.isnan(m.f_beta(scores, target, average="macro"))
    assert np.isnan(m.f_beta(scores, target, average="samples"))


def test_errors_of_several_labels():
    target = np.array([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="no positive class"):
        m.f_beta(target, target)
    with pytest.raises(ValueError, match="0 and 1, or probabilities"):
        m.f_beta(np.array([[3.0, -1.0], [0.0, 0.5]]), target, average="macro")
    with pytest.raises(ValueError, match="exchanged"):
        m.f_beta(target, np.array([[0.3, 0.1], [0.0, 0.5]]), average="macro")
    with pytest.raises(ValueError, match="several labels a row"):
        m.cohen_kappa(target, target)
    with pytest.raises(ValueError, match="one label a row"):
        m.Accuracy().update(target, target).merge(m.Accuracy().update(target[0], target[0]))
    with pytest.raises(ValueError, match="average='samples' is that of"):
        m.f_beta(target[0], target[0], average="samples")


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_pairs_of_classes(average):
    rng = np.random.default_rng(2)
    for _ in range(10):
        size, classes = int(rng.integers(30, 400)), int(rng.integers(3, 6))
        target = np.concatenate([np.arange(classes), rng.integers(0, classes, size)])
        scores = np.round(rng.random((len(target), classes)) + np.eye(classes)[target], 1)
        scores /= scores.sum(axis=1, keepdims=True)
        expected = sklearn.roc_auc_score(target, scores, multi_class="ovo", average=average)
        options = {"multi_class": "ovo", "average": average}
        assert in_parts(m.RocAuc, options, (scores, target)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="one label a row"):
        m.roc_auc(scores, np.ones(scores.shape), multi_class="ovo")
    with pytest.raises(ValueError, match="does not go with bins"):
        m.RocAuc(multi_class="ovo", bins=10)


def test_quantiles_that_cross():
    prediction = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 0.5], [2.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    w = np.array([1.0, 2.0, 3.0, 4.0])
    assert m.quantile_crossings(prediction, np.zeros(4)) == 0.5
    assert in_parts(m.QuantileCrossings, {}, (prediction, np.zeros(4), w)) == 0.5
    prediction[0, 1] = np.nan
    assert np.isnan(m.quantile_crossings(prediction, np.zeros(4)))
    assert m.quantile_crossings(prediction, np.zeros(4), sample_weight=[0, 2, 3, 5]) == 0.5
    with pytest.raises(ValueError, match=r"\(n, quantiles\)"):
        m.quantile_crossings(np.zeros(3), np.zeros(3))


MEANS = [
    m.MeanAbsoluteError(), m.MeanSquaredError(), m.MeanAbsolutePercentageError(),
    m.MeanSquaredLogError(), m.MeanPinballLoss(alpha=0.2), m.QuantileCoverage(),
    m.MeanPoissonDeviance(), m.MeanTweedieDeviance(power=1.5), m.LogLoss(), m.Brier(), m.Accuracy(),
]  # fmt: skip


@pytest.mark.parametrize("metric", MEANS, ids=repr)
def test_differences_of_metrics_are_those_of_their_means(metric):
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 500))
    target = (rng.random(500) < a).astype(np.int64)
    both = [type(metric).from_state(metric.state()).update(one, target).compute() for one in (a, b)]
    difference = m.Difference(metric).update(a, b, target)
    assert difference.compute() == pytest.approx(both[1] - both[0], rel=1e-9)
    rows = metric.of_each_row(b, target) - metric.of_each_row(a, target)
    assert difference.standard_error() == pytest.approx(rows.std(ddof=1) / 500**0.5, rel=1e-9)
    parts = m.Difference(metric)
    for some in np.array_split(np.arange(500), 3):
        part = m.Difference(metric).update(a[some], b[some], target[some])
        parts.merge(m.Difference.from_state(json.loads(json.dumps(part.state()))))
    assert parts.compute() == difference.compute()
    assert parts.standard_error() == difference.standard_error()


def test_which_of_two_predictions_is_better():
    rng = np.random.default_rng(4)
    target = rng.integers(0, 2, 4000)
    good = np.where(rng.random(4000) < 0.9, target, 1 - target)
    bad = np.where(rng.random(4000) < 0.7, target, 1 - target)
    assert m.Difference(m.Accuracy()).update(good, bad, target).better() == "prediction"
    assert m.Difference(m.Accuracy()).update(bad, good, target).better() == "other"
    numbers = [one.astype(float) for one in (good, bad, target)]
    assert m.Difference(nl.SquaredError()).update(*numbers).better() == "prediction"
    assert m.Difference(m.Accuracy()).update(good, good, target).better() == "neither"
    with pytest.raises(TypeError, match="no mean over rows"):
        m.Difference(m.RocAuc())
    with pytest.raises(TypeError, match="no mean over rows"):
        m.Difference(m.RootMeanSquaredError()).update(good, bad, target)


@pytest.mark.parametrize(
    ("function", "rows"),
    [
        ("log_loss", lambda p, t: (t, p)),
        ("brier", lambda p, t: (t, p)),
        ("calibration_error", lambda p, t: (t, p)),
        ("roc_auc", lambda p, t: (t, p)),
        ("average_precision", lambda p, t: (t, p)),
        ("accuracy", lambda p, t: (t, p)),
        ("log_loss", lambda p, t: (t, np.stack([1 - p, p], 1))),
        ("top_k", lambda p, t: (t, np.stack([1 - p, p], 1))),
        ("roc_auc", lambda p, t: (t, np.stack([1 - p, p], 1))),
        ("accuracy", lambda p, t: (t, np.stack([1 - p, p], 1))),
    ],
)
def test_exchanged_arguments_are_recognised(function, rows):
    rng = np.random.default_rng(5)
    p, t = rng.random(50), rng.integers(0, 2, 50)
    with pytest.raises((TypeError, ValueError), match="exchanged"):
        getattr(m, function)(*rows(p, t))
