"""The public contract of elementwise losses: options, shapes, dtypes, errors."""

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH, identify, inputs
from numbaloss.core.loss import domain

SHAPES = [(), (1,), (17,), (5, 7), (2, 3, 4), (0,), (3, 0)]


def pair(shape, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_results_have_the_shape_of_the_prediction(shape):
    p, t = (np.asarray(a) for a in pair(shape))
    value, gradient, hessian = nl.LogCosh().value_grad_hess(p, t)
    assert type(value) is float
    apart = nl.LogCosh()(p, t, reduction="none")
    for result in (gradient, hessian, apart):
        assert isinstance(result, np.ndarray)
        assert result.shape == shape
    if apart.size:
        assert value == pytest.approx(apart.mean(), rel=1e-14)


def test_empty_arrays_have_a_sum_and_no_mean():
    empty = np.empty((0, 3))
    loss = nl.Huber()
    assert loss(empty, empty, reduction="sum") == 0.0
    for reduction in ("mean", "weighted_mean"):
        assert math.isnan(loss(empty, empty, reduction=reduction))
        assert math.isnan(loss(empty, empty, sample_weight=np.empty(0), reduction=reduction))
    assert loss(empty, empty, reduction="none").shape == (0, 3)
    assert loss.value_and_grad(empty, empty)[1].shape == (0, 3)


def test_lists_and_scalars_become_float64():
    value, gradient = nl.Huber().value_and_grad([1, 2, 3], [0, 0, 0])
    assert value == pytest.approx((0.5 + 1.5 + 2.5) / 3)
    assert gradient.dtype == np.float64
    value, gradient = nl.Huber().value_and_grad(3.0, 1)
    assert (value, gradient.shape, float(gradient)) == (1.5, (), 1.0)
    assert nl.Huber()(np.float32(3.0), np.float32(1.0)) == 1.5


REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]


@pytest.mark.every(3)
@pytest.mark.parametrize("loss", EACH, ids=identify)
@pytest.mark.parametrize("weighted", [False, True])
def test_reductions_and_their_gradients_follow_from_the_values(loss, weighted):
    p, t = inputs(loss, 60, seed=2)
    p, t = p.reshape(20, 3), t.reshape(20, 3)
    weight = np.random.default_rng(3).integers(0, 4, 20).astype(np.float64) if weighted else None
    values, slopes, curvatures = loss.value_grad_hess(p, t, reduction="none")
    spread = np.ones((20, 1)) if weight is None else weight[:, None]
    total = (values * spread).sum()
    divisors = {"mean": 60.0, "weighted_mean": 3 * spread.sum() if weighted else 60.0, "sum": 1.0}
    for reduction in REDUCTIONS:
        divisor = divisors.get(reduction, 1.0)
        found = loss.value_grad_hess(p, t, sample_weight=weight, reduction=reduction)
        alone = loss(p, t, sample_weight=weight, reduction=reduction)
        if reduction == "none":
            np.testing.assert_allclose(found[0], values * spread, rtol=1e-14)
            np.testing.assert_array_equal(found[0], alone)
        else:
            assert found[0] == pytest.approx(total / divisor, rel=1e-13)
            assert alone == pytest.approx(total / divisor, rel=1e-13)
        np.testing.assert_allclose(found[1], slopes * spread / divisor, rtol=1e-14)
        np.testing.assert_allclose(found[2], curvatures * spread / divisor, rtol=1e-14)


def test_weights_are_one_a_sample_or_one_for_all_that_lies_behind():
    p, t = pair((4, 5, 6))
    loss = nl.Huber()
    rng = np.random.default_rng(1)
    full = rng.random((4, 5, 6))
    for weight in (full, full[:, :, 0], full[:, 0, 0], full[0, 0, 0]):
        spread = np.broadcast_to(weight.reshape(weight.shape + (1,) * (3 - weight.ndim)), p.shape)
        value, gradient = loss.value_and_grad(p, t, sample_weight=weight)
        expected = loss.value_and_grad(p, t, sample_weight=np.ascontiguousarray(spread))
        assert value == pytest.approx(expected[0], rel=1e-14)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-14)
    with pytest.raises(ValueError, match=r"\(4, 5, 6\), or a leading part of it, not \(6,\)"):
        loss(p, t, sample_weight=np.ones(6))


