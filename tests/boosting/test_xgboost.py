"""Losses in XGBoost: its own trees, its data, and what people fail at. Tried with 3.2."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import numbaloss as nl

xgb = pytest.importorskip("xgboost")
pytest.importorskip("sklearn")
joblib = pytest.importorskip("joblib")

from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_wine  # noqa: E402
from sklearn.model_selection import KFold, cross_val_score  # noqa: E402

from numbaloss.xgboost import (  # noqa: E402
    Classifier,
    Regressor,
    check,
    metric,
    objective,
    params,
    sklearn_objective,
)  # fmt: skip

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 5))
SIGNAL = X[:, 0] + 0.5 * X[:, 1] ** 2
WEIGHT = RNG.random(400) + 0.5
LABELS = (SIGNAL + RNG.normal(size=400) > 0.5).astype(float)
POSITIVE = np.exp(0.5 * SIGNAL) * RNG.gamma(2.0, 0.5, 400)
COUNTS = RNG.poisson(POSITIVE).astype(float)
CLASSES = np.digitize(SIGNAL + 0.3 * RNG.normal(size=400), [0.0, 1.0]).astype(float)
OPTIONS = {"max_depth": 3, "eta": 0.3, "nthread": 1, "seed": 0, "disable_default_eval_metric": 1}
ROUNDS = 50

# Loss, XGBoost's parameters of the same, targets, its start, how far margins may be apart.
TWINS = [
    (nl.BinaryCrossEntropy(), {"objective": "binary:logistic"}, LABELS, 0.4, 1e-6),
    (nl.BinaryCrossEntropy(pos_weight=3.0),
     {"objective": "binary:logistic", "scale_pos_weight": 3.0}, LABELS, 0.4, 1e-6),
    (nl.Poisson(), {"objective": "count:poisson"}, COUNTS, 1.5, 1e-6),
    (nl.Gamma(), {"objective": "reg:gamma"}, POSITIVE, 1.5, 1e-6),
    *(
        (nl.Tweedie(power), {"objective": "reg:tweedie", "tweedie_variance_power": power},
         COUNTS, 1.5, 1e-6)
        for power in (1.2, 1.5, 1.9)
    ),
    (0.5 * nl.SquaredError(), {"objective": "reg:squarederror"}, SIGNAL, 0.3, 1e-6),
    (nl.PseudoHuber(0.7), {"objective": "reg:pseudohubererror", "huber_slope": 0.7},
     SIGNAL, 0.3, 1e-5),
    (nl.CrossEntropy(), {"objective": "multi:softprob", "num_class": 3}, CLASSES, 0.5, 1e-6),
]  # fmt: skip


def shapes(model):
    """Where trees split: features and thresholds, tree by tree."""
    table = model.trees_to_dataframe()
    return list(table["Feature"]), table["Split"].to_numpy()


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: repr(twin[0])[:30])
def test_trees_are_those_of_the_builtin(twin):
    pytest.importorskip("pandas")
    loss, builtin, target, start, apart = twin
    data = xgb.DMatrix(X, target, weight=WEIGHT)
    given = OPTIONS | builtin | {"base_score": start}
    expected = xgb.train(given, data, ROUNDS)
    found = xgb.train(given, data, ROUNDS, obj=objective(loss, hessian="library"))
    margins = [one.predict(data, output_margin=True) for one in (expected, found)]
    span = np.ptp(margins[0])
    assert abs(margins[1] - margins[0]).max() <= apart * span
    (names, cuts), (others, their) = shapes(expected), shapes(found)
    assert names == others
    np.testing.assert_array_equal(cuts, their)


def test_weights_are_applied_once():
    target = 3.0 * SIGNAL
    for maker in (objective, sklearn_objective):
        of = maker(nl.SquaredError())
        margin = np.zeros(400, np.float32)
        if maker is objective:
            gradient, hessian = of(margin, xgb.DMatrix(X, target, weight=WEIGHT))
        else:
            gradient, hessian = of(target, margin, sample_weight=WEIGHT)
        np.testing.assert_allclose(gradient, -2.0 * WEIGHT * target, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(hessian, 2.0 * WEIGHT, rtol=1e-6)
    # Whole weights are as good as rows that come as often.
    whole = RNG.integers(1, 4, 400)
    options = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1, "tree_method": "exact"}
    weighted = Regressor(nl.Huber(), **options).fit(X, target, sample_weight=whole)
    repeated = Regressor(nl.Huber(), **options).fit(
        np.repeat(X, whole, axis=0), np.repeat(target, whole)
    )
    assert weighted.start_ == pytest.approx(repeated.start_, rel=1e-6)
    plain = nl.SquaredError() * 0.5
    weighted = Regressor(plain, **options).fit(X, target, sample_weight=whole)
    repeated = Regressor(plain, **options).fit(
        np.repeat(X, whole, axis=0), np.repeat(target, whole)
    )
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-4, atol=1e-4)


def test_params_give_the_start_and_what_predict_means():
    for loss, target, low, high in (
        (nl.BinaryCrossEntropy(), LABELS, 0.0, 1.0),
        (nl.Gamma(), POSITIVE, 0.0, np.inf),
        (nl.Huber(), SIGNAL, -np.inf, np.inf),
    ):
        data = xgb.QuantileDMatrix(X, target, weight=WEIGHT)
        given = {"max_depth": 2, "nthread": 1} | params(loss, target, WEIGHT)
        history = {}
        model = xgb.train(
            given, data, 15, obj=objective(loss), custom_metric=metric(loss),
            evals=[(data, "train")], evals_result=history, verbose_eval=False,
        )  # fmt: skip
        mean = model.predict(data)
        assert ((mean > low) & (mean < high)).all()
        values = next(iter(history["train"].values()))
        # The metric is that of margins, and it falls from where the best constant is.
        expected = loss(loss.link(mean.astype(np.float64)), target, sample_weight=WEIGHT,
                        reduction="weighted_mean")  # fmt: skip
        assert values[-1] == pytest.approx(expected, rel=1e-4)
        best = np.full(400, loss.best_constant(target, WEIGHT))
        assert values[0] < loss(best, target, sample_weight=WEIGHT, reduction="weighted_mean")
        # A model from a file says the same.
        again = xgb.Booster(model_file=model.save_raw("json"))
        np.testing.assert_array_equal(again.predict(data), mean)


def test_params_start_classes_and_outputs_each_where_it_should():
    if tuple(map(int, xgb.__version__.split(".")[:2])) < (3, 1):
        pytest.skip("starts from one number")
    loss = nl.CrossEntropy()
    data = xgb.DMatrix(X, CLASSES, weight=WEIGHT)
    given = params(loss, CLASSES, WEIGHT) | {"nthread": 1, "eta": 0.0}
    model = xgb.train(given, data, 1, obj=objective(loss))
    shares = [WEIGHT[k == CLASSES].sum() / WEIGHT.sum() for k in range(3)]
    np.testing.assert_allclose(model.predict(data), np.tile(shares, (400, 1)), rtol=1e-5)
    several = np.column_stack([POSITIVE, 3.0 * POSITIVE])
    given = params(nl.Gamma(), several) | {"nthread": 1, "eta": 0.0}
    data = xgb.DMatrix(X, several)
    found = xgb.train(given, data, 1, obj=objective(nl.Gamma())).predict(data)
    np.testing.assert_allclose(found, np.tile(several.mean(axis=0), (400, 1)), rtol=1e-5)


def test_a_metric_beside_a_builtin_gets_probabilities():
    data = xgb.DMatrix(X, LABELS)
    history = {}
    xgb.train(
        {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1}, data, 5,
        evals=[(data, "train")], evals_result=history, verbose_eval=False,
        custom_metric=metric(nl.BinaryCrossEntropy(), predictions="mean"),
    )  # fmt: skip
    found = history["train"]
    np.testing.assert_allclose(found["binary_cross_entropy"], found["logloss"], rtol=1e-5)


def test_several_outputs_and_classes_have_their_shapes():
    several = np.column_stack([SIGNAL, -2.0 * SIGNAL])
    model = Regressor(nl.Huber(), n_estimators=10, n_jobs=1).fit(X, several)
    assert model.start_.shape == (2,)
    assert abs(model.predict(X) - several).mean() < 0.5 * abs(several).mean()
    gradient, hessian = objective(nl.CrossEntropy())(
        np.zeros((400, 3), np.float32), xgb.DMatrix(X, CLASSES)
    )
    assert gradient.shape == hessian.shape == (400, 3)
    # Published with XGBoost's softmax: 2 p (1 - p).
    margins = np.array([[1, 0, 2], [2, 0, 1]], np.float32)
    gradient, hessian = objective(nl.CrossEntropy())(margins, xgb.DMatrix(X[:2], [1, 0]))
    np.testing.assert_allclose(gradient.ravel(), [0.24, -0.91, 0.66, -0.33, 0.09, 0.24], atol=0.006)
    np.testing.assert_allclose(hessian.ravel(), [0.36, 0.16, 0.44, 0.45, 0.16, 0.37], atol=0.01)


def test_published_derivatives():
    prediction = np.array([0.1, 0.2, 0.4, 0.8, 1.6], np.float32)
    data = xgb.DMatrix(X[:5], np.ones(5))
    for loss, gradient, hessian in (
        (0.5 * nl.SquaredLogError(), [-0.5435, -0.4257, -0.25475, -0.05855, 0.1009],
         [1.3205, 1.0492, 0.69215, 0.34115, 0.1091]),
        (nl.PseudoHuber(), [-0.668965, -0.624695, -0.514496, -0.196116, 0.514496],
         [0.41066, 0.47614, 0.63051, 0.942866, 0.63051]),
    ):  # fmt: skip
        found = objective(loss, hessian="library")(prediction, data)
        np.testing.assert_allclose(found[0], gradient, atol=1e-4)
        np.testing.assert_allclose(found[1], hessian, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "builtin"),
    [
        (nl.AbsoluteError(), {"objective": "reg:absoluteerror"}),
        (nl.Quantile(0.8), {"objective": "reg:quantileerror", "quantile_alpha": 0.8}),
        (nl.Huber(20.0), {"objective": "reg:pseudohubererror", "huber_slope": 20.0}),
    ],
    ids=repr,
)
def test_held_out_errors_are_not_worse_than_builtins(loss, builtin):
    data, target = load_diabetes(return_X_y=True)
    options = {"n_estimators": 100, "max_depth": 3, "learning_rate": 0.1, "n_jobs": 1}
    ours, theirs = [], []
    for train, test in KFold(4, shuffle=True, random_state=0).split(data):
        for model, errors in (
            (Regressor(loss, **options), ours), (xgb.XGBRegressor(**options, **builtin), theirs)
        ):  # fmt: skip
            found = model.fit(data[train], target[train]).predict(data[test])
            assert np.isfinite(found).all()
            errors.append(loss(found.astype(np.float64), target[test]))
    assert np.mean(ours) <= 1.03 * np.mean(theirs)


def test_estimators_are_those_of_scikit_learn(tmp_path):
    data, target = load_wine(return_X_y=True)
    names = np.array(["red", "rose", "white"])[target]
    model = Classifier(nl.CrossEntropy(), n_estimators=8, max_depth=2, n_jobs=1)
    assert cross_val_score(model, data, names, cv=3).mean() > 0.85
    found = clone(model).fit(data, names, eval_set=[(data, names)])
    probabilities = found.predict_proba(data)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-12)
    assert (found.classes_[probabilities.argmax(axis=1)] == found.predict(data)).all()
    (curve,) = found.model_.evals_result()["validation_0"].values()
    assert curve[-1] < curve[0] < np.log(3.0)
    joblib.dump(found, tmp_path / "model")
    for again in (joblib.load(tmp_path / "model"), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(again.predict_proba(data), probabilities)
    two = Classifier(nl.BinaryCrossEntropy(targets="signed"), n_estimators=5, n_jobs=1)
    two.fit(data, names == "red")
    assert two.predict(data).dtype == bool
    assert ((two.predict_proba(data)[:, 1] > 0.5) == (two.decision_function(data) > 0)).all()
    huber = Regressor(nl.Huber(delta=1.0), max_depth=2)
    assert huber.get_params()["loss__delta"] == 1.0
    assert clone(huber).set_params(loss__delta=3.0, max_depth=5).loss == nl.Huber(3.0)
    assert "Huber" in repr(huber)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: Classifier(nl.BinaryCrossEntropy()).fit(X, CLASSES), ValueError, "for two"),
        (lambda: Classifier(nl.Huber()).fit(X, LABELS), TypeError, "take the Regressor"),
        (lambda: Classifier(nl.Hinge()).fit(X, 0.0 * LABELS), ValueError, "one class alone"),
        (lambda: Regressor(nl.CrossEntropy()).fit(X, LABELS), TypeError, "take the Classifier"),
        (lambda: Regressor(nl.Gamma()).fit(X, -POSITIVE), ValueError, "takes targets in"),
        (lambda: objective(nl.BinaryCrossEntropy(from_logits=False)), TypeError, "from_logits"),
        (lambda: objective(nl.Huber(), hessian="none"), ValueError, "must be one of"),
        (lambda: metric(nl.Huber(), predictions="raw"), ValueError, "'margin' or 'mean'"),
        (lambda: Classifier(nl.Hinge(), n_estimators=2).fit(X, LABELS).predict_proba(X),
         ValueError, "no probabilities"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


class Reversed(nl.Elementwise):
    """A gradient with the wrong sign."""

    def point(self, prediction, target):
        residual = prediction - target
        return residual * residual, -2.0 * residual, 2.0


def test_a_check_names_what_is_wrong():
    good = check(nl.BinaryCrossEntropy(), xgb.DMatrix(X, LABELS, weight=WEIGHT))
    assert not good.problems, str(good)
    text = str(good)
    assert "no problems" in text
    assert max(map(len, text.splitlines())) <= 90
    for loss, target, weight, hessian, title in (
        (nl.BinaryCrossEntropy(), 2.0 * LABELS - 1.0, None, "auto", "targets"),
        (nl.BinaryCrossEntropy(targets="signed"), LABELS, None, "auto", "targets"),
        (nl.Gamma(), 0.0 * POSITIVE, None, "auto", "targets"),
        (nl.AbsoluteError(), SIGNAL, None, "exact", "hessian"),
        (nl.AbsoluteError(), SIGNAL, None, "exact", "leaves"),
        (Reversed(), SIGNAL, None, "exact", "gradient"),
        (nl.BinaryCrossEntropy(), LABELS, 1e-3 * WEIGHT, "auto", "weights"),
        (nl.BinaryCrossEntropy(), LABELS, 1e-3 * WEIGHT, "auto", "leaves"),
    ):
        report = check(loss, xgb.DMatrix(X, target, weight=weight), hessian)
        assert title in [one.title for one in report.problems], str(report)
    report = check(nl.Huber(), xgb.DMatrix(X))
    assert [one.title for one in report.problems] == ["targets"]
