"""Calls of losses of several outputs: layouts, dtypes, options, errors."""

import re

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl
from catalogue.several import several_inputs

GAUSSIAN, GIOU = nl.GaussianNLL(), nl.GIoU()


BOTH = [
    pytest.param(GAUSSIAN, id="two outputs"),
    pytest.param(GIOU, id="four outputs", marks=pytest.mark.exhaustive),
]


@pytest.fixture(scope="module", params=BOTH)
def call(request):
    prediction, target = several_inputs(request.param, 300, 3)
    return request.param, prediction.astype("f4"), target.astype("f4")


def strided(array):
    room = np.full((2 * array.shape[0], array.shape[1] + 3), 7.0, array.dtype)
    view = room[::2, 1 : 1 + array.shape[1]]
    view[:] = array
    return view


LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder()),
    "tuple": lambda a: tuple(column.copy() for column in a.T),
    "tuple of views": lambda a: tuple(a.T),
}


@pytest.mark.parametrize("of_target", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_change_no_bit(call, layout, of_target):
    loss, prediction, target = call
    wanted = loss.value_grad_hess(prediction, target, reduction="none")
    given = LAYOUTS[layout](prediction)
    found = loss.value_grad_hess(given, LAYOUTS[of_target](target), reduction="none")
    np.testing.assert_array_equal(found[0], wanted[0])
    for one, other in zip(found[1:], wanted[1:]):
        assert isinstance(one, tuple) == isinstance(given, tuple)
        whole = np.stack(one, axis=-1) if isinstance(one, tuple) else one
        np.testing.assert_array_equal(whole, other)
    if layout == "columns":
        assert found[1].flags.f_contiguous


@pytest.mark.parametrize("kind", ["f2", ml_dtypes.bfloat16], ids=str)
def test_half_precisions_are_computed_in_float32_and_rounded_once(call, kind):
    loss, prediction, target = call
    given = prediction.astype(kind)
    wanted = loss.value_and_grad(given.astype("f4"), target, reduction="none")
    for one in (given, np.asfortranarray(given)):
        value, gradient = loss.value_and_grad(one, target, reduction="none")
        assert value.dtype == np.float32
        assert gradient.dtype == given.dtype
        np.testing.assert_array_equal(value, wanted[0])
        np.testing.assert_array_equal(gradient, wanted[1].astype(kind))


@pytest.mark.parametrize(
    "shape", [(), (1,), (127,), (128,), (129,), (3, 5), (2, 3, 43), (0,), (4, 0)]
)
def test_samples_may_have_any_shape(shape):
    size = int(np.prod(shape))
    prediction, target = several_inputs(GAUSSIAN, size, 4)
    whole = GAUSSIAN.value_and_grad(prediction, target, reduction="none")
    given = prediction.reshape(*shape, 2), target.reshape(shape)
    value, gradient = GAUSSIAN.value_and_grad(*given, reduction="none")
    assert value.shape == shape
    np.testing.assert_array_equal(value, whole[0].reshape(shape))
    np.testing.assert_array_equal(gradient, whole[1].reshape(*shape, 2))
    np.testing.assert_array_equal(
        GAUSSIAN(given[0], target.reshape(*shape, 1), reduction="none"), value
    )
    if size:
        assert GAUSSIAN(*given) == pytest.approx(whole[0].mean(), rel=1e-14)
    else:
        assert np.isnan(GAUSSIAN(*given))


def test_reductions_weights_and_masks_follow_from_the_values(call):
    loss, prediction, target = call
    rng = np.random.default_rng(5)
    weight = rng.random(300) * (rng.random(300) < 0.8)
    mask = rng.random(300) < 0.7
    values, slopes = loss.value_and_grad(prediction.astype("f8"), target, reduction="none")
    for given, of_mask in ((None, None), (weight, None), (None, mask), (weight, mask)):
        total = (np.ones(300) if given is None else given) * (1 if of_mask is None else of_mask)
        divisors = {
            "sum": 1.0,
            "batchmean": 300.0,
            "mean": 300.0 if of_mask is None else mask.sum(),
            "weighted_mean": total.sum(),
        }
        for reduction, divisor in divisors.items():
            value, gradient = loss.value_and_grad(
                prediction.astype("f8"), target, sample_weight=given, mask=of_mask,
                reduction=reduction, gradient_scale=3.0,
            )  # fmt: skip
            assert value == pytest.approx(total @ values / divisor, rel=1e-12)
            wanted = 3.0 * total[:, None] * slopes / divisor
            np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-300)
        found = loss(
            prediction.astype("f8"), target, sample_weight=given, mask=of_mask, reduction="none"
        )
        np.testing.assert_allclose(found, total * values, rtol=1e-14)


