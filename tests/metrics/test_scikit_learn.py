"""Every metric against scikit-learn, on random rows: weights, ties, cuts into parts."""

import json

import numpy as np
import pytest

from numbaloss import metrics as m

sklearn = pytest.importorskip("sklearn.metrics")

CUTS = 4
POSITIVE = {"positive": True}
REGRESSION = [
    (m.MeanAbsoluteError, {}, "mean_absolute_error", {}),
    (m.MeanSquaredError, {}, "mean_squared_error", {}),
    (m.RootMeanSquaredError, {}, "root_mean_squared_error", {}),
    (m.MeanAbsolutePercentageError, {}, "mean_absolute_percentage_error", {}),
    (m.R2, {}, "r2_score", {}),
    (m.ExplainedVariance, {}, "explained_variance_score", {}),
    (m.MeanPinballLoss, {"alpha": 0.3}, "mean_pinball_loss", {"alpha": 0.3}),
    (m.MeanSquaredLogError, {}, "mean_squared_log_error", POSITIVE),
    (m.MeanPoissonDeviance, {}, "mean_poisson_deviance", POSITIVE),
    (m.MeanGammaDeviance, {}, "mean_gamma_deviance", POSITIVE),
    (m.MeanTweedieDeviance, {"power": 1.5}, "mean_tweedie_deviance", {"power": 1.5, **POSITIVE}),
    (m.MeanTweedieDeviance, {"power": 3.0}, "mean_tweedie_deviance", {"power": 3.0, **POSITIVE}),
    (m.D2Tweedie, {"power": 0.0}, "d2_tweedie_score", {"power": 0.0}),
    (m.D2Tweedie, {"power": 1.0}, "d2_tweedie_score", {"power": 1.0, **POSITIVE}),
    (m.D2Tweedie, {"power": 1.5}, "d2_tweedie_score", {"power": 1.5, **POSITIVE}),
    (m.D2Tweedie, {"power": 2.0}, "d2_tweedie_score", {"power": 2.0, **POSITIVE}),
]
AVERAGES = ["macro", "micro", "weighted", None]
LABELS = [
    (m.Accuracy, {}, "accuracy_score", {}),
    (m.BalancedAccuracy, {}, "balanced_accuracy_score", {}),
    (m.BalancedAccuracy, {"adjusted": True}, "balanced_accuracy_score", {"adjusted": True}),
    (m.MatthewsCorrelation, {}, "matthews_corrcoef", {}),
    (m.CohenKappa, {}, "cohen_kappa_score", {}),
    (m.CohenKappa, {"weights": "linear"}, "cohen_kappa_score", {"weights": "linear"}),
    (m.CohenKappa, {"weights": "quadratic"}, "cohen_kappa_score", {"weights": "quadratic"}),
    (m.ConfusionMatrix, {}, "confusion_matrix", {}),
    (m.ConfusionMatrix, {"normalize": "true"}, "confusion_matrix", {"normalize": "true"}),
    *[
        (metric, {"average": one, **more}, name, {"average": one, "zero_division": 0, **more})
        for one in AVERAGES
        for metric, name, more in [
            (m.Precision, "precision_score", {}),
            (m.Recall, "recall_score", {}),
            (m.FBeta, "fbeta_score", {"beta": 0.7}),
            (m.Jaccard, "jaccard_score", {}),
        ]
    ],
]
AREAS = [
    (m.RocAuc, {}, "roc_auc_score", {}),
    (m.AveragePrecision, {}, "average_precision_score", {}),
    (m.LogLoss, {}, "log_loss", {}),
    (m.Brier, {}, "brier_score_loss", {}),
]


def identify(value):
    return value.__name__ if isinstance(value, type) else None


def few(cases, count):
    """Of each case so many seeds, and the others for those who ask for all."""
    return [
        pytest.param(*case, seed, marks=[] if seed < count else pytest.mark.exhaustive)
        for case in cases
        for seed in range(10)
    ]


def weights_of(rng, size, seed):
    if seed % 2 == 0:
        return None
    w = rng.integers(0, 4, size) * rng.random(size)
    w[:2] = 1.0
    return w


