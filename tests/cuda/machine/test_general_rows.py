"""Rows of losses that read all classes, and labels and targets at their bounds."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cuda import narrow_rows, register_rows, shared_memory, softmax, staged
from tests.support.gpu.machine import DTYPES, Array, agree, launched, put, rows, same


def dense(kind, count, classes):
    """Probabilities of classes."""
    return np.random.default_rng(1).dirichlet(np.ones(classes), count).astype(DTYPES[kind])


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(40, 5), (3, 77)], ids=str)
def test_general_rows(machine, no_registers, kind, shape):
    prediction, target = rows(kind, *shape)
    agree(nl.Brier(), prediction, target, derivatives=2)
    agree(nl.CrossEntropy(), prediction, dense(kind, *shape), derivatives=2)
    assert "softmax_general" in launched(machine)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("offset", [3, 0])
@pytest.mark.parametrize("shape", [(70, 3), (5, 144), (40, 16), (3, 1032)], ids=str)
def test_rows_of_all_classes_in_registers(machine, kind, offset, shape):
    prediction, labels = rows(kind, *shape)
    labels[::3] = -100
    targets = dense(kind, *shape)
    for derivatives in (0, 2):
        agree(nl.Brier(), prediction, labels, derivatives=derivatives)
    agree(nl.CrossEntropy(), prediction, targets)
    # In place, so that vectors begin at the same classes of all arrays.
    given = Array.copy(prediction, offset), Array.copy(targets, offset)
    loss = nl.CrossEntropy(class_weight=np.arange(shape[1]) % 5, temperature=0.7)
    expected = loss.value_and_grad(prediction, targets, reduction="none")
    same(loss.value_and_grad(*given, out=given[0], reduction="none"), expected, kind)
    teacher = rows(kind, *shape, seed=2)[0]
    given = Array.copy(prediction, offset), Array.copy(teacher, offset)
    expected = nl.Distillation().value_and_grad(prediction, teacher)
    same(nl.Distillation().value_and_grad(*given, out=given[0]), expected, kind, 100)
    assert set(launched(machine)) == {"softmax_classes", "softmax_scan"}


@pytest.fixture
def kept(machine, no_registers, monkeypatch):
    """Rows are kept in shared memory, of which there are so many bytes."""
    monkeypatch.setattr(softmax, "LEAST_KEPT", 0)
    return lambda size: monkeypatch.setattr(shared_memory, "most", lambda device: size)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("offset", [3, 0])
@pytest.mark.parametrize("size", [1500, 0, 1 << 16])
def test_rows_of_all_classes_kept_in_shared_memory(machine, kept, kind, offset, size):
    kept(size)
    for shape in ((3, 1301), (3, 1040), (2, 9)):
        prediction, labels = rows(kind, *shape)
        labels[0] = -100
        prediction[0] = np.nan  # of a row that does not count
        agree(nl.Brier(), prediction, labels, derivatives=2, offset=offset)
        prediction[0] = 1.0
        # In place, so that vectors begin at the same classes of all arrays.
        teacher = rows(kind, *shape, seed=2)[0]
        weight = np.arange(shape[1]) % 5
        for loss, target in (
            (nl.Distillation(), teacher),
            (nl.CrossEntropy(class_weight=weight, temperature=0.7), dense(kind, *shape)),
        ):
            expected = loss.value_and_grad(prediction, target, reduction="none")
            given = Array.copy(prediction, offset), Array.copy(target, offset)
            found = loss.value_and_grad(*given, out=given[0], reduction="none")
            same(found, expected, kind, 100)
    # With an offset, results of their own are cut elsewhere.
    others = {"softmax_general", "softmax_scan"} if offset else {"softmax_scan"}
    assert set(launched(machine)) == {"softmax_kept_classes", *others}


@pytest.mark.exhaustive
def test_kept_rows_of_margins_and_of_probabilities(machine, kept):
    kept(1500)
    prediction, labels = rows("float32", 4, 501)
    labels[1] = -100
    loss = nl.MultiMargin(p=2, class_weight=np.arange(501) % 3)
    agree(loss, prediction, labels, derivatives=2, reduction="weighted_mean")
    p = dense("float32", 3, 501)
    agree(nl.Brier(from_logits=False), p, dense("float32", 3, 501)[::-1].copy(), derivatives=2)
    near = p.copy()
    near[0, 7], near[1, 500] = np.nextafter(np.float32(1), np.float32(2)), np.nan
    agree(nl.Brier(from_logits=False), near, labels[:3], derivatives=2, reduction="none")
    for place in ((2, 7), (1, 500), (0, 0)):  # in vectors, and outside of them
        wrong = p.copy()
        wrong[place] = 1.5
        for arrays in ((wrong, labels[:3] % 501), (p, wrong)):
            name = r"target" if arrays[1] is wrong else "prediction"
            with pytest.raises(ValueError, match=rf"{name}\[{place[0]}, {place[1]}\] is 1.5"):
                nl.Brier(from_logits=False)(*map(put, arrays))
    assert set(launched(machine)) == {"softmax_kept_classes", "softmax_scan"}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "of_targets"), [("bfloat16", "float32"), ("float32", "float64")])
def test_targets_of_a_larger_dtype_come_in_vectors(machine, kind, of_targets):
    prediction, _ = rows(kind, 5, 40)
    agree(nl.CrossEntropy(), prediction, dense(of_targets, 5, 40))
    assert launched(machine) == ["softmax_classes"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("offset", [0, 2])
def test_targets_that_are_cut_elsewhere_go_another_way(machine, offset):
    prediction, targets = rows("float32", 5, 40)[0], dense("float32", 5, 40)
    found = nl.CrossEntropy().value_and_grad(put(prediction), Array.copy(targets, offset))
    same(found, nl.CrossEntropy().value_and_grad(prediction, targets), "float32")
    assert launched(machine) == ["softmax_general" if offset else "softmax_classes"]


def test_margins_of_rows_weigh_as_their_labels(machine):
    prediction, target = rows("float32", 20, 5)
    loss = nl.MultiMargin(class_weight=[0.5, 2.0, 0.0, 3.0, 1.0])
    agree(loss, prediction, target, derivatives=2, reduction="weighted_mean")


@pytest.mark.exhaustive
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


@pytest.mark.exhaustive
def test_targets_a_rounding_beyond_their_domain_are_its_bound(machine):
    near = np.float32(1) + 8 * np.spacing(np.float32(1))
    first, second = (np.random.default_rng(seed).normal(size=(6, 4)) for seed in (0, 1))
    first, second = first.astype(np.float32), second.astype(np.float32)
    one_hot = np.eye(6, 4, dtype=np.float32)
    calls = [
        (nl.BinaryCrossEntropy(), (first * 9,), one_hot),
        (nl.BinaryCrossEntropy(), (first[:, :3] * 9,), one_hot[:, :3]),
        (nl.Brier(), (first,), one_hot),
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
