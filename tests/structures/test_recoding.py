"""Targets as callers write them: −1 and 1, and with a weight of positives a label."""

import math
import pickle

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.core.intervals import interval

RNG = np.random.default_rng(0)
WEIGHTS = np.array([0.0, 0.3, 1.0, 7.0, 1e4])
SIGNED = [
    nl.BinaryCrossEntropy,
    nl.Focal,
    nl.AsymmetricFocal,
    nl.Hinge,
    nl.SquaredHinge,
    nl.Exponential,
    nl.ModifiedHuber,
]


def soft(dtype):
    p, t = (RNG.normal(size=(9, 5)) * 4).astype(dtype), RNG.random((9, 5)).astype(dtype)
    t[:2], t[2:4], t[4] = 0.0, 1.0, 1.0 - np.finfo(dtype).eps
    p[0], p[2] = 60.0, -60.0
    return p, t


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("from_logits", [True, False])
def test_a_weight_of_positives_a_label_is_that_of_every_column(dtype, from_logits):
    p, t = soft(dtype)
    if not from_logits:
        p = np.clip(1.0 / (1.0 + np.exp(-p)), 0.01, 0.99).astype(dtype)
    options = {"from_logits": from_logits, "label_smoothing": 0.1}
    loss = nl.BinaryCrossEntropy(pos_weight=WEIGHTS, **options)
    found = loss.value_grad_hess(p, t, reduction="none")
    rtol = 1e-5 if dtype is np.float32 else 1e-13
    for column, weight in enumerate(WEIGHTS):
        single = nl.BinaryCrossEntropy(pos_weight=weight, **options)
        # In float64: a slope where both terms cancel is only as exact as they are.
        expected = single.value_grad_hess(
            *(one[:, column].astype(np.float64) for one in (p, t)), reduction="none"
        )
        size = max(weight, 1.0) if from_logits else 100.0 * max(weight, 1.0)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[:, column], other, rtol=rtol, atol=0.01 * rtol * size)


def test_weights_of_positives_go_with_all_options():
    p, t = soft(np.float64)
    t[5] = RNG.random(5) < 0.5
    loss = nl.BinaryCrossEntropy(pos_weight=WEIGHTS)
    parts = [nl.BinaryCrossEntropy(pos_weight=one) for one in WEIGHTS]

    def by_columns(*given, **options):
        columns = [[one[:, i] for one in given] for i in range(5)]
        return np.stack([one(*of, **options) for one, of in zip(parts, columns)], axis=1)

    values = by_columns(p, t, reduction="none")
    assert loss(p, t) == pytest.approx(values.mean(), rel=1e-13)
    weight, mask = RNG.random(9), RNG.random((9, 5)) < 0.6
    spread = weight[:, None] * mask
    for reduction, divisor in (("mean", mask.sum()), ("weighted_mean", spread.sum()), ("sum", 1)):
        options = {"sample_weight": weight, "mask": mask, "reduction": reduction}
        value, gradient = loss.value_and_grad(p, t, **options)
        assert value == pytest.approx((values * spread).sum() / divisor, rel=1e-13)
        slopes = loss.grad(p, t, reduction="none") * spread / divisor
        np.testing.assert_allclose(gradient, slopes, rtol=1e-13)
    # In any layout, for one row, in half precision, and in the place of the prediction.
    turned = loss.grad(np.asfortranarray(p), t[::-1][::-1])
    np.testing.assert_allclose(turned, loss.grad(p, t), rtol=1e-13)
    assert loss(p[3], t[3]) == pytest.approx(values[3].mean(), rel=1e-13)
    assert loss(p.astype("f2"), t.astype("f4")) == pytest.approx(values.mean(), rel=1e-2)
    expected, own = loss.grad(p, t), p.copy()
    np.testing.assert_array_equal(loss.grad(own, t, out=own), expected)
    # NaN where it is, and nowhere else.
    p[8, 3], t[7, 1] = math.nan, math.nan
    found = loss(p, t, reduction="none")
    np.testing.assert_array_equal(np.argwhere(np.isnan(found)), [[7, 1], [8, 3]])


def test_gradients_of_a_weight_of_positives_a_label():
    loss = nl.BinaryCrossEntropy(pos_weight=[0.5, 3.0, 20.0])
    p, t = RNG.normal(size=(4, 3)), RNG.random((4, 3))
    assert nl.check_gradient(loss, p, t) < 1e-8
    step = 1e-5
    slope = (loss.grad(p + step, t) - loss.grad(p - step, t)) / (2 * step)
    np.testing.assert_allclose(loss.hess(p, t), slope, rtol=1e-6)


