"""Labels: their dtypes, and those that are out of range."""

import math

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from numbaloss.arrays import Operand
from numbaloss.call.arguments import whole_labels
from tests.support.rows import CE, REDUCTIONS, assert_same, everything, rows


@pytest.mark.parametrize("classes", [3, 17, 40, 200])
@pytest.mark.parametrize(
    "kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">i4", ">i8", ">u4"]
)
def test_labels_may_be_of_any_integers(classes, kind):
    logits, labels = rows("labels", 40, classes)
    labels = np.minimum(labels, 100)
    expected = everything(CE, logits, labels)
    given = labels.astype(kind)
    assert_same(everything(CE, logits, given), expected)
    assert_same(everything(CE, logits, np.repeat(given, 3)[::3]), expected)
    shifted = np.zeros(given.nbytes + 1, np.uint8)[1:].view(kind)
    shifted[:] = given
    assert_same(everything(CE, logits, shifted), expected)
    if np.dtype(kind).kind == "i":
        given[7] = -100
        labels[7] = -100
        assert_same(everything(CE, logits, given), everything(CE, logits, labels))


@pytest.mark.parametrize(
    ("kind", "label"),
    [("u1", 156), ("u2", 65436), ("u4", 2**32 - 100), ("u8", 2**64 - 100), ("u8", 2**63 + 1)],
)
def test_an_unsigned_label_is_not_the_negative_number_of_its_bits(kind, label):
    logits = np.zeros((3, 4))
    labels = np.array([0, 1, label], kind)
    with pytest.raises(ValueError, match=rf"target\[2\] is {label};"):
        CE(logits, labels)


@pytest.mark.parametrize("kind", ["f8", "f4", "f2", ">f4", ">f8", ml_dtypes.bfloat16])
def test_labels_may_be_floats_that_are_whole_numbers(kind):
    logits, labels = rows("labels", 12)
    labels[[2, 7]] = -100
    given = np.repeat(labels, 2).astype(kind).reshape(3, 8)[:, ::2]
    before = given.copy()
    assert_same(everything(CE, logits, labels), everything(CE, logits, given.reshape(12)))
    by_axes = everything(CE, logits.reshape(3, 4, 5), given, reduction="none")
    np.testing.assert_array_equal(by_axes[0].reshape(12), CE(logits, labels, reduction="none"))
    np.testing.assert_array_equal(given, before)
    assert CE(logits[0], labels.dtype.type(1)) == CE(logits[0], 1.0)
    weight = np.ones((4, 5))
    linear = nl.LinearCrossEntropy()
    of_floats = linear(logits[:, :4], weight, given.reshape(12))
    assert of_floats == linear(logits[:, :4], weight, labels)


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        ("f8", 0.5, r"target\[1, 0\] is 0.5; labels are whole numbers"),
        ("f4", math.nan, r"target\[1, 0\] is nan; labels are whole numbers"),
        ("f8", -math.inf, r"target\[1, 0\] is -inf; labels are whole numbers"),
        ("f8", 1.0 + 2.0**-52, r"target\[1, 0\] is 1.0000000000000002; labels are whole"),
        ("f8", 7.0, r"target\[1, 0\] is 7; labels of 3 classes are 0 to 2"),
        ("f2", 2050.0, r"target\[1, 0\] is 2050; float16 does not hold every .* beyond 2048"),
        (ml_dtypes.bfloat16, 258.0, r"is 258; bfloat16 does not hold every whole .* beyond 256"),
        ("f8", 2.0**62, r"is 4.6116860184273879e\+18; float64 does not hold every whole"),
    ],
)
def test_floats_that_are_no_labels_are_named(kind, wrong, message):
    labels = np.array([[0, 1], [wrong, 0.25 if wrong != wrong else 1]], kind)
    logits = np.zeros((2, 2, 3))
    with pytest.raises(ValueError, match=message):
        CE.value_and_grad(logits, labels, out=logits)
    assert not logits.any()


def test_labels_that_would_have_to_be_looked_at_on_a_gpu_or_are_true_are_refused():
    with pytest.raises(TypeError, match="labels are integers, target has dtype bool"):
        CE(np.zeros((2, 3)), np.array([False, True]))
    with pytest.raises(TypeError, match="labels are integers, labels have dtype float32"):
        whole_labels(Operand(np.zeros(3, np.float32), "float32", device=0), "labels")


@pytest.mark.parametrize("classes", [1, 2, 5, 40, 130, 5000])
@pytest.mark.parametrize("wrong", [-1, -99, "C", 10**6, -(2**63), 2**62])
def test_labels_out_of_range_are_named_before_anything_is_written(classes, wrong):
    logits, labels = rows("labels", 12, classes)
    logits, labels = logits.reshape(3, 4, classes), labels.reshape(3, 4)
    wrong = classes if wrong == "C" else wrong
    labels[2, 1] = labels[1, 3] = wrong
    before = logits.tobytes()
    message = (
        rf"target\[1, 3\] is {wrong}; labels of {classes} classes are 0 to {classes - 1}, "
        rf"or -100 to ignore a row"
    )
    for reduction in REDUCTIONS:
        for check in (True, False):
            options = {"reduction": reduction, "check": check}
            with pytest.raises(ValueError, match=message):
                CE(logits, labels, **options)
            with pytest.raises(ValueError, match=message):
                CE.value_and_grad(logits, labels, out=logits, **options)
            out = np.full_like(logits, 7.0)
            with pytest.raises(ValueError, match=message):
                CE.value_grad_hess(logits, labels, hess_out=out, **options)
            assert (out == 7.0).all()
    assert logits.tobytes() == before
    with pytest.raises(ValueError, match=message):  # 0 as a weight does not excuse a label
        CE(logits, labels, sample_weight=np.zeros((3, 4)))


def test_a_bad_label_far_back_is_found():
    labels = np.zeros(200_000, np.int32)
    labels[-2] = 3
    logits = np.zeros((200_000, 3), np.float32)
    with pytest.raises(ValueError, match=r"target\[199998\] is 3"):
        CE.value_and_grad(logits, labels, out=logits)
    assert not logits.any()
