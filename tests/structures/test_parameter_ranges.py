"""Parameters that could only give NaN are refused: at construction, or by the compute type."""

import math
from typing import ClassVar

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.core.ranges import span

ONE = np.ones(2, "f4")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nl.PseudoHuber(math.inf), r"delta must be in \(0, inf\), not inf"),
        (lambda: nl.PseudoHuber(1e-310), "delta must be 2.2e-308 at least and 1.8e.308 at most"),
        (lambda: nl.SmoothL1(math.inf), r"beta must be in \[0, inf\), not inf"),
        (lambda: nl.Cauchy(math.inf), r"scale must be in \(0, inf\), not inf"),
        (lambda: nl.Cauchy(1e155), r"scale must be 2.2e-308 at least and 1.3e\+154 at most, not"),
        (lambda: nl.GeneralRobust(2.0, 1e-200), r"scale must be in \[1e-154, 1e154\] where alpha"),
        (lambda: nl.GeneralRobust(1.0, math.inf), r"scale must be in \(0, inf\), not inf"),
        (lambda: nl.BinaryCrossEntropy(pos_weight=math.inf), r"pos_weight must be in \[0, inf\)"),
        (lambda: nl.Focal(gamma=math.inf), r"gamma must be in \[0, inf\), not inf"),
        (lambda: nl.Focal(gamma=1e200), r"gamma must be .* at most, not 1e\+200"),
        (lambda: nl.AsymmetricFocal(math.inf), r"gamma_neg must be in \[0, inf\), not inf"),
        (lambda: nl.CategoricalFocal(math.inf), r"gamma must be in \[0, inf\), not inf"),
        (lambda: nl.CrossEntropy(z_loss=math.inf), r"z_loss must be in \[0, inf\), not inf"),
        (lambda: nl.CrossEntropy(temperature=1e-200), "temperature must be 1.5e-154 at least"),
        (lambda: nl.Distillation(1e160), r"temperature must be .* at most, not 1e\+160"),
        (lambda: nl.LinearCrossEntropy(temperature=math.inf), r"temperature must be in \(0, inf"),
        (lambda: nl.SymmetricCrossEntropy(log_zero=-math.inf), r"log_zero must be in \(-inf, 0\)"),
        (lambda: nl.Poly1(-math.inf), r"epsilon must be in \(-inf, inf\), not -inf"),
        (lambda: nl.MultiMargin(math.inf), r"margin must be in \(-inf, inf\), not inf"),
        (lambda: nl.Contrastive(math.inf), r"margin must be in \(0, inf\), not inf"),
        (lambda: nl.Triplet(p=1e5), r"p must be in \[1, 1000\], not 100000.0"),
        (lambda: nl.BatchTriplet(math.inf), r"margin must be in \[0, inf\), not inf"),
        (lambda: nl.CrossEntropy(ignore_index=2**63), "ignore_index must be a number of int64"),
        (lambda: nl.Brier(ignore_index=-(2**63) - 1), "ignore_index must be a number of int64"),
    ],
)
def test_ranges_are_told_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (nl.PseudoHuber(1e200), r"delta = 1e\+200 does not fit computations in float32, expected"),
        (nl.PseudoHuber(1e-40), "delta = 1e-40 does not fit .* expected 1.2e-38 at least"),
        (nl.SmoothL1(1e-40), "beta = 1e-40 does not fit"),
        (nl.Huber(1e60), r"Huber: delta = 1e\+60 does not fit computations in float32; cast"),
        (nl.Huber(1e-60), "Huber: delta = 1e-60 does not fit"),
        (nl.Cauchy(1e20), r"Cauchy: scale = 1e\+20 does not fit .* 1.8e\+19 at most"),
        (nl.GeneralRobust(2.0, 1e-30), "GeneralRobust: a factor of 5e.59 does not fit"),
        (nl.BinaryCrossEntropy(pos_weight=1e39), r"pos_weight = 1e\+39 does not fit"),
        (nl.Focal(gamma=1e20), r"gamma = 1e\+20 does not fit"),
        (1e200 * nl.SquaredError(), r"a factor of 1e\+200 does not fit"),
        (nl.Huber() + nl.PseudoHuber(1e200), "PseudoHuber: delta"),
    ],
    ids=str,
)
def test_parameters_that_the_compute_type_cannot_hold_are_refused_by_the_call(loss, message):
    for call in (loss, loss.value_and_grad, lambda *a: loss(*a, reduction="none")):
        with pytest.raises(ValueError, match=message):
            call(ONE, ONE)
    with pytest.raises(ValueError, match=message):
        loss(ONE.astype("f2"), ONE)


def test_what_float64_holds_is_computed_there():
    residual, zero = np.array([3.0]), np.zeros(1)
    assert nl.PseudoHuber(1e150)(residual, zero) == 4.5
    assert nl.Cauchy(1e100)(residual, zero) == pytest.approx(4.5, rel=1e-15)
    assert nl.Huber(math.inf)(residual, zero) == 4.5
    assert (1e200 * nl.SquaredError())(residual, zero) == 9e200


def test_class_weights_and_temperatures_of_rows_fit_too():
    logits, labels = np.zeros((2, 3), "f4"), np.array([0, 2])
    for loss, message in (
        (nl.CrossEntropy(class_weight=[1.0, 1e39, 1.0]), r"class_weight, up to 1e\+39, does not"),
        (nl.CrossEntropy(temperature=1e-25), "temperature = 1e-25 does not fit"),
        (nl.GeneralizedCrossEntropy(1e-40), "q = 1e-40 does not fit"),
    ):
        for call in (loss, loss.value_and_grad):
            with pytest.raises(ValueError, match=message):
                call(logits, labels)
    with pytest.raises(ValueError, match="temperature = 1e-25 does not fit"):
        nl.LinearCrossEntropy(temperature=1e-25)(logits, np.ones((3, 5), "f4"), labels)
    with pytest.raises(ValueError, match=r"margin = 1e\+39 does not fit"):
        nl.BatchTriplet(1e39)(np.eye(3, dtype="f4"), [0, 0, 1])


class Bounded(nl.Elementwise):
    scale: float = 1.0
    free: float = 0.0
    bounds: ClassVar = {"scale": "(0, inf)"}
    spans: ClassVar = {"scale": (2, 0)}

    def value(self, prediction, target):
        return ((prediction - target) / self.scale) ** 2 + self.free


def test_losses_of_ones_own_say_which_powers_they_take():
    with pytest.raises(ValueError, match=r"scale must be in \(0, inf\), not inf"):
        Bounded(math.inf)
    with pytest.raises(ValueError, match=r"scale must be 1.5e-154 at least, not 1e-200"):
        Bounded(1e-200)
    assert Bounded(1e-10)(ONE, ONE) == 0.0
    assert Bounded(free=math.inf)(ONE, ONE) == math.inf  # no interval forbids it
    with pytest.raises(ValueError, match=r"Bounded: scale = 1e-30 does not fit .* 1.1e-19 at"):
        Bounded(1e-30)(ONE, ONE)
    with pytest.raises(ValueError, match=r"Bounded: free = 1e\+50 does not fit"):
        Bounded(free=1e50)(ONE, ONE)


def test_spans_are_where_powers_are_normal_numbers():
    for real in (np.dtype("f4"), np.dtype("f8")):
        limits = np.finfo(real)
        least, most = span((2, 3), real)
        assert least == pytest.approx(math.sqrt(float(limits.tiny)))
        assert most == pytest.approx(float(limits.max) ** (1 / 3))
        assert span((0, 0), real) == (0.0, math.inf)