def test_weight_zero_removes_even_nan():
    p, t = np.array([1.0, math.nan, math.inf]), np.zeros(3)
    value, gradient, hessian = nl.SquaredError().value_grad_hess(
        p, t, sample_weight=[2.0, 0.0, 0.0], reduction="none"
    )
    np.testing.assert_array_equal(value, [2.0, 0.0, 0.0])
    np.testing.assert_array_equal(gradient, [4.0, 0.0, 0.0])
    np.testing.assert_array_equal(hessian, [4.0, 0.0, 0.0])
    assert nl.SquaredError()(p, t, sample_weight=[2, 0, 0]) == pytest.approx(2 / 3)
    assert nl.SquaredError()(p, t, sample_weight=[2, 0, 0], reduction="weighted_mean") == 1.0


def test_all_weights_zero_give_no_weighted_mean_and_no_gradient():
    value, gradient = nl.Huber().value_and_grad(
        [1.0, 2.0], [0.0, 0.0], sample_weight=[0, 0], reduction="weighted_mean"
    )
    assert math.isnan(value)
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


@pytest.mark.every(2)
@pytest.mark.parametrize("loss", EACH, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_where_it_is(loss, dtype):
    p, t = (a.astype(dtype) for a in inputs(loss, 50, seed=4))
    clean = loss.value_grad_hess(p, t, reduction="none")
    for array in (p, t):
        for position in (0, 31, 49):
            keep = array[position]
            array[position] = math.nan
            found = loss.value_grad_hess(p, t, reduction="none")
            for got, expected in zip(found, clean, strict=True):
                assert math.isnan(got[position])
                np.testing.assert_array_equal(
                    np.delete(got, position), np.delete(expected, position)
                )
            assert math.isnan(loss(p, t))
            array[position] = keep


def test_prediction_dtype_decides():
    for dtype in (np.float16, np.float32, np.float64):
        p, t = pair((8,), dtype)
        for target_dtype in (np.float64, np.float16, np.int8, np.uint64, bool):
            value, gradient = nl.Huber().value_and_grad(p, t.astype(target_dtype), reduction="none")
            assert gradient.dtype == dtype
            assert value.dtype == (np.float64 if dtype is np.float64 else np.float32)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradient_scale_multiplies_gradient_and_hessian_alone(reduction):
    p, t = pair((6,))
    plain = nl.LogCosh().value_grad_hess(p, t, reduction=reduction)
    scaled = nl.LogCosh().value_grad_hess(p, t, reduction=reduction, gradient_scale=1024.0)
    np.testing.assert_array_equal(scaled[0], plain[0])
    np.testing.assert_allclose(scaled[1], 1024 * plain[1], rtol=1e-15)
    np.testing.assert_allclose(scaled[2], 1024 * plain[2], rtol=1e-15)
    np.testing.assert_allclose(
        nl.LogCosh().value_and_grad(p, t, reduction=reduction, gradient_scale=1024.0)[1],
        1024 * plain[1],
        rtol=1e-15,
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_outputs_receive_the_results(dtype, weighted):
    p, t = pair((40, 3), dtype)
    weight = np.random.default_rng(0).random(40).astype(dtype) if weighted else None
    loss = nl.PseudoHuber()
    expected = loss.value_grad_hess(p, t, sample_weight=weight)
    out, hess_out = np.empty((80, 3), dtype)[::2], np.empty((40, 3), dtype, order="F")
    found = loss.value_grad_hess(p, t, sample_weight=weight, out=out, hess_out=hess_out)
    assert found[1] is out
    assert found[2] is hess_out
    assert found[0] == expected[0]
    np.testing.assert_array_equal(out, expected[1])
    np.testing.assert_array_equal(hess_out, expected[2])


@pytest.mark.parametrize("layout", ["contiguous", "strided", "half", "weighted", "limited"])
def test_gradient_may_replace_the_prediction(layout):
    loss = nl.BinaryCrossEntropy() if layout == "limited" else nl.Huber()
    p, t = inputs(loss, 40_000, seed=6)
    p = p.astype(np.float16 if layout == "half" else np.float32)
    p = np.repeat(p, 2)[::2] if layout == "strided" else p
    weight = np.full(p.shape, 0.5, np.float32) if layout == "weighted" else None
    t = t.astype(np.float32)
    expected = loss.value_and_grad(p, t, sample_weight=weight, reduction="sum")
    value, gradient = loss.value_and_grad(p, t, sample_weight=weight, reduction="sum", out=p)
    assert gradient is p
    assert value == expected[0]
    np.testing.assert_array_equal(p, expected[1])


def test_overlapping_outputs_are_refused():
    buffer = np.zeros(20)
    p, t = buffer[:10], np.ones(10)
    loss = nl.Huber()
    for out in (buffer[1:11], buffer[9::-1]):
        with pytest.raises(ValueError, match="out shares memory with prediction"):
            loss.value_and_grad(p, t, out=out)
    with pytest.raises(ValueError, match="out shares memory with target"):
        loss.value_and_grad(p, t, out=t)
    weight = np.ones(10)
    with pytest.raises(ValueError, match="out shares memory with sample_weight"):
        loss.value_and_grad(p, t, sample_weight=weight, out=weight)
    with pytest.raises(ValueError, match="hess_out shares memory with prediction"):
        loss.value_grad_hess(p, t, hess_out=p)
    out = np.zeros(10)
    with pytest.raises(ValueError, match="out and hess_out share memory"):
        loss.value_grad_hess(p, t, out=out, hess_out=out)
    np.testing.assert_array_equal(t, 1.0)
    # Interleaved arrays share a range of addresses, and no element.
    loss.value_and_grad(buffer[::2], t, out=buffer[1::2])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0, 2.0], [1.0]), {}, ValueError, r"one shape, not \(2,\) and \(1,\)"),
        ((np.ones((3, 1)), np.ones(3)), {}, ValueError, r"\(3, 1\) and \(3,\)"),
        ((np.ones(3, np.int64), np.ones(3)), {}, TypeError, "prediction has dtype int64.*[Cc]ast"),
        ((np.ones(3, bool), np.ones(3)), {}, TypeError, "prediction has dtype bool"),
        ((np.ones(3, np.longdouble), np.ones(3)), {}, TypeError, "prediction has dtype"),
        ((np.ones(3, complex), np.ones(3)), {}, TypeError, "prediction has dtype complex128"),
        ((np.ones(3), np.array([None] * 3)), {}, TypeError, "target has dtype object"),
        ((np.ones(3), ["a", "b", "c"]), {}, TypeError, "target has dtype <U1"),
        (([[1.0], [1.0, 2.0]], [1.0]), {}, TypeError, "prediction cannot be made an array"),
        ((np.ma.ones(3), np.ones(3)), {}, TypeError, "prediction is a masked array"),
        ((np.ones(3), np.ones(3)), {"reduction": "avg"}, ValueError, "reduction must be one of"),
        ((np.ones(3), np.ones(3)), {"device": "tpu"}, ValueError, "device must be one of"),
        ((np.ones(3), np.ones(3)), {"sample_weight": [1, -1, 1]}, ValueError, r"weight\[1\] is -1"),
        ((np.ones(3), np.ones(3)), {"sample_weight": [1, 1, np.nan]}, ValueError, r"\[2\] is nan"),
        ((np.ones(3), np.ones(3)), {"out": np.ones(4)}, ValueError, "shape of the prediction"),
        (
            (np.ones(3), np.ones(3)),
            {"out": np.ones(3, "i8")},
            TypeError,
            "float64, or another floating one, not int64",
        ),
        ((np.ones(3), np.ones(3)), {"out": [0.0] * 3}, TypeError, "out must be an array"),
        ((np.float64(1), np.float64(1)), {"out": np.float64(0)}, TypeError, "out must be an array"),
    ],
)
def test_errors_name_the_argument(arguments, options, error, message):
    with pytest.raises(error, match=message):
        nl.Huber().value_and_grad(*arguments, **options)