def check(metric, options, expected, prediction, target, w, tolerance=1e-12):
    """In one part, in several, merged, and sent as JSON: one number, and scikit-learn's."""
    whole = metric(**options).update(prediction, target, w)
    found = whole.compute()
    cuts = np.sort(np.random.default_rng(len(target)).integers(0, len(target), CUTS))
    parts = metric(**options)
    for start, stop in zip([0, *cuts], [*cuts, len(target)], strict=True):
        rows = slice(start, stop)
        part = metric(**options).update(
            prediction[rows], target[rows], None if w is None else w[rows]
        )
        parts.merge(metric.from_state(json.loads(json.dumps(part.state()))))
    np.testing.assert_array_equal(parts.compute(), found)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=1e-14)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("metric", "options", "name", "more", "seed"), few(REGRESSION, 1), ids=identify
)
def test_regression(metric, options, name, more, seed):
    rng = np.random.default_rng(seed)
    more = dict(more)
    positive = more.pop("positive", False)
    for _ in range(20):
        size = int(rng.integers(2, 500))
        prediction, target = rng.normal(size=(2, size)) * 10.0 ** rng.integers(-3, 4)
        # The deviance of the mean cancels where targets are nearly constant, there as here.
        far = 0.0 if metric is m.D2Tweedie and options["power"] else 100.0 * (seed % 3)
        target = target + 0.7 * prediction + far
        if positive:
            prediction, target = np.abs(prediction) + 0.01, np.abs(target) + 0.01
        w = weights_of(rng, size, seed)
        expected = getattr(sklearn, name)(target, prediction, sample_weight=w, **more)
        check(metric, options, expected, prediction, target, w, 1e-11)


@pytest.mark.parametrize(
    ("metric", "name"), [(m.R2, "r2_score"), (m.MeanAbsoluteError, "mean_absolute_error")]
)
@pytest.mark.parametrize("multioutput", ["uniform_average", "raw_values"])
def test_several_outputs(metric, name, multioutput):
    prediction, target = np.random.default_rng(0).normal(size=(2, 200, 3))
    expected = getattr(sklearn, name)(target, prediction, multioutput=multioutput)
    check(metric, {"multioutput": multioutput}, expected, prediction, target, None)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("metric", "options", "name", "more", "seed"), few(LABELS, 1), ids=identify
)
def test_labels(metric, options, name, more, seed):
    rng = np.random.default_rng(seed)
    for turn in range(20):
        size, labels = int(rng.integers(2, 500)), int(rng.integers(1, 9))
        target = rng.integers(0, labels, size)
        prediction = np.where(rng.random(size) < 0.5, target, rng.integers(0, labels, size))
        if turn % 3 == 0:
            names = np.array(list("hgfedcba"))
            prediction, target = names[prediction], names[target]
        if turn % 7 == 0:
            prediction[:] = prediction[0]
        w = weights_of(rng, size, seed)
        expected = getattr(sklearn, name)(target, prediction, sample_weight=w, **more)
        check(metric, options, expected, prediction, target, w, 1e-11)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("metric", "options", "name", "more", "seed"), few(AREAS, 1), ids=identify)
def test_scores(metric, options, name, more, seed):
    rng = np.random.default_rng(seed)
    for turn in range(20):
        size = int(rng.integers(2, 500))
        target = rng.integers(0, 2, size)
        target[:2] = 0, 1
        prediction = 0.6 * rng.random(size) + 0.4 * target * rng.random(size)
        if turn % 3 == 0:
            prediction = np.round(prediction, 1)
        if turn % 5 == 0:
            prediction = prediction.astype(np.float32)
        w = weights_of(rng, size, seed)
        expected = getattr(sklearn, name)(target, prediction, sample_weight=w, **more)
        # scikit-learn sums float32 in float32.
        check(metric, options, expected, prediction, target, w, 1e-6 if turn % 5 == 0 else 1e-11)


