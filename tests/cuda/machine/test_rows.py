"""Losses of rows on the machine that runs PTX."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cuda import backend, clusters, shared_memory, softmax, staged
from tests.support.gpu.machine import DTYPES, MEMORY, Array, agree, launched, put, rows, same

SMOOTHED = nl.CrossEntropy(label_smoothing=0.1, z_loss=0.01, temperature=0.7)


@pytest.mark.every(35)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", [(600, 2), (257, 7), (300, 10), (140, 16), (1, 13)], ids=str)
def test_rows_of_a_thread(machine, kind, shape):
    prediction, target = rows(kind, *shape)
    target[::7] = -100
    for derivatives in range(2):
        agree(nl.CrossEntropy(), prediction, target, derivatives=derivatives)
    weight = np.random.default_rng(1).random(shape[0]) * (target % 3 > 0)
    loss = nl.CrossEntropy(class_weight=np.arange(shape[1]), temperature=1.7)
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    agree(loss, prediction, target, derivatives=1, **options)
    agree(SMOOTHED.replace(class_weight=np.arange(shape[1])), prediction, target, **options)
    agree(SMOOTHED, prediction, target, reduction="none")
    assert set(launched(machine)) == {"softmax_narrow", "softmax_scan"}


@pytest.mark.every(105)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("shape", [(40, 33), (9, 64), (7, 301), (5, 600), (6, 1032)], ids=str)
def test_rows_in_registers(machine, kind, offset, shape):
    prediction, target = rows(kind, *shape)
    target[::3] = -100
    agree(nl.CrossEntropy(temperature=0.6), prediction, target, derivatives=0, offset=offset)
    agree(SMOOTHED, prediction, target, derivatives=2)
    # In place, so that vectors begin at the same classes of both arrays.
    on_machine, loss = Array.copy(prediction, offset), nl.CrossEntropy()
    found = loss.value_and_grad(on_machine, put(target), out=on_machine, reduction="none")
    expected = loss.value_and_grad(prediction, target, reduction="none")
    same(found, expected, kind)
    # Labels that are smoothed, classes that have weights.
    on_machine, weight = Array.copy(prediction, offset), np.arange(shape[1]) % 5
    for loss in (SMOOTHED.replace(temperature=1.0), SMOOTHED.replace(class_weight=weight)):
        expected = loss.value_and_grad(prediction, target)
        out = MEMORY.array(shape, prediction.dtype, offset)
        same(loss.value_and_grad(on_machine, put(target), out=Array(out)), expected, kind)
    assert set(launched(machine)) == {"softmax_registers", "softmax_scan"}


@pytest.mark.every(4)
@pytest.mark.parametrize(("kind", "classes"), [("float32", 17_000), ("bfloat16", 16_640)])
def test_rows_in_the_registers_of_1024_threads(machine, kind, classes):
    agree(nl.CrossEntropy(), *rows(kind, 1, classes))
    assert "softmax_registers" in launched(machine)


# Rows and classes of rows that a thread, some threads, a warp or a whole block take.
WIDTHS = [(70, 3), (1, 1), (33, 6), (9, 29), (40, 67), (130, 130), (2, 300)]


@pytest.mark.every(10)
@pytest.mark.parametrize("shape", WIDTHS, ids=str)
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_staged_rows(machine, no_registers, kind, shape):
    prediction, target = rows(kind, *shape)
    agree(nl.CrossEntropy(), prediction, target)
    assert "softmax_staged" in launched(machine)


@pytest.mark.every(12)
@pytest.mark.parametrize("kind", ["float64", "bfloat16"])
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "none"])
def test_staged_rows_with_all_options(machine, kind, reduction):
    prediction, target = rows(kind, 37, 11)
    rng = np.random.default_rng(1)
    target[::5] = -100
    loss = SMOOTHED.replace(class_weight=rng.random(11) * (rng.random(11) < 0.8))
    options = {"sample_weight": rng.random(37), "mask": rng.random(37) < 0.8}
    agree(loss, prediction, target, derivatives=2, reduction=reduction, **options)


@pytest.mark.every(8)
@pytest.mark.parametrize("labels", ["int64", "int32", "uint8", "int16"])
def test_staged_rows_of_any_strides(machine, labels):
    prediction, target = rows("float32", 5 * 6, 9)
    prediction = prediction.reshape(5, 6, 9).transpose(1, 0, 2)[:, :, ::-1]
    target = target.astype(labels).reshape(6, 5)
    agree(nl.CrossEntropy(), prediction, target, reduction="none")


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("path", ["staged", "whole", "split"])
def test_rows_that_begin_between_vectors(machine, no_registers, monkeypatch, kind, path):
    if path != "staged":
        monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", 16 if path == "split" else 10**9)
    for offset in (1, 2, 3):
        agree(nl.CrossEntropy(), *rows(kind, 7, 45), offset=offset)


@pytest.fixture
def kept(machine, no_registers, monkeypatch):
    """Rows are kept in shared memory, of which there are so many bytes."""
    monkeypatch.setattr(softmax, "LEAST_KEPT", 0)
    monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", 10**9)
    return lambda size: monkeypatch.setattr(shared_memory, "most", lambda device: size)


@pytest.mark.every(36)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("offset", [1, 0, 3])
@pytest.mark.parametrize("size", [1000, 0, 1 << 16])
def test_rows_kept_in_shared_memory(machine, kept, kind, offset, size):
    kept(size)
    for shape in ((3, 1301), (5, 2048), (2, 9)):
        prediction, target = rows(kind, *shape)
        target[0] = -100
        agree(nl.CrossEntropy(temperature=0.6), prediction, target, derivatives=0, offset=offset)
        # In place, so that vectors begin at the same classes of both arrays.
        on_machine, loss = Array.copy(prediction, offset), nl.CrossEntropy()
        found = loss.value_and_grad(on_machine, put(target), out=on_machine, reduction="none")
        same(found, loss.value_and_grad(prediction, target, reduction="none"), kind)
    assert set(launched(machine)) == {"softmax_kept", "softmax_scan"}


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_kept_rows_with_all_options(machine, kept, kind):
    kept(2000)
    prediction, target = rows(kind, 4, 1307)
    target[1] = -100
    prediction[1] = np.nan  # of a row that does not count
    rng = np.random.default_rng(1)
    options = {"sample_weight": rng.random(4), "reduction": "weighted_mean"}
    weight = rng.random(1307) * (rng.random(1307) < 0.8)
    agree(SMOOTHED.replace(class_weight=weight), prediction, target, derivatives=2, **options)
    prediction[2, :700], prediction[3, 3] = -np.inf, np.nan
    agree(nl.CrossEntropy(), prediction, target, derivatives=2, reduction="none")
    assert set(launched(machine)) == {"softmax_kept", "softmax_scan"}


@pytest.fixture
def in_clusters(kept, monkeypatch):
    """Rows that one block cannot keep are kept by several."""
    monkeypatch.setattr(clusters, "ENABLED", True)
    monkeypatch.setattr(clusters, "supported", lambda: True)
    return kept


def test_a_row_kept_by_two_blocks(machine, in_clusters, monkeypatch):
    in_clusters(200)
    prediction, target = rows("float32", 2, 72)
    out = Array(MEMORY.array(prediction.shape, "f4"))
    found = nl.CrossEntropy().value_and_grad(Array.copy(prediction), put(target), out=out)
    same(found, nl.CrossEntropy().value_and_grad(prediction, target), "float32")
    assert ("softmax_clusters", 2) in machine.launched


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float64"])
def test_rows_kept_by_clusters_of_blocks(machine, in_clusters, kind):
    size, dtype = DTYPES[kind].itemsize, DTYPES[kind]
    # Blocks of a cluster, and bytes that each may keep: more than its piece, or less.
    for blocks, bytes_, classes in (
        (2, 160 * size, 304),
        (8, 64 * size, 520),
        (8, 16 * size, 1040),
    ):
        in_clusters(bytes_)
        prediction, target = rows(kind, 4, classes)
        target[0], target[3] = -100, classes - 1
        prediction[1, classes // 2 :] = -np.inf  # the whole of some blocks' pieces
        target[1] = 3
        weight = np.linspace(0.5, 2.0, 4)
        for options in ({}, {"sample_weight": weight, "reduction": "none"}):
            # In place too.
            for gradient in (MEMORY.array(prediction.shape, dtype), None):
                given = Array.copy(prediction)
                out = given if gradient is None else Array(gradient)
                own = {name: put(one) for name, one in options.items()}
                found = nl.Poly1().value_and_grad(given, put(target), out=out, **own)
                expected = nl.Poly1().value_and_grad(prediction, target, **options)
                same(found, expected, kind)
        assert set(launched(machine)) <= {"softmax_clusters", "softmax_scan"}
        assert ("softmax_clusters", blocks) in machine.launched
    # NaN in one block's piece is in every block's gradient; a label out of range is counted once.
    prediction[2, 7] = np.nan
    found = nl.CrossEntropy().value_and_grad(Array.copy(prediction), put(target),
                                             out=Array(MEMORY.array(prediction.shape, dtype)),
                                             reduction="sum")  # fmt: skip
    same(found, nl.CrossEntropy().value_and_grad(prediction, target, reduction="sum"), kind)
    target[2] = classes
    with pytest.raises(ValueError, match=r"target\[2\] is"):
        nl.CrossEntropy().value_and_grad(Array.copy(prediction), put(target))


def test_rows_that_are_not_cut_alike_are_not_kept(machine, kept):
    agree(nl.CrossEntropy(), *rows("float32", 3, 301), offset=1)
    assert set(launched(machine)) == {"softmax_long", "softmax_scan"}


def test_whole_blocks_of_rows(machine, monkeypatch):
    monkeypatch.setattr(backend, "THREADS", 256)
    agree(nl.CrossEntropy(), *rows("float32", 2, 1500))
    agree(nl.CrossEntropy(), *rows("float32", 300, 10))


def test_rows_that_are_not_finite(machine):
    prediction, target = rows("float32", 6, 20)
    prediction[0, 1] = np.nan
    prediction[1] = -np.inf
    prediction[2, 0] = -np.inf
    prediction[3, 5] = np.inf
    agree(nl.CrossEntropy(), prediction, target, reduction="none")


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("least", [10**9, 16], ids=["whole", "split"])
def test_long_rows(machine, no_registers, monkeypatch, kind, least):
    monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", least)
    for shape in ((3, 301), (5, 33), (1, 1000)):
        agree(nl.CrossEntropy(), *rows(kind, *shape), offset=int(least > 16))
    if kind == "float32":
        agree(nl.CrossEntropy(), *rows(kind, 3, 301), derivatives=0, reduction="none")
    # The pieces of split rows are measured first.
    times = len([name for name, _ in machine.launched if name == "softmax_long"])
    calls = 4 if kind == "float32" else 3
    assert times == (calls if least > 16 else 2 * calls)


@pytest.mark.parametrize("least", [10**9, 16], ids=["whole", "split"])
def test_long_rows_with_all_options(machine, no_registers, monkeypatch, least):
    monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", least)
    prediction, target = rows("float32", 4, 131)
    target[1] = -100
    rng = np.random.default_rng(1)
    loss = SMOOTHED.replace(class_weight=rng.random(131))
    options = {"sample_weight": rng.random(4), "reduction": "weighted_mean"}
    agree(loss, prediction, target, derivatives=2, **options)
