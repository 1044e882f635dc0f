"""Losses in skorch: the module of PyTorch is a criterion. Tried with 1.4."""

import numpy as np
import pytest

import numbaloss as nl

torch = pytest.importorskip("torch")
skorch = pytest.importorskip("skorch")

from numbaloss.torch import Loss  # noqa: E402


def test_a_classifier_learns_and_its_losses_parameters_are_searched():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4)).astype(np.float32)
    y = np.digitize(X[:, 0], [-0.5, 0.5]).astype(np.int64)
    net = skorch.NeuralNetClassifier(
        torch.nn.Linear, module__in_features=4, module__out_features=3, criterion=Loss,
        criterion__loss=nl.CategoricalFocal(), optimizer=torch.optim.Adam, lr=0.1, max_epochs=30,
        predict_nonlinearity=lambda logits: torch.softmax(logits, -1), train_split=None, verbose=0,
    )  # fmt: skip
    net.fit(X, y)
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=1), 1.0, rtol=1e-5)
    assert net.score(X, y) > 0.85
    net.set_params(criterion__loss=nl.CrossEntropy(label_smoothing=0.1)).fit(X, y)
    assert net.score(X, y) > 0.85
