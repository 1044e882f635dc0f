"""What losses of a last layer refuse, and that they are losses like others."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.layers import LOSS, labels, layer


def test_square_weights_need_to_be_told_apart():
    hidden, weight, _ = layer(5, 6, 6)
    target = labels(5, 6)
    with pytest.raises(ValueError, match="transposed=False"):
        LOSS(hidden, weight, target)
    straight = LOSS(hidden, weight, target, transposed=False)
    assert straight == pytest.approx(nl.CrossEntropy()(hidden @ weight, target), rel=1e-12)
    turned = LOSS(hidden, weight, target, transposed=True)
    assert turned == pytest.approx(nl.CrossEntropy()(hidden @ weight.T, target), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hidden": np.ones((5, 4), int)}, TypeError, "hidden has dtype int64"),
        ({"hidden": np.ones((5, 3))}, ValueError, r"\(3, C\) or \(C, 3\)"),
        ({"hidden": np.ones((5, 4), np.float32)}, TypeError, "weight has dtype float64"),
        ({"hidden": np.float64(1.0)}, ValueError, "at least one dimension"),
        ({"weight": np.ones(4)}, ValueError, "two dimensions"),
        ({"weight": np.ones((6, 4)), "transposed": False}, ValueError, r"\(4, C\)"),
        ({"bias": np.ones(5)}, ValueError, r"bias must have the shape \(6,\)"),
        ({"bias": np.ones(6, np.float32)}, TypeError, "bias has dtype float32"),
        ({"target": np.zeros(4, int)}, ValueError, r"target must have the shape"),
        ({"target": np.full(5, 0.5)}, ValueError, r"target\[0\] is 0.5; labels are whole"),
        ({"target": np.full(5, 6)}, ValueError, r"target\[0\] is 6"),
        ({"target": np.full((5, 6), 2.0)}, ValueError, "2"),
        ({"sample_weight": -np.ones(5)}, ValueError, r"sample_weight\[0\] is -1"),
        ({"sample_weight": np.ones(4)}, ValueError, "sample_weight must have the shape"),
        ({"mask": np.ones(5)}, TypeError, "mask must be an array of bool"),
        ({"reduction": "median"}, ValueError, "reduction"),
        ({"workspace": 0}, ValueError, "workspace"),
        ({"out": np.ones((5, 4))}, TypeError, "tuple of arrays"),
        ({"out": (None, np.ones((6, 4)))}, ValueError, r"out\[1\] must have the shape"),
        ({"out": (np.ones((5, 4), "f4"), None)}, TypeError, r"out\[0\] must have hidden's dtype"),
        ({"out": (None, np.broadcast_to(1.0, (4, 6)))}, ValueError, "read-only"),
        ({"out": ([[1.0] * 4] * 5, None)}, TypeError, "written to"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    arguments = {
        "hidden": np.ones((5, 4)),
        "weight": np.ones((4, 6)),
        "target": np.zeros(5, int),
    }
    untouched = (np.full((5, 4), 3.0), np.full((4, 6), 3.0))
    if "bias" not in change:
        arguments["out"] = untouched
    with pytest.raises(error, match=message):
        LOSS.value_and_grad(**(arguments | change))
    assert all((one == 3.0).all() for one in untouched)


def test_results_may_not_share_memory():
    hidden, weight, _ = layer(13)
    target = labels(13)
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with hidden"):
        LOSS.value_and_grad(hidden, weight, target, out=(hidden, None))
    space = np.zeros(13 * 37)
    with pytest.raises(ValueError, match=r"out\[0\] and out\[1\] share memory"):
        LOSS.value_and_grad(
            hidden, weight, target, out=(space[:169].reshape(13, 13), space.reshape(13, 37))
        )


def test_class_weights_must_fit():
    hidden, weight, _ = layer(5)
    with pytest.raises(ValueError, match="class_weight has 3 numbers"):
        nl.LinearCrossEntropy(class_weight=[1.0, 2.0, 3.0])(hidden, weight, labels(5))


def test_there_is_no_hessian():
    assert not hasattr(LOSS, "value_grad_hess")


def test_the_loss_is_a_loss_like_others():
    loss = nl.get("fused_linear_cross_entropy", z_loss=0.1)
    assert loss == nl.LinearCrossEntropy(z_loss=0.1)
    assert loss.of_logits() == nl.CrossEntropy(z_loss=0.1)
    with pytest.raises(TypeError, match="sums"):
        loss + loss
