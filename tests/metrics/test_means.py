"""Losses as metrics, scorers, errors in words, rows that do not count."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

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


def test_options_that_are_not_there_are_named():
    for call in (
        lambda: m.accuracy(ZEROS, ZEROS, sample_weights=ZEROS),
        lambda: m.mse(ZEROS, ZEROS, squared=False),
        lambda: m.precision(ZEROS, ZEROS, averge="macro"),
        lambda: m.log_loss(ZEROS, ZEROS, eps=0.3),
        lambda: nl.Mean(nl.Huber(), reductoin="sum"),
    ):
        with pytest.raises(TypeError, match=r"no option|unexpected keyword"):
            call()
    options = m.Precision(pos_label=np.int64(2), labels=np.array([1, 2])).state()["options"]
    assert json.loads(json.dumps(options))["labels"] == [1, 2]
    assert repr(m.MeanPinballLoss(alpha=np.float64(0.9))) == "MeanPinballLoss(alpha=0.9)"


def test_rows_that_do_not_fit_together_are_refused():
    long = np.zeros(1 << 18), np.zeros((1 << 18) + 1000)
    for call in (
        lambda: nl.Scorer(metrics=["mae"]).update(*long),
        lambda: nl.Scorer(metrics=["mae"], by=True).update(ZEROS, np.zeros(5), by=["a", "b"]),
        lambda: nl.Scorer(metrics=["mae"]).update(np.float64(1.0), np.float64(1.0)),
        lambda: nl.Mean(nl.SquaredError()).update(*long),
        lambda: nl.Mean(nl.SquaredError()).update(ZEROS, ZEROS, sample_weight=[2.0]),
    ):
        with pytest.raises(ValueError, match=r"rows|row for each"):
            call()
    with pytest.raises(TypeError, match="texts or integers"):
        nl.Scorer(metrics=["mae"], by=True).update(ZEROS, ZEROS, by=np.array([0.5, 1.0]))
    with pytest.raises(TypeError, match="losses of numbers and of rows"):
        nl.Scorer(losses=["info_nce"])


def test_labels_of_all_kinds():
    scores, label = np.array([0.9, 0.1, 0.8]), np.array([1, 0, 1])
    assert m.accuracy(scores[:, None], label) == 1.0
    assert m.accuracy(np.array([3, -5, 2]), label, threshold=0.0) == 1.0
    assert m.accuracy(label.astype(np.uint64), label) == 1.0
    large = np.array([0, 2**60, 2**60 + 1])
    assert m.accuracy(large[[0, 2, 1]].astype(np.uint64), large) == pytest.approx(1 / 3)
    with pytest.raises(TypeError, match="all of them texts"):
        m.accuracy(np.array([0, 1]), np.array(["0", "1"]))
    with pytest.raises(ValueError, match="NaN, which is no label"):
        m.accuracy(np.array([0, 1]), np.array([np.nan, 1.0]))


def test_nan_is_never_swallowed():
    with np.errstate(all="raise"):
        for found in (
            m.d2_tweedie(np.array([np.nan, 1.0]), np.array([2.0, 2.0]), power=1.0),
            m.r2(np.array([np.nan, 1.0]), np.array([2.0, 2.0])),
            m.log_loss(np.array([[0.5, np.nan], [0.5, 0.5]]), np.array([0, 1])),
            m.log_loss(np.array([np.nan]), np.array([1])),
            m.brier(np.array([np.nan]), np.array([1])),
            m.accuracy(np.array([np.nan]), np.array([1])),
            m.r2(np.zeros(3), np.ones(3), sample_weight=np.zeros(3)),
        ):
            assert np.isnan(found)
    with pytest.raises(ValueError, match="> 0"):
        m.poisson_deviance(np.array([np.nan, -1.0]), np.array([1.0, 0.0]))
    infinite = np.array([-np.inf, 1.0, np.inf]), np.array([0.0, 0.0, np.inf])
    assert m.quantile_coverage(*infinite) == pytest.approx(2 / 3)
    w = np.array([0.0, 1.0, 1.0])
    assert m.roc_auc(np.array([np.nan, 0.1, 0.9]), [0, 0, 1], sample_weight=w, bins=10) == 1.0
    assert m.roc_auc(np.array([0.1, 0.9]), [0, 1], sample_weight=np.full(2, 1e-170)) == 1.0


def test_states_of_scorers_bear_sorted_keys():
    scorer = nl.Scorer(
        metrics={"q90": m.MeanPinballLoss(alpha=0.9), "q10": m.MeanPinballLoss(alpha=0.1)}
    )
    scorer.update(np.zeros(3), np.array([1.0, 2.0, 5.0]))
    text = json.dumps(scorer.state(), sort_keys=True)
    assert nl.Scorer.from_state(json.loads(text)).compute() == scorer.compute()


def test_copies_of_scorers_may_be_updated_side_by_side():
    scorer = nl.Scorer(metrics=["perplexity"])
    logits, labels = RNG.normal(size=(20_000, 8)), RNG.integers(0, 8, 20_000)

    def count(_):
        part = copy.copy(scorer).reset().update(logits, labels)
        return part.groups[None]["perplexity"].rows.count

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(count, range(8))) == [20_000] * 8


def test_groups_of_documents_in_one_call():
    scores, gains = np.array([3.0, 1.0, 2.0, 0.0]), np.array([0, 1, 1, 0])
    assert (
        m.ndcg(scores, gains, group=np.array([2, 2], np.uint64))
        == m.NDCG().update(scores, gains, group=np.array([2, 2])).compute()
    )
