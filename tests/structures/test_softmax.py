"""The public contract of losses of rows: options, shapes, dtypes, errors."""

import math
import pickle

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, EACH_ROW_LOSS, identify, row_inputs, with_class_weights
from numbaloss.arrays import Operand
from numbaloss.structures.arguments import whole_labels

# Widths that different kernels take: one class, narrow rows, wide ones, rows of two pieces.
WIDTHS = [1, 2, 3, 5, 8, 12, 17, 40, 128, 130, 5000]
FEW_WIDTHS = [2, 5, 17, 130, 5000]
REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]
CE = nl.CrossEntropy()
FORMS = ["labels", "dense"]


def rows(form, count=12, classes=5, seed=0, dtype=np.float64):
    logits, target = row_inputs(CE, form, count, classes, seed)
    return logits.astype(dtype), target.astype(dtype) if form == "dense" else target


def everything(loss, logits, target, **options):
    return loss.value_grad_hess(logits, target, **options)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


# Shapes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("lead", [(), (1,), (7,), (2, 3), (2, 1, 3), (0,), (3, 0)])
@pytest.mark.parametrize("classes", [1, 2, 5, 40, 130, 5000])
def test_results_have_the_shapes_of_logits_and_rows(form, lead, classes):
    logits, target = rows(form, math.prod(lead), classes)
    logits = logits.reshape(*lead, classes)
    target = target.reshape(lead if form == "labels" else logits.shape)
    value, gradient, hessian = CE.value_grad_hess(logits, target)
    apart = CE(logits, target, reduction="none")
    assert type(value) is float
    assert isinstance(apart, np.ndarray)
    assert apart.shape == lead
    for result in (gradient, hessian):
        assert isinstance(result, np.ndarray)
        assert result.shape == logits.shape
    if apart.size:
        assert value == pytest.approx(apart.mean(), rel=1e-14, abs=1e-300)


def test_no_rows_have_a_sum_and_no_mean():
    for form in FORMS:
        for classes in (0, 3, 200):
            logits = np.empty((0, classes))
            target = np.empty(0, int) if form == "labels" else logits
            for extra in ({}, {"sample_weight": np.empty(0), "mask": np.empty(0, bool)}):
                assert CE(logits, target, reduction="sum", **extra) == 0.0
                assert math.isnan(CE(logits, target, **extra))
                assert math.isnan(CE(logits, target, reduction="weighted_mean", **extra))
                value, gradient = CE.value_and_grad(logits, target, reduction="none", **extra)
                assert value.shape == (0,)
                assert gradient.shape == (0, classes)


def test_no_classes_take_no_label_and_sum_to_nothing():
    empty = np.empty((3, 0))
    with pytest.raises(ValueError, match=r"no classes: its shape is \(3, 0\)"):
        CE(empty, np.zeros(3, int))
    value, gradient = CE.value_and_grad(empty, empty, reduction="none")
    np.testing.assert_array_equal(value, np.zeros(3))
    assert gradient.shape == (3, 0)


def test_a_prediction_without_classes_axis_is_refused():
    with pytest.raises(ValueError, match="at least one dimension"):
        CE(1.0, 0)


def test_lists_and_scalars_become_float64():
    value, gradient = CE.value_and_grad([0.0, 0.0], 1)
    assert value == pytest.approx(math.log(2.0), rel=1e-15)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, [0.5, -0.5])
    assert CE([[0, 0], [0, 0]], [0, 1]) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE([[0.0, 0.0]], [[0, 1]]) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE(np.zeros(2), np.int8(1)) == pytest.approx(math.log(2.0), rel=1e-15)
    assert CE(((0.0, 0.0),), (1,)) == pytest.approx(math.log(2.0), rel=1e-15)


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
def test_one_class_is_certain(loss, form):
    logits = np.array([[3.0], [-1e9], [0.0]])
    target = np.zeros(3, int) if form == "labels" else np.ones((3, 1))
    if loss.dense_logits:
        target = np.array([[5.0], [0.0], [-7.0]])
    for result in everything(loss, logits, target, reduction="none"):
        np.testing.assert_array_equal(result, np.zeros_like(result))


