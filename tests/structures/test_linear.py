"""Linear losses against all logits at once, in float64."""

import ml_dtypes
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import numbaloss as nl
from numbaloss.cpu import products

LOSS = nl.LinearCrossEntropy()
DTYPES = {
    "float64": (np.float64, 1e-11),
    "float32": (np.float32, 2e-5),
    "float16": (np.float16, 2e-3),
    "bfloat16": (ml_dtypes.bfloat16, 2e-2),
}


def layer(rows, length=13, classes=37, dtype=np.float64, seed=0):
    """Hidden vectors, weight and bias."""
    rng = np.random.default_rng(seed)
    shape = rows if isinstance(rows, tuple) else (rows,)
    hidden = rng.normal(size=(*shape, length)).astype(dtype)
    weight = (rng.normal(size=(length, classes)) / length**0.5).astype(dtype)
    return hidden, weight, rng.normal(size=classes).astype(dtype)


def labels(rows, classes=37, seed=1):
    return np.random.default_rng(seed).integers(0, classes, rows)


def formula(loss, hidden, weight, bias, target, sample_weight, mask, reduction):
    """Value and gradients, from the definition, with all logits in memory."""
    h, w = hidden.astype(np.float64), weight.astype(np.float64)
    rows, classes = h.shape[:-1], w.shape[1]
    h = h.reshape(-1, h.shape[-1])
    counts = np.ones(len(h), bool)
    t = np.asarray(target)
    if t.shape == rows:
        t = t.reshape(-1)
        counts &= t != loss.ignore_index
        one_hot = np.zeros((len(h), classes))
        one_hot[counts, t[counts]] = 1.0
        t = one_hot
    t = t.reshape(-1, classes).astype(np.float64)
    if mask is not None:
        counts &= np.broadcast_to(mask, rows).reshape(-1)
    s = np.ones(len(h)) if sample_weight is None else sample_weight.astype(float).reshape(-1)
    use = counts & (s != 0)
    h, s = np.where(use[:, None], h, 0.0), np.where(use, s, 0.0)
    of_class = np.ones(classes) if loss.class_weight is None else loss.class_weight
    divisor = {
        "mean": counts.sum(),
        "weighted_mean": (s[:, None] * t * of_class).sum(),
    }.get(reduction, 1.0)
    x = (h @ w + (0.0 if bias is None else bias.astype(np.float64))) / loss.temperature
    top = x.max(axis=1, keepdims=True)
    log_sum = top + np.log(np.exp(x - top).sum(axis=1, keepdims=True))
    log_p = x - log_sum
    p = np.exp(log_p)
    u = of_class * ((1 - loss.label_smoothing) * t + loss.label_smoothing / classes)
    values = s * (-(u * log_p).sum(axis=1) + loss.z_loss * log_sum[:, 0] ** 2)
    slopes = p * u.sum(axis=1, keepdims=True) - u + 2 * loss.z_loss * log_sum * p
    slopes *= s[:, None] / (loss.temperature * divisor)
    value = values.reshape(rows) if reduction == "none" else values.sum() / divisor
    return value, (slopes @ w.T).reshape(hidden.shape), h.T @ slopes, slopes.sum(axis=0)


