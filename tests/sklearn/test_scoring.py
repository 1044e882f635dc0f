"""Losses as scorers, beside scikit-learn's metrics."""

import pickle

import numpy as np
import pytest

import numbaloss as nl

sklearn = pytest.importorskip("sklearn")

from sklearn import linear_model, metrics  # noqa: E402
from sklearn.datasets import load_diabetes, load_iris  # noqa: E402
from sklearn.model_selection import cross_validate  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

from numbaloss.sklearn import scorer  # noqa: E402

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["one", "three", "two"])[Y]
WEIGHT = np.random.default_rng(0).uniform(0.1, 2.0, len(Y))
THREE = linear_model.LogisticRegression(max_iter=1000).fit(X, NAMES)
TWO = linear_model.LogisticRegression(max_iter=1000).fit(X[:, :1], NAMES == "one")


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("method", [None, "predict_proba", "decision_function"])
def test_classifiers_have_the_score_of_log_loss(method, weight):
    cases = [
        (nl.CrossEntropy(), THREE, X, NAMES),
        (nl.CrossEntropy(from_logits=False), THREE, X, NAMES),
        (nl.CrossEntropy(), TWO, X[:, :1], NAMES == "one"),
        (nl.BinaryCrossEntropy(), TWO, X[:, :1], NAMES == "one"),
        (nl.BinaryCrossEntropy(from_logits=False), TWO, X[:, :1], NAMES == "one"),
    ]
    for loss, model, features, y in cases:
        expected = -metrics.log_loss(y, model.predict_proba(features), sample_weight=weight)
        found = scorer(loss, method)(model, features, y, sample_weight=weight)
        assert found == pytest.approx(expected, rel=1e-9)


def test_folds_with_labels_missing_and_with_certain_probabilities():
    only = NAMES == "two"
    assert scorer(nl.CrossEntropy())(THREE, X[only], NAMES[only]) < 0.0

    class Certain:
        classes_ = np.array(["no", "yes"])

        def predict_proba(self, X):
            return np.array([[0.0, 1.0], [1.0, 0.0]])

    for loss in (nl.BinaryCrossEntropy(), nl.CrossEntropy()):
        right = scorer(loss)(Certain(), None, np.array(["yes", "no"]))
        wrong = scorer(loss)(Certain(), None, np.array(["no", "yes"]))
        assert -1e-12 < right <= 0.0
        assert wrong == pytest.approx(np.log(np.finfo(float).eps), rel=1e-6)


def test_hinges_take_decisions():
    model = LinearSVC().fit(X, NAMES == "one")
    expected = -metrics.hinge_loss(NAMES == "one", model.decision_function(X))
    for loss in (nl.Hinge(), nl.Hinge(targets="signed")):
        assert scorer(loss)(model, X, NAMES == "one") == pytest.approx(expected, abs=1e-12)
    assert scorer(nl.Hinge())(TWO, X[:, :1], NAMES == "one") < 0.0


def test_regressors_are_scored_by_means():
    features, y = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.1, 2.0, len(y))
    model = linear_model.PoissonRegressor(alpha=1e-3).fit(features, y)
    mean = model.predict(features)
    found = scorer(nl.SquaredError())(model, features, y, sample_weight=weight)
    assert found == pytest.approx(-metrics.mean_squared_error(y, mean, sample_weight=weight))
    # The loss takes logarithms of means, and leaves out what depends on y alone.
    constant = nl.Poisson()(np.log(y), y)
    deviance = metrics.mean_poisson_deviance(y, mean)
    found = scorer(nl.Poisson())(model, features, y)
    assert -2.0 * (found + constant) == pytest.approx(deviance)


def test_weights_are_routed():
    with sklearn.config_context(enable_metadata_routing=True):
        weighed = scorer(nl.CrossEntropy()).set_score_request(sample_weight=True)
        model = linear_model.LogisticRegression(max_iter=1000).set_fit_request(sample_weight=False)
        options = {"cv": 3, "return_estimator": True, "return_indices": True}
        found = cross_validate(
            model, X, NAMES, scoring={"ce": weighed}, params={"sample_weight": WEIGHT}, **options
        )
    for fitted, test, score in zip(found["estimator"], found["indices"]["test"], found["test_ce"]):
        expected = scorer(nl.CrossEntropy())(fitted, X[test], NAMES[test], WEIGHT[test])
        assert score == pytest.approx(expected)


def test_scorers_travel_and_show_themselves():
    one = pickle.loads(pickle.dumps(scorer(nl.CrossEntropy())))
    assert one(THREE, X, NAMES) == scorer(nl.CrossEntropy())(THREE, X, NAMES)
    assert repr(scorer(nl.Huber(2.0))) == "scorer(Huber(delta=2.0), response_method=None)"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: scorer(nl.InfoNCE()), TypeError, "a loss of numbers or of rows"),
        (lambda: scorer(nl.Huber(), "transform"), ValueError, "response_method must be"),
        (
            lambda: scorer(nl.CrossEntropy())(linear_model.Ridge().fit(X, Y), X, Y),
            ValueError,
            "scores classifiers",
        ),
        (lambda: scorer(nl.BinaryCrossEntropy())(THREE, X, NAMES), ValueError, "takes two classes"),
        (
            lambda: scorer(nl.CrossEntropy())(THREE, X, np.full(150, "four")),
            ValueError,
            r"not fitted with: \['four'\]",
        ),
    ],
)
def test_errors_are_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()
