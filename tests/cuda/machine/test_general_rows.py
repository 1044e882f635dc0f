"""Rows of losses that read all classes, and labels and targets at their bounds."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cuda import narrow_rows, register_rows, softmax, staged
from tests.support.gpu.machine import DTYPES, agree, launched, put, rows, same


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(40, 5), (3, 77)], ids=str)
def test_general_rows(machine, kind, shape):
    prediction, target = rows(kind, *shape)
    agree(nl.Brier(), prediction, target, derivatives=2)
    dense = np.random.default_rng(1).dirichlet(np.ones(shape[1]), shape[0])
    agree(nl.CrossEntropy(), prediction, dense.astype(DTYPES[kind]), derivatives=2)
    assert "softmax_general" in launched(machine)


def test_margins_of_rows_weigh_as_their_labels(machine):
    prediction, target = rows("float32", 20, 5)
    loss = nl.MultiMargin(class_weight=[0.5, 2.0, 0.0, 3.0, 1.0])
    agree(loss, prediction, target, derivatives=2, reduction="weighted_mean")


def test_rows_of_probabilities(machine):
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(5), 20).astype(np.float32)
    labels = rng.integers(0, 5, 20)
    loss = nl.CrossEntropy(
        class_weight=[0.5, 2.0, 0.0, 3.0, 1.0], label_smoothing=0.1, from_logits=False
    )
    p[3, 1] = np.nan
    p[4, 2] = np.nextafter(np.float32(1), np.float32(2))
    agree(loss, p, labels, derivatives=2, reduction="weighted_mean")
    p = rng.dirichlet(np.ones(77), 3)
    agree(nl.Brier(from_logits=False), p, rng.dirichlet(np.ones(77), 3), derivatives=2)
    p[2, 70] = 1.5
    on_machine, labels = put(p), put(np.array([0, 5, 76]))
    plain = nl.Brier(from_logits=False)
    for call in (plain, plain.value_and_grad):
        with pytest.raises(ValueError, match=r"prediction\[2, 70\] is 1.5; .* in \[0, 1\]"):
            call(on_machine, labels)
    with pytest.raises(ValueError, match=r"prediction\[2, 70\] is 1.5"):
        plain.value_and_grad(on_machine, labels, out=on_machine)
    np.testing.assert_array_equal(on_machine.copy_to_host(), p)
    assert np.isfinite(plain(on_machine, labels, check=False))


def test_rows_in_place(machine):
    prediction, target = rows("float32", 20, 12)
    loss = nl.CrossEntropy()
    _, expected = loss.value_and_grad(prediction, target)
    on_machine = put(prediction)
    _, found = loss.value_and_grad(on_machine, put(target), out=on_machine)
    same([found], [expected], "float32")


@pytest.mark.every(10)
@pytest.mark.parametrize("label", [12, -1, 2**40])
@pytest.mark.parametrize("path", ["narrow", "registers", "staged", "whole", "split"])
def test_labels_out_of_range_reach_nothing(machine, monkeypatch, label, path):
    """The machine would tell of an access out of bounds."""
    if path != "narrow":
        monkeypatch.setattr(narrow_rows, "shape", lambda *given: None)
    if path not in ("narrow", "registers"):
        monkeypatch.setattr(register_rows, "shape", lambda *given: None)
    if path in ("whole", "split"):
        monkeypatch.setattr(staged, "most_classes", lambda real: 8)
        monkeypatch.setattr(softmax, "LEAST_PIECE", 10**9 if path == "whole" else 4)
    prediction, target = rows("float32", 20, 12)
    target[7] = label
    loss = nl.CrossEntropy(class_weight=np.ones(12))
    on_machine = put(prediction)
    with pytest.raises(ValueError, match="labels of 12 classes"):
        loss.value_and_grad(on_machine, put(target))
    with pytest.raises(ValueError, match="labels of 12 classes"):
        loss.value_and_grad(on_machine, put(target), out=on_machine)
    np.testing.assert_array_equal(on_machine.array, prediction)


def test_unsigned_labels_are_not_the_negative_numbers_of_their_bits(machine):
    prediction, target = rows("float32", 20, 12)
    target = target.astype(np.uint64)
    target[7] = 2**64 - 100  # -100, the label to ignore, as its bits are
    with pytest.raises(ValueError, match=rf"target\[7\] is {2**64 - 100};"):
        nl.CrossEntropy(class_weight=np.ones(12))(put(prediction), put(target))


def test_targets_a_rounding_beyond_their_domain_are_its_bound(machine):
    near = np.float32(1) + 8 * np.spacing(np.float32(1))
    first, second = (np.random.default_rng(seed).normal(size=(6, 4)) for seed in (0, 1))
    first, second = first.astype(np.float32), second.astype(np.float32)
    dense = np.eye(6, 4, dtype=np.float32)
    calls = [
        (nl.BinaryCrossEntropy(), (first * 9,), dense),
        (nl.BinaryCrossEntropy(), (first[:, :3] * 9,), dense[:, :3]),
        (nl.Brier(), (first,), dense),
    ]
    for loss, given, target in calls:
        rounded = np.where(target == 1, near, target)
        expected = loss.value_and_grad(*given, target)
        for t in (target, rounded):
            value, gradient = loss.value_and_grad(*map(put, given), put(t))
            same([value, gradient], expected, "float32")
        rounded[2, 2] = np.nextafter(near, np.float32(2))
        with pytest.raises(ValueError, match=r"target\[2, 2\] is 1.0000011;"):
            loss(*map(put, given), put(rounded))


class WithoutIgnored(nl.Softmax):
    """A loss without a label to ignore."""

    sparse = True
    linear = True

    def point(self, log_probability, target):
        return -target * log_probability, -target, 0.0


def test_the_least_integer_is_no_label_to_ignore(machine):
    """NaN becomes that where labels are cast."""
    prediction, target = rows("float32", 20, 12)
    assert np.isfinite(WithoutIgnored()(put(prediction), put(target)))
    target[7] = -(2**63)
    with pytest.raises(ValueError, match=r"target\[7\] is -9223372036854775808"):
        WithoutIgnored()(put(prediction), put(target))
