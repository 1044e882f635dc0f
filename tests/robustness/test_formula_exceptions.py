"""What a formula raises reaches the caller, as plain Python raises it, with its place."""

import threading

import numpy as np
import pytest
from numba import types

import numbaloss as nl
from numbaloss.cpu.asking import raises
from numbaloss.formulas.catching import can_raise
from numbaloss.formulas.points import METHODS
from numbaloss.formulas.structure import Structure, lower

TABLE = np.array([1.0, 2.0, 3.0])
STEPS = (1.0, 10.0)


class Limited(nl.Elementwise):
    """A loss that refuses some targets."""

    scale: float = 1.0

    def value(self, prediction, target):
        if target > 5.0:
            raise ValueError("too large", 5)
        return self.scale * (prediction - target) ** 2


class LookUp(nl.Elementwise):
    """A loss with a number for each target."""

    def value(self, prediction, target):
        return TABLE[int(target)] * (prediction - target) ** 2


class ByHand(nl.Elementwise):
    """Derivatives by hand, and an index of a tuple."""

    def point(self, prediction, target):
        slope = STEPS[int(target)]
        return slope * prediction, slope, 0.0


# As text, since pytest makes other code of what it finds asserted in this file.
_ASSERTING = """
class Asserting(nl.Softmax):
    def value(self, log_probability, target):
        assert log_probability > -4.0, "an improbable class"
        return -target * log_probability
"""
exec(_ASSERTING)
Asserting: type = locals()["Asserting"]


class Far(nl.PairEmbedding):
    """Pairs that must not be far apart."""

    def value(self, distance, target):
        if distance > 5.0:
            raise KeyError("far")
        return distance * target


class FarTriplet(nl.TripletEmbedding):
    """Triplets, the distance by hand."""

    def root(self, total):
        if total > 25.0:
            raise OverflowError("far")
        return total**0.5, 0.5 * total**-0.5

    def value(self, positive, negative):
        return max(positive - negative + 0.5, 0.0)


class FarBatch(nl.LabelledEmbedding):
    """All triplets of a batch."""

    form = "triplets"

    def value(self, positive, negative):
        if positive > 5.0:
            raise KeyError("far")
        return max(positive - negative + 0.5, 0.0)


@pytest.fixture(scope="module")
def samples():
    """Targets of which 77,777 is the first bad one of several: enough for all threads."""
    prediction = (np.arange(100_000) / 30_000).astype(np.float32)
    target = prediction.copy()
    target[77_777], target[99_999] = 6, 7
    return prediction, target


def note(caught) -> str:
    """The one note of an exception."""
    (found,) = caught.value.__notes__
    return found


@pytest.mark.parametrize("method", ["__call__", "value_and_grad", "value_grad_hess"])
def test_the_first_sample_that_raises_is_named_from_all_threads(samples, method):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (its arguments are checked)
        getattr(Limited(), method)(*samples)
    assert caught.value.args == ("too large", 5)
    assert note(caught) == (
        "raised by value of Limited(scale=1.0) in float32 at [77777]: "
        "prediction = 2.5925667285919189, target = 6"
    )
    assert "target > 5.0" in str(caught.getrepr())  # the line of the formula


def test_a_serial_call_an_odd_layout_and_a_sum_raise_the_same():
    target = np.zeros((4, 6))[:, ::2]
    target[2, 1] = 9
    for loss in (Limited(), Limited(2.0) + 0.5 * nl.Huber(), 2.0 * Limited()):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            loss(np.zeros((4, 3)), target)
        assert caught.value.args == ("too large", 5)
        assert " at [2, 1]: prediction = 0, target = 9" in note(caught)


def test_outputs_in_place_are_untouched_and_the_next_call_is_right(samples):
    prediction, target = samples[0].copy(), samples[1]
    with pytest.raises(ValueError, match="too large"):
        Limited().value_and_grad(prediction, target, out=prediction)
    np.testing.assert_array_equal(prediction, samples[0])
    weight = np.ones_like(target)
    with pytest.raises(ValueError, match="too large"):
        Limited().value_and_grad(prediction, target, sample_weight=weight, out=prediction)
    np.testing.assert_array_equal(prediction, samples[0])
    assert Limited()(prediction[:1000], prediction[:1000] + 1) == pytest.approx(1.0)


def test_bad_numbers_come_before_what_they_make_a_formula_raise():
    class Narrow(Limited):
        target_domain = "[0, 5]"

    with pytest.raises(ValueError, match=r"target\[1\] is 9"):
        Narrow()(np.zeros(2), np.array([1.0, 9.0]))
    with pytest.raises(ValueError, match="too large"):
        Narrow()(np.zeros(2), np.array([1.0, 9.0]), check=False)


def test_nobody_asks_a_formula_about_nan():
    prediction, target = np.array([1.0, np.nan, 2.0]), np.array([1.0, 9.0, np.nan])
    values = Limited()(prediction, target, reduction="none")
    np.testing.assert_array_equal(values, [0.0, np.nan, np.nan])
    assert np.isnan(LookUp()(np.zeros(1), np.array([np.nan])))


