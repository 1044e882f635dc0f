"""Targets a rounding beyond a bound of their domain are taken for it; farther ones refused."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from numbaloss.core.intervals import ROUNDING, interval

KINDS = ["f2", "f4", "f8"]


def beyond(kind, steps, bound=1.0, towards=np.inf):
    """The number so many steps beyond a bound."""
    found = np.dtype(kind).type(bound)
    for _ in range(steps):
        found = np.nextafter(found, found.dtype.type(towards))
    return found


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "kind"),
    [*[(nl.BinaryCrossEntropy(), kind) for kind in KINDS], (nl.Focal(), "f4")],
    ids=str,
)
@pytest.mark.parametrize("count", [3, 5000])
def test_a_rounding_above_one_is_one(loss, count, kind):
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=count).astype(kind) * 3
    shares = rng.random(count).astype(kind)
    shares[[0, count // 2, -1]] = beyond(kind, 1), beyond(kind, ROUNDING), beyond(kind, 3)
    ones = np.minimum(shares, 1)
    same(loss.value_grad_hess(prediction, shares), loss.value_grad_hess(prediction, ones))
    assert loss(prediction, shares) == loss(prediction, ones)
    for options in ({"reduction": "none"}, {"sample_weight": rng.random(count).astype(kind)}):
        expected = loss.value_and_grad(prediction, ones, **options)
        same(loss.value_and_grad(prediction, shares, **options), expected)
        copy = prediction.copy()
        same(loss.value_and_grad(copy, shares, out=copy, **options), expected)
    before = prediction.tobytes()
    shares[-1] = beyond(kind, ROUNDING + 1)
    with pytest.raises(ValueError, match=rf"target\[{count - 1}\] is {shares[-1]!s};.* \[0, 1\]"):
        loss.value_and_grad(prediction, shares, out=prediction)
    assert prediction.tobytes() == before


def test_the_dtype_of_the_target_decides_what_a_rounding_is():
    loss = nl.BinaryCrossEntropy()
    for mixed, kind in (("f8", "f4"), ("f4", "f2"), ("f4", "f8")):
        prediction = np.array([2.0], mixed)
        expected = loss(prediction, np.ones(1, mixed))
        assert loss(prediction, np.array([beyond(kind, ROUNDING)])) == expected
        with pytest.raises(ValueError, match=r"target\[0\] is 1.0"):
            loss(prediction, np.array([beyond("f4", 2 * ROUNDING)], kind if kind != "f2" else "f4"))
    half = ml_dtypes.bfloat16
    assert loss(prediction, np.array([1.0625], half)) == expected
    with pytest.raises(ValueError, match=r"target\[0\] is 1.0703125"):
        loss(prediction, np.array([1.0703125], half))


def test_no_rounding_leads_below_zero_or_to_an_open_end():
    with pytest.raises(ValueError, match=r"target\[1\] is -1e-17; Poisson"):
        nl.Poisson()([0.0, 1.0], [0.0, -1e-17])
    with pytest.raises(ValueError, match=r"target\[0\] is -1e-45"):
        nl.BinaryCrossEntropy()(np.zeros(1, "f4"), np.full(1, -1e-45, "f4"))
    with pytest.raises(ValueError, match=r"target\[0\] is -1e-320; Gamma"):
        nl.Gamma()([0.0], [-1e-320])
    with pytest.raises(ValueError, match="target is 2; "):
        nl.BinaryCrossEntropy()(0.0, 2)
    double = np.dtype("f8")
    for text in ("(-1, 1)", "[0, 0]", "(-inf, inf)", "(0, 3)"):
        assert interval(text).near(double, "float64") == interval(text).closed(double)
    low, high = interval("[-1, 0.1]").near(double, "float32")
    assert (low, high) == (beyond("f4", 8, -1.0, -np.inf), beyond("f4", 8, 0.1))
    assert interval("[-1, 1]").near(double, "int64") == (-1.0, 1.0)
    assert interval("[-1, 1]").near(double, "bfloat16") == (-1.0625, 1.0625)
    # What float32 cannot tell from the bound is none of its steps beyond it.
    assert interval("[-1, 1]").near(np.dtype("f4"), "float64") == (-1.0, 1.0)


def test_targets_that_are_not_checked_are_not_touched():
    given = np.array([1e18]), np.array([beyond("f8", 4)])
    assert nl.BinaryCrossEntropy().value_and_grad(*given)[1] == 0.0
    assert nl.BinaryCrossEntropy().value_and_grad(*given, check=False)[1] < 0.0


@pytest.mark.parametrize(("classes", "kind"), [(5, "f2"), (5, "f8"), (130, "f4")])
def test_dense_targets_of_rows_may_be_a_rounding_above_one(kind, classes):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(7, classes)).astype(kind)
    target = rng.dirichlet(np.ones(classes), 7).astype(kind)
    target[3] = 0
    target[3, 2] = beyond(kind, ROUNDING)
    ones = np.minimum(target, 1)
    for loss in (nl.CrossEntropy(), nl.Brier()):
        expected = loss.value_grad_hess(logits, ones)
        same(loss.value_grad_hess(logits, target), expected)
        copy = logits.copy()
        same(loss.value_grad_hess(copy, target, out=copy), expected)
    target[5, 4] = beyond(kind, ROUNDING + 1)
    with pytest.raises(ValueError, match=rf"target\[5, 4\] is {target[5, 4]!s};"):
        nl.Brier()(logits, target)


@pytest.mark.parametrize("kind", ["f4", ml_dtypes.bfloat16])
def test_dense_targets_of_linear_layers_may_be_a_rounding_above_one(kind):
    rng = np.random.default_rng(2)
    hidden, weight = rng.normal(size=(6, 3)).astype(kind), rng.normal(size=(3, 5)).astype(kind)
    ones = np.eye(6, 5).astype(kind)
    target = ones.copy()
    target[4, 4] = 1.0625 if kind != "f4" else beyond("f4", ROUNDING)
    loss = nl.LinearCrossEntropy()
    expected, found = (loss.value_and_grad(hidden, weight, t) for t in (ones, target))
    assert found[0] == expected[0]
    same(found[1], expected[1])
    target[4, 4] = 1.125
    with pytest.raises(ValueError, match=r"target\[4, 4\] is 1.125;"):
        loss(hidden, weight, target)


class Strict(nl.Elementwise):
    """A loss that raises beyond its domain, and at one half."""

    target_domain = "[0, 1]"

    def value(self, prediction, target):
        if target > 1.0 or target == 0.5:
            raise ValueError("not a share")
        return (prediction - target) ** 2


def test_formulas_that_raise_do_not_meet_what_is_brought_inside():
    prediction, target = np.zeros(4), np.array([0.0, beyond("f8", 4), 1.0, 0.25])
    np.testing.assert_array_equal(
        Strict()(prediction, target, reduction="none"), [0.0, 1.0, 1.0, 0.0625]
    )
    target[3] = 0.5
    with pytest.raises(ValueError, match="not a share") as caught:
        Strict()(prediction, target)
    assert "[3]" in caught.value.__notes__[0]


class Shares(nl.PairEmbedding):
    """A loss of pairs whose targets are shares."""

    target_domain = "[0, 1]"

    def point(self, distance, target):
        return (1.0 - target) * distance, 1.0 - target


def test_targets_of_pairs_may_be_a_rounding_above_one():
    first, second = np.zeros((3, 2)), np.ones((3, 2)) * 1e15
    target = np.array([1.0, beyond("f8", ROUNDING), 0.5])
    assert Shares()(first, second, target, reduction="none")[1] == 0.0
    target[2] = beyond("f8", ROUNDING + 1)
    with pytest.raises(ValueError, match=rf"target\[2\] is {target[2]}; Shares"):
        Shares()(first, second, target)


def test_messages_name_the_place_and_all_digits():
    logits = np.zeros((2, 4))
    with pytest.raises(ValueError, match=r"^target is 7; labels of 4 classes"):
        nl.CrossEntropy()(logits[0], 7)
    with pytest.raises(ValueError, match=r"^sample_weight is -1; weights are >= 0"):
        nl.CrossEntropy()(logits[0], 1, sample_weight=-1)
    with pytest.raises(ValueError, match=r"^sample_weight is -0.1; "):
        nl.Huber()(1.0, 2.0, sample_weight=np.float32(-0.1))
    with pytest.raises(ValueError, match=r"^sample_weight is -1; weights are >= 0"):
        nl.NTXent()(logits, [0, 1], sample_weight=-1)
    with pytest.raises(ValueError, match=r"^sample_weight\[1\] is -0.1; weights are >= 0"):
        nl.NTXent()(logits, [0, 1], sample_weight=np.array([1, -0.1], "f4"))
    with pytest.raises(ValueError, match=r"^target is 9; labels of 4 classes"):
        nl.LinearCrossEntropy()(np.ones(2), np.ones((2, 4)), 9)
    with pytest.raises(ValueError, match=r"^target\[3\] is 1.1; "):
        nl.LinearCrossEntropy()(np.ones(2), np.ones((2, 4)), [0.0, 0.0, 0.0, 1.1])
    with pytest.raises(ValueError, match=r"^target\[0\] is 1.0000000000000022; "):
        nl.BinaryCrossEntropy()([1.0], [1.0000000000000022])


@pytest.mark.parametrize("label", [2**63, 2**63 + 5, 2**64 - 100, 2**64 - 1])
def test_large_unsigned_labels_are_named_and_never_ignored(label):
    logits, labels = np.zeros((3, 4)), np.array([0, label, 1], np.uint64)
    weighted = nl.CrossEntropy(class_weight=np.ones(4))
    for ignored in (-100, -1, 2**63 - 1, -(2**63)):
        for loss in (nl.CrossEntropy(ignore_index=ignored), weighted.replace(ignore_index=ignored)):
            with pytest.raises(ValueError, match=rf"^target\[1\] is {label}; labels of 4 classes"):
                loss(logits, labels)
