"""Losses of several outputs: time in rows and in columns, and of small calls."""

from __future__ import annotations

import numpy as np

from .common import DTYPES, make

# Outputs and targets of each.
LOSSES = {"giou": (4, 4), "gaussian_nll": (2, 1), "student_t_nll": (2, 1), "dpo": (2, 2)}


class Samples:
    """Value and gradient of a million samples, which do not fit into caches."""

    params = (tuple(LOSSES), ("rows", "columns"), DTYPES)
    param_names = ("loss", "layout", "dtype")
    samples = 1 << 20

    def setup(self, loss: str, layout: str, dtype: str) -> None:
        self.loss = make(loss)
        generator = np.random.default_rng(0)
        shapes = [(self.samples, width) for width in LOSSES[loss]]
        prediction, self.target = [generator.random(shape, dtype=dtype) for shape in shapes]
        if loss == "giou":  # boxes that are none have little to compute
            for boxes in (prediction, self.target):
                boxes[:, 2:] += boxes[:, :2]
        self.prediction = np.asarray(prediction, order="F" if layout == "columns" else "C")
        self.out = np.empty_like(self.prediction)
        self.time_value_and_grad(loss, layout, dtype)

    def time_value_and_grad(self, loss: str, layout: str, dtype: str) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)


class SmallSamples(Samples):
    """The same of a hundred samples: what a call costs."""

    samples = 100
