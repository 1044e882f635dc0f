"""The axis of the classes: the last one, or any other."""

import tracemalloc
from contextlib import contextmanager

import numba
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import row_inputs

CE = nl.CrossEntropy()
SHAPE = 3, 5, 4  # of the rows


def images(loss, form, classes, axis, dtype=np.float64, shape=SHAPE):
    """Logits and targets with the classes last, and with them along another axis."""
    logits, target = row_inputs(loss, form, int(np.prod(shape)), classes, 4)
    last = logits.astype(dtype).reshape(*shape, classes)
    moved = np.ascontiguousarray(np.moveaxis(last, -1, axis))
    if form == "labels":
        target = target.reshape(shape)
        return last, target, moved, target
    target = target.reshape(*shape, classes)
    return last, target, moved, np.ascontiguousarray(np.moveaxis(target, -1, axis))


@pytest.mark.every(6)
@pytest.mark.parametrize("axis", [0, 1, -3, -2, -1, 3, np.int8(2)])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_any_axis_may_be_that_of_the_classes(form, axis):
    random = np.random.default_rng(0)
    options = {
        "sample_weight": random.integers(0, 3, SHAPE).astype(np.float64),
        "mask": random.random(SHAPE) < 0.8,
    }
    last, target, moved, of_moved = images(CE, form, 5, axis)
    for extra in ({}, options):
        for reduction in ("mean", "weighted_mean", "batchmean", "sum", "none"):
            want = CE.value_grad_hess(last, target, reduction=reduction, **extra)
            got = CE.value_grad_hess(moved, of_moved, reduction=reduction, axis=axis, **extra)
            assert np.shape(got[0]) == np.shape(want[0])
            np.testing.assert_allclose(got[0], want[0], rtol=1e-15)
            for one, other in zip(got[1:], want[1:], strict=True):
                assert one.shape == moved.shape
                assert one.strides == moved.strides
                np.testing.assert_array_equal(np.moveaxis(one, axis, -1), other)
            both = CE.value_and_grad(moved, of_moved, reduction=reduction, axis=axis, **extra)
            np.testing.assert_array_equal(both[0], got[0])
            np.testing.assert_array_equal(both[1], got[1])
            alone = CE(moved, of_moved, reduction=reduction, axis=axis, **extra)
            np.testing.assert_array_equal(alone, got[0])
    np.testing.assert_array_equal(CE.hess(moved, of_moved, axis=axis), CE.value_grad_hess(
        moved, of_moved, axis=axis)[2])  # fmt: skip


def test_outputs_have_the_layout_of_the_prediction():
    last, target, moved, _ = images(CE, "labels", 5, 1)
    _, gradient, hessian = CE.value_grad_hess(moved, target, axis=1)
    out, hess_out = np.empty_like(moved), np.asfortranarray(np.empty_like(moved))
    got = CE.value_grad_hess(moved, target, axis=1, out=out, hess_out=hess_out)
    assert got[1] is out
    assert got[2] is hess_out
    np.testing.assert_array_equal(out, gradient)
    np.testing.assert_array_equal(hess_out, hessian)
    with pytest.raises(ValueError, match=r"shape of the prediction, \(3, 5, 5, 4\), not \(3, 5, 4"):
        CE.value_and_grad(moved, target, axis=1, out=np.empty_like(last))
    wrong = target.copy()
    wrong[2, 4, 3] = 5
    before = moved.copy()
    with pytest.raises(ValueError, match=r"target\[2, 4, 3\] is 5; labels of 5 classes"):
        CE.value_and_grad(moved, wrong, axis=1, out=moved)
    np.testing.assert_array_equal(moved, before)
    CE.value_and_grad(moved, target, axis=1, out=moved)
    np.testing.assert_array_equal(moved, gradient)


def test_lists_and_single_rows_have_an_axis_too():
    assert CE([[0.0, 1.0], [2.0, 3.0]], [0, 1], axis=0) == CE([[0.0, 2.0], [1.0, 3.0]], [0, 1])
    value, gradient = CE.value_and_grad([1.0, 0.0], 1, axis=0)
    assert value == CE([1.0, 0.0], 1)
    assert gradient.shape == (2,)
    both = CE + 0.5 * nl.Brier()
    target = np.array([0, 1, 1])
    assert both(np.ones((2, 3)), target, axis=0) == both(np.ones((3, 2)), target)


