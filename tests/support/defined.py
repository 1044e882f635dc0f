"""Losses that a test defines."""

import textwrap

import numpy as np

import numbaloss as nl

ONES = np.ones(3, np.float32)
TWOS = 2.0 * ONES


def define(factor: float, **namespace: object) -> type:
    """Run the text of a class as a notebook cell or a script would."""
    source = f"""
    class Scaled(nl.Elementwise):
        width: float = 1.0

        def point(self, prediction, target):
            return {factor!r} * prediction / self.width, {factor!r} / self.width, 0.0
    """
    namespace |= {"nl": nl}
    exec(textwrap.dedent(source), namespace)
    return namespace["Scaled"]


def outcome(loss: nl.Elementwise, prediction: np.ndarray = ONES) -> tuple[float, float]:
    value, gradient = loss.value_and_grad(prediction, np.zeros_like(prediction), reduction="sum")
    return value / prediction.size, float(gradient[0])