def test_nan_stays_with_its_sample(call):
    loss, prediction, target = call
    wanted = loss.value_and_grad(prediction, target, reduction="none")
    for array in (prediction, target):
        kept = array[7, 0]
        array[7, 0] = np.nan
        value, gradient = loss.value_and_grad(prediction, target, reduction="none")
        assert np.isnan(value[7])
        assert np.isnan(gradient[7]).all()
        rest = np.arange(300) != 7
        np.testing.assert_array_equal(value[rest], wanted[0][rest])
        np.testing.assert_array_equal(gradient[rest], wanted[1][rest])
        weight = rest.astype("f4")
        assert np.isfinite(loss(prediction, target, sample_weight=weight))
        assert (loss.grad(prediction, target, mask=rest)[7] == 0.0).all()
        array[7, 0] = kept


@pytest.mark.parametrize("layout", ["rows", "columns", "tuple"])
def test_results_go_where_the_caller_wants_them_in_place_too(call, layout):
    loss, prediction, target = call
    given = LAYOUTS[layout](prediction.copy())
    value, gradient, hessian = loss.value_grad_hess(given, target)
    as_given = LAYOUTS[layout]
    out, hess_out = as_given(np.full_like(prediction, 5.0)), as_given(np.full_like(prediction, 5.0))
    found = loss.value_grad_hess(given, target, out=out, hess_out=hess_out)
    assert found[0] == value
    assert found[1] is out
    assert found[2] is hess_out
    np.testing.assert_array_equal(np.asarray(out), np.asarray(gradient))
    np.testing.assert_array_equal(np.asarray(hess_out), np.asarray(hessian))
    full = np.empty((300, prediction.shape[1], prediction.shape[1]), "f4")
    assert loss.hess(given, target, hessian="full", out=full) is full
    values = np.empty(300, "f8")
    assert loss(given, target, reduction="none", values_out=values) is values
    value, gradient = loss.value_and_grad(given, target)
    assert loss.value_and_grad(given, target, out=given)[1] is given
    np.testing.assert_array_equal(np.asarray(given), np.asarray(gradient))


def test_an_error_leaves_a_prediction_in_place_as_it_was():
    prediction = np.random.default_rng(0).normal(size=(400, 2))
    kept, target = prediction.copy(), np.ones(400)
    target[399] = -1.0
    with pytest.raises(ValueError, match=r"target\[399\] is -1; .* takes target in \(0, inf\)"):
        nl.LogNormalNLL().value_and_grad(prediction, target, out=prediction)
    np.testing.assert_array_equal(prediction, kept)


def test_threads_change_no_bit():
    import numba

    prediction, target = several_inputs(GIOU, 60_001, 6)
    weight = np.random.default_rng(6).random(60_001)
    found = []
    threads = numba.get_num_threads()
    for count in {1, threads}:
        numba.set_num_threads(count)
        found.append(GIOU.value_and_grad(prediction, target, sample_weight=weight))
    numba.set_num_threads(threads)
    assert len({value for value, _ in found}) == 1
    np.testing.assert_array_equal(found[0][1], found[-1][1])


P, T = np.zeros((4, 2)), np.ones(4)