# Reductions and weights


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("extras", ["none", "weight", "mask", "ignored", "all"])
def test_reductions_and_their_gradients_follow_from_the_rows(loss, form, extras):
    if extras == "ignored" and form == "dense":
        pytest.skip("dense targets ignore no class")
    for classes in (2, 5, 17, 130):
        of_width = with_class_weights(loss, classes, 1)
        logits, target = row_inputs(loss, form, 15, classes, seed=2)
        values, slopes, curves = everything(of_width, logits, target, reduction="none")
        random = np.random.default_rng(3)
        options, share, counts = {}, np.ones(15), np.ones(15)
        if extras in ("weight", "all"):
            share = random.integers(0, 4, 15).astype(np.float64)
            options["sample_weight"] = share
        if extras in ("mask", "all"):
            options["mask"] = random.random(15) < 0.7
            counts = counts * options["mask"]
        of_class = of_width.row_options().class_weight
        of_row = np.ones(15)
        if of_class is not None:
            of_row = of_class[target] if form == "labels" else (target * of_class).sum(-1)
        if extras in ("ignored", "all") and form == "labels":
            ignored = random.random(15) < 0.3
            target = np.where(ignored, -100, target)
            counts = counts * ~ignored
        weight = share * counts
        divisors = {"mean": counts.sum(), "weighted_mean": (weight * of_row).sum(), "sum": 1.0}
        for reduction in REDUCTIONS:
            divisor = divisors.get(reduction, 1.0)
            got = everything(of_width, logits, target, reduction=reduction, **options)
            alone = of_width(logits, target, reduction=reduction, **options)
            once = of_width.value_and_grad(logits, target, reduction=reduction, **options)
            wanted = values * weight if reduction == "none" else (values * weight).sum() / divisor
            for value in (got[0], alone, once[0]):
                np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14)
            for gradient in (got[1], once[1]):
                expected = slopes * weight[:, None] / divisor
                np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-15)
            expected = curves * weight[:, None] / divisor
            np.testing.assert_allclose(got[2], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_weights_and_masks_are_one_a_row_or_one_for_all_rows_behind(form):
    logits, target = rows(form, 24)
    logits = logits.reshape(2, 3, 4, 5)
    target = target.reshape((2, 3, 4) if form == "labels" else logits.shape)
    random = np.random.default_rng(1)
    weight, mask = random.random((2, 3, 4)), random.random((2, 3, 4)) < 0.6
    for reduction in REDUCTIONS:
        for cut in ((), (0,), (0, 0), (0, 0, 0)):
            part = (..., *cut)
            options = {"sample_weight": weight[part], "mask": mask[part]}
            behind = (1,) * len(cut)
            full = {
                name: np.ascontiguousarray(
                    np.broadcast_to(given.reshape(given.shape + behind), (2, 3, 4))
                )
                for name, given in options.items()
            }
            got = everything(CE, logits, target, reduction=reduction, **options)
            assert_same(got, everything(CE, logits, target, reduction=reduction, **full))
    for name, wrong in (("sample_weight", np.ones(4)), ("mask", np.ones((2, 3, 4, 5), bool))):
        with pytest.raises(ValueError, match=rf"{name} must have the shape of the rows"):
            CE(logits, target, **{name: wrong})


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("by", ["weight", "mask"])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_a_row_that_does_not_count_may_hold_anything(loss, form, by, classes):
    of_width = with_class_weights(loss, classes, 2)
    logits, target = row_inputs(loss, form, 9, classes, seed=5)
    counts = np.arange(9) % 3 != 1
    options = {"mask": counts} if by == "mask" else {"sample_weight": counts.astype(float)}
    clean = {
        reduction: everything(of_width, logits, target, reduction=reduction, **options)
        for reduction in REDUCTIONS
    }
    logits[1] = math.nan
    logits[4, 0], logits[4, -1] = math.inf, math.nan
    logits[7] = -math.inf
    if form == "dense":
        target[1] = math.nan
    elif by == "mask":
        target[[1, 4, 7]] = [classes, -7, 2**40]
    for reduction in REDUCTIONS:
        got = everything(of_width, logits, target, reduction=reduction, **options)
        assert_same(got, clean[reduction])
        assert not got[1][~counts].any()
        assert not got[2][~counts].any()
    held = logits.copy()
    gradient = of_width.value_and_grad(held, target, out=held, **options)[1]
    np.testing.assert_array_equal(gradient, clean["mean"][1])


@pytest.mark.parametrize("classes", FEW_WIDTHS)
@pytest.mark.parametrize("by", ["ignore_index", "mask", "weight"])
@pytest.mark.parametrize("form", FORMS)
def test_no_rows_that_count_have_no_mean_and_no_gradient(classes, by, form):
    if by == "ignore_index" and form == "dense":
        pytest.skip("dense targets ignore no class")
    logits, target = rows(form, 6, classes)
    options = {}
    if by == "ignore_index":
        target = np.full(6, -100)
    elif by == "mask":
        options["mask"] = np.zeros(6, bool)
    else:
        options["sample_weight"] = np.zeros(6)
    for reduction in REDUCTIONS:
        value, gradient, hessian = everything(CE, logits, target, reduction=reduction, **options)
        if reduction == "none":
            np.testing.assert_array_equal(value, np.zeros(6))
        elif reduction == "sum" or (reduction == "mean" and by == "weight"):
            assert value == 0.0
        else:
            assert math.isnan(value)
        for result in (gradient, hessian):
            np.testing.assert_array_equal(result, np.zeros_like(logits))


def test_ignore_index_may_be_a_class_or_anything_else():
    logits, labels = rows("labels", 30)
    for index in (-100, -1, 0, 3, 7):
        loss = nl.CrossEntropy(ignore_index=index)
        given = np.where(np.arange(30) % 4 == 0, index, labels)
        counts = given != index
        value, gradient = loss.value_and_grad(logits, given)
        expected = CE.value_and_grad(logits[counts], given[counts])
        assert value == pytest.approx(expected[0], rel=1e-14)
        np.testing.assert_allclose(gradient[counts], expected[1], rtol=1e-13)
        assert not gradient[~counts].any()


def test_mean_over_classes_weights_of_nothing_is_no_number():
    loss = nl.CrossEntropy(class_weight=[1.0, 0.0])
    value, gradient = loss.value_and_grad([[1.0, 2.0]], [1], reduction="weighted_mean")
    assert math.isnan(value)
    np.testing.assert_array_equal(gradient, [[0.0, 0.0]])
    assert loss([[1.0, 2.0]], [1]) == 0.0


# Labels


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


# Dense targets

WITH_DENSE = [loss for loss in EACH_ROW_LOSS if "dense" in loss.accepts and not loss.dense_logits]


@pytest.mark.every(2)
@pytest.mark.parametrize("loss", WITH_DENSE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [5, 130, 5000])
@pytest.mark.parametrize("wrong", [1.5, -0.5])
def test_dense_targets_outside_the_domain_are_named(loss, dtype, classes, wrong):
    logits, target = row_inputs(loss, "dense", 6, classes, seed=1)
    logits = logits.reshape(2, 3, classes).astype(dtype)
    target = target.reshape(2, 3, classes).astype(dtype)
    target[1, 2, 0] = target[1, 0, classes - 2] = wrong
    before = logits.tobytes()
    message = rf"target\[1, 0, {classes - 2}\] is {wrong}"
    for call in (loss, loss.value_and_grad, loss.value_grad_hess):
        with pytest.raises(ValueError, match=message):
            call(logits, target)
    with pytest.raises(ValueError, match=message):
        loss.value_and_grad(logits, target, out=logits)
    assert logits.tobytes() == before
    loss(logits, target, check=False)


@pytest.mark.parametrize(
    "kind", ["f2", "f4", ">f4", "f8", ">f8", "i1", "u1", "i8", "?", ml_dtypes.bfloat16]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dense_targets_may_be_of_any_real_dtype(kind, dtype):
    for classes in FEW_WIDTHS:
        logits, _ = rows("labels", 6, classes, dtype=dtype)
        target = np.eye(classes, dtype=dtype)[np.arange(6) % classes]
        assert_same(everything(CE, logits, target.astype(kind)), everything(CE, logits, target))


def test_mass_need_not_be_one():
    logits = np.array([[1.0, 2.0, 4.0]])
    value, gradient = CE.value_and_grad(logits, [[0.25, 0.0, 0.25]])
    p = np.exp(logits[0]) / np.exp(logits).sum()
    assert value == pytest.approx(-0.25 * np.log(p[[0, 2]]).sum(), rel=1e-14)
    np.testing.assert_allclose(gradient[0], 0.5 * p - [0.25, 0.0, 0.25], rtol=1e-14)
    value, gradient = CE.value_and_grad(logits, [[0.0, 0.0, 0.0]])
    assert value == 0.0
    assert not gradient.any()


def test_a_teacher_need_not_be_probable_and_its_own_pupil_is_at_rest():
    logits = row_inputs(CE, "labels", 7, 33, seed=3)[0]
    for temperature in (0.5, 1.0, 4.0):
        loss = nl.Distillation(temperature)
        value, gradient = loss.value_and_grad(logits, logits, reduction="none")
        np.testing.assert_allclose(value, 0.0, atol=1e-14)
        np.testing.assert_allclose(gradient, 0.0, atol=1e-15)
        # Adding a number to all logits of a row changes nothing.
        moved = loss(logits, logits[::-1] + 1e3, reduction="none")
        still = loss(logits, logits[::-1], reduction="none")
        np.testing.assert_allclose(moved, still, rtol=1e-10, atol=1e-14)


# NaN and infinities


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_in_its_row(loss, form, dtype):
    for classes in (1, 2, 3, 5, 8, 12, 17, 40, 130, 5000):
        of_width = with_class_weights(loss, classes, 3)
        logits, target = row_inputs(loss, form, 21, classes, seed=4)
        logits = logits.astype(dtype)
        clean = everything(of_width, logits, target, reduction="none")
        for row in (0, 10, 20) if classes < 1000 else (10,):
            for column in {0, classes // 2, classes - 1}:
                for array in (logits, target)[: 1 + (form == "dense")]:
                    keep = array[row, column]
                    array[row, column] = math.nan
                    found = everything(of_width, logits, target, reduction="none")
                    for got, expected in zip(found, clean):
                        assert np.isnan(got[row]).all(), (classes, row, column, got[row])
                        one, other = np.delete(got, row, 0), np.delete(expected, row, 0)
                        np.testing.assert_array_equal(one, other)
                    value, gradient = of_width.value_and_grad(logits, target)
                    assert math.isnan(value)
                    assert np.isnan(gradient[row]).all()
                    assert not np.isnan(np.delete(gradient, row, 0)).any()
                    array[row, column] = keep


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", WIDTHS)
def test_equal_huge_logits_are_equal_chances(form, dtype, classes):
    huge = np.finfo(dtype).max
    for level in (huge, -huge, 1e30, -1e30, 0.0):
        logits = np.full((5, classes), level, dtype)
        target = np.zeros(5, int)
        if form == "dense":
            target = np.full((5, classes), 1.0 / classes, dtype)
        value, gradient, hessian = everything(CE, logits, target, reduction="none")
        precision = 1e-5 if dtype is np.float32 else 1e-13
        np.testing.assert_allclose(value, math.log(classes), rtol=precision, atol=1e-12)
        wanted = np.full(classes, 1.0 / classes)
        wanted[0] -= 1.0
        wanted = wanted if form == "labels" else np.zeros(classes)
        np.testing.assert_allclose(gradient, np.tile(wanted, (5, 1)), rtol=precision, atol=1e-7)
        curve = (1.0 - 1.0 / classes) / classes
        np.testing.assert_allclose(hessian, curve, rtol=10 * precision, atol=1e-7)


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_a_row_of_minus_infinity_is_nan_and_alone(loss, form, classes):
    if loss.relative_to_label:
        pytest.skip("takes differences")
    logits, target = row_inputs(loss, form, 9, classes, seed=6)
    clean = everything(loss, logits, target, reduction="none")
    logits[4] = -math.inf
    for got, expected in zip(everything(loss, logits, target, reduction="none"), clean):
        assert np.isnan(got[4]).all()
        np.testing.assert_array_equal(np.delete(got, 4, 0), np.delete(expected, 4, 0))


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 12, 40, 130, 5000])
def test_an_excluded_class_without_mass_is_as_if_it_were_not_there(loss, form, dtype, classes):
    if loss.relative_to_label or loss.row_options().label_smoothing:
        pytest.skip("every class has a part in it")
    logits, target = row_inputs(loss, form, 7, classes - 1, seed=7)
    logits = logits.astype(dtype)
    without = everything(loss, logits, target, reduction="none")
    for place in {0, classes // 2, classes - 1}:
        wide = np.insert(logits, place, -math.inf, axis=1)
        if form == "labels":
            moved = target + (target >= place)
        else:
            moved = np.insert(target, place, -math.inf if loss.dense_logits else 0.0, axis=1)
        found = everything(loss, wide, moved, reduction="none")
        precision = 1e-12 if dtype is np.float64 else 1e-4
        np.testing.assert_allclose(found[0], without[0], rtol=precision, atol=precision)
        for got, expected in zip(found[1:], without[1:]):
            assert not got[:, place].any(), (place, got[:, place])
            size = np.abs(expected).max()
            np.testing.assert_allclose(
                np.delete(got, place, 1), expected, rtol=precision, atol=precision * size
            )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_plus_infinity_gives_nan_in_its_row_alone(form, classes):
    logits, target = rows(form, 9, classes)
    clean = everything(CE, logits, target, reduction="none")
    logits[5, 1] = math.inf
    found = everything(CE, logits, target, reduction="none")
    assert not np.isfinite(found[0][5])
    for got, expected in zip(found, clean):
        np.testing.assert_array_equal(np.delete(got, 5, 0), np.delete(expected, 5, 0))


# Outputs


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_outputs_receive_the_results(form, dtype, classes):
    logits, target = rows(form, 10, classes)
    logits = logits.astype(dtype)
    expected = everything(CE, logits, target)
    layouts = [
        (np.empty((10, classes), dtype), np.empty((10, classes), dtype)),
        (np.empty((20, classes), dtype)[::2], np.empty((10, classes), dtype, order="F")),
        (np.empty((10, 2 * classes), dtype)[:, ::-2], np.empty((10, 3 * classes), dtype)[:, ::3]),
    ]
    for out, hess_out in layouts:
        found = everything(CE, logits, target, out=out, hess_out=hess_out)
        assert found[1] is out
        assert found[2] is hess_out
        assert_same(found, expected)


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("layout", ["contiguous", "strided", "half", "weighted", "fortran"])
@pytest.mark.parametrize("classes", FEW_WIDTHS)
def test_gradient_may_replace_the_logits(loss, form, layout, classes):
    of_width = with_class_weights(loss, classes, 4)
    for count in (3, 40):  # threads share few rows piece by piece
        logits, target = row_inputs(loss, form, count, classes, seed=6)
        logits = logits.astype(np.float16 if layout == "half" else np.float32)
        options = {"reduction": "sum"}
        if layout == "strided":
            logits = np.repeat(logits, 2, axis=1)[:, ::2]
        if layout == "fortran":
            logits = np.asfortranarray(logits)
        if layout == "weighted":
            options["sample_weight"] = np.random.default_rng(0).random(count)
        expected = of_width.value_and_grad(logits, target, **options)
        full = everything(of_width, logits, target, **options)
        copy = logits.copy(order="K") if layout != "strided" else np.repeat(logits, 2, 1)[:, ::2]
        value, gradient = of_width.value_and_grad(logits, target, out=logits, **options)
        assert gradient is logits
        assert value == expected[0]
        np.testing.assert_array_equal(logits, expected[1])
        value, gradient, hessian = everything(of_width, copy, target, out=copy, **options)
        assert_same((value, gradient, hessian), full)


@pytest.mark.parametrize("form", FORMS)
def test_overlapping_outputs_are_refused(form):
    buffer = np.zeros((8, 4))
    logits = buffer[:4]
    target = np.ones((4, 4)) if form == "dense" else np.zeros(4, int)
    for out in (buffer[1:5], logits[::-1], logits.T):
        with pytest.raises(ValueError, match="out shares memory with prediction"):
            CE.value_and_grad(logits, target, out=out)
    if form == "dense":
        with pytest.raises(ValueError, match="out shares memory with target"):
            CE.value_and_grad(logits, target, out=target)
    weight = np.ones(16)
    with pytest.raises(ValueError, match="out shares memory with sample_weight"):
        CE.value_and_grad(logits, target, sample_weight=weight[:4], out=weight.reshape(4, 4))
    mask = np.ones(128, bool)
    with pytest.raises(ValueError, match="out shares memory with mask"):
        CE.value_and_grad(logits, target, mask=mask[:4], out=mask.view(float).reshape(4, 4))
    with pytest.raises(ValueError, match="hess_out shares memory with prediction"):
        CE.value_grad_hess(logits, target, hess_out=logits)
    out = np.zeros((4, 4))
    with pytest.raises(ValueError, match="out and hess_out share memory"):
        CE.value_grad_hess(logits, target, out=out, hess_out=out)
    assert not buffer.any()


def test_inputs_are_never_written():
    for form in FORMS:
        for classes in FEW_WIDTHS:
            logits, target = rows(form, 40, classes)
            weight, mask = np.ones(40), np.arange(40) % 2 == 0
            weights = np.ones(classes)
            loss = nl.CrossEntropy(class_weight=weights, label_smoothing=0.1)
            for array in (logits, target, weight, mask):
                array.flags.writeable = False
            loss.value_grad_hess(
                logits, target, sample_weight=weight, mask=mask, reduction="weighted_mean"
            )
            weights[0] = 5.0  # the loss has a copy
            assert loss.class_weight[0] == 1.0


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_gradient_scale_multiplies_gradient_and_hessian_alone(reduction, form):
    for classes in FEW_WIDTHS:
        logits, target = rows(form, 6, classes)
        plain = everything(CE, logits, target, reduction=reduction)
        scaled = everything(CE, logits, target, reduction=reduction, gradient_scale=1024.0)
        np.testing.assert_array_equal(scaled[0], plain[0])
        for got, expected in zip(scaled[1:], plain[1:]):
            np.testing.assert_allclose(got, 1024 * expected, rtol=1e-15)
        nothing = everything(CE, logits, target, reduction=reduction, gradient_scale=0.0)
        np.testing.assert_array_equal(nothing[0], plain[0])
        assert not nothing[1].any()


# Errors


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.ones((3, 2)), np.zeros((3, 3))), {}, ValueError, r"\(3, 2\), or, for labels, \(3,\)"),
        ((np.ones((3, 2)), np.zeros(2, int)), {}, ValueError, r"for labels, \(3,\); not \(2,\)"),
        ((np.ones((3, 2)), np.zeros((3, 1), int)), {}, ValueError, r"not \(3, 1\)"),
        ((np.ones((3, 2)), 0), {}, ValueError, r"not \(\)"),
        ((np.ones((3, 2), int), np.zeros(3, int)), {}, TypeError, "prediction has dtype int64"),
        ((np.ones((3, 2)), ["a", "b", "c"]), {}, TypeError, "target has dtype <U1"),
        ((np.ones((3, 2)), [None] * 3), {}, TypeError, "target has dtype object"),
        ((np.ma.ones((3, 2)), np.zeros(3, int)), {}, TypeError, "prediction is a masked array"),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"reduction": "avg"},
            ValueError,
            "reduction must be one of",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"sample_weight": [1, -1, 1]},
            ValueError,
            r"sample_weight\[1\] is -1",
        ),
        (
            (np.ones((3, 2)), np.full((3, 2), 0.5)),
            {"sample_weight": [1, 1, np.nan]},
            ValueError,
            r"sample_weight\[2\] is nan",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"mask": np.ones(3)},
            TypeError,
            "mask must be an array of bool, not float64",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"out": np.ones((3, 3))},
            ValueError,
            "shape of the prediction",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"out": np.ones((3, 2), "i8")},
            TypeError,
            "float64, or another floating one, not int64",
        ),
    ],
)
def test_errors_name_the_argument(arguments, options, error, message):
    with pytest.raises(error, match=message):
        CE.value_and_grad(*arguments, **options)


