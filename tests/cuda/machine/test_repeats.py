"""Calls that are repeated compute what they are asked: on the machine that runs PTX."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.machine import Array, launched, pair, rows, same
from tests.support.gpu.stub import remembered


@pytest.mark.parametrize("method", ["value_and_grad", "value_grad_hess"])
def test_elements(machine, method):
    loss = nl.Huber(delta=0.75)
    for seed in range(5):  # the last two are repeated
        p, t = pair("float32", 77, seed=seed)
        weight = np.linspace(0.5, seed + 1.0, 77).astype(np.float32)
        given = [Array.copy(one) for one in (p, t, weight)]
        found = getattr(loss, method)(given[0], given[1], sample_weight=given[2])
        same(found, getattr(loss, method)(p, t, sample_weight=weight), "float32")
    assert len(remembered(loss)) == 1


@pytest.mark.parametrize(
    ("count", "classes"),
    [
        (5, 10),
        pytest.param(3, 700, marks=pytest.mark.exhaustive),
        pytest.param(2, 9000, marks=pytest.mark.exhaustive),
    ],
)
def test_rows(machine, count, classes):
    loss = nl.CrossEntropy(label_smoothing=0.125)
    for seed in range(5):
        z, labels = rows("float32", count, classes, seed=seed)
        found = loss.value_and_grad(Array.copy(z), Array.copy(labels))
        same(found, loss.value_and_grad(z, labels), "float32")
    names = launched(machine)
    assert "softmax_scan" in names
    assert len(remembered(loss)) == 1


def test_what_is_out_of_range_is_named_as_before(machine):
    loss = nl.Poisson(log_input=True)
    p, t = pair("float32", 50)
    for wrong in (None, None, None, None, 7, None, 40):
        given = t.copy()
        if wrong is not None:
            given[wrong] = -3.0
            with pytest.raises(ValueError, match=rf"target\[{wrong}\] is -3"):
                loss.value_and_grad(Array.copy(p), Array.copy(given))
            continue
        found = loss.value_and_grad(Array.copy(p), Array.copy(given))
        same(found, loss.value_and_grad(p, given), "float32")


def test_values_that_are_read_later_name_what_was_out_of_range(machine):
    loss, rows_loss = nl.Poisson(log_input=True), nl.CrossEntropy()
    p, t = pair("float32", 50)
    t[33] = -3.0
    z, labels = rows("float32", 5, 10)
    labels[2] = 10
    for _ in range(5):  # by the general path and repeated
        given = Array.copy(p), Array.copy(t)
        value = loss(*given, wait=False)
        with pytest.raises(ValueError, match=r"target\[33\] is -3"):
            float(value)
        value = loss(Array.copy(p), Array.copy(t), wait=False)  # arrays that are gone by now
        with pytest.raises(ValueError, match="1 numbers are out of range"):
            float(value)
        given = Array.copy(z), Array.copy(labels)
        value = rows_loss(*given, wait=False)
        with pytest.raises(ValueError, match=r"target\[2\] is 10"):
            float(value)