@pytest.mark.parametrize(
    ("error", "words", "call"),
    [
        (
            ValueError,
            "(..., 2), for mean, log_scale, not (4, 3)",
            lambda: GAUSSIAN(np.zeros((4, 3)), T),
        ),
        (
            ValueError,
            "target must have the shape (4, 1) or (4,), not (3,)",
            lambda: GAUSSIAN(P, T[:3]),
        ),
        (TypeError, "GaussianNLL needs a target: target", lambda: GAUSSIAN(P)),
        (TypeError, "DPO needs a target", lambda: nl.DPO()(P)),
        (TypeError, "SimPO takes no target", lambda: nl.SimPO()(P, T)),
        (
            ValueError,
            "a tuple of 3 arrays, expected 2: mean, log_scale",
            lambda: GAUSSIAN((T, T, T), T),
        ),
        (ValueError, "mean and log_scale must have one shape", lambda: GAUSSIAN((T, T[:2]), T)),
        (
            TypeError,
            "log_scale has dtype float32 and mean float64",
            lambda: GAUSSIAN((T, T.astype("f4")), T),
        ),
        (TypeError, "int64", lambda: GAUSSIAN(P.astype("i8"), T)),
        (
            ValueError,
            "hessian must be one of",
            lambda: GAUSSIAN.value_grad_hess(P, T, hessian="all"),
        ),
        (
            TypeError,
            "BetaNLL declares no expected information",
            lambda: nl.BetaNLL().hess(P, T, hessian="fisher"),
        ),
        (
            ValueError,
            "sample_weight[2] is -1",
            lambda: GAUSSIAN(P, T, sample_weight=[1.0, 0.0, -1.0, 2.0]),
        ),
        (
            ValueError,
            "out must have the shape (4, 2), not (4,)",
            lambda: GAUSSIAN.value_and_grad(P, T, out=T.copy()),
        ),
        (
            ValueError,
            "out shares memory with target",
            lambda: GAUSSIAN.value_and_grad(P, P[:, 0], out=P),
        ),
        (
            TypeError,
            "out must be a tuple of 2 arrays",
            lambda: GAUSSIAN.value_and_grad((T, T), T, out=P.copy()),
        ),
        (ValueError, "form must be one of", lambda: nl.GIoU("corners")),
        (
            TypeError,
            "losses of the same outputs, not mean, log_scale and x1, y1",
            lambda: GAUSSIAN + GIOU,
        ),
    ],
    ids=range(17),
)
def test_what_does_not_fit_is_named(error, words, call):
    with pytest.raises(error, match=re.escape(words)):
        call()


def test_what_receives_the_hessian_alone_is_called_out():
    with pytest.raises(ValueError, match=re.escape("out must have the shape (4, 2), not (4,)")):
        GAUSSIAN.hess(P, T, out=T.copy())
    out = np.empty_like(P)
    assert GAUSSIAN.hess(P, T, out=out) is out
    np.testing.assert_array_equal(out, GAUSSIAN.value_grad_hess(P, T)[2])


def test_outputs_live_where_predictions_do():
    pytest.importorskip("numba_cuda")
    from numbaloss.cuda.rehearsal import Nowhere
    from tests.support.gpu.stub import stub_gpu

    with stub_gpu():
        with pytest.raises(ValueError, match="out lives on cuda:0 and the prediction on the CPU"):
            GAUSSIAN.value_and_grad(P, T, out=Nowhere((4, 2), "float64"))
        with pytest.raises(ValueError, match="values_out lives on cuda:0"):
            GAUSSIAN(P, T, reduction="none", values_out=Nowhere((4,), "float64"))
        with pytest.raises(NotImplementedError, match="are computed on the CPU"):
            GAUSSIAN(Nowhere((4, 2), "float32"), Nowhere((4,), "float32"))


def test_sums_are_the_sums_of_their_terms():
    prediction, target = several_inputs(GAUSSIAN, 200, 7)
    both = GAUSSIAN + 0.5 * nl.LaplaceNLL()
    found = both.value_grad_hess(prediction, target, hessian="full", reduction="none")
    terms = [
        loss.value_grad_hess(prediction, target, hessian="full", reduction="none")
        for loss in (GAUSSIAN, nl.LaplaceNLL())
    ]
    for one, first, second in zip(found, *terms):
        np.testing.assert_allclose(one, first + 0.5 * second, rtol=1e-13, atol=1e-13)
    assert (2.0 * GAUSSIAN)(prediction, target) == pytest.approx(2.0 * GAUSSIAN(prediction, target))


def test_gradients_are_checked_as_those_of_other_losses():
    prediction, target = several_inputs(GAUSSIAN, 20, 8)
    assert nl.check_gradient(GAUSSIAN, prediction, target) < 1e-9
    assert nl.check_gradient(GAUSSIAN, tuple(prediction.T), target[:, 0]) < 1e-9
    assert nl.check_gradient(nl.PairwiseLogistic(), prediction) < 1e-9
