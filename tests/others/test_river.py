"""Losses in River: its own losses, numbers and arrays. Tried with 0.26."""

import numpy as np
import pytest

import numbaloss as nl

river = pytest.importorskip("river")

from river import linear_model, optim  # noqa: E402

from numbaloss.river import Loss  # noqa: E402


def test_values_and_gradients_are_those_of_river():
    for mine, own, targets in (
        (nl.Quantile(0.8), optim.losses.Quantile(0.8), [1.0, -2.0, 0.5]),
        (nl.Cauchy(), optim.losses.Cauchy(1.0), [1.0, -2.0, 0.5]),
        (nl.BinaryCrossEntropy(), optim.losses.Log(), [True, False, True]),
        (nl.Hinge(targets="signed"), optim.losses.Hinge(), [True, False, True]),
    ):
        loss, ratio = Loss(mine), []
        for target, margin in zip(targets, [0.3, 1.4, -0.7]):
            value, slope = loss(target, margin), loss.gradient(target, margin)
            assert type(value) is type(slope) is float
            step = (loss(target, margin + 1e-6) - loss(target, margin - 1e-6)) / 2e-6
            assert slope == pytest.approx(step, abs=1e-6)
            ratio.append(slope / own.gradient(target, margin))
            assert loss.mean_func(margin) == pytest.approx(own.mean_func(margin))
        np.testing.assert_allclose(
            ratio, ratio[0], rtol=0.1 if isinstance(mine, nl.Cauchy) else 1e-9
        )
        assert ratio[0] > 0.0
        many = loss.gradient(np.array(targets), np.array([0.3, 1.4, -0.7]))
        one_by_one = [loss.gradient(t, m) for t, m in zip(targets, [0.3, 1.4, -0.7])]
        np.testing.assert_allclose(many, one_by_one, rtol=1e-12)


def test_models_learn():
    rng = np.random.default_rng(0)
    model = linear_model.LinearRegression(optim.SGD(0.05), loss=Loss(nl.Huber()), l2=0.0)
    labels = linear_model.LogisticRegression(optim.SGD(0.5), loss=Loss(nl.Focal(gamma=1.0)))
    model, labels = model.clone(), labels.clone()
    for _ in range(800):
        x = {"a": rng.normal(), "b": rng.normal()}
        model.learn_one(x, 2.0 * x["a"] - x["b"] + 1.0)
        labels.learn_one(x, x["a"] > 0.0)
    assert model.predict_one({"a": 1.0, "b": 1.0}) == pytest.approx(2.0, abs=0.1)
    assert labels.predict_proba_one({"a": 2.0, "b": 0.0})[True] > 0.8


def test_losses_of_rows_are_refused():
    with pytest.raises(TypeError, match="numbers and of two classes"):
        Loss(nl.CrossEntropy())