def test_weights_of_positives_are_part_of_the_loss():
    loss = nl.BinaryCrossEntropy(pos_weight=np.array([1.0, 2.0]))
    assert repr(loss).startswith("BinaryCrossEntropy(from_logits=True, pos_weight=[1.0, 2.0]")
    again = pickle.loads(pickle.dumps(loss))
    assert (again, hash(again)) == (loss, hash(loss))
    assert loss != nl.BinaryCrossEntropy(pos_weight=[1.0, 3.0])
    assert nl.BinaryCrossEntropy(pos_weight=np.float32(2.0)).pos_weight == 2.0
    assert type(nl.BinaryCrossEntropy(pos_weight=np.array(2)).pos_weight) is float
    for wrong in ([1.0, -1.0], [math.nan], [math.inf], [[1.0]]):
        with pytest.raises(ValueError, match="pos_weight"):
            nl.BinaryCrossEntropy(pos_weight=wrong)
    with pytest.raises(TypeError, match="pos_weight"):
        nl.BinaryCrossEntropy(pos_weight="2")
    for shape in ((2, 3), (2, 1), ()):
        with pytest.raises(ValueError, match="pos_weight has 2 numbers, one a label"):
            loss(np.zeros(shape), np.zeros(shape))
    with pytest.raises(ValueError, match=r"target\[1, 0\] is 1.5; BinaryCrossEntropy"):
        loss(np.zeros((2, 2)), [[0.0, 1.0], [1.5, 0.0]])
    outside = loss([0.0, 0.0], [1.5, 1.0], reduction="none", check=False)
    np.testing.assert_allclose(outside, [math.nan, 2 * math.log(2)])
    # Sums of shares that are rounded are fine, as everywhere.
    assert loss([0.0, 0.0], [1.0 + 1e-15, 0.0]) == pytest.approx(math.log(2))
    for make in (lambda: loss + nl.Huber(), lambda: 2.0 * loss):
        with pytest.raises(TypeError, match="has no sums and multiples"):
            make()
    with pytest.raises(ValueError, match="does not fit computations in float32"):
        nl.BinaryCrossEntropy(pos_weight=[1e39])(np.zeros(1, "f4"), np.zeros(1, "f4"))


@pytest.mark.parametrize("cls", SIGNED)
def test_signed_targets_are_those_of_zero_and_one(cls):
    signed, plain = cls(targets="signed"), cls()
    p, t = RNG.normal(size=40), RNG.integers(0, 2, 40).astype(float)
    for dtype in (np.float64, np.int8):
        found = signed.value_grad_hess(p, (2 * t - 1).astype(dtype), reduction="none")
        for one, other in zip(found, plain.value_grad_hess(p, t, reduction="none"), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (repr(signed), repr(plain)) == (
        repr(plain).replace(")", ", targets='signed')").replace("(, ", "("),
        repr(plain),
    )
    assert signed != plain
    hard = str(interval(signed.target_domain)) == "{-1, 1}"
    expected = "takes targets in {-1, 1}" if hard else r"takes targets in \[-1, 1\]"
    with pytest.raises(ValueError, match=rf"target\[1\] is -1.5; .* {expected}"):
        signed([0.0, 0.0], [1.0, -1.5])
    if hard:
        with pytest.raises(ValueError, match=r"target\[0\] is 0; "):
            signed([0.0], [0.0])
    else:
        np.testing.assert_allclose(signed([0.3], [0.5]), plain([0.3], [0.75]), rtol=1e-14)
        assert signed([0.3], [-1.0 - 1e-15]) == plain([0.3], [0.0])
    with pytest.raises(
        ValueError, match=r"target\[1\] is -1; .*; targets='signed' takes -1 and 1$"
    ):
        plain([0.0, 0.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="targets must be one of"):
        cls(targets="unit")


def test_sums_of_losses_with_signed_targets():
    p, s = RNG.normal(size=6), np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    both = nl.Hinge(targets="signed") + 0.5 * nl.BinaryCrossEntropy(targets="signed")
    plain = nl.Hinge() + 0.5 * nl.BinaryCrossEntropy()
    assert both(p, s) == plain(p, (s + 1) / 2)
    for other in (nl.Hinge(), nl.Huber(), nl.Focal()):
        with pytest.raises((TypeError, ValueError)):
            nl.BinaryCrossEntropy(targets="signed") + other


def test_domains_of_two_numbers():
    class Own(nl.Elementwise):
        target_domain = "{-1, 1}"

        def value(self, prediction, target):
            return nl.softplus(-target * prediction)

    class Renamed(nl.Elementwise):
        targets: str = "signed"
        target_domain = "{-1, 1}"

        def value(self, prediction, target):
            return nl.softplus(prediction) - target * prediction

    p, t = RNG.normal(size=5), np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    wanted = nl.BinaryCrossEntropy(targets="signed").value_and_grad(p, t)
    for loss in (Own(), Renamed()):
        value, gradient = loss.value_and_grad(p, t)
        assert value == pytest.approx(wanted[0], rel=1e-14)
        np.testing.assert_allclose(gradient, wanted[1], rtol=1e-14)
        for wrong in (0.0, 0.5, 2.0):
            with pytest.raises(ValueError, match=rf"target\[0\] is {wrong:g}; .*{{-1, 1}}"):
                loss([0.0], [wrong])
    assert -1 in interval("{-1, 1}")
    assert 0 not in interval("{-1, 1}")
    assert interval("[-2, 2]").intersect(interval("{-1,1}")) == interval("{-1, 1}")


@pytest.mark.parametrize("cls", [nl.CosineEmbedding, nl.Contrastive])
def test_signed_targets_of_pairs(cls):
    signed, plain = cls(targets="signed"), cls()
    a, b = RNG.normal(size=(2, 7, 3))
    t = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, math.nan])
    found = signed.value_and_grad(a, b, 2 * t - 1, reduction="none")
    wanted = plain.value_and_grad(a, b, t, reduction="none")
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    t[5] = 0.5
    for loss, targets, said in ((signed, 2 * t - 1, "is 0; .*{-1, 1}"), (plain, t, "is 0.5; ")):
        with pytest.raises(ValueError, match=rf"target\[5\] {said}"):
            loss(a, b, targets)
    with pytest.raises(ValueError, match="targets must be one of"):
        cls(targets="unit")
