"""Options that all structures have: weights of any sign, batchmean, derivatives alone."""

import math

import numpy as np
import pytest

import numbaloss as nl

RNG = np.random.default_rng(0)
P, T, V = RNG.normal(size=(3, 4, 3))
LABELS = np.array([0, 2, 1, 1])
PAIRS = RNG.normal(size=(2, 4, 3))

# Loss, arguments, and the number of vectors that have a gradient, where there are several.
CALLS = {
    "elementwise": (nl.Huber(), (P, T), 0),
    "checked": (nl.BinaryCrossEntropy(), (P, (T > 0) * 1.0), 0),
    "rows": (nl.CrossEntropy(), (P, LABELS), 0),
    "dense rows": (nl.Brier(), (P, np.full((4, 3), 1 / 3)), 0),
    "pairs": (nl.CosineEmbedding(), (*PAIRS, np.array([1.0, 0, 1, 0])), 2),
    "triplets": (nl.Triplet(), (*PAIRS, P), 3),
    "keys": (nl.InfoNCE(), (*PAIRS,), 2),
    "labelled": (nl.NTXent(), (P, np.array([0, 1, 0, 1])), 0),
    "linear": (nl.LinearCrossEntropy(), (P, RNG.normal(size=(3, 5)), LABELS), 2),
}


def several(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


@pytest.mark.parametrize("structure", CALLS)
def test_weights_may_be_negative_where_nobody_checks(structure):
    loss, arguments, _ = CALLS[structure]
    values = loss(*arguments, reduction="none")
    weight = V[:, 0] if values.ndim == 1 else V
    options = {"sample_weight": weight, "check": False}
    found, gradient = loss.value_and_grad(*arguments, **options, reduction="none")
    np.testing.assert_allclose(found, values * weight, rtol=1e-13)
    # A cotangent: linear in it, whatever the signs.
    parts = [
        several(loss.grad(*arguments, sample_weight=part, reduction="sum"))
        for part in (np.maximum(weight, 0.0), np.maximum(-weight, 0.0))
    ]
    for one, plus, minus in zip(several(gradient), *parts, strict=True):
        np.testing.assert_allclose(one, plus - minus, rtol=1e-12, atol=1e-15)
    assert loss(*arguments, **options) == pytest.approx((values * weight).sum() / values.size)
    mean = (values * weight).sum() / weight.sum()
    assert loss(*arguments, **options, reduction="weighted_mean") == pytest.approx(mean)
    where = r"sample_weight\[\d(, \d)?\] is -"
    for reduction in ("mean", "weighted_mean"):
        with pytest.raises(ValueError, match=where):
            loss(*arguments, sample_weight=weight, reduction=reduction)
        with pytest.raises(ValueError, match=where):
            loss.value_and_grad(*arguments, sample_weight=weight, reduction=reduction)


@pytest.mark.parametrize("structure", CALLS)
def test_batchmean_divides_by_the_first_axis(structure):
    loss, arguments, _ = CALLS[structure]
    total, slopes = loss.value_and_grad(*arguments, reduction="sum")
    value, gradient = loss.value_and_grad(*arguments, reduction="batchmean")
    assert value == pytest.approx(total / 4, rel=1e-13)
    assert loss(*arguments, reduction="batchmean") == pytest.approx(value, rel=1e-13)
    for one, other in zip(several(gradient), several(slopes), strict=True):
        np.testing.assert_allclose(one, other / 4, rtol=1e-12)
    if not isinstance(loss, (nl.Elementwise, nl.Softmax)):
        return
    # Neither weights nor rows that do not count change the divisor.
    weight = np.array([0.0, 2.0, 0.0, 1.0])
    total = loss(*arguments, sample_weight=weight, reduction="sum")
    found = loss(*arguments, sample_weight=weight, reduction="batchmean")
    assert found == pytest.approx(total / 4, rel=1e-13)


def test_batchmean_of_other_shapes():
    loss = nl.Huber()
    assert loss(3.0, 1.0, reduction="batchmean") == 1.5
    assert loss([3.0, 3.0], [1.0, 1.0], reduction="batchmean") == 1.5
    assert loss(np.full((2, 5), 3.0), np.ones((2, 5)), reduction="batchmean") == 7.5
    assert loss(np.ones((3, 0)), np.ones((3, 0)), reduction="batchmean") == 0.0
    assert math.isnan(loss(np.ones((0, 3)), np.ones((0, 3)), reduction="batchmean"))
    tokens = nl.CrossEntropy(ignore_index=-1)
    logits, labels = np.zeros((2, 3, 4)), np.array([[0, 1, -1], [3, -1, -1]])
    assert tokens(logits, labels, reduction="batchmean") == pytest.approx(3 * math.log(4) / 2)
    row = nl.KLDivergence()(logits[0, 0], np.array([1.0, 0, 0, 0]), reduction="batchmean")
    assert row == pytest.approx(math.log(4))


@pytest.mark.parametrize("structure", CALLS)
def test_a_gradient_alone(structure):
    loss, arguments, parts = CALLS[structure]
    for options in ({}, {"reduction": "none"}, {"gradient_scale": 3.0, "reduction": "batchmean"}):
        expected = loss.value_and_grad(*arguments, **options)[1]
        found = loss.grad(*arguments, **options)
        for one, other in zip(several(found), several(expected), strict=True):
            np.testing.assert_array_equal(one, other)
    out = tuple(np.empty_like(one) for one in several(found))
    returned = loss.grad(*arguments, out=out if parts else out[0])
    assert all(one is other for one, other in zip(several(returned), out, strict=True))


@pytest.mark.parametrize("structure", ["elementwise", "checked", "rows", "dense rows"])
def test_a_hessian_alone(structure):
    loss, (p, t), _ = CALLS[structure]
    for options in ({}, {"reduction": "none"}, {"gradient_scale": 3.0, "reduction": "batchmean"}):
        expected = loss.value_grad_hess(p, t, **options)[2]
        np.testing.assert_array_equal(loss.hess(p, t, **options), expected)
    out = np.full((4, 6), 7.0)[:, ::2]
    assert loss.hess(p, t, out=out) is out
    np.testing.assert_array_equal(out, loss.value_grad_hess(p, t)[2])
    with pytest.raises(ValueError, match=r"out shares memory with prediction; it must not$"):
        loss.hess(p, t, out=p)
    with pytest.raises(ValueError, match="out must have the shape"):
        loss.hess(p, t, out=np.empty(3))
