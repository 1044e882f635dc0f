"""Elements, pairs and triplets that a mask leaves out, and those of weight 0."""

import math

import numpy as np
import pytest

import numbaloss as nl

RNG = np.random.default_rng(0)
SHAPE = (6, 5)
REDUCTIONS = ["mean", "weighted_mean", "batchmean", "sum", "none"]


class Picky(nl.Elementwise):
    """Raises for targets of 7."""

    def value(self, prediction, target):
        if target == 7.0:
            raise ValueError("seven")
        return (prediction - target) ** 2


def masked_inputs(dtype):
    p, t = RNG.normal(size=SHAPE).astype(dtype), (RNG.random(SHAPE) < 0.5).astype(dtype)
    mask = RNG.random(SHAPE) < 0.6
    weight = RNG.random(SHAPE)
    left_out = np.flatnonzero(~mask)
    p.flat[left_out[0]], p.flat[left_out[1]], t.flat[left_out[2]] = np.nan, np.inf, np.nan
    t.flat[left_out[3]], weight.flat[left_out[4]], weight.flat[left_out[5]] = 17.0, np.nan, -1.0
    return p, t, mask, weight


def assert_masked(loss, arguments, mask, weight, reduction, rtol):
    """Results against those of the part that counts, by which everything is defined."""
    kept = [one[mask] for one in arguments]
    single = isinstance(loss, nl.Elementwise)
    own = np.ones(mask.shape) if weight is None else weight
    values = loss(*kept, reduction="none")
    values = values * own[mask]
    count = mask.sum()
    divisor = {"mean": count, "weighted_mean": own[mask].sum(), "batchmean": mask.shape[0]}
    divisor = divisor.get(reduction, 1.0)
    found, gradients = loss.value_and_grad(
        *arguments, sample_weight=weight, mask=mask, reduction=reduction
    )
    slopes = loss.grad(*kept, reduction="sum", sample_weight=own[mask])
    if reduction == "none":
        np.testing.assert_allclose(found[mask], values, rtol=rtol)
        np.testing.assert_array_equal(found[~mask], 0.0)
    else:
        assert found == pytest.approx(values.sum() / divisor, rel=rtol)
    alone = loss(*arguments, sample_weight=weight, mask=mask, reduction=reduction)
    np.testing.assert_array_equal(alone, found)
    if single:
        gradients, slopes = (gradients,), (slopes,)
    for one, other in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(one[mask], other / divisor, rtol=10 * rtol)
        np.testing.assert_array_equal(one[~mask], 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_elements_that_a_mask_leaves_out_may_hold_anything(dtype, weighted):
    p, t, mask, weight = masked_inputs(dtype)
    loss, rtol = nl.BinaryCrossEntropy(), 1e-6 if dtype is np.float32 else 1e-13
    weight = weight if weighted else None
    for reduction in REDUCTIONS:
        assert_masked(loss, (p, t), mask, weight, reduction, rtol)
    hessian = loss.hess(p, t, mask=mask, sample_weight=weight, reduction="sum")
    np.testing.assert_array_equal(hessian[~mask], 0.0)
    assert (hessian[mask] > 0).all()
    # In other layouts, and in the place of the prediction.
    expected = loss.grad(p, t, mask=mask, sample_weight=weight)
    turned = [np.asfortranarray(one) for one in (p, t, mask)]
    found = loss.grad(*turned[:2], mask=turned[2], sample_weight=weight)
    np.testing.assert_array_equal(found, expected)
    assert loss.grad(p, t, mask=mask, sample_weight=weight, out=p) is p
    np.testing.assert_array_equal(p, expected)


def test_errors_look_at_what_counts_alone():
    p, t, mask, weight = masked_inputs(np.float64)
    loss = nl.BinaryCrossEntropy()
    first = tuple(int(i) for i in np.argwhere(mask)[-1])
    t[first] = -3.0
    for options in ({}, {"sample_weight": weight}):
        for call in (loss, loss.value_and_grad):
            with pytest.raises(ValueError, match=rf"target\[{first[0]}, {first[1]}\] is -3"):
                call(p, t, mask=mask, **options)
    t[first] = 0.0
    weight[first] = -1.0
    with pytest.raises(ValueError, match=rf"sample_weight\[{first[0]}, {first[1]}\] is -1"):
        loss(p, t, mask=mask, sample_weight=weight)


def test_weight_zero_removes_what_is_outside_the_domain_too():
    loss = nl.BinaryCrossEntropy()
    value, gradient = loss.value_and_grad(
        [0.0, math.nan, 3.0], [1.0, 0.0, -5.0], sample_weight=[1, 0, 0], reduction="sum"
    )
    assert value == pytest.approx(math.log(2))
    np.testing.assert_array_equal(gradient, [-0.5, 0.0, 0.0])
    hinge = nl.Hinge()([0.0, 3.0], [1.0, 0.5], sample_weight=[1, 0], reduction="sum")
    assert hinge == 1.0


def test_formulas_do_not_raise_for_what_does_not_count():
    p, t = np.zeros((2, 3)), np.array([[1.0, 7.0, 2.0], [3.0, 7.0, 7.0]])
    mask = t != 7.0
    assert Picky()(p, t, mask=mask) == (1.0 + 4.0 + 9.0) / 3
    assert Picky()(p, t, sample_weight=mask, reduction="sum") == 14.0
    mask[1, 2] = True
    for weight in (None, np.ones((2, 3))):
        with pytest.raises(ValueError, match="seven") as caught:
            Picky()(p, t, mask=mask, sample_weight=weight)
        assert "at [1, 2]" in caught.value.__notes__[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_pairs_and_triplets_that_a_mask_leaves_out(weighted):
    mask, weight = RNG.random(SHAPE) < 0.6, RNG.random(SHAPE)
    vectors = RNG.normal(size=(3, *SHAPE, 4))
    target = (RNG.random(SHAPE) < 0.5) * 1.0
    target[~mask], weight[~mask] = 9.0, -2.0
    vectors[0][~mask], vectors[2][~mask] = np.nan, np.inf
    weight = weight if weighted else None
    for reduction in REDUCTIONS:
        for loss in (nl.CosineEmbedding(), nl.Contrastive()):
            assert_masked(loss, (*vectors[:2], target), mask, weight, reduction, 1e-13)
        assert_masked(nl.Triplet(), tuple(vectors), mask, weight, reduction, 1e-13)
    target[np.nonzero(mask)[0][-1], np.nonzero(mask)[1][-1]] = 5.0
    with pytest.raises(ValueError, match=r"target\[\d, \d\] is 5"):
        nl.Contrastive()(*vectors[:2], target, mask=mask, sample_weight=weight)


def test_masks_that_leave_nothing_and_masks_of_leading_parts():
    p, t = RNG.normal(size=(2, 4, 3))
    nothing = np.zeros((4, 3), bool)
    value, gradient = nl.Huber().value_and_grad(p, t, mask=nothing)
    assert math.isnan(value)
    np.testing.assert_array_equal(gradient, 0.0)
    assert nl.Huber()(p, t, mask=nothing, reduction="sum") == 0.0
    rows, columns = np.array([True, False, True, True]), np.array([True, False, True])
    assert nl.Huber()(p, t, mask=rows) == pytest.approx(nl.Huber()(p[rows], t[rows]), rel=1e-14)
    found = nl.Huber()(p, t, mask=columns[None])
    assert found == pytest.approx(nl.Huber()(p[:, columns], t[:, columns]), rel=1e-14)
    assert nl.Huber()(2.0, 1.0, mask=True) == 0.5
    assert math.isnan(nl.Huber()(2.0, 1.0, mask=False))
    with pytest.raises(TypeError, match="mask must be an array of bool, not int64"):
        nl.Huber()(p, t, mask=np.ones((4, 3), np.int64))
    with pytest.raises(ValueError, match="mask must have the shape of the prediction"):
        nl.Huber()(p, t, mask=columns)
    out = np.zeros((4, 3), bool).view(np.int8)
    with pytest.raises(TypeError, match="out must have the prediction's dtype"):
        nl.Huber().grad(p, t, mask=out.view(bool), out=out)


def test_weights_are_broadcast_along_axes_of_length_one():
    p, t = RNG.normal(size=(2, 4, 5, 3))
    full = RNG.random((4, 5, 3))
    for own in ((1, 1, 3), (4, 1, 3), (1, 5, 1), (1, 1, 1)):
        weight = full[tuple(slice(0, n) for n in own)]
        spread = np.ascontiguousarray(np.broadcast_to(weight, p.shape))
        for reduction in ("mean", "weighted_mean"):
            found = nl.Huber().value_and_grad(p, t, sample_weight=weight, reduction=reduction)
            wanted = nl.Huber().value_and_grad(p, t, sample_weight=spread, reduction=reduction)
            assert found[0] == pytest.approx(wanted[0], rel=1e-14)
            np.testing.assert_allclose(found[1], wanted[1], rtol=1e-14)
    labels = RNG.integers(0, 3, (4, 5))
    by_place = RNG.random((1, 5))
    found = nl.CrossEntropy()(p, labels, sample_weight=by_place)
    wanted = nl.CrossEntropy()(p, labels, sample_weight=np.repeat(by_place, 4, axis=0))
    assert found == pytest.approx(wanted, rel=1e-14)
    layer = RNG.normal(size=(3, 6))
    found = nl.LinearCrossEntropy()(p, layer, labels, sample_weight=by_place)
    wanted = nl.LinearCrossEntropy()(p, layer, labels, sample_weight=by_place.repeat(4, axis=0))
    assert found == pytest.approx(wanted, rel=1e-14)
    for shape in ((1,), (3,), (5, 3), (1, 3), (1, 5, 2)):
        with pytest.raises(ValueError, match="or a leading part of it, not"):
            nl.Huber()(p, t, sample_weight=np.ones(shape))
    with pytest.raises(ValueError, match=r"\(3,\), or a leading part of it, not \(1,\)"):
        nl.Huber()(p[0, 0], t[0, 0], sample_weight=[1.0])
    negative = np.array([[[1.0, -1.0, 1.0]]])
    with pytest.raises(ValueError, match=r"sample_weight\[0, 0, 1\] is -1"):
        nl.Huber()(p, t, sample_weight=negative)


def test_formulas_are_not_asked_about_nan():
    class Forgiving(nl.Elementwise):
        def value(self, prediction, target):
            target = prediction if math.isnan(target) else target
            return (prediction - target) ** 2

    p, t = np.array([1.0, math.nan, 3.0]), np.array([math.nan, 1.0, 5.0])
    found = Forgiving().value_grad_hess(p, t, reduction="none")
    for position in range(3):
        point = Forgiving().point(p[position], t[position])
        np.testing.assert_array_equal(point, [one[position] for one in found])
    value, gradient = Forgiving().value_and_grad(p, t, mask=~np.isnan(p + t))
    assert value == 4.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0, -4.0])
