"""Random losses on random arrays: no crash, no lost NaN, no touched input, no wrong element."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import numbaloss as nl
from numbaloss.core.loss import domain
from tests.support.any_arrays import (
    BFLOAT16,
    LAYOUTS,
    as_computed,
    calls,
    examples,
    narrowed,
    readable,
    registered_losses,
    snapshot,
)


@examples(100)
@given(calls())
def test_layouts_and_dtypes_change_no_bit_of_any_element(same_bits, call):
    before = snapshot(call)
    got = call.evaluate(reduction="none")
    assert snapshot(call) == before
    kind = call.prediction.dtype
    dtypes = [as_computed(call.prediction).dtype, kind, kind]
    for one, wanted, dtype in zip(got, call.plain().evaluate(reduction="none"), dtypes):
        assert one.shape == call.prediction.shape
        assert one.dtype == dtype
        assert same_bits(one, narrowed(wanted, dtype))


def test_bfloat16_of_the_other_byte_order_is_understood_or_refused():
    numbers = np.array([1.0, 2.5, -3.0])
    swapped = numbers.astype(BFLOAT16.newbyteorder(">" if np.little_endian else "<"))
    try:
        value, gradient = nl.SquaredError().value_and_grad(swapped, 0 * numbers, reduction="sum")
    except TypeError:
        return
    assert value == float(np.sum(numbers**2))
    np.testing.assert_array_equal(gradient.astype(np.float64), 2.0 * numbers)


@examples(100)
@given(
    calls(special=False),
    st.sampled_from(["sum", "mean", "weighted_mean"]),
)
def test_a_reduction_is_that_of_the_elements_and_scales_the_derivatives(call, reduction):
    values, gradient, hessian = (readable(one) for one in call.plain().evaluate(reduction="none"))
    divisor = 1.0
    if reduction == "mean" or (reduction == "weighted_mean" and call.weight is None):
        divisor = float(values.size)
    elif reduction == "weighted_mean":
        spread = call.weight.reshape(call.weight.shape + (1,) * (values.ndim - call.weight.ndim))
        divisor = float(np.broadcast_to(readable(spread), values.shape).sum())
    before = snapshot(call)
    got = call.evaluate(reduction=reduction)
    plain = call.loss(call.prediction, call.target, sample_weight=call.weight, reduction=reduction)
    assert snapshot(call) == before
    precision = 1e-12 if call.prediction.dtype.itemsize == 8 else 2e-6
    size = np.abs(values).sum()
    for value in (got[0], plain):
        assert type(value) is float
        if divisor == 0.0:
            assert math.isnan(value)
        else:
            assert value == pytest.approx(values.sum() / divisor, abs=precision * size / divisor)
    # Half precisions have 8 bits at least, and leave their range at both ends.
    kind = call.prediction.dtype
    rough, largest = precision, math.inf
    if kind.itemsize == 2:
        rough, largest = 2.0**-8, 65504.0
    for one, wanted in zip(got[1:], (gradient, hessian)):
        expected = np.clip(wanted / divisor if divisor else 0.0 * wanted, -largest, largest)
        clipped = np.clip(readable(one), -largest, largest)
        np.testing.assert_allclose(clipped, expected, rtol=rough, atol=6e-8)


@examples(100)
@given(calls(), st.data())
def test_nan_stays_where_it_is(same_bits, call, data):
    assume(call.prediction.size)
    where = np.zeros(call.prediction.shape, bool)
    positions = st.lists(st.integers(0, where.size - 1), min_size=1, max_size=3)
    where.flat[data.draw(positions)] = True
    clean = call.evaluate(reduction="none")
    call.prediction[where] = math.nan
    if call.target.dtype.kind == "f" and data.draw(st.booleans()):
        call.target[where] = math.nan
    weight = np.ones(()) if call.weight is None else readable(call.weight)
    weight = weight.reshape(weight.shape + (1,) * (where.ndim - weight.ndim))
    weight = np.broadcast_to(weight, where.shape)
    lost = where & (weight > 0.0)
    for one, before in zip(call.evaluate(reduction="none"), clean):
        assert np.isnan(readable(one)[lost]).all()
        assert not readable(one)[where & (weight == 0.0)].any()
        assert same_bits(np.where(where, 0, readable(one)), np.where(where, 0, readable(before)))
    for reduction in ("sum", "mean"):
        assert math.isnan(call.evaluate(reduction=reduction)[0]) == lost.any()


class Forgetful(nl.Elementwise):
    """Comparisons with NaN are false, and so its results are numbers."""

    def point(self, prediction, target):
        right = prediction > target
        return 1.0 if right else 0.0, 2.0 if right else 3.0, 4.0 if right else 5.0


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("which", ["prediction", "target"])
def test_nan_shows_even_where_a_point_forgets_it(dtype, which):
    for place in range(10):
        arrays = {"prediction": np.ones(10, dtype), "target": np.zeros(10, dtype)}
        arrays[which][place] = math.nan
        for one in Forgetful().value_grad_hess(**arrays, reduction="none"):
            assert np.flatnonzero(np.isnan(one)).tolist() == [place]
        value, gradient, _ = Forgetful().value_grad_hess(**arrays)
        assert math.isnan(value)
        assert np.flatnonzero(np.isnan(gradient)).tolist() == [place]


@examples(100)
@given(calls(), st.sampled_from(["target", "weight"]), st.data())
def test_an_error_names_the_first_bad_number_and_touches_no_input(call, which, data):
    assume(call.prediction.size)
    bad = -2.0
    if which == "weight":
        call = call._replace(weight=np.ones(call.prediction.shape))
        array, name = call.weight, "sample_weight"
    else:
        assume(not domain(call.loss.target_domain).everything)
        if call.target.dtype.kind != "f":
            call = call._replace(target=call.target.astype(np.float32))
        call = call._replace(weight=None)  # what has the weight 0 may hold anything
        array, name = call.target, "target"
    place = data.draw(st.integers(0, array.size - 1))
    index = np.unravel_index(place, array.shape)
    array[index] = bad
    where = f"[{', '.join(map(str, map(int, index)))}]" if index else ""
    label = f"{name}{where} is -2;"
    before = snapshot(call)
    in_place = data.draw(st.booleans())
    with pytest.raises(ValueError, match="is -2;") as caught:
        call.evaluate(out=call.prediction if in_place else None)
    assert str(caught.value).startswith(label)
    assert snapshot(call) == before


@examples(60)
@given(calls(), LAYOUTS, st.sampled_from(["none", "mean"]))
def test_results_go_into_any_array_and_into_the_prediction(same_bits, call, layout, reduction):
    gradient = call.evaluate(reduction=reduction)[1]
    kind, shape = call.prediction.dtype, call.prediction.shape
    out = layout.place(np.zeros(shape, kind))
    hess_out = layout.place(np.zeros(shape, kind))
    before = snapshot(call)
    _, same, hessian = call.evaluate(reduction=reduction, out=out, hess_out=hess_out)
    assert snapshot(call) == before
    assert same is out
    assert hessian is hess_out
    assert same_bits(out, gradient)
    # What lies between the elements of an output is not ours.
    if layout.step > 1 and out.size:
        memory = out.base
        while isinstance(memory.base, np.ndarray):
            memory = memory.base
        touched = np.zeros(memory.size, bool)
        start = memory.ctypes.data
        for element in np.ndindex(*shape):
            offset = sum(i * s for i, s in zip(element, out.strides))
            first = out.ctypes.data + offset - start
            touched[first : first + kind.itemsize] = True
        assert (memory[~touched] == 0xA5).all()
    _, inside, _ = call.evaluate(reduction=reduction, out=call.prediction)
    assert inside is call.prediction
    assert same_bits(inside, gradient)


@examples(60)
@given(calls(registered_losses(), weighted=False))
def test_every_registered_loss_bears_every_array(same_bits, call):
    before = snapshot(call)
    got = call.evaluate(reduction="none")
    assert snapshot(call) == before
    kind = call.prediction.dtype
    dtypes = [as_computed(call.prediction).dtype, kind, kind]
    for one, wanted, dtype in zip(got, call.plain().evaluate(reduction="none"), dtypes):
        assert (one.shape, one.dtype) == (call.prediction.shape, dtype)
        assert same_bits(one, narrowed(wanted, dtype))
