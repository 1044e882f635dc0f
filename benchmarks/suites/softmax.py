"""Softmax losses: speed over the number of classes, kinds of targets, few rows, memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import high_water
from .common import DTYPES, METHODS, logits, make, method

# Narrow rows go through tiles, wide ones through vectors along the row, very wide ones are cut
# into pieces: two widths at least of each, with odd ones that fill no vector.
WIDTHS = (2, 3, 10, 16, 31, 100, 128, 129, 1000, 4096, 32000, 128256)
LOSSES = (
    "categorical_focal",
    "generalized_cross_entropy",
    "symmetric_cross_entropy",
    "poly1",
    "multi_margin",
    "jensen_shannon",
    "brier",
)
SIZE = 2**22
LARGE = 2**24


class Widths:
    """Cross-entropy with labels, about as many logits at every width, into a kept array."""

    params = (WIDTHS, DTYPES)
    param_names = ("classes", "dtype")

    def setup(self, classes: int, dtype: str) -> None:
        self.prediction, self.target = logits(dtype, SIZE // classes, classes)
        self.out = np.empty_like(self.prediction)
        self.loss = make("cross_entropy")
        self.time_value_and_grad(classes, dtype)

    def time_value_and_grad(self, classes: int, dtype: str) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)


class Images:
    """Value and gradient of pixels, with the classes of (N, C, H, W) along the second axis."""

    params = ((3, 19, 150), DTYPES, ("second", "last"))
    param_names = ("classes", "dtype", "axis")

    def setup(self, classes: int, dtype: str, axis: str) -> None:
        count, side = max(SIZE // classes >> 14, 1), 128
        prediction, target = logits(dtype, count * side * side, classes)
        self.target = target.reshape(count, side, side)
        self.prediction = prediction.reshape(count, side, side, classes)
        self.loss, self.options = make("cross_entropy"), {}
        if axis == "second":
            self.prediction = np.ascontiguousarray(np.moveaxis(self.prediction, -1, 1))
            self.options = {"axis": 1}
        self.out = np.empty_like(self.prediction)
        try:
            self.time_value_and_grad(classes, dtype, axis)
        except TypeError as error:
            raise NotImplementedError("this version of numbaloss has no axis") from error

    def time_value_and_grad(self, classes: int, dtype: str, axis: str) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out, **self.options)


class Methods:
    """The public methods; every call returns new arrays."""

    params = (METHODS, (10, 1000, 32000))
    param_names = ("method", "classes")

    def setup(self, name: str, classes: int) -> None:
        self.prediction, self.target = logits("float32", SIZE // classes, classes)
        self.call = method(make("cross_entropy"), name)
        self.time_call(name, classes)

    def time_call(self, name: str, classes: int) -> None:
        self.call(self.prediction, self.target)


class Losses:
    """The other losses with labels: what their maths costs beside the cross-entropy's."""

    params = (LOSSES, (10, 1000))
    param_names = ("loss", "classes")

    def setup(self, name: str, classes: int) -> None:
        self.prediction, self.target = logits("float32", SIZE // classes, classes)
        self.out = np.empty_like(self.prediction)
        self.loss = make(name)
        self.time_value_and_grad(name, classes)

    def time_value_and_grad(self, name: str, classes: int) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)


class Options:
    """Value and gradient away from the plain case."""

    params = (
        (
            "dense",
            "smoothing",
            "class_weight",
            "sample_weight",
            "ignored",
            "int32",
            "no_reduction",
            "in_place",
            "strided",
            "float16",
        ),
        (10, 1000),
    )
    param_names = ("option", "classes")

    def setup(self, option: str, classes: int) -> None:
        rows = SIZE // classes
        step = 2 if option == "strided" else 1
        dtype = option if option == "float16" else "float32"
        prediction, target = logits(dtype, rows, classes * step)
        self.prediction = prediction[:, ::step]
        self.target = target // step
        generator = np.random.default_rng(1)
        if option == "dense":
            self.target = generator.random((rows, classes), dtype=np.float32)
            self.target /= self.target.sum(axis=1, keepdims=True)
        if option == "ignored":
            self.target[::2] = -100
        if option == "int32":
            self.target = self.target.astype(option)
        parameters: dict[str, dict[str, Any]] = {
            "smoothing": {"label_smoothing": 0.1},
            "class_weight": {"class_weight": generator.random(classes)},
        }
        self.loss = make("cross_entropy", **parameters.get(option, {}))
        self.options: dict[str, Any] = {"out": np.empty((rows, classes), dtype)}
        if option == "in_place":
            self.options["out"] = self.prediction
        if option == "sample_weight":
            self.options[option] = generator.random(rows, dtype=np.float32)
        if option == "no_reduction":
            self.options["reduction"] = "none"
        self.time_value_and_grad(option, classes)

    def time_value_and_grad(self, option: str, classes: int) -> None:
        self.loss.value_and_grad(self.prediction, self.target, **self.options)


class FewRows:
    """A batch of digits, and fewer rows than threads: they share the work of one row."""

    params = (((100, 10), (1, 32000), (3, 32000), (1, 262144), (3, 262144)), DTYPES)
    param_names = ("shape", "dtype")

    def setup(self, shape: tuple[int, int], dtype: str) -> None:
        self.prediction, self.target = logits(dtype, *shape)
        self.out = np.empty_like(self.prediction)
        self.loss = make("cross_entropy")
        self.time_value_and_grad(shape, dtype)

    def time_value_and_grad(self, shape: tuple[int, int], dtype: str) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)


class Memory:
    """Memory of value and gradient on about 2**24 float32 logits: the array is 67 MB."""

    params = ((10, 1000, 50257), ("new", "in_place"))
    param_names = ("classes", "gradient")

    def setup(self, classes: int, gradient: str) -> None:
        self.prediction, self.target = logits("float32", LARGE // classes, classes)
        self.loss = make("cross_entropy")
        self.out = self.prediction if gradient == "in_place" else None
        self.call()

    def call(self) -> None:
        self.loss.value_and_grad(self.prediction, self.target, out=self.out)

    def peakmem_value_and_grad(self, classes: int, gradient: str) -> None:
        """The whole process: Python, Numba, two inputs, and what the call takes."""
        self.call()

    def track_extra_memory(self, classes: int, gradient: str) -> int:
        """What the call takes, alone."""
        if not high_water.can_measure():
            raise NotImplementedError("only Linux tells the peak of a single call")
        return high_water.extra_bytes(self.call)

    track_extra_memory.unit = "bytes"  # type: ignore[attr-defined]
