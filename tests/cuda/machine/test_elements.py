"""Elementwise losses on the machine that runs PTX."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cuda import backend
from tests.support.gpu.machine import DTYPES, Array, agree, host, launched, pair, put, same
from tests.support.own_losses import Branching


@pytest.mark.every(21)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 700])
def test_vectors_of_elements(machine, kind, size):
    prediction, target = pair(kind, size)
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2)
    ((name, blocks),) = machine.launched
    assert name == "elementwise_vectors"
    assert (blocks > 1) == (size == 700)


@pytest.mark.every(10)
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_weighted_elements(machine, kind, reduction):
    prediction, target = pair(kind, 7, 31)
    prediction[2, 5] = np.nan
    weight = np.random.default_rng(1).random((7, 31)).astype(DTYPES[kind])
    weight[2, 5] = 0  # which leaves the NaN out
    options = {"sample_weight": weight, "reduction": reduction, "gradient_scale": 3.0}
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2, **options)
    assert "elementwise_vectors" in launched(machine)


@pytest.mark.exhaustive
def test_sums_of_float32_keep_digits_and_range(machine):
    prediction = np.full(700, np.sqrt(3e37), np.float32)
    value, _ = nl.SquaredError().value_and_grad(put(prediction), put(np.zeros_like(prediction)))
    assert host(value, "float64") == pytest.approx(float(prediction[0]) ** 2, rel=2e-7)
    logits, labels = np.zeros((40, 5), np.float32), np.arange(40) % 5
    logits[np.arange(40), labels] = -3e37
    value, _ = nl.CrossEntropy().value_and_grad(put(logits), put(labels))
    assert host(value, "float64") == pytest.approx(3e37, rel=2e-7)


def test_whole_blocks_of_elements(machine, monkeypatch):
    monkeypatch.setattr(backend, "THREADS", 256)
    prediction, target = pair("float32", 2500)
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2)
    assert machine.launched == [("elementwise_vectors", 3)]


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", ["float64", "float16"])
@pytest.mark.parametrize("labels", ["int8", "bool", "uint32", "int64", "float16"])
def test_elements_of_any_strides_and_dtypes(machine, kind, labels):
    prediction, target = pair(kind, 9, 5, 7)
    target = (target > 0.5).astype(labels)
    turned = prediction.transpose(2, 0, 1)[:, ::-1], target.transpose(2, 0, 1)
    weight = np.random.default_rng(1).random((7, 9, 5)).astype(np.float32)
    options = {"sample_weight": weight, "reduction": "none"}
    agree(nl.BinaryCrossEntropy(), *turned, **options)
    assert launched(machine) == ["elementwise_strided"]


def test_elements_of_a_power(machine):
    prediction, target = pair("float32", 150)
    agree(nl.Focal(gamma=1.3), prediction, target.round(), derivatives=2)


@pytest.mark.exhaustive
def test_elements_of_many_losses_at_once(machine):
    """One compilation for all: a wrong function shows in the gradient's first digits."""
    prediction, target = pair("float32", 40)
    prediction = np.clip(abs(prediction) / 4, 0.05, 0.95)
    total = nl.SquaredLogError() + nl.LogCosh() + nl.PseudoHuber(2.5) + nl.Cauchy(0.4)
    total = total + nl.Poisson() + nl.Tweedie() + nl.AbsolutePercentageError()
    agree(total, prediction, np.clip(target, 0.05, 0.95), ulps=100)


class Assorted(nl.Elementwise):
    """Functions of NumPy, of plain numbers: most are none of numba-cuda's."""

    def point(self, prediction, target):
        x, y = prediction, target - 0.4
        steps = np.floor(x) + 3.0 * np.ceil(x) + 5.0 * np.rint(x) + 7.0 * np.trunc(x)
        steps += 13.0 * np.sign(x) + 17.0 * np.copysign(x, y)
        signs = np.abs(x) + 3.0 * np.fabs(y) + 5.0 * np.negative(x) + 7.0 * np.positive(y)
        signs += 11.0 * np.square(x) + 13.0 * np.reciprocal(y) + (x if np.isfinite(x) else y)
        grown = (y if np.isinf(x) else x) + 5.0 * np.logaddexp(x, y)
        grown += 7.0 * np.add(x, y) + 11.0 * np.subtract(x, y) + 13.0 * np.multiply(x, y)
        return steps, signs, grown


@pytest.mark.every(2)
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_functions_of_numpy(machine, kind):
    prediction, target = pair(kind, 100)
    odd = np.array([0.0, -0.0, 0.5, -0.5, 1.5, -2.5, np.inf, -np.inf, np.nan], kind)
    prediction[: len(odd)] = odd
    found = Assorted().value_grad_hess(put(prediction), put(target), reduction="none")
    expected = Assorted().value_grad_hess(prediction, target, reduction="none")
    for one, other in zip(found, expected):
        np.testing.assert_allclose(host(one), other, rtol=4e-6 if kind == "float32" else 1e-13)


@pytest.mark.exhaustive
def test_elements_of_values_alone(machine):
    prediction, target = pair("float32", 40)
    total = nl.Huber() - 0.5 * Branching(0.5, 1.75)
    agree(total, prediction, target, derivatives=2, ulps=100)


def test_elements_in_place(machine):
    prediction, target = pair("float32", 300)
    loss = nl.BinaryCrossEntropy()
    _, expected = loss.value_and_grad(prediction, target)
    on_machine = put(prediction)
    _, found = loss.value_and_grad(on_machine, put(target), out=on_machine)
    assert found is on_machine
    same([found], [expected], "float32")


def test_an_error_leaves_elements_as_they_were(machine):
    prediction, target = pair("float32", 300)
    target[77] = 1.5
    on_machine = put(prediction)
    with pytest.raises(ValueError, match=r"takes targets in \[0, 1\]"):
        nl.BinaryCrossEntropy().value_and_grad(on_machine, put(target), out=on_machine)
    np.testing.assert_array_equal(on_machine.array, prediction)


@pytest.mark.exhaustive
def test_bfloat16_that_is_two_bytes_to_its_interface_takes_the_kernel_of_vectors(machine):
    class Bytes:
        """What ``ml_dtypes`` and PyTorch show of bfloat16, and no more."""

        def __init__(self, array):
            self.array = array

        @property
        def __cuda_array_interface__(self):
            return {**self.array.__cuda_array_interface__, "typestr": "<V2"}

    loss = nl.Huber()
    p, t = pair("bfloat16", 333)
    expected = loss.value_and_grad(p, t)
    out = Array.copy(p)
    for _ in range(4):
        found = loss.value_and_grad(Bytes(Array.copy(p)), Bytes(Array.copy(t)), out=Bytes(out))
        same((found[0], out), expected, "bfloat16")
    assert launched(machine) == ["elementwise_vectors"]
    made = loss.value_and_grad(Bytes(Array.copy(p)), Bytes(Array.copy(t)))[1]
    same((made,), expected[1:], "bfloat16")