def test_read_only_outputs_are_refused():
    out = np.zeros(3)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        nl.Huber().value_and_grad(np.ones(3), np.ones(3), out=out)


LIMITED = [loss for loss in EACH if not domain(loss.target_domain).everything]


@pytest.mark.every(3)
@pytest.mark.parametrize("loss", LIMITED, ids=identify)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_targets_outside_the_domain_are_named(loss, dtype):
    p, t = inputs(loss, 100, seed=7)
    p, t = p.reshape(10, 10).astype(dtype), t.reshape(10, 10).astype(dtype)
    of = domain(loss.target_domain)
    t[9, 9] = t[4, 2] = -1.5
    before = p.tobytes()
    for call in (loss, loss.value_and_grad, loss.value_grad_hess):
        with pytest.raises(ValueError, match=r"target\[4, 2\] is -1.5"):
            call(p, t)
    for weight in (None, np.ones((10, 10), dtype)):  # in place, nothing may be written
        with pytest.raises(ValueError, match=r"target\[4, 2\] is -1.5"):
            loss.value_and_grad(p, t, sample_weight=weight, out=p)
    assert p.tobytes() == before
    loss(p, t, check=False)
    t[9, 9] = t[4, 2] = of.high if math.isfinite(of.high) else 1.0
    t[0, 0] = math.nan  # not an error, a NaN
    assert math.isnan(loss(p, t))