def test_look_ups_are_tested_and_negative_ones_count_from_the_end():
    numbers = np.zeros(4)
    np.testing.assert_array_equal(
        LookUp()(numbers, np.array([0.0, 1.0, 2.0, -1.0]), reduction="none"),
        [0.0, 2.0, 12.0, 3.0],
    )
    for bad in (3.0, -4.0, 1e9):
        with pytest.raises(IndexError) as caught:
            LookUp()(numbers, np.array([0.0, 0.0, bad, 0.0]))
        assert f"index {int(bad)} is out of bounds for axis 0 with size 3" in str(caught.value)
        assert " at [2]" in note(caught)
    with pytest.raises(IndexError, match="tuple index out of range"):
        ByHand().value_and_grad(numbers, numbers + 2)
    assert ByHand()(numbers + 1, numbers + 1) == 10.0


def test_whoever_knows_that_indices_are_right_may_say_so():
    class Trusting(LookUp):
        check_bounds = False

    assert Trusting()(np.zeros(2), np.array([1.0, 2.0])) == 7.0
    assert not raises(Structure.of(Trusting()), "float64", "point")


@pytest.mark.every(4)
@pytest.mark.parametrize("classes", [7, 300])
def test_rows_name_the_first_that_raises(classes):
    logits = np.zeros((1000, classes))
    labels = np.zeros(1000, np.int64)
    if classes > 50:
        logits[:, 0] = 20.0  # the others are improbable
    logits[333, 4], logits[700, 2] = -9.0, -9.0
    row = 0 if classes > 50 else 333
    for out in (None, logits):
        before = logits.copy()
        with pytest.raises(AssertionError, match="an improbable class") as caught:
            Asserting().value_and_grad(logits, labels, out=out)
        np.testing.assert_array_equal(logits, before)
        assert f" at row [{row}]: log_probability = " in note(caught)


def test_rows_of_a_linear_layer_raise_too():
    class Layer(nl.Linear):
        def of_logits(self):
            return Asserting()

    hidden, weight = np.ones((40, 2)), np.zeros((2, 7))
    labels = np.zeros(40, np.int64)
    assert Layer()(hidden, weight, labels) == pytest.approx(np.log(7))
    weight[0, 0] = 9.0
    with pytest.raises(AssertionError, match="an improbable class"):
        Layer().value_and_grad(hidden, weight, labels)


@pytest.mark.exhaustive
def test_vectors_name_the_first_row_that_raises():
    near, far = np.zeros((6, 3)), np.ones((6, 3))
    far[4] = 9.0
    with pytest.raises(KeyError, match="far") as caught:
        Far().value_and_grad(near, far, np.ones(6))
    assert " at row [4]: distance = 15.58845726811989" in note(caught)
    with pytest.raises(OverflowError, match="far") as caught:
        FarTriplet().value_and_grad(near, near + 1, far)
    assert "raised by root of FarTriplet()" in note(caught)
    assert " at row [4]: a number of 243" in note(caught)
    labels = np.array([0, 0, 1, 1, 2, 2] * 2)
    with pytest.raises(KeyError, match="far") as caught:
        FarBatch().value_and_grad(np.concatenate([near, far]), labels)
    assert "a pair or triplet of the batch: positive = 15.58845726811989" in note(caught)


def test_threads_that_call_one_loss_get_their_own_exceptions():
    loss, found = Limited(), []

    def run(number: int) -> None:
        target = np.zeros(2000)
        if number % 2:
            target[number] = 6.0 + number
        for _ in range(50):
            try:
                found.append((number, loss(np.zeros(2000), target)))
            except ValueError as error:
                found.append((number, error.__notes__[0]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200
    for number, result in found:
        if number % 2:
            assert f"at [{number}]: prediction = 0, target = {6 + number}" in result
        else:
            assert result == 0.0


def test_no_loss_of_the_library_can_raise_and_formulas_that_cannot_have_no_trace_of_it():
    class Plain(nl.Elementwise):
        def value(self, prediction, target):
            return (prediction - target) ** 2

    assert not raises(Structure.of(Plain()), "float32", "point")
    assert raises(Structure.of(Limited()), "float32", "point")
    for loss, method in (nl.Focal(), "point"), (nl.CrossEntropy(), "label_point"):
        record = Structure.of(lower(loss)).numba_type(types.float32)
        assert not can_raise(METHODS[method], record, types.float32)


def test_losses_of_one_name_raise_their_own_exceptions():
    def made(kind, words):
        class Strict(nl.Elementwise):
            def value(self, prediction, target):
                if target < 1.0:
                    raise kind(words)
                return prediction - target

        return Strict()

    for kind, words in (LookupError, "a small target"), (ValueError, "not a share"):
        with pytest.raises(kind, match=words):
            made(kind, words)(np.zeros(3), np.array([1.0, 2.0, 0.5]))
