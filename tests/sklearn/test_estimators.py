"""Linear models of scikit-learn's kind, beside scikit-learn's own."""

import numpy as np
import pytest

import numbaloss as nl

sklearn = pytest.importorskip("sklearn")

from scipy import sparse  # noqa: E402
from sklearn import linear_model  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from numbaloss.sklearn import LinearClassifier, LinearRegressor, scorer  # noqa: E402

X, Y = load_diabetes(return_X_y=True)
FLOWERS, SPECIES = load_iris(return_X_y=True)
WEIGHT = np.random.default_rng(0).uniform(0.1, 2.0, len(Y))
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.mark.every(3)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [LinearRegressor(), LinearClassifier(l2=1e-3), LinearClassifier("bce", l2=1e-3)],
    ids=["regressor", "classifier", "binary"],
)
def test_estimators_are_what_scikit_learn_takes_for_estimators(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(one["check_name"], one["exception"]) for one in results if one["status"] == "failed"]
    assert not failed
    assert sum(one["status"] == "passed" for one in results) > 50


def test_regressors_are_those_of_scikit_learn():
    n = len(Y)
    pairs = [
        (LinearRegressor(nl.SquaredError(), l2=2 * 0.01 / n), linear_model.Ridge(0.01), None),
        (
            LinearRegressor(nl.SquaredError(), l1=0.2),
            linear_model.Lasso(0.1, tol=1e-12, max_iter=100_000),
            WEIGHT,
        ),
        (
            LinearRegressor(nl.SquaredError(), l1=0.1, l2=0.1),
            linear_model.ElasticNet(0.1, tol=1e-12, max_iter=100_000),
            None,
        ),
        (
            LinearRegressor(nl.Poisson(), l2=1e-4),
            linear_model.PoissonRegressor(alpha=1e-4, tol=1e-12, solver="newton-cholesky"),
            WEIGHT,
        ),
    ]
    for ours, its, weight in pairs:
        ours.fit(X, Y, sample_weight=weight)
        its.fit(X, Y, sample_weight=weight)
        np.testing.assert_allclose(ours.coef_, its.coef_, **CLOSE)
        assert ours.intercept_ == pytest.approx(its.intercept_, rel=1e-6)
        np.testing.assert_allclose(ours.predict(X), its.predict(X), rtol=1e-6)
        assert (ours.coef_ == 0.0).tolist() == (its.coef_ == 0.0).tolist()


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_classifiers_are_those_of_scikit_learn(form):
    names = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
    features = sparse.csr_array(FLOWERS) if form == "sparse" else FLOWERS
    its = linear_model.LogisticRegression(C=2.0, tol=1e-12, max_iter=10_000, solver="newton-cg")
    its.fit(FLOWERS, names)
    ours = LinearClassifier(l2=1 / (2.0 * len(names))).fit(features, names)
    np.testing.assert_allclose(ours.coef_, its.coef_, **CLOSE)
    np.testing.assert_allclose(ours.predict_proba(features), its.predict_proba(FLOWERS), **CLOSE)
    assert (ours.predict(features) == its.predict(FLOWERS)).all()
    assert ours.score(features, names) == its.score(FLOWERS, names)

    two = SPECIES > 0
    its = linear_model.LogisticRegression(tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    its.fit(FLOWERS, two, sample_weight=WEIGHT[: len(two)])
    weight = WEIGHT[: len(two)]
    ours = LinearClassifier("bce", l2=1 / weight.sum()).fit(features, two, sample_weight=weight)
    np.testing.assert_allclose(ours.coef_, its.coef_[0], **CLOSE)
    assert ours.intercept_ == pytest.approx(its.intercept_[0], rel=1e-6)
    np.testing.assert_allclose(ours.decision_function(features), its.decision_function(FLOWERS),
                               **CLOSE)  # fmt: skip


def test_parameters_of_losses_are_parameters_of_models():
    model = LinearRegressor(nl.Huber(), l2=0.1)
    assert model.get_params()["loss__delta"] == 1.0
    assert "loss__delta" not in model.get_params(deep=False)
    other = clone(model).set_params(loss__delta=2.5, l2=0.2)
    assert other.loss == nl.Huber(2.5)
    assert model.loss == nl.Huber()
    with pytest.raises(TypeError, match="has no parameter 'gamma'"):
        model.set_params(loss__gamma=1.0)
    grid = {"linearregressor__loss__delta": [1.0, 30.0], "linearregressor__l2": [0.0, 10.0]}
    pipeline = make_pipeline(StandardScaler(), LinearRegressor("huber"))
    search = GridSearchCV(pipeline, grid, scoring=scorer(nl.AbsoluteError()), cv=3)
    search.fit(X, Y)
    assert search.best_params_["linearregressor__l2"] == 0.0
    assert search.best_estimator_[-1].loss == nl.Huber(search.best_params_[next(iter(grid))])
    with_loss = GridSearchCV(model, {"loss": [nl.Huber(30.0), nl.SquaredError()]}, cv=2).fit(X, Y)
    assert with_loss.best_estimator_.loss == with_loss.best_params_["loss"]


def test_losses_of_two_classes_take_several_one_by_one():
    model = LinearClassifier(nl.Focal(), l2=1e-2).fit(FLOWERS, SPECIES)
    assert model.coef_.shape == (3, 4)
    np.testing.assert_allclose(model.predict_proba(FLOWERS).sum(axis=1), 1.0)
    alone = LinearClassifier(nl.Focal(), l2=1e-2).fit(FLOWERS, SPECIES == 1)
    np.testing.assert_allclose(model.coef_[1], alone.coef_, **CLOSE)
    assert model.score(FLOWERS, SPECIES) > 0.9
    for loss in (nl.SquaredHinge(), nl.SquaredHinge(targets="signed")):
        hinges = LinearClassifier(loss, l2=1e-3).fit(FLOWERS, SPECIES == 0)
        assert hinges.score(FLOWERS, SPECIES == 0) == 1.0
        assert hinges.decision_function(FLOWERS).shape == (150,)


def test_weights_of_one_change_nothing():
    loss = nl.CrossEntropy(class_weight=[1.0, 2.0, 5.0])
    plain = LinearClassifier(loss, l2=1e-2).fit(FLOWERS, SPECIES)
    weighed = LinearClassifier(loss, l2=1e-2).fit(FLOWERS, SPECIES, sample_weight=np.ones(150))
    np.testing.assert_allclose(plain.coef_, weighed.coef_, **CLOSE)


def test_outliers_do_not_move_a_robust_model():
    spoilt = Y.copy()
    spoilt[::10] += 10_000.0
    robust = LinearRegressor(nl.PseudoHuber(10.0)).fit(X, spoilt).predict(X)
    plain = LinearRegressor().fit(X, spoilt).predict(X)
    assert np.abs(robust - Y).mean() < 50.0 < 500.0 < np.abs(plain - Y).mean()


def test_what_does_not_converge_says_so():
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        LinearRegressor(nl.AbsoluteError(), max_iter=2).fit(X, Y)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: LinearRegressor(nl.CrossEntropy()).fit(X, Y), TypeError, "an elementwise loss"),
        (lambda: LinearRegressor("hubert").fit(X, Y), ValueError, "did you mean huber"),
        (lambda: LinearRegressor(3.0).fit(X, Y), TypeError, "or the name of one"),
        (lambda: LinearRegressor(l1=-1.0).fit(X, Y), ValueError, r"l1 must be in \[0, inf\)"),
        (lambda: LinearRegressor(nl.Poisson()).fit(X, -Y), ValueError, "target"),
        (
            lambda: LinearClassifier(nl.CrossEntropy(from_logits=False)).fit(FLOWERS, SPECIES),
            TypeError,
            "a loss of logits",
        ),
        (lambda: LinearClassifier("huber").fit(FLOWERS, SPECIES), TypeError, "a loss of classes"),
        (lambda: LinearClassifier().fit(FLOWERS, SPECIES > 5), ValueError, "one class"),
        (lambda: LinearClassifier().fit(X, Y + 0.5), ValueError, "Unknown label type"),
    ],
)
def test_errors_are_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_scores_of_folds():
    model = make_pipeline(StandardScaler(), LinearRegressor(nl.Huber(30.0)))
    scores = cross_val_score(model, X, Y, scoring=scorer(nl.Huber(30.0)), cv=3)
    assert ((scores > -3000.0) & (scores < -500.0)).all()