def test_read_only_outputs_are_refused():
    out = np.zeros((3, 2))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        CE.value_and_grad(np.ones((3, 2)), [0, 1, 0], out=out)


def test_negative_weights_leave_in_place_logits_alone():
    for form in FORMS:
        logits, target = rows(form, 50_000, 3, dtype=np.float32)
        before = logits.copy()
        weight = np.ones(50_000, np.float32)
        weight[-1] = -1
        with pytest.raises(ValueError, match=r"sample_weight\[49999\] is -1"):
            CE.value_and_grad(logits, target, sample_weight=weight, out=logits)
        np.testing.assert_array_equal(logits, before)


def test_targets_of_the_other_kind_are_refused_with_the_right_one():
    with pytest.raises(ValueError, match="MultiMargin takes integer labels, not dense targets"):
        nl.MultiMargin()(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="Distillation takes dense targets"):
        nl.Distillation()(np.ones((2, 3)), [0, 1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nl.CrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing must be in"),
        (lambda: nl.CrossEntropy(label_smoothing=-0.1), ValueError, "label_smoothing must be in"),
        (lambda: nl.CrossEntropy(z_loss=-1.0), ValueError, "z_loss must be in"),
        (lambda: nl.CrossEntropy(temperature=0.0), ValueError, "temperature must be in"),
        (lambda: nl.CrossEntropy(temperature=math.inf), ValueError, "temperature must be in"),
        (lambda: nl.CrossEntropy(temperature=math.nan), ValueError, "must not be NaN"),
        (lambda: nl.CrossEntropy(ignore_index=1.5), TypeError, "ignore_index must be a int"),
        (lambda: nl.CrossEntropy(class_weight=[1, -1]), ValueError, r"class_weight\[1\] is -1"),
        (lambda: nl.CrossEntropy([1, math.nan]), ValueError, r"class_weight\[1\] is nan"),
        (lambda: nl.CrossEntropy([math.inf]), ValueError, r"class_weight\[0\] is inf"),
        (lambda: nl.CrossEntropy([[1.0]]), ValueError, "must have one dimension, not 2"),
        (lambda: nl.CrossEntropy(1.0), ValueError, "must have one dimension, not 0"),
        (lambda: nl.CrossEntropy("ab"), TypeError, "class_weight must be an array of numbers"),
        (lambda: nl.CategoricalFocal(-1.0), ValueError, "gamma must be in"),
        (lambda: nl.GeneralizedCrossEntropy(0.0), ValueError, "q must be in"),
        (lambda: nl.GeneralizedCrossEntropy(1.1), ValueError, "q must be in"),
        (lambda: nl.SymmetricCrossEntropy(log_zero=0.0), ValueError, "log_zero must be in"),
        (lambda: nl.SymmetricCrossEntropy(-1.0), ValueError, "alpha must be in"),
        (lambda: nl.MultiMargin(p=3), ValueError, "p must be 1 or 2, not 3"),
        (lambda: nl.Distillation(-2.0), ValueError, "temperature must be in"),
    ],
)
def test_bad_parameters_are_refused_at_construction(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_class_weights_must_be_as_many_as_classes():
    loss = nl.CrossEntropy(class_weight=[1.0, 2.0])
    for target in ([0], [[0.5, 0.5, 0.0]]):
        with pytest.raises(ValueError, match="class_weight has 2 numbers, the prediction 3"):
            loss([[1.0, 2.0, 3.0]], target)


def test_losses_with_class_weights_compare_hash_and_survive_pickle():
    one, other = (nl.CrossEntropy(class_weight=np.array([1.0, 2.0])) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one == nl.CrossEntropy([1, 2])
    assert one != nl.CrossEntropy([1, 3])
    assert one != nl.CrossEntropy([1, 2, 0])
    assert one != nl.CrossEntropy()
    assert one != nl.CategoricalFocal(class_weight=[1, 2])
    assert (one + nl.CrossEntropy([1, 2])) == (other + nl.CrossEntropy([1, 2]))
    before = one([[1.0, 2.0]], [1])
    for loss in (one, 2.0 * one):
        twin = pickle.loads(pickle.dumps(loss))
        assert twin == loss
        assert hash(twin) == hash(loss)
        assert twin([[1.0, 2.0]], [1]) == loss([[1.0, 2.0]], [1])
    assert one([[1.0, 2.0]], [1]) == before
    assert not one.class_weight.flags.writeable
    assert one.replace(class_weight=None) == nl.CrossEntropy()
    assert repr(one).startswith("CrossEntropy(class_weight=[1.0, 2.0], ")
    assert "1000 numbers" in repr(nl.CrossEntropy(np.ones(1000)))


# Sums


def test_sums_are_the_sums_of_their_terms():
    terms = [
        (1.0, nl.CrossEntropy()),
        (0.5, nl.Brier()),
        (-0.25, nl.GeneralizedCrossEntropy(0.3)),
        (2.0, nl.CrossEntropy(z_loss=0.1)),
        (1.5, nl.SymmetricCrossEntropy()),
    ]
    loss = sum(weight * term for weight, term in terms)
    for form in FORMS:
        for classes in FEW_WIDTHS:
            logits, target = rows(form, 9, classes)
            parts = [everything(term, logits, target, reduction="none") for _, term in terms]
            found = everything(loss, logits, target, reduction="none")
            for n, got in enumerate(found):
                wanted = sum(weight * part[n] for (weight, _), part in zip(terms, parts))
                np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


def test_shared_options_of_a_sum_apply_to_all_of_it():
    weights = [1.0, 2.0, 0.5]
    one, other = nl.CrossEntropy(weights), nl.CategoricalFocal(class_weight=weights)
    logits, labels = rows("labels", 20, 3)
    labels[4] = -100
    for reduction in REDUCTIONS:
        got = (one + 3.0 * other)(logits, labels, reduction=reduction)
        wanted = one(logits, labels, reduction=reduction)
        wanted = wanted + 3.0 * other(logits, labels, reduction=reduction)
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nl.CrossEntropy(temperature=2.0) + nl.Brier(), "same temperature"),
        (lambda: nl.CrossEntropy(label_smoothing=0.1) + nl.Brier(), "same label_smoothing"),
        (lambda: nl.CrossEntropy([1.0, 2.0]) + nl.Brier(), "same class_weight"),
        (lambda: nl.CrossEntropy(ignore_index=0) + nl.Brier(), "same ignore_index"),
    ],
)
def test_terms_of_a_sum_must_read_rows_alike(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sums_of_different_readings_are_refused():
    for make in (
        lambda: nl.CrossEntropy() + nl.MultiMargin(),
        lambda: nl.Distillation(1.0) + nl.CrossEntropy(),
        lambda: nl.CrossEntropy() + nl.Huber(),
        lambda: nl.Huber() + nl.CrossEntropy(),
    ):
        with pytest.raises(TypeError):
            make()


# Losses of one's own


class Mellow(nl.Softmax):
    """The generalized cross-entropy, as the documentation writes it."""

    q: float = 0.5
    class_weight: np.ndarray | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0
    sparse = True

    def point(self, log_probability, target):
        power = nl.exp(self.q * log_probability)
        return target * (1.0 - power) / self.q, -target * power, -target * self.q * power


class Squares(nl.Softmax):
    """Brier's score without the shortcut for labels."""

    class_weight: np.ndarray | None = None
    label_smoothing: float = 0.0

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        return (p - target) ** 2.0, 2.0 * p * (p - target), 2.0 * p * (2.0 * p - target)


class Entropic(nl.Softmax):
    """Minus the entropy of the prediction, plus a term in the log of the sum."""

    scale: float = 0.1

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        finite = log_probability if p > 0.0 else 0.0
        return p * finite, p * (finite + 1.0), p * (finite + 2.0)

    def label_point(self, log_probability):
        raise NotImplementedError  # not a function of the label

    def normalizer(self, log_sum):
        return self.scale * log_sum**2.0, 2.0 * self.scale * log_sum, 2.0 * self.scale


class WithLabelPoint(nl.Softmax):
    """1 - p of the label plus the sum of all p: the same as a sum over classes."""

    label_smoothing: float = 0.0
    class_weight: np.ndarray | None = None

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        return 2.0 * p - target * p, 2.0 * p - target * p, 2.0 * p - target * p

    def label_point(self, log_probability):
        p = nl.exp(log_probability)
        return 2.0 - p, -p, -p


def of_mellow(x, t, m, q, class_weight, label_smoothing, temperature):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m, temperature)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * t * (1 - m.exp(q * log_p)) / q, axis=-1)


