"""Arrays of any layout and dtype with special numbers, and calls with them.

``NUMBALOSS_TEST_EXAMPLES`` multiplies the number of examples; set to more than 1 it also lets
every run draw others.
"""

import math
import os
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import numbaloss as nl
from numbaloss.core.intervals import Interval
from numbaloss.core.loss import domain
from numbaloss.core.parameters import NumberOrArray

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(name) for name in ("f2", "f4", "f8", ">f2", ">f4", ">f8")] + [BFLOAT16]
OTHERS = [np.dtype(name) for name in ("?", "i1", "u1", "i2", ">u2", "i4", ">i4", "i8", "u8")]
MORE = int(os.environ.get("NUMBALOSS_TEST_EXAMPLES", "1"))


def examples(count: int) -> settings:
    return settings(
        max_examples=count * MORE,
        derandomize=MORE == 1,
        deadline=None,
        database=None,
        # The first example compiles.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# Losses

# Few enough to compile every variant of: a sum without a domain, two domains, labels.
CHOSEN = [nl.Huber(0.75) + 0.5 * nl.SquaredError(), nl.SquaredLogError(), nl.Hinge()]
FROM_CHOSEN = st.sampled_from(CHOSEN)
# Parameters that a draw between the bounds of each alone would not respect.
SPECIAL_PARAMETERS = {("tweedie", "power"): st.sampled_from([-1.0, 0.0, 1.0, 1.3, 2.0, 3.0])}


def numbers_in(text: str) -> st.SearchStrategy[float]:
    """Members of an interval, its closed bounds included, that float32 has as well."""
    interval = domain(text)
    low, high = max(interval.low, -8.0), min(interval.high, 8.0)
    chosen = st.sampled_from([low, high, (low + high) / 2])
    return (chosen | st.floats(low, high, width=32)).filter(lambda number: number in interval)


@st.composite
def registered_losses(draw: Any) -> nl.Elementwise:
    """Any elementwise loss of the registry with any parameters."""
    names = [name for name, cls in nl.losses().items() if issubclass(cls, nl.Elementwise)]
    name = draw(st.sampled_from(sorted(names)))
    cls = nl.losses()[name]
    parameters = {}
    for parameter in cls.parameters():
        if draw(st.booleans()) and not parameter.required:
            continue
        options = SPECIAL_PARAMETERS.get((name, parameter.name))
        if options is None:
            kinds = {
                float: numbers_in(cls.bounds.get(parameter.name, "[-8, 8]")),
                bool: st.booleans(),
                int: st.integers(0, 4),
                str: st.just(parameter.default),  # of how targets are written
            }
            kinds[NumberOrArray] = kinds[float]
            options = kinds[parameter.kind]
            if parameter.default is None:
                options = st.none() | options
        parameters[parameter.name] = draw(options)
    return cls(**parameters)


# Arrays

SHAPES = st.one_of(
    st.sampled_from([(), (0,), (1,), (3, 0, 2), (1, 1, 1)]),
    st.tuples(st.integers(1, 70)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    # More than a block and more than a chunk.
    st.sampled_from([(2049,), (8193,), (90, 100), (3, 33, 90)]),
)


class Layout(NamedTuple):
    """A way to lay an array of any shape out in memory."""

    axes: int = 0  # how far the axes are rotated
    step: int = 1
    reverse: bool = False
    shift: int = 0  # bytes in front of the first element

    def place(self, contents: np.ndarray) -> np.ndarray:
        """The same elements, laid out like this."""
        order = np.roll(np.arange(contents.ndim), self.axes)
        shape = [contents.shape[axis] for axis in order]
        wide = [length * self.step for length in shape]
        size = math.prod(wide) * contents.itemsize
        memory = np.full(size + self.shift, 0xA5, np.uint8)[self.shift :]
        array = np.empty(wide, contents.dtype)
        if size:
            array = memory.view(contents.dtype).reshape(wide)
        # The ellipsis keeps an array of no dimensions an array.
        array = array[(..., *(slice(None, None, self.step) for _ in shape))]
        if self.reverse:
            array = array[(..., *(slice(None, None, -1) for _ in shape))]
        array = array.transpose(np.argsort(order))
        array[...] = contents
        return array


LAYOUTS = st.builds(
    Layout,
    st.integers(0, 2),
    st.sampled_from([1, 1, 2, 3]),
    st.booleans(),
    st.sampled_from([0, 0, 1, 3]),
)
INFINITIES = [math.inf, -math.inf]
SPECIALS = [0.0, -0.0, *INFINITIES, 1e-45, -1e-310, 6e-8, 3e38, -65504.0, 1e300, 88.8, -104.0]


def random_numbers(
    random: np.random.Generator,
    shape: tuple[int, ...],
    of: Interval,
    dtype: np.dtype,
    real: np.dtype,
    special: bool,
) -> np.ndarray:
    """Numbers of a dtype that belong to an interval once they are converted to ``real``."""
    if of.binary or dtype.kind in "iub?":
        whole = random.integers(0, 2 if of.binary or dtype.kind == "b" else 100, shape)
        numbers = np.asarray(whole)
    else:
        numbers = np.asarray(random.uniform(max(of.low, -10.0), min(of.high, 10.0), shape))
        if special:
            chosen = random.random(shape) < 0.2
            numbers = np.where(chosen, random.choice(SPECIALS, shape), numbers)
    low, high = of.closed(real)
    with np.errstate(all="ignore"):
        cast = numbers.astype(dtype)
        seen = cast.astype(real)
    one = np.ones(shape, dtype)  # a member of every domain there is
    return np.where((seen >= low) & (seen <= high), cast, one).astype(dtype)


def as_computed(array: np.ndarray) -> np.ndarray:
    """The array in the type that kernels compute in, contiguous."""
    wide = array.dtype.kind == "f" and array.itemsize == 8
    return np.ascontiguousarray(array, np.float64 if wide else np.float32).reshape(array.shape)


class Call(NamedTuple):
    """A loss, and arrays for it."""

    loss: nl.Elementwise
    prediction: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None

    def evaluate(self, **options: Any) -> Any:
        return self.loss.value_grad_hess(
            self.prediction, self.target, sample_weight=self.weight, **options
        )

    def plain(self) -> "Call":
        """The same call on contiguous arrays of the type of the computation."""
        real = as_computed(self.prediction).dtype
        with np.errstate(all="ignore"):
            parts = [a if a is None else a.astype(real, order="C") for a in self[1:]]
        return Call(self.loss, *parts)


@st.composite
def calls(
    draw: Any,
    losses: st.SearchStrategy[nl.Elementwise] = FROM_CHOSEN,
    special: bool = True,
    weighted: bool = True,
) -> Call:
    loss = draw(losses)
    shape = draw(SHAPES)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(FLOATS))
    real = np.dtype(np.float64 if kind.itemsize == 8 else np.float32)
    with_specials = special and draw(st.booleans())
    of_prediction, of_target = domain(loss.prediction_domain), domain(loss.target_domain)
    prediction = random_numbers(random, shape, of_prediction, kind, real, with_specials)
    target_kind = draw(st.sampled_from(FLOATS + OTHERS))
    target = random_numbers(random, shape, of_target, target_kind, real, with_specials)
    weight = None
    if weighted and draw(st.booleans()):
        leading = shape[: draw(st.integers(0, len(shape)))]
        weight = np.asarray(random.uniform(0.0, 3.0, leading) * (random.random(leading) < 0.7))
        weight = draw(LAYOUTS).place(weight.astype(draw(st.sampled_from(FLOATS + OTHERS))))
    return Call(loss, draw(LAYOUTS).place(prediction), draw(LAYOUTS).place(target), weight)


def snapshot(call: Call) -> list[bytes]:
    """The whole memory behind each array: what lies between the elements included."""
    memories = []
    for array in call[1:]:
        while array is not None and isinstance(array.base, np.ndarray):
            array = array.base
        memories.append(b"" if array is None else array.tobytes())
    return memories


def narrowed(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(result).astype(dtype)


def readable(array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return array.astype(np.float64)
