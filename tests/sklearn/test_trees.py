"""Losses in HistGradientBoosting: its own trees, its estimators' ways, versions that are unknown.

Tried with scikit-learn 1.6 to 1.9.
"""

import pickle

import numpy as np
import pytest

import numbaloss as nl

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from numbaloss.sklearn import hist_gradient_boosting_loss, trees

pytestmark = pytest.mark.skipif(
    trees._VERSION not in trees.KNOWN, reason="a version of scikit-learn that is not known"
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4))
SIGNAL = X[:, 0] + 0.5 * X[:, 1] ** 2
COUNTS = RNG.poisson(np.exp(0.5 * SIGNAL)).astype(float)
NAMES = np.array(["low", "middle", "high"])[np.digitize(SIGNAL, [0.0, 1.0])]
WEIGHT = RNG.random(300) + 0.5
OPTIONS = {"max_iter": 15, "max_leaf_nodes": 7, "random_state": 0}


@pytest.mark.parametrize(
    ("loss", "own", "target"),
    [
        (0.5 * nl.SquaredError(), "squared_error", SIGNAL),
        (nl.Poisson(), "poisson", COUNTS),
        (nl.Gamma(), "gamma", COUNTS + 0.5),
    ],
    ids=repr,
)
def test_a_regressor_grows_the_trees_of_the_same_loss_of_scikit_learn(loss, own, target):
    given = hist_gradient_boosting_loss(loss, "exact")
    found = [
        HistGradientBoostingRegressor(loss=one, **OPTIONS).fit(X, target, WEIGHT).predict(X)
        for one in (given, own)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_a_classifier_grows_them_too():
    for loss, labels, classes in (
        (nl.BinaryCrossEntropy(), NAMES == "low", None),
        (nl.BinaryCrossEntropy(targets="signed"), NAMES == "low", None),
        (nl.CrossEntropy(), NAMES, 3),
    ):
        given = hist_gradient_boosting_loss(loss, "exact", classes=classes)
        mine = HistGradientBoostingClassifier(loss=given, **OPTIONS).fit(X, labels, WEIGHT)
        own = HistGradientBoostingClassifier(**OPTIONS).fit(X, labels, WEIGHT)
        np.testing.assert_allclose(mine.predict_proba(X), own.predict_proba(X), rtol=1e-5)
        assert (mine.predict(X) == own.predict(X)).all()


def test_losses_that_scikit_learn_has_not():
    loss = hist_gradient_boosting_loss(nl.Huber(0.5))
    model = HistGradientBoostingRegressor(loss=loss, early_stopping=True, **OPTIONS)
    found = clone(model).fit(X, SIGNAL)
    assert abs(found.predict(X) - SIGNAL).mean() < 0.5 * abs(SIGNAL - np.median(SIGNAL)).mean()
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(X), found.predict(X))
    assert found.validation_score_[-1] > found.validation_score_[0]
    focal = HistGradientBoostingClassifier(
        loss=hist_gradient_boosting_loss(nl.Focal()), early_stopping=True, **OPTIONS
    ).fit(X, NAMES == "low")
    assert focal.score(X, NAMES == "low") > 0.9
    hinge = HistGradientBoostingClassifier(loss=hist_gradient_boosting_loss(nl.Hinge()), **OPTIONS)
    assert hinge.fit(X, NAMES == "low").decision_function(X).shape == (300,)
    with pytest.raises(ValueError, match="no probabilities"):
        hinge.predict_proba(X)


def test_what_cannot_work_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="classes=3"):
        hist_gradient_boosting_loss(nl.CrossEntropy())
    with pytest.raises(ValueError, match="for losses of rows"):
        hist_gradient_boosting_loss(nl.Huber(), classes=3)
    with pytest.raises(TypeError, match="from_logits=True"):
        hist_gradient_boosting_loss(nl.BinaryCrossEntropy(from_logits=False))
    monkeypatch.setattr(trees, "_VERSION", "9.9")
    with pytest.raises(RuntimeError, match=r"was tried with scikit-learn 1\.6"):
        hist_gradient_boosting_loss(nl.Huber())
