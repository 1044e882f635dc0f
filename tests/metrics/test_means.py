"""Losses as metrics, scorers, errors in words, rows that do not count."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss import metrics as m

RNG = np.random.default_rng(0)
ZEROS = np.zeros(2)


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
@pytest.mark.parametrize(
    "loss",
    [
        nl.Huber(delta=0.5),
        nl.CrossEntropy(class_weight=[1.0, 2.0, 0.5], ignore_index=1),
        nl.Brier(),
    ],
    ids=repr,
)
def test_means_are_those_of_all_rows(loss, reduction):
    rows = 500
    if isinstance(loss, nl.Huber):
        prediction, target = RNG.normal(size=(2, rows))
    else:
        prediction, target = RNG.normal(size=(rows, 3)), RNG.integers(0, 3, rows)
    w = RNG.random(rows)
    for weights in (None, w):
        metric = nl.Mean(loss, reduction=reduction)
        for some in np.array_split(np.arange(rows), 7):
            of_part = None if weights is None else weights[some]
            metric.update(prediction[some], target[some], sample_weight=of_part)
        expected = loss(prediction, target, sample_weight=weights, reduction=reduction)
        assert metric.compute() == pytest.approx(expected, rel=1e-13)
        again = nl.Mean.from_state(metric.state())
        assert (again.compute(), again.standard_error()) == pytest.approx(
            (metric.compute(), metric.standard_error()), nan_ok=True
        )


def test_standard_errors_are_those_of_textbooks():
    prediction, target, w = [*RNG.normal(size=(2, 400)).tolist(), RNG.random(400).tolist()]
    values = np.square(np.array(prediction) - target)
    plain = nl.Mean(nl.SquaredError()).update(prediction, target)
    assert plain.standard_error() == pytest.approx(values.std(ddof=1) / 20.0)
    weighted = nl.Mean(nl.SquaredError(), reduction="weighted_mean")
    weighted.update(prediction, target, sample_weight=w)
    mean = np.average(values, weights=w)
    expected = np.sqrt((np.square(np.array(w) * (values - mean))).sum() * 400 / 399) / np.sum(w)
    assert weighted.standard_error() == pytest.approx(expected)


def test_pairs_tell_which_prediction_is_better():
    target = RNG.normal(size=5000) * 10.0
    one, other = target + RNG.normal(size=5000), target + 1.1 * RNG.normal(size=5000)
    metric = m.Difference(nl.SquaredError()).update(one, other, target)
    values = np.square(other - target) - np.square(one - target)
    assert metric.compute() == pytest.approx(values.mean())
    assert metric.standard_error() == pytest.approx(values.std(ddof=1) / np.sqrt(5000))
    assert metric.z() > 2.0


def test_perplexity_is_the_exponential_of_the_mean():
    logits, labels = RNG.normal(size=(4, 50, 11)), RNG.integers(0, 11, (4, 50))
    labels[0, :20] = -100
    metric = m.Perplexity()
    for one, of_one in zip(logits, labels, strict=True):
        metric.update(one, of_one)
    expected = np.exp(nl.CrossEntropy()(logits, labels))
    assert metric.compute() == pytest.approx(expected)
    assert m.perplexity(logits, labels) == pytest.approx(expected)


def test_scorers_share_totals_and_keep_groups_apart():
    prediction, target = RNG.random(1000), RNG.integers(0, 2, 1000)
    keys = RNG.integers(0, 4, 1000)
    scorer = nl.Scorer(losses=["mse"], metrics=["mae", "r2", "roc_auc"], by=True)
    for some in np.array_split(np.arange(1000), 9):
        scorer.update(prediction[some], target[some], by=keys[some])
    found = scorer.compute()
    assert list(found) == [0, 1, 2, 3]
    for key, results in found.items():
        rows = keys == key
        p, t = prediction[rows], target[rows]
        expected = {
            "mse": nl.SquaredError()(p, t.astype(float)), "mae": m.mae(p, t), "r2": m.r2(p, t),
            "roc_auc": m.roc_auc(p, t),
        }  # fmt: skip
        assert results == pytest.approx(expected, rel=1e-14)
    group = scorer.groups[0]
    assert group["mae"].rows is group["r2"].rows
    assert nl.Scorer.from_state(scorer.state()).compute() == found
    assert scorer.merge(nl.Scorer.from_state(scorer.state())).compute()[2]["mae"] == found[2]["mae"]


def test_half_precisions_and_other_libraries():
    torch = pytest.importorskip("torch")
    prediction, target = RNG.random(300), RNG.integers(0, 2, 300)
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        tensor = torch.tensor(prediction).to(kind)
        plain = tensor.to(torch.float64).numpy()
        assert m.mae(tensor, torch.tensor(target)) == m.mae(plain, target)
        assert m.roc_auc(tensor, torch.tensor(target)) == m.roc_auc(plain, target)
        assert m.accuracy(tensor, torch.tensor(target)) == m.accuracy(plain, target)


def test_rows_of_weight_zero_do_not_count_and_nan_does():
    bad, target = np.array([0.2, np.nan, 0.9]), np.array([0, 1, 1])
    w = np.array([1.0, 0.0, 2.0])
    for function in (m.mae, m.r2, m.accuracy, m.roc_auc, m.log_loss, m.brier, m.calibration_error):
        assert np.isnan(function(bad, target)), function
        assert function(bad, target, sample_weight=w) == pytest.approx(
            function(bad[[0, 2]], target[[0, 2]], sample_weight=w[[0, 2]])
        ), function


@pytest.mark.parametrize("name", sorted(m.catalogue.FUNCTIONS))
def test_nothing_comes_to_nan(name):
    metric = m.find(name)()
    found = metric.compute()
    assert np.size(found) == 0 or np.isnan(found).all()
    assert repr(metric) == f"{type(metric).__name__}()"


def test_one_class_and_constants():
    ones = np.ones(5, int)
    assert np.isnan(m.roc_auc(np.linspace(0, 1, 5), ones))
    assert m.average_precision(np.linspace(0, 1, 5), ones) == 1.0
    assert m.accuracy(ones, ones) == m.f_beta(ones, ones) == 1.0
    assert m.r2(np.full(5, 0.1), np.full(5, 0.1)) == 1.0
    assert m.r2(np.full(5, 0.2), np.full(5, 0.1)) == 0.0
    assert m.matthews_correlation(ones, ones) == 0.0
    # Far from 0, where two sums of squares cancel.
    target = 1e8 + np.arange(5.0)
    assert m.r2(target + 1.0, target) == 0.5


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: m.roc_auc(np.array([0, 1]), np.array([0.3, 0.8])), ValueError, "exchanged"),
        (lambda: m.accuracy(np.array([0, 1]), np.array([0.3, 0.8])), TypeError, "exchanged"),
        (lambda: m.log_loss(np.array([3.0, -2.0]), np.array([1, 0])), ValueError, "logits"),
        (lambda: m.accuracy(np.array([3.0, -2.0]), np.array([1, 0])), ValueError, "threshold=0.0"),
        (lambda: m.mae(np.zeros(3), np.zeros((3, 1))), ValueError, "never broadcast"),
        (lambda: m.mae(ZEROS, ZEROS, sample_weight=np.array([1.0, -1.0])), ValueError, ">= 0"),
        (lambda: m.mae(ZEROS, ZEROS, sample_weight=np.ones(3)), ValueError, "shape"),
        (lambda: m.poisson_deviance(np.zeros(3), np.ones(3)), ValueError, "> 0"),
        (lambda: m.f_beta(np.array([0, 1, 2]), np.array([0, 1, 2])), ValueError, "more than two"),
        (lambda: m.f_beta(ZEROS, ZEROS, average="most"), ValueError, "average"),
        (lambda: m.f_beta(np.array(["a", "b"]), np.array(["a", "b"])), ValueError, "pos_label=1"),
        (lambda: m.accuracy(np.array([0.1, 0.9]), np.array([1, 2])), ValueError, "labels 0 and 1"),
        (lambda: m.accuracy(np.array([0.1, 0.9]), np.array(["a", "b"])), TypeError, "not texts"),
        (lambda: m.find("roc_uac"), ValueError, "did you mean roc_auc"),
        (lambda: m.top_k(np.zeros((2, 3)), np.array([0, 3])), ValueError, "from 0 to 2"),
        (lambda: m.ndcg(np.zeros(4), np.zeros(4)), ValueError, "group"),
        (lambda: nl.Mean("mse"), TypeError, "takes a loss"),
        (lambda: nl.Scorer(), ValueError, "needs losses or metrics"),
        (lambda: nl.Scorer(metrics=["mae"], by=True).update(ZEROS, ZEROS), ValueError, "by="),
    ],
)  # fmt: skip
def test_errors_are_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_inputs_stay_as_they_are():
    prediction, target, w = RNG.random(100), RNG.integers(0, 2, 100), RNG.random(100)
    before = prediction.copy(), target.copy(), w.copy()
    nl.Scorer(
        losses=["mse"],
        metrics=["roc_auc", "r2", "log_loss", "accuracy", "calibration_error", "brier"],
    ).update(prediction, target, w)
    for one, other in zip(before, (prediction, target, w), strict=True):
        np.testing.assert_array_equal(one, other)
