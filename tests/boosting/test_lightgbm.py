"""Losses in LightGBM: its own trees, its data, and what people fail at. Tried with 4.7."""

from __future__ import annotations

import pickle
from inspect import signature

import numpy as np
import pytest

import numbaloss as nl

lgb = pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")

from sklearn.datasets import load_diabetes, load_wine  # noqa: E402
from sklearn.model_selection import KFold, cross_val_score  # noqa: E402

from numbaloss import lightgbm as boosting  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 5))
SIGNAL = X[:, 0] + 0.5 * X[:, 1] ** 2
WEIGHT = RNG.random(400) + 0.5
LABELS = (SIGNAL + RNG.normal(size=400) > 0.5).astype(float)
POSITIVE = np.exp(0.5 * SIGNAL) * RNG.gamma(2.0, 0.5, 400)
COUNTS = RNG.poisson(POSITIVE).astype(float)
CLASSES = np.digitize(SIGNAL + 0.3 * RNG.normal(size=400), [0.0, 1.0]).astype(float)
OPTIONS = {
    "num_leaves": 7, "learning_rate": 0.2, "num_threads": 1, "verbose": -1, "seed": 0,
    "boost_from_average": False, "deterministic": True, "metric": "None",
}  # fmt: skip

TWINS = [
    (nl.BinaryCrossEntropy(), {"objective": "binary"}, LABELS),
    (nl.Poisson(), {"objective": "poisson"}, COUNTS),
    (nl.Gamma(), {"objective": "gamma"}, POSITIVE),
    (nl.Tweedie(1.5), {"objective": "tweedie", "tweedie_variance_power": 1.5}, COUNTS),
    (nl.CrossEntropy(), {"objective": "multiclass", "num_class": 3}, CLASSES),
]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: repr(twin[0])[:30])
def test_trees_are_those_of_the_builtin(twin):
    loss, builtin, target = twin
    start = np.full(400 * builtin.get("num_class", 1), 0.25)
    margins = []
    for given in (builtin, builtin | {"objective": boosting.objective(loss, hessian="library")}):
        data = lgb.Dataset(X, target, weight=WEIGHT, init_score=start)
        margins.append(lgb.train(OPTIONS | given, data, 50).predict(X, raw_score=True))
    np.testing.assert_array_equal(margins[1], margins[0])


def test_derivatives_of_classes_are_taken_without_a_copy():
    buffer = np.asfortranarray(RNG.normal(size=(400, 3)))
    data = lgb.Dataset(X, CLASSES, weight=WEIGHT).construct()
    before = buffer.copy()
    found = boosting.objective(nl.CrossEntropy())(buffer, data)
    expected = nl.CrossEntropy().value_grad_hess(
        buffer, CLASSES.astype(int), sample_weight=WEIGHT.astype(np.float32), reduction="none"
    )
    for one, other, factor in zip(found, expected[1:], (1.0, 2.0)):
        assert one.flags.f_contiguous
        assert not np.shares_memory(one, buffer)
        np.testing.assert_allclose(one, factor * other, rtol=1e-12)
    np.testing.assert_array_equal(buffer, before)
    with pytest.raises(ValueError, match="num_class"):
        boosting.objective(nl.CrossEntropy())(np.zeros(400), data)