@pytest.mark.parametrize(
    ("arguments", "axis", "error", "message"),
    [
        ((np.ones((3, 2)), [0, 0, 0]), 2, ValueError, "from -2 to 1 for .* 2 dimensions, not 2"),
        ((np.ones((3, 2)), [0, 0, 0]), -3, ValueError, "from -2 to 1 .*, not -3"),
        ((np.ones(3), 0), 1, ValueError, "from -1 to 0 .*, not 1"),
        ((np.ones((3, 2)), [0, 0, 0]), 1.0, TypeError, "axis must be an integer, .* not 1.0"),
        ((np.ones((3, 2)), [0, 0, 0]), None, TypeError, "axis must be an integer"),
        ((np.ones((3, 2)), [0, 0, 0]), True, TypeError, "axis must be an integer"),
        ((np.ones((3, 2)), [0, 0, 0]), (1,), TypeError, "axis must be an integer"),
        ((np.ones((3, 2, 4)), np.ones((3, 2), int)), 1, ValueError,
         r"of the prediction, \(3, 2, 4\), or, for labels, \(3, 4\); not \(3, 2\)"),
        ((np.ones((2, 3)), [0, 1, 2]), 0, ValueError, r"target\[2\] is 2; labels of 2 classes"),
        ((np.ones((0, 3)), [0, 1, 2]), 0, ValueError, r"no classes: its shape is \(0, 3\)"),
    ],
)  # fmt: skip
def test_errors_of_an_axis(arguments, axis, error, message):
    for method in (CE, CE.value_and_grad, CE.value_grad_hess):
        with pytest.raises(error, match=message):
            method(*arguments, axis=axis)


def test_bad_numbers_are_named_where_the_caller_has_them():
    target = np.full((2, 3, 4, 5), 0.25)
    target[1, 2, 0, 3] = -0.5
    for axis in (1, -2, 0):
        with pytest.raises(ValueError, match=r"target\[1, 2, 0, 3\] is -0.5"):
            CE(np.ones((2, 3, 4, 5)), target, axis=axis)
    with pytest.raises(ValueError, match="class_weight has 3 numbers, the prediction 4 classes"):
        nl.CrossEntropy(class_weight=np.ones(3))(np.ones((3, 4)), [0, 1, 2, 0][:3], axis=1)
    with pytest.raises(ValueError, match=r"sample_weight must have .*, \(2, 4\)"):
        CE(np.ones((2, 3, 4)), np.ones((2, 4), int), axis=1, sample_weight=np.ones((2, 3)))


@contextmanager
def limited(threads):
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def same_bits(loss, last, target, moved, of_moved, **options):
    """Value and derivatives with the classes along the second axis, as they are along the last."""
    for reduction in ("none", "sum"):
        want = loss.value_grad_hess(last, target, reduction=reduction, **options)
        got = loss.value_grad_hess(moved, of_moved, reduction=reduction, axis=1, **options)
        # Where a block is less than a chunk, its sums are added in another order.
        rounding = 1e-15 if reduction == "sum" else 0.0
        np.testing.assert_allclose(got[0], want[0], rtol=rounding)
        for one, other in zip(got[1:], want[1:], strict=True):
            np.testing.assert_array_equal(np.moveaxis(one, 1, -1), other)


@pytest.mark.every(10)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("classes", [3, 17, 130, 5000])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_images_come_out_as_rows_do_to_the_last_bit(form, classes, dtype, monkeypatch):
    # Blocks that end within an image, and others that hold several.
    for shape, block in (((3, 7, 11), 1 << 17), ((2, 1, 130), 1 << 12), ((50, 2, 3), 1 << 14)):
        monkeypatch.setattr("numbaloss.cpu.row_blocks.BLOCK_BYTES", block)
        if classes > 1000 and shape[0] > 3:
            continue
        last, target, moved, of_moved = images(CE, form, classes, 1, dtype, shape)
        same_bits(CE, last, target, moved, of_moved)
        last[0, 0, 0, 1] = last[-1, -1, -1, 0] = -np.inf
        last[1, 0, 2, 0], last[0, -1, 1, classes - 1] = np.nan, np.inf
        moved = np.ascontiguousarray(np.moveaxis(last, -1, 1))
        weight = np.random.default_rng(0).integers(0, 3, shape)
        same_bits(CE, last, target, moved, of_moved, sample_weight=weight)
        # Any mixture of layouts, and in place.
        view = np.moveaxis(moved, 1, -1)
        _, gradient = CE.value_and_grad(last, target)
        out = np.empty_like(last)
        CE.value_and_grad(view, target, out=out)
        np.testing.assert_array_equal(out, gradient)
        out = np.empty_like(moved)
        CE.value_and_grad(last, target, out=np.moveaxis(out, 1, -1))
        np.testing.assert_array_equal(np.moveaxis(out, 1, -1), gradient)
        CE.value_and_grad(moved, of_moved, axis=1, out=moved)
        np.testing.assert_array_equal(np.moveaxis(moved, 1, -1), gradient)


@pytest.mark.parametrize("classes", [17, 130])
def test_images_larger_than_a_chunk(classes):
    shape = 5, 61, 83
    for threads in (1, 2):
        with limited(threads):
            last, target, moved, _ = images(CE, "labels", classes, 1, "f4", shape)
            want, gradient = CE.value_and_grad(last, target)
            got, turned = CE.value_and_grad(moved, target, axis=1)
            assert got == want
            np.testing.assert_array_equal(np.moveaxis(turned, 1, -1), gradient)


def test_blocks_need_no_memory_that_grows_with_the_images():
    peaks = []
    for count in (8, 32):
        _, target, moved, _ = images(CE, "labels", 130, 1, "f4", (count, 40, 40))
        out = np.empty_like(moved)
        CE.value_and_grad(moved, target, axis=1, out=out)
        tracemalloc.start()
        CE.value_and_grad(moved, target, axis=1, out=out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1 << 20 < moved.nbytes
