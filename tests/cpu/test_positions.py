"""An element's results do not depend on where it stands, nor on how many there are."""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH, identify, inputs


@pytest.mark.every(6)
@pytest.mark.parametrize("loss", EACH, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_answer_everywhere(loss, dtype):
    prediction, target = (one.astype(dtype) for one in inputs(loss, 333, 3, 3.0))
    whole = loss.value_grad_hess(prediction, target, reduction="none")
    parts = [slice(i, i + 1) for i in range(0, 333, 11)] + [slice(i, i + 37) for i in (5, 64, 296)]
    for part in parts:
        apart = loss.value_grad_hess(prediction[part], target[part], reduction="none")
        for one, other in zip(apart, whole, strict=True):
            np.testing.assert_array_equal(one, other[part])


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_a_gradient_near_the_largest_number_is_the_same_everywhere(scale):
    for size in (1, 63, 64, 100):
        p = np.full(size, 3e38, np.float32)
        options = {"reduction": "none", "gradient_scale": scale}
        _, gradient = nl.SquaredError().value_and_grad(p, np.zeros_like(p), **options)
        assert len(set(gradient.tolist())) == 1