def of_squares(x, t, m, class_weight, label_smoothing):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * (m.exp(log_p) - t) ** 2, axis=-1)


def of_with_label_point(x, t, m, label_smoothing, class_weight):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * (2 - t) * m.exp(log_p), axis=-1)


OWN = [
    Mellow(),
    Mellow(temperature=2.0),
    Mellow(label_smoothing=0.2),
    Mellow(0.3, class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
    Mellow(0.3, class_weight=[0.5, 1.0, 0.0, 2.0, 1.0], label_smoothing=0.3, temperature=0.5),
    Squares(),
    Squares(class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
    Squares(label_smoothing=0.4),
    WithLabelPoint(),
    WithLabelPoint(label_smoothing=0.1),
    WithLabelPoint(class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
]


@pytest.mark.parametrize("loss", OWN, ids=identify)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [5, 130, 2100])
def test_a_loss_of_ones_own_is_what_its_formula_says(loss, form, classes, monkeypatch):
    from tests.support.reference import rows as reference

    weights = loss.class_weight
    if weights is not None:
        loss = loss.replace(class_weight=np.resize(weights, classes))
    for formula in (of_mellow, of_squares, of_with_label_point):
        monkeypatch.setattr(reference, formula.__name__[3:], formula, raising=False)
    logits, target = row_inputs(loss, form, 4, classes, seed=9)
    dense = reference.one_hot(target, classes) if form == "labels" else target
    value, gradient, hessian = everything(loss, logits, target, reduction="none")
    expected = reference.value_of(loss, logits, dense, reference.NumPy)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    columns = list(range(min(classes, 20)))
    slopes = reference.gradient_at(loss, logits, dense, columns)
    curves = reference.hessian_at(loss, logits, dense, columns)
    np.testing.assert_allclose(gradient[:, columns], slopes, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(hessian[:, columns], curves, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_normalizer_of_ones_own_takes_part(form):
    class Pulled(nl.Softmax):
        sparse = True
        pull: float = 0.25

        def point(self, log_probability, target):
            return -target * log_probability, -target, 0.0

        def normalizer(self, log_sum):
            return self.pull * log_sum * log_sum, 2.0 * self.pull * log_sum, 2.0 * self.pull

    for classes in FEW_WIDTHS:
        logits, target = rows(form, 7, classes)
        got = everything(Pulled(), logits, target, reduction="none")
        wanted = everything(nl.CrossEntropy(z_loss=0.25), logits, target, reduction="none")
        for one, other in zip(got, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "base", [nl.CrossEntropy, nl.CategoricalFocal, nl.GeneralizedCrossEntropy, nl.Brier, nl.Poly1]
)
def test_a_subclass_that_gives_its_own_point_is_what_it_says(base):
    class Derived(base):
        sparse = True

        def point(self, log_probability, target):
            return 3.0 * target * log_probability, 3.0 * target, 0.0

    logits, labels = rows("labels", 6)
    values = everything(Derived(), logits, labels, reduction="none")
    wanted = everything(-3.0 * CE, logits, labels, reduction="none")
    for one, other in zip(values, wanted):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    plain = type("Plain", (base,), {})
    assert_same(everything(plain(), logits, labels), everything(base(), logits, labels))


def test_a_faulty_point_is_named_with_its_fault():
    class Empty(nl.Softmax):
        """No point."""

    class Two(nl.Softmax):
        def point(self, log_probability, target):
            return log_probability, target

    class Unknown(nl.Softmax):
        def point(self, log_probability, target):
            return log_probability * self.colour, 1.0, 0.0

    for cls, hint in ((Empty, "Empty.*point"), (Two, "Two"), (Unknown, "Unknown.*colour")):
        for target in ([0], [[0.5, 0.5]]):
            with pytest.raises((TypeError, NotImplementedError), match=f"(?s){hint}"):
                cls()([[1.0, 2.0]], target)


def test_parameters_of_rows_are_checked_in_losses_of_ones_own():
    with pytest.raises(ValueError, match="label_smoothing"):
        Mellow(label_smoothing=2.0)
    with pytest.raises(ValueError, match="temperature"):
        Mellow(temperature=0.0)
    with pytest.raises(ValueError, match=r"class_weight\[0\]"):
        Mellow(class_weight=[-1.0])


# The same bits


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [CE, nl.Brier()], ids=identify)
def test_few_huge_rows_are_computed_as_they_are_among_others(loss, form, dtype):
    for classes in (20_000, 300_000):
        logits, target = rows(form, 3, classes, dtype=dtype)
        batch = np.resize(logits, (24, classes))
        of_batch = np.resize(target, (24, *target.shape[1:]))
        among = everything(loss, batch, of_batch, reduction="none")
        for count in (1, 2, 3):
            few = everything(loss, logits[:count], target[:count], reduction="none")
            for one, other in zip(few, among):
                np.testing.assert_array_equal(one, other[:count])
        del among


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
@pytest.mark.parametrize("classes", FEW_WIDTHS)
@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8", ">f8", ml_dtypes.bfloat16])
def test_layouts_and_dtypes_change_no_bit(loss, form, classes, kind):
    of_width = with_class_weights(loss, classes, 5)
    kind = np.dtype(kind)
    logits, target = row_inputs(loss, form, 35, classes, seed=12)
    logits = logits.astype(kind)
    real = np.float64 if kind.itemsize == 8 else np.float32
    plain = everything(of_width, logits.astype(real), target, reduction="none")
    with np.errstate(all="ignore"):
        wanted = [plain[0], *(one.astype(kind) for one in plain[1:])]
    shifted = np.zeros(logits.nbytes + 1, np.uint8)[1:].view(kind).reshape(logits.shape)
    shifted[...] = logits
    spread = np.zeros((70, 3 * classes), kind)[::2, ::3]
    spread[...] = logits
    layouts = {
        "contiguous": logits,
        "fortran": np.asfortranarray(logits),
        "reversed": np.ascontiguousarray(logits[::-1, ::-1])[::-1, ::-1],
        "spread": spread,
        "unaligned": shifted,
    }
    for name, given in layouts.items():
        placed = np.asfortranarray(target) if name == "fortran" else target
        placed = np.repeat(target, 2, axis=0)[::2] if name == "spread" else placed
        got = everything(of_width, given, placed, reduction="none")
        assert got[1].dtype == kind
        for one, other in zip(got, wanted):
            np.testing.assert_array_equal(
                one.astype(np.float64), other.astype(np.float64), err_msg=name
            )


def test_memory_mapped_logits_are_read_where_they_lie(tmp_path):
    logits, labels = rows("labels", 50, 7, dtype=np.float32)
    np.save(tmp_path / "logits.npy", logits)
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    got = everything(CE, mapped, labels)
    assert type(got[1]) is np.ndarray
    assert_same(got, everything(CE, logits, labels))


def test_pandas_columns_are_labels_and_weights():
    pandas = pytest.importorskip("pandas")
    logits, labels = rows("labels", 10, 3)
    frame = pandas.DataFrame({"y": labels, "w": np.linspace(0.1, 1.0, 10), "m": labels > 0})
    got = everything(CE, logits, frame["y"], sample_weight=frame["w"], mask=frame["m"])
    wanted = everything(CE, logits, labels, sample_weight=frame["w"].to_numpy(), mask=labels > 0)
    assert_same(got, wanted)
    columns = pandas.DataFrame(logits, columns=list("abc"))
    assert_same(everything(CE, columns, frame["y"]), everything(CE, logits, labels))