def probabilities(rng, rows, classes):
    found = rng.random((rows, classes))
    return found / found.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_areas_of_classes_and_labels(average):
    rng = np.random.default_rng(1)
    prediction = probabilities(rng, 400, 5)
    target, many = rng.integers(0, 5, 400), rng.integers(0, 2, (400, 5))
    options = {"average": average}
    expected = sklearn.roc_auc_score(target, prediction, multi_class="ovr", average=average)
    check(m.RocAuc, options, expected, prediction, target, None)
    expected = sklearn.roc_auc_score(many, prediction, average=average)
    check(m.RocAuc, options, expected, prediction, many, None)
    expected = sklearn.average_precision_score(many, prediction, average=average)
    check(m.AveragePrecision, options, expected, prediction, many, None)


def test_losses_of_classes():
    rng = np.random.default_rng(2)
    prediction, target = probabilities(rng, 300, 4), rng.integers(0, 4, 300)
    w = weights_of(rng, 300, 1)
    check(
        m.LogLoss, {}, sklearn.log_loss(target, prediction, sample_weight=w), prediction, target, w
    )
    for k in (1, 2, 3):
        expected = sklearn.top_k_accuracy_score(target, prediction, k=k, sample_weight=w)
        check(m.TopK, {"k": k}, expected, prediction, target, w)
    dense = ((prediction - np.eye(4)[target]) ** 2).sum(axis=1)
    check(m.Brier, {}, np.average(dense, weights=w), prediction, target, w)


@pytest.mark.parametrize("k", [None, 3])
def test_ranking(k):
    rng = np.random.default_rng(3)
    for turn in range(20):
        shape = int(rng.integers(1, 30)), int(rng.integers(2, 12))
        relevance = rng.integers(0, 4, shape).astype(float)
        scores = rng.normal(size=shape) if turn % 2 else rng.integers(0, 4, shape).astype(float)
        w = weights_of(rng, shape[0], turn) if shape[0] > 2 else None
        expected = sklearn.ndcg_score(relevance, scores, k=k, sample_weight=w)
        check(m.NDCG, {"k": k}, expected, scores, relevance, w)
        flat = m.NDCG(k=k).update(
            scores.ravel(), relevance.ravel(), w, group=np.full(shape[0], shape[1])
        )
        assert flat.compute() == m.ndcg(scores, relevance, sample_weight=w, k=k)


@pytest.mark.filterwarnings("ignore")
def test_average_precision_of_queries():
    rng = np.random.default_rng(4)
    scores, relevant = rng.integers(0, 6, (40, 9)).astype(float), rng.integers(0, 2, (40, 9))
    expected = np.mean(
        [sklearn.average_precision_score(t, s) for t, s in zip(relevant, scores, strict=True)]
    )
    check(m.MeanAveragePrecision, {}, expected, scores, relevant, None)
    # The place of the first hit, on average over orders of equal scores.
    places = []
    for t, s in zip(relevant, scores, strict=True):
        orders = [np.lexsort((rng.random(9), -s)) for _ in range(400)]
        places.append(
            np.mean([np.flatnonzero(t[one])[0] + 1 if t.any() else np.inf for one in orders])
        )
    expected = np.mean(1.0 / np.array(places))
    assert m.mean_reciprocal_rank(scores, relevant) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration(norm):
    rng = np.random.default_rng(5)
    prediction = rng.random(500)
    target = (rng.random(500) < prediction**2).astype(int)
    metric = m.CalibrationError(bins=10, norm=norm).update(prediction, target)
    from sklearn.calibration import calibration_curve

    true, predicted = calibration_curve(target, prediction, n_bins=10)
    table = metric.table()
    np.testing.assert_allclose(table["target"], true, rtol=1e-12)
    np.testing.assert_allclose(table["prediction"], predicted, rtol=1e-12)
    share, distance = table["weight"] / 500, np.abs(true - predicted)
    expected = {
        "l1": (share * distance).sum(),
        "l2": (share * distance**2).sum() ** 0.5,
        "max": distance.max(),
    }[norm]
    assert metric.compute() == pytest.approx(expected, rel=1e-12)
