"""Elementwise losses: speed in and beyond the cache, cost of a call, memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import high_water
from .common import DTYPES, METHODS, arrays, by_value, logits, make, method

LOSSES = (
    "squared_error",
    "huber",
    "log_cosh",
    "poisson",
    "tweedie",
    "binary_cross_entropy",
    "focal",
)
# Three arrays of 2**14 float64 lie in a second-level cache, three of 2**22 in no private one.
SIZES = (2**14, 2**22)
LARGE = 2**24


class Speed:
    """The public methods on contiguous arrays; every call returns new arrays."""

    params = (LOSSES, METHODS, DTYPES, SIZES)
    param_names = ("loss", "method", "dtype", "size")
    timeout = 120

    def setup(self, loss: str, name: str, dtype: str, size: int) -> None:
        self.prediction, self.target = arrays(loss, dtype, size)
        self.call = method(make(loss), name)
        # Compiles or loads the kernel for these very types, so that no timing holds it.
        self.call(self.prediction, self.target)

    def time_call(self, loss: str, name: str, dtype: str, size: int) -> None:
        self.call(self.prediction, self.target)


class ByValue:
    """Losses of a user's, whose derivatives the library takes."""

    params = (("log_cosh", "focal"), METHODS, DTYPES)
    param_names = ("loss", "method", "dtype")
    timeout = 120

    def setup(self, loss: str, name: str, dtype: str) -> None:
        self.prediction, self.target = arrays(loss, dtype, SIZES[-1])
        self.call = method(by_value(loss), name)
        self.call(self.prediction, self.target)

    def time_call(self, loss: str, name: str, dtype: str) -> None:
        self.call(self.prediction, self.target)


class SmallCall:
    """A hundred numbers: what a call costs beside its work."""

    params = (("squared_error", "binary_cross_entropy"), METHODS)
    param_names = ("loss", "method")

    def setup(self, loss: str, name: str) -> None:
        self.prediction, self.target = arrays(loss, "float32", 100)
        self.call = method(make(loss), name)
        self.call(self.prediction, self.target)

    def time_call(self, loss: str, name: str) -> None:
        self.call(self.prediction, self.target)


class MadeInCall:
    """A hundred numbers, or rows of ten classes, and a loss with another parameter each time."""

    params = (("huber", "binary_cross_entropy", "focal", "sum", "cross_entropy", "class_weight"),)
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        import numbaloss as nl

        weights = np.linspace(0.5, 1.5, 10)
        self.make = {
            "huber": lambda d: nl.Huber(delta=d),
            "binary_cross_entropy": lambda d: nl.BinaryCrossEntropy(pos_weight=d),
            "focal": lambda d: nl.Focal(gamma=d),
            "sum": lambda d: nl.Huber(d) + 0.1 * nl.LogCosh(),
            "cross_entropy": lambda d: nl.CrossEntropy(label_smoothing=0.1 * d),
            "class_weight": lambda d: nl.CrossEntropy(class_weight=weights),
        }[loss]
        of_rows = loss in ("cross_entropy", "class_weight")
        self.arrays = logits("float32", 10, 10) if of_rows else arrays("focal", "float32", 100)
        self.step = 0
        self.time_call(loss)

    def time_call(self, loss: str) -> None:
        self.step = (self.step + 1) % 1000
        self.make(1.5 + 0.0001 * self.step)(*self.arrays)


class Options:
    """Value and gradient away from the plain case."""

    params = (
        ("out", "in_place", "sample_weight", "no_reduction", "no_check", "strided", "float16"),
    )
    param_names = ("option",)

    def setup(self, option: str) -> None:
        size = SIZES[-1]
        prediction, target = arrays("binary_cross_entropy", "float32", 2 * size)
        step = 2 if option == "strided" else 1
        self.prediction, self.target = prediction[: size * step : step], target[:size]
        if option == "float16":
            self.prediction = self.prediction.astype(option)
        options: dict[str, dict[str, Any]] = {
            "out": {"out": prediction[size:]},
            "in_place": {"out": self.prediction},
            "sample_weight": {"sample_weight": target[size:]},
            "no_reduction": {"reduction": "none"},
            "no_check": {"check": False},
        }
        self.options = options.get(option, {})
        self.loss = make("binary_cross_entropy")
        self.loss.value_and_grad(self.prediction, self.target, **self.options)

    def time_value_and_grad(self, option: str) -> None:
        self.loss.value_and_grad(self.prediction, self.target, **self.options)


class Memory:
    """Memory of value and gradient on 2**24 float32 numbers: one array is 67 MB."""

    params = (("squared_error", "focal"), ("new", "in_place"))
    param_names = ("loss", "gradient")

    def setup(self, loss: str, gradient: str) -> None:
        self.prediction, self.target = arrays(loss, "float32", LARGE)
        self.loss = make(loss)
        self.out = self.prediction if gradient == "in_place" else None
        self.call()

    def call(self) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)

    def peakmem_value_and_grad(self, loss: str, gradient: str) -> None:
        """The whole process: Python, Numba, two inputs, and what the call takes."""
        self.call()

    def track_extra_memory(self, loss: str, gradient: str) -> int:
        """What the call takes, alone."""
        if not high_water.can_measure():
            raise NotImplementedError("only Linux tells the peak of a single call")
        return high_water.extra_bytes(self.call)

    track_extra_memory.unit = "bytes"  # type: ignore[attr-defined]