def test_the_scikit_learn_objective_gets_the_weights():
    # LightGBM counts parameters: three of them.
    assert len(signature(boosting.sklearn_objective(nl.Huber())).parameters) == 3
    model = lgb.LGBMRegressor(
        objective=boosting.sklearn_objective(nl.Huber()), n_estimators=5, n_jobs=1, verbose=-1
    )
    plain = model.fit(X, SIGNAL).predict(X)
    weighted = model.fit(X, SIGNAL, sample_weight=WEIGHT).predict(X)
    assert abs(weighted - plain).max() > 1e-3
    native = lgb.train(
        {"objective": boosting.objective(nl.Huber()), "num_threads": 1, "verbose": -1},
        lgb.Dataset(X, SIGNAL, weight=WEIGHT), 5,
    )  # fmt: skip
    np.testing.assert_allclose(weighted, native.predict(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "builtin"),
    [
        (nl.AbsoluteError(), {"objective": "mae"}),
        (nl.Quantile(0.8), {"objective": "quantile", "alpha": 0.8}),
        (nl.Huber(20.0), {"objective": "huber", "alpha": 20.0}),
        (nl.AbsolutePercentageError(), {"objective": "mape"}),
    ],
    ids=repr,
)
def test_held_out_errors_are_not_worse_than_builtins(loss, builtin):
    data, target = load_diabetes(return_X_y=True)
    options = {"n_estimators": 100, "learning_rate": 0.1, "n_jobs": 1, "verbose": -1}
    ours, theirs = [], []
    for train, test in KFold(4, shuffle=True, random_state=0).split(data):
        for model, errors in (
            (boosting.Regressor(loss, **options), ours),
            (lgb.LGBMRegressor(**options, **builtin), theirs),
        ):
            found = model.fit(data[train], target[train]).predict(data[test])
            assert np.isfinite(found).all()
            errors.append(loss(found, target[test]))
    assert np.mean(ours) <= 1.03 * np.mean(theirs)


def test_focal_losses_learn_no_worse_by_the_expected_hessian():
    rare = (np.quantile(SIGNAL, 0.9) < SIGNAL) ^ (RNG.random(400) < 0.02)
    options = {"n_estimators": 40, "num_leaves": 7, "n_jobs": 1, "verbose": -1}
    errors = {}
    for hessian in ("auto", "exact"):
        errors[hessian] = []
        for train, test in KFold(3, shuffle=True, random_state=1).split(X):
            model = boosting.Classifier(nl.Focal(), hessian=hessian, **options)
            margin = model.fit(X[train], rare[train]).decision_function(X[test])
            assert np.isfinite(margin).all()
            errors[hessian].append(nl.Focal()(margin, rare[test]))
    assert np.mean(errors["auto"]) <= np.mean(errors["exact"])


def test_estimators_own_start_classes_and_metric():
    data, target = load_wine(return_X_y=True)
    names = np.array(["red", "rose", "white"])[target]
    model = boosting.Classifier(nl.CrossEntropy(), n_estimators=8, n_jobs=1)
    assert cross_val_score(model, data, names, cv=3).mean() > 0.85
    model.fit(data, names, eval_set=[(data, names)])
    found = model.predict_proba(data)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    (curve,) = model.model_.evals_result_["valid_0"].values()
    expected = nl.CrossEntropy()(model.margin(data), target)
    assert curve[-1] == pytest.approx(expected, rel=1e-6)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(data), found)
    gamma = boosting.Regressor(nl.Gamma(), n_estimators=10, n_jobs=1).fit(X, POSITIVE, WEIGHT)
    mean = gamma.predict(X)
    assert (mean > 0).all()
    assert np.average(mean, weights=WEIGHT) == pytest.approx(
        np.average(POSITIVE, weights=WEIGHT), rel=0.15
    )


def test_metric_and_check():
    data = lgb.Dataset(X, LABELS, weight=WEIGHT)
    history = {}
    lgb.train(
        OPTIONS | {"objective": "binary", "metric": "binary_logloss"}, data, 5, valid_sets=[data],
        feval=boosting.metric(nl.BinaryCrossEntropy(), predictions="mean"),
        callbacks=[lgb.record_evaluation(history)],
    )  # fmt: skip
    found = history["training"]
    np.testing.assert_allclose(found["binary_cross_entropy"], found["binary_logloss"], rtol=1e-6)
    assert not boosting.check(nl.BinaryCrossEntropy(), data).problems
    signed = lgb.Dataset(X, 2.0 * LABELS - 1.0)
    report = boosting.check(nl.BinaryCrossEntropy(), signed)
    assert [one.title for one in report.problems] == ["targets"]
