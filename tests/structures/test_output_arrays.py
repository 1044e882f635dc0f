"""Arrays for results: values, and derivatives of another dtype than the prediction's."""

import ml_dtypes
import numpy as np
import pytest

import numbaloss as nl

RNG = np.random.default_rng(0)
CALLS = {
    "elementwise": (nl.BinaryCrossEntropy(), RNG.normal(size=(6, 5)), RNG.random((6, 5))),
    "rows": (nl.CrossEntropy(), RNG.normal(size=(6, 5)), np.arange(6) % 5),
    "dense rows": (nl.Brier(), RNG.normal(size=(6, 5)), np.full((6, 5), 0.2)),
}


def rounded(numbers, dtype):
    """Float64 numbers rounded once, to even."""
    if dtype is not ml_dtypes.bfloat16:  # NumPy rounds float64 to the others at once
        return numbers.astype(dtype)
    _, exponent = np.frexp(numbers)
    unit = 2.0 ** (np.maximum(exponent, -125) - 8)
    return (np.round(numbers / unit) * unit).astype(dtype)


@pytest.mark.parametrize("dtype", ["f2", ml_dtypes.bfloat16, "f4"])
def test_gradients_of_another_dtype_are_rounded_once(dtype):
    half = RNG.normal(size=400).astype("f2") if dtype == "f2" else RNG.normal(size=400)
    start = half.astype(dtype)
    bits = start.view("u4" if dtype == "f4" else "u2")
    after = (bits + 1).astype(bits.dtype).view(start.dtype)
    ties = (start.astype(float) + after.astype(float)) / 2
    small = 2.0**-24 * RNG.random(100)
    # Beside a tie, where a rounding to float32 on the way would meet it.
    wanted = np.concatenate([ties, ties * (1 + 1e-13), ties * (1 - 1e-13), small, [0.0]])
    out = np.empty(2 * len(wanted), start.dtype)[::2]
    found = nl.SquaredError().grad(wanted / 2, np.zeros_like(wanted), reduction="sum", out=out)
    assert found is out
    np.testing.assert_array_equal(out, rounded(wanted, dtype))
    with np.errstate(over="ignore"):
        special = np.array([np.inf, -np.inf, np.nan, 1e300, -1e300, 65519.99999999999, 65520.0])
        out = np.empty(7, start.dtype)
        nl.SquaredError().grad(special / 2, np.zeros(7), reduction="sum", out=out)
        if dtype is ml_dtypes.bfloat16:
            special = special.astype("f4")  # which none of these is rounded otherwise by
        expected = special.astype(start.dtype)
        np.testing.assert_array_equal(out.astype(float), expected.astype(float))


@pytest.mark.parametrize("structure", CALLS)
def test_results_go_to_arrays_of_any_floating_dtype(structure):
    loss, p, t = CALLS[structure]
    single = p.astype("f4")
    expected = loss.value_grad_hess(single, t, reduction="none")
    values = np.full((6,) if expected[0].ndim == 1 else (6, 10), 7.0)
    values = values if values.ndim == 1 else values[:, ::2]
    out, hessian = np.full((6, 5), 7.0), np.full((5, 6), 7.0, "f2").T
    found = loss.value_grad_hess(
        single, t, reduction="none", values_out=values, out=out, hess_out=hessian
    )
    assert (found[0] is values, found[1] is out, found[2] is hessian) == (True,) * 3
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(out, expected[1])
    np.testing.assert_array_equal(hessian, expected[2].astype("f2"))
    assert loss(single, t, reduction="none", values_out=values) is values
    values[...] = 7.0
    value, gradient = loss.value_and_grad(single, t, reduction="none", values_out=values)
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(gradient, expected[1])
    double = np.empty((6, 5))
    np.testing.assert_array_equal(loss.hess(single, t, reduction="sum", out=double), expected[2])
    np.testing.assert_array_equal(loss.grad(single, t, reduction="sum", out=double), expected[1])


@pytest.mark.parametrize("structure", CALLS)
def test_arrays_for_values_that_do_not_fit(structure):
    loss, p, t = CALLS[structure]
    shape = loss(p, t, reduction="none").shape
    fine = np.full(shape, 7.0)
    options = {"reduction": "none"}
    for reduction in ("mean", "weighted_mean", "batchmean", "sum"):
        with pytest.raises(ValueError, match=f"and reduction is '{reduction}'"):
            loss.value_and_grad(p, t, reduction=reduction, values_out=fine)
    fixed = np.zeros(shape)
    fixed.flags.writeable = False
    whole = np.zeros((6, 5))
    for wrong, error, message in (
        (np.zeros((2, 3)), ValueError, "values_out must have the shape of the values"),
        (np.zeros(shape, int), TypeError, "values_out must have the computation's dtype, float64"),
        (fixed, ValueError, "values_out is read-only"),
        ([0.0] * 6, TypeError, "values_out must be an array that can be written to"),
        (np.broadcast_to(np.zeros(1), shape).copy()[:0], ValueError, "values_out must have"),
        (p[:, 0] if len(shape) == 1 else p, ValueError, "values_out shares memory with prediction"),
    ):
        with pytest.raises(error, match=message):
            loss(p, t, **options, values_out=wrong)
    own = whole[:, 0] if len(shape) == 1 else whole
    with pytest.raises(ValueError, match="values_out and out share memory"):
        loss.value_and_grad(p, t, **options, values_out=own, out=whole)
    with pytest.raises(
        TypeError, match="out must have the prediction's dtype, float64, or another"
    ):
        loss.value_and_grad(p, t, out=np.zeros((6, 5), "i8"))
    np.testing.assert_array_equal(fine, 7.0)