@pytest.mark.parametrize(
    ("loss", "prediction"),
    [(nl.SquaredLogError(), -1.0), (nl.BinaryCrossEntropy(False), 1.01), (nl.Poisson(False), -0.1)],
)
def test_predictions_outside_the_domain_are_named(loss, prediction):
    with pytest.raises(ValueError, match=r"prediction\[1\] is"):
        loss([0.5, prediction, prediction], [1.0, 0.0, 1.0])
    loss([0.5, prediction], [1.0, 0.0], check=False)


def test_soft_targets_of_margin_losses_are_refused():
    with pytest.raises(ValueError, match=r"target\[1\] is 0.5; Hinge\(\) takes targets in {0, 1}"):
        nl.Hinge()([1.0, 1.0], [1.0, 0.5])
    with pytest.raises(ValueError, match=r"target\[0\] is -1"):
        nl.Hinge()([1.0, 1.0], [-1, 1])


def test_negative_weights_leave_an_in_place_prediction_alone():
    p = np.ones(50_000, np.float32)
    weight = np.ones(50_000, np.float32)
    weight[-1] = -1
    with pytest.raises(ValueError, match=r"sample_weight\[49999\] is -1"):
        nl.Huber().value_and_grad(p, np.zeros_like(p), sample_weight=weight, out=p)
    assert (p == 1).all()


def test_inputs_are_never_written():
    p, t = pair((1000,))
    weight = np.abs(pair((1000,), seed=9)[0])
    for array in (p, t, weight):
        array.flags.writeable = False
    nl.LogCosh().value_grad_hess(p, t, sample_weight=weight, reduction="weighted_mean")


def test_a_class_without_maths_says_so():
    class Empty(nl.Elementwise):
        """No point."""

    with pytest.raises(TypeError, match="Empty has neither value"):
        Empty()([1.0], [0.0])
