"""Losses in CatBoost: its own trees, its data, and what people fail at. Tried with 1.2.10."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import numbaloss as nl

catboost = pytest.importorskip("catboost")
pytest.importorskip("sklearn")

from sklearn.datasets import load_wine  # noqa: E402

from numbaloss import catboost as boosting  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 5))
SIGNAL = X[:, 0] + 0.5 * X[:, 1] ** 2
WEIGHT = RNG.random(400) + 0.5
LABELS = (SIGNAL + RNG.normal(size=400) > 0.5).astype(float)
COUNTS = RNG.poisson(np.exp(0.5 * SIGNAL)).astype(float)
CLASSES = np.digitize(SIGNAL + 0.3 * RNG.normal(size=400), [0.0, 1.0])
OPTIONS = {
    "iterations": 20, "depth": 3, "learning_rate": 0.2, "thread_count": 1, "verbose": 0,
    "random_seed": 0, "allow_writing_files": False, "bootstrap_type": "No", "random_strength": 0,
    "leaf_estimation_method": "Newton", "leaf_estimation_iterations": 1,
    "leaf_estimation_backtracking": "No", "boost_from_average": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "builtin", "target"),
    [
        (nl.BinaryCrossEntropy(), "CrossEntropy", LABELS),
        (nl.Poisson(), "Poisson", COUNTS),
        (nl.Tweedie(1.5), "Tweedie:variance_power=1.5", COUNTS),
        (0.5 * nl.SquaredError(), "RMSE", SIGNAL),
        # Shares that float32 holds, as CatBoost reads them.
        (nl.Expectile(0.75), "Expectile:alpha=0.75", SIGNAL),
        (nl.LogCosh(), "LogCosh", SIGNAL),
    ],
    ids=repr,
)
def test_margins_are_those_of_the_builtin(loss, builtin, target):
    margins = []
    for function in (builtin, boosting.objective(loss, hessian="library")):
        metric = {} if function is builtin else {"eval_metric": boosting.metric(loss)}
        model = catboost.CatBoost(OPTIONS | {"loss_function": function} | metric)
        model.fit(catboost.Pool(X, target, weight=WEIGHT))
        margins.append(model.predict(X, prediction_type="RawFormulaVal"))
    np.testing.assert_allclose(margins[1], margins[0], rtol=1e-14, atol=1e-14)


def test_margins_of_classes_are_those_of_the_builtin():
    margins = []
    for function in ("MultiClass", boosting.objective(nl.CrossEntropy())):
        metric = {} if function == "MultiClass" else {
            "eval_metric": boosting.metric(nl.CrossEntropy()), "classes_count": 3
        }  # fmt: skip
        options = OPTIONS | {"iterations": 4, "loss_function": function} | metric
        del options["boost_from_average"]
        model = catboost.CatBoostClassifier(**options).fit(X, CLASSES, sample_weight=WEIGHT)
        margins.append(model.predict(X, prediction_type="RawFormulaVal"))
    np.testing.assert_allclose(margins[1], margins[0], rtol=1e-14, atol=1e-14)


def test_derivatives_have_catboosts_signs_and_weights():
    of = boosting.objective(nl.BinaryCrossEntropy())
    margin = RNG.normal(size=50)
    pairs = of.calc_ders_range(margin, LABELS[:50].astype(np.float32), WEIGHT[:50])
    # What CatBoost reads as memory.
    assert pairs.shape == (50, 2)
    assert pairs.dtype == np.float64
    assert pairs.flags.c_contiguous
    for mode in ("library", 1e-9):
        other = boosting.objective(nl.BinaryCrossEntropy(), mode)
        again = other.calc_ders_range(margin, LABELS[:50].astype(np.float32), WEIGHT[:50])
        np.testing.assert_array_equal(again, pairs)
    found = of.calc_ders_range(margin, LABELS[:50].astype(np.float32), WEIGHT[:50])
    p = 1.0 / (1.0 + np.exp(-margin))
    np.testing.assert_allclose(found[:, 0], WEIGHT[:50] * (LABELS[:50] - p), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found[:, 1], -WEIGHT[:50] * p * (1 - p), rtol=1e-12)
    plain = of.calc_ders_range(margin, LABELS[:50], None)
    np.testing.assert_allclose(found[:, 1], WEIGHT[:50] * plain[:, 1], rtol=1e-12)
    first, second = boosting.objective(nl.CrossEntropy()).calc_ders_multi([1.0, 0.0, 2.0], 1.0, 2.0)
    p = nl.CrossEntropy().inverse_link([1.0, 0.0, 2.0])
    np.testing.assert_allclose(first, 2.0 * (np.eye(3)[1] - p), rtol=1e-12)
    np.testing.assert_allclose(second, -2.0 * (np.diag(p) - np.outer(p, p)), rtol=1e-12)


def test_several_outputs():
    several = np.column_stack([SIGNAL, -2.0 * SIGNAL])
    model = catboost.CatBoostRegressor(
        loss_function=boosting.objective(0.5 * nl.SquaredError(), outputs=2),
        eval_metric="MultiRMSE", iterations=15, learning_rate=0.3, verbose=0, thread_count=1,
        allow_writing_files=False,
    )  # fmt: skip
    found = model.fit(X, several).predict(X)
    assert abs(found - several).mean() < 0.6 * abs(several).mean()


def test_estimators_own_start_weights_and_classes():
    options = {"iterations": 60, "depth": 3, "thread_count": 1, "learning_rate": 0.2}
    target = 100.0 * SIGNAL + 500.0
    model = boosting.Regressor(nl.AbsoluteError(), **options).fit(X, target, WEIGHT)
    found = model.predict(X)
    start = nl.AbsoluteError()(np.full(400, model.start_), target)
    assert nl.AbsoluteError()(found, target) < 0.35 * start
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), found)
    data, kind = load_wine(return_X_y=True)
    names = np.array(["red", "rose", "white"])[kind]
    options["iterations"] = 8
    model = boosting.Classifier(nl.CrossEntropy(), **options)
    model.fit(data, names, eval_set=[(data, names)])
    np.testing.assert_allclose(model.predict_proba(data).sum(axis=1), 1.0, rtol=1e-12)
    assert (model.predict(data) == names).mean() > 0.95
    with pytest.raises(ValueError, match="on CPUs alone"):
        boosting.Regressor(nl.Huber(), task_type="GPU").fit(X, target)


def test_check_reads_pools():
    report = boosting.check(nl.BinaryCrossEntropy(), catboost.Pool(X, LABELS, weight=WEIGHT))
    assert not report.problems, str(report)
    assert boosting.check(nl.BinaryCrossEntropy(), catboost.Pool(X, 2 * LABELS - 1)).problems


def test_pairs_of_derivatives_are_those_of_public_methods():
    rng = np.random.default_rng(3)
    for loss in (nl.BinaryCrossEntropy(), nl.BinaryCrossEntropy(targets="signed"), nl.Poisson(),
                 nl.SquaredError(), nl.BinaryCrossEntropy() + 0.1 * nl.SquaredError()):  # fmt: skip
        of = boosting.objective(loss, hessian="exact", scale=1.5)
        signed = "signed" in repr(loss)
        for n in (0, 1, 7, 500, 1000, 20_000):
            for kind in (np.float32, np.float64, np.int64):
                prediction = rng.normal(size=n)
                target = rng.integers(0, 2, n).astype(kind)
                target = 2 * target - 1 if signed else target
                for weight in (None, rng.random(n), rng.random(n).astype(np.float32)):
                    found = of.calc_ders_range(prediction, target, weight)
                    _, gradient, hessian = loss.value_grad_hess(
                        prediction, target, sample_weight=weight, reduction="sum",
                        gradient_scale=-1.5,
                    )  # fmt: skip
                    assert found.flags.c_contiguous
                    np.testing.assert_array_equal(found, np.stack([gradient, hessian], axis=1))
    # What kernels do not take as it is goes through the public methods, and their errors come.
    of = boosting.objective(nl.BinaryCrossEntropy())
    strided = np.zeros(20)[::2]
    assert of.calc_ders_range(strided, list(np.ones(10)), None).shape == (10, 2)
    with pytest.raises(ValueError, match=r"target\[1\]"):
        of.calc_ders_range(np.zeros(3), np.array([0.0, 7.0, 1.0]), None)
    with pytest.raises(ValueError, match=r"sample_weight\[2\]"):
        of.calc_ders_range(np.zeros(3), np.ones(3), np.array([1.0, 1.0, -1.0]))
    with pytest.raises(ValueError, match="shape"):
        of.calc_ders_range(np.zeros(3), np.ones(4), None)
