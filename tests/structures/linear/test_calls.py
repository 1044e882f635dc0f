"""Losses of a last layer, whose logits never all exist: what calls give."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings

import numbaloss as nl
from numbaloss.cpu import products
from tests.support.layers import DTYPES, LOSS, calls, compare, formula, labels, layer


@settings(max_examples=50, deadline=None)
@given(calls())
def test_any_call_agrees_with_all_logits_in_float64(call):
    loss, hidden, weight, target, options, keywords, tolerance = call
    bias, reduction = keywords["bias"], keywords["reduction"]
    with np.errstate(all="ignore"):
        expected = formula(
            loss,
            hidden,
            weight,
            bias,
            target,
            options.get("sample_weight"),
            options.get("mask"),
            reduction,
        )
    given_weight = weight.T if keywords["transposed"] else weight
    value, gradients = loss.value_and_grad(hidden, given_weight, target, **options, **keywords)
    found = [value, *gradients]
    assert [one.dtype for one in gradients] == [hidden.dtype] * len(gradients)
    if keywords["transposed"]:
        found[2] = found[2].T
    expected = expected[: len(found)]
    if not np.all(np.isfinite(expected[0])):  # the mean over no rows
        assert np.isnan(value)
        assert all(not np.asarray(one, float).any() for one in gradients)
        return
    compare(found, expected, tolerance)
    assert np.array_equal(loss(hidden, given_weight, target, **options, **keywords), value)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients_are_differences(reduction):
    loss = nl.LinearCrossEntropy(label_smoothing=0.1, z_loss=0.05, temperature=1.5)
    given = list(layer(9, 4, 6))
    target = labels(9, 6)

    def total():
        hidden, weight, bias = given
        return np.sum(loss(hidden, weight, target, bias=bias, reduction=reduction, workspace=300))

    hidden, weight, bias = given
    _, found = loss.value_and_grad(
        hidden, weight, target, bias=bias, reduction=reduction, workspace=300
    )
    for i, gradient in enumerate(found):
        for place in np.ndindex(gradient.shape):
            original = given[i]
            differences = []
            for step in (1e-5, -1e-5):
                given[i] = original.copy()
                given[i][place] += step
                differences.append(total())
            given[i] = original
            assert gradient[place] == pytest.approx(
                (differences[0] - differences[1]) / 2e-5, rel=1e-6, abs=1e-8
            )


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_rows_that_do_not_count_may_hold_anything(dtype):
    hidden, weight, bias = layer(50, dtype=DTYPES[dtype][0])
    target = labels(50)
    target[::5] = -100
    mask, sample_weight = np.arange(50) % 7 != 0, (np.arange(50) % 3).astype(np.float16)
    out = (target == -100) | ~mask | (sample_weight == 0)
    clean = hidden.copy()
    hidden[out] = np.nan
    options = {"bias": bias, "mask": mask, "sample_weight": sample_weight, "workspace": 5000}
    value, gradients = LOSS.value_and_grad(hidden, weight, target, **options)
    other, expected = LOSS.value_and_grad(clean, weight, target, **options)
    assert value == other
    assert not gradients[0][out].any()
    for one, two in zip(gradients, expected):
        np.testing.assert_array_equal(one, two)
    values = LOSS(hidden, weight, target, reduction="none", **options)
    assert not values[out].any()
    assert (values[~out] > 0).all()


@pytest.mark.parametrize("lead", [(), (2, 3), (2, 3, 2), (1, 2, 1, 3), (2, 0, 3)])
@pytest.mark.parametrize("form", ["labels", "dense"])
def test_rows_may_have_any_axes_in_front(lead, form):
    hidden, weight, bias = layer(lead, 4, 5)
    target = labels(lead, 5)
    if form == "dense":
        target = np.random.default_rng(2).dirichlet(np.ones(5), lead)
    # Axes in another order in memory, and weights and masks of a leading part of them.
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(hidden, 0, -1)), -1, 0)
    parts = [{}, {"sample_weight": np.arange(1.0, 1.0 + lead[0]) if lead else 2.0}]
    parts.append({"mask": np.random.default_rng(3).random(lead[:2]) < 0.7})
    for reduction in ("mean", "none"):
        for options in parts:
            expected = nl.CrossEntropy().value_and_grad(
                hidden @ weight + bias, target, reduction=reduction, **options
            )
            for vectors in (hidden, turned):
                value, (of_hidden, of_weight, of_bias) = LOSS.value_and_grad(
                    vectors, weight, target, bias=bias, reduction=reduction, **options
                )
                np.testing.assert_allclose(value, expected[0], rtol=1e-12)
                np.testing.assert_allclose(of_hidden, expected[1] @ weight.T, atol=1e-14)
                slopes = expected[1].reshape(-1, 5)
                np.testing.assert_allclose(of_bias, slopes.sum(axis=0), atol=1e-14)
                rows = hidden.reshape(-1, 4)
                np.testing.assert_allclose(of_weight, rows.T @ slopes, atol=1e-13)


def test_nan_in_a_row_that_counts_is_seen():
    hidden, weight, _ = layer(20)
    hidden[3, 2] = np.nan
    value, (of_hidden, of_weight) = LOSS.value_and_grad(hidden, weight, labels(20))
    assert np.isnan(value)
    assert np.isnan(of_hidden[3]).all()
    assert np.isfinite(np.delete(of_hidden, 3, axis=0)).all()
    assert np.isnan(of_weight).all()


@pytest.mark.parametrize("rows", [0, 5])
def test_no_rows_have_the_value_nan_and_no_gradient(rows):
    hidden, weight, bias = layer(rows)
    target = np.full(rows, -100)
    out = tuple(np.full(one.shape, 7.0) for one in (hidden, weight, bias))
    for reduction, expected in (("mean", np.nan), ("weighted_mean", np.nan), ("sum", 0.0)):
        value, gradients = LOSS.value_and_grad(
            hidden, weight, target, bias=bias, reduction=reduction, out=out
        )
        np.testing.assert_equal(value, expected)
        assert all(not one.any() for one in gradients)
    assert not LOSS(hidden, weight, target, reduction="none").any()


def test_results_go_where_the_caller_wants_them():
    hidden, weight, bias = layer((4, 9))
    target = labels((4, 9))
    expected = LOSS.value_and_grad(hidden, weight, target, bias=bias)[1]
    space = np.zeros((2, 4, 13, 9))
    out = (
        space[1].swapaxes(1, 2),  # strided
        np.zeros((37, 13)).T,
        np.zeros(74, ">f8")[::2],
    )
    _, found = LOSS.value_and_grad(hidden, weight, target, bias=bias, out=out)
    for one, two, three in zip(found, out, expected):
        assert one is two
        np.testing.assert_allclose(one, three, rtol=1e-12, atol=1e-15)
    _, found = LOSS.value_and_grad(hidden, weight, target, out=(None, out[1]), gradient_scale=2.0)
    assert found[1] is out[1]
    unbiased = LOSS.value_and_grad(hidden, weight, target)[1]
    np.testing.assert_allclose(found[0], 2.0 * unbiased[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], 2.0 * unbiased[1], rtol=1e-12)


def test_inputs_stay_as_they_are():
    hidden, weight, bias = layer(30, dtype=np.float32)
    target = labels(30)
    arrays = [hidden, weight, bias, target]
    copies = [one.copy() for one in arrays]
    for one in arrays:
        one.flags.writeable = False
    LOSS.value_and_grad(hidden, weight, target, bias=bias)
    for one, copy in zip(arrays, copies):
        np.testing.assert_array_equal(one, copy)


@pytest.mark.parametrize("turned", [False, True])
def test_blas_that_cannot_add_is_replaced_by_tiles(monkeypatch, turned):
    hidden, weight, bias = layer(60, dtype=np.float32)
    weight = weight.T.copy() if turned else weight
    options = {"bias": bias, "workspace": 4000}
    expected = LOSS.value_and_grad(hidden, weight, labels(60), **options)[1]
    monkeypatch.setattr(products, "_gemm", lambda real: None)
    monkeypatch.setattr(products, "TILE_BYTES", 400)
    found = LOSS.value_and_grad(hidden, weight, labels(60), **options)[1]
    for one, two in zip(found, expected):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_gemm_adds_whatever_the_layouts(real):
    rng = np.random.default_rng(0)
    left, right, into = (rng.normal(size=size).astype(real) for size in ((5, 3), (3, 4), (5, 4)))
    expected = into + left @ right
    for turn in np.ndindex(2, 2, 2):
        found = [one.T.copy().T if t else one.copy() for t, one in zip(turn, (left, right, into))]
        products.multiply(*found, add=True)
        np.testing.assert_allclose(found[2], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_threads_change_nothing(dtype):
    hidden, weight, bias = layer(300, 20, 500, DTYPES[dtype][0])
    target = labels(300, 500)
    threads = numba.get_num_threads()
    found = []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            value, gradients = LOSS.value_and_grad(
                hidden, weight, target, bias=bias, workspace=200_000
            )
            found.append([value, *gradients])
    finally:
        numba.set_num_threads(threads)
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


def test_lists_are_arrays():
    value, gradients = LOSS.value_and_grad([[1.0, 2.0]], [[0.5, 0.0, 1.0], [0.0, 1.0, 1.0]], [2])
    expected = nl.CrossEntropy()([[0.5, 2.0, 3.0]], [2])
    assert value == pytest.approx(expected, rel=1e-14)
    assert all(isinstance(one, np.ndarray) for one in gradients)
