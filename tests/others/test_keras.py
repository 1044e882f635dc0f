"""Losses in Keras 3, on each backend that is installed. Tried with 3.15."""

import importlib.util
import os
import subprocess
import sys

import pytest

pytest.importorskip("keras")

PROGRAM = """
import numpy as np, keras
import numbaloss as nl
from numbaloss.keras import Loss

rng = np.random.default_rng(0)
p, t = rng.normal(size=(2, 12, 3)).astype("f4")
weight = rng.random(12).astype("f4")
labels = rng.integers(0, 3, 12)
for mine, own, target in (
    (nl.SquaredError(), keras.losses.MeanSquaredError, t),
    (nl.CrossEntropy(), keras.losses.SparseCategoricalCrossentropy, labels),
    (nl.CrossEntropy(), keras.losses.SparseCategoricalCrossentropy, labels[:, None]),
    (nl.CrossEntropy(), keras.losses.CategoricalCrossentropy, np.eye(3, dtype="f4")[labels]),
    (nl.BinaryCrossEntropy(), keras.losses.BinaryCrossentropy, (t > 0).astype("f4")),
):
    options = {} if isinstance(mine, nl.SquaredError) else {"from_logits": True}
    for reduction in ("sum_over_batch_size", "sum", "none", "mean_with_sample_weight"):
        for weights in (None, weight):
            found = Loss(mine, reduction=reduction)(target, p, weights)
            wanted = own(reduction=reduction, **options)(target, p, weights)
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(wanted), rtol=2e-5
            )
# A column of numbers beside a row of them is no matrix.
column = Loss(nl.SquaredError())(t[:, 0], p[:, :1])
np.testing.assert_allclose(float(column), nl.SquaredError()(p[:, 0].copy(), t[:, 0]), rtol=1e-5)

X = rng.normal(size=(256, 2)).astype("f4")
y = X @ np.array([2.0, -1.0], "f4") + 0.5
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.3), loss=Loss(nl.Huber(delta=2.0)))
model.fit(X, y, epochs=12, verbose=0)
np.testing.assert_allclose(np.ravel(model.layers[-1].get_weights()[0]), [2.0, -1.0], atol=0.02)
again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model.loss))
assert again.loss == nl.Huber(delta=2.0)
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_values_gradients_and_saved_losses(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, env=os.environ | {"KERAS_BACKEND": backend}
    )
