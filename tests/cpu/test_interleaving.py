"""Loops over long formulas work on several vectors at a time: read from Numba's machine code."""

import platform
import re

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cpu import blocks
from numbaloss.cpu.blocks import Variant, kernel
from numbaloss.formulas.structure import Structure

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="reads x86 machine code"
)


class Saturating(nl.Elementwise):
    def point(self, prediction, target):
        e = np.exp(-abs(prediction - target))
        return 1.0 / (1.0 + e), e, -e


class Plain(nl.Elementwise):
    def point(self, prediction, target):
        r = prediction - target
        return r * r / (1.0 + abs(r)), r, 1.0


def divisions(loss, real):
    """Divisions of whole vectors in the machine code of a loss, as it is compiled now."""
    variant = Variant(1)
    code = kernel.__wrapped__(Structure.of(loss), real, variant)
    if code.origin == "disk":
        pytest.skip("no assembly of code from disk")
    return len(re.findall(r"\sv?divp[sd]\s", code.assembly()))


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_a_long_formula_has_four_vectors_in_flight_and_a_short_one_has_not(real):
    assert divisions(Saturating(), real) >= 4
    assert divisions(Plain(), real) < 4


def test_a_lost_hint_changes_no_result(monkeypatch):
    x = np.random.default_rng(0).normal(size=1000)
    value, gradient = Saturating().value_and_grad(x, 0.5 * x)
    monkeypatch.setattr(blocks, "vectors_at_a_time", lambda ask: 0)

    class Again(Saturating):
        power: float = 1.0  # another structure, so that it is compiled anew

    other, slope = Again().value_and_grad(x, 0.5 * x)
    assert value == other
    assert (gradient == slope).all()