def compare(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        one = np.asarray(one, np.float64)
        assert one.shape == np.shape(other)
        # Numbers around 1 went into it; differences of such need not be better than this.
        scale = max(np.abs(other).max(initial=0.0), 0.01)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


@st.composite
def calls(draw):
    """A loss with any parameters, arrays of any dtype and layout, options."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from([(), (1,), (7,), (40,), (3, 11), (2, 3, 5)]))
    length, classes = draw(st.sampled_from([1, 5, 32])), draw(st.sampled_from([1, 2, 33, 70]))
    dtype = draw(st.sampled_from(list(DTYPES)))
    hidden, weight, bias = layer(rows, length, classes, DTYPES[dtype][0])
    if draw(st.booleans()):  # without contiguous rows or columns
        hidden = np.repeat(hidden, 2, axis=-1)[..., ::2]
        weight = np.repeat(weight, 3, axis=1)[:, ::3]
    if rows and draw(st.booleans()):
        hidden = np.repeat(hidden, 2, axis=len(rows) - 1)[(..., slice(None, None, 2), slice(None))]
    parameters = {
        "class_weight": rng.uniform(0.5, 2.0, classes),
        "ignore_index": 0,
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "temperature": 1.7,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parameters))))
    loss = nl.LinearCrossEntropy(**{name: parameters[name] for name in sorted(chosen)})
    if draw(st.booleans()):
        target = rng.integers(0, classes, rows)
    else:
        target = rng.dirichlet(np.ones(classes), rows)
    options = {
        "sample_weight": rng.integers(0, 3, rows).astype(np.float32),
        "mask": rng.random(rows) < 0.7,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(options))))
    options = {name: options[name] for name in chosen}
    turned = draw(st.booleans())
    keywords = {
        "bias": bias if draw(st.booleans()) else None,
        "transposed": turned,
        "reduction": draw(st.sampled_from(["mean", "sum", "weighted_mean", "none"])),
        "workspace": draw(st.sampled_from([1, 3000, 20_000, 10**8])),
    }
    return loss, hidden, weight, target, options, keywords, DTYPES[dtype][1]


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


def test_square_weights_need_to_be_told_apart():
    hidden, weight, _ = layer(5, 6, 6)
    target = labels(5, 6)
    with pytest.raises(ValueError, match="transposed=False"):
        LOSS(hidden, weight, target)
    straight = LOSS(hidden, weight, target, transposed=False)
    assert straight == pytest.approx(nl.CrossEntropy()(hidden @ weight, target), rel=1e-12)
    turned = LOSS(hidden, weight, target, transposed=True)
    assert turned == pytest.approx(nl.CrossEntropy()(hidden @ weight.T, target), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"hidden": np.ones((5, 4), int)}, TypeError, "hidden has dtype int64"),
        ({"hidden": np.ones((5, 3))}, ValueError, r"\(3, C\) or \(C, 3\)"),
        ({"hidden": np.ones((5, 4), np.float32)}, TypeError, "weight has dtype float64"),
        ({"hidden": np.float64(1.0)}, ValueError, "at least one dimension"),
        ({"weight": np.ones(4)}, ValueError, "two dimensions"),
        ({"weight": np.ones((6, 4)), "transposed": False}, ValueError, r"\(4, C\)"),
        ({"bias": np.ones(5)}, ValueError, r"bias must have the shape \(6,\)"),
        ({"bias": np.ones(6, np.float32)}, TypeError, "bias has dtype float32"),
        ({"target": np.zeros(4, int)}, ValueError, r"target must have the shape"),
        ({"target": np.full(5, 0.5)}, ValueError, r"target\[0\] is 0.5; labels are whole"),
        ({"target": np.full(5, 6)}, ValueError, r"target\[0\] is 6"),
        ({"target": np.full((5, 6), 2.0)}, ValueError, "2"),
        ({"sample_weight": -np.ones(5)}, ValueError, r"sample_weight\[0\] is -1"),
        ({"sample_weight": np.ones(4)}, ValueError, "sample_weight must have the shape"),
        ({"mask": np.ones(5)}, TypeError, "mask must be an array of bool"),
        ({"reduction": "median"}, ValueError, "reduction"),
        ({"workspace": 0}, ValueError, "workspace"),
        ({"out": np.ones((5, 4))}, TypeError, "tuple of arrays"),
        ({"out": (None, np.ones((6, 4)))}, ValueError, r"out\[1\] must have the shape"),
        ({"out": (np.ones((5, 4), "f4"), None)}, TypeError, r"out\[0\] must have hidden's dtype"),
        ({"out": (None, np.broadcast_to(1.0, (4, 6)))}, ValueError, "read-only"),
        ({"out": ([[1.0] * 4] * 5, None)}, TypeError, "written to"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, message):
    arguments = {
        "hidden": np.ones((5, 4)),
        "weight": np.ones((4, 6)),
        "target": np.zeros(5, int),
    }
    untouched = (np.full((5, 4), 3.0), np.full((4, 6), 3.0))
    if "bias" not in change:
        arguments["out"] = untouched
    with pytest.raises(error, match=message):
        LOSS.value_and_grad(**(arguments | change))
    assert all((one == 3.0).all() for one in untouched)


def test_results_may_not_share_memory():
    hidden, weight, _ = layer(13)
    target = labels(13)
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with hidden"):
        LOSS.value_and_grad(hidden, weight, target, out=(hidden, None))
    space = np.zeros(13 * 37)
    with pytest.raises(ValueError, match=r"out\[0\] and out\[1\] share memory"):
        LOSS.value_and_grad(
            hidden, weight, target, out=(space[:169].reshape(13, 13), space.reshape(13, 37))
        )


def test_class_weights_must_fit():
    hidden, weight, _ = layer(5)
    with pytest.raises(ValueError, match="class_weight has 3 numbers"):
        nl.LinearCrossEntropy(class_weight=[1.0, 2.0, 3.0])(hidden, weight, labels(5))


def test_there_is_no_hessian():
    assert not hasattr(LOSS, "value_grad_hess")


def test_the_loss_is_a_loss_like_others():
    loss = nl.get("fused_linear_cross_entropy", z_loss=0.1)
    assert loss == nl.LinearCrossEntropy(z_loss=0.1)
    assert loss.of_logits() == nl.CrossEntropy(z_loss=0.1)
    with pytest.raises(TypeError, match="sums"):
        loss + loss


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
