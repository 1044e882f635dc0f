"""Arrays of the host that are nearly plain: brought into the form that direct calls take.

Of a small call, the lines of Python of the general path take 20 times as long as the loop. Most
arrays that go there are NumPy's in other clothes (tensors, series, lists), lie in the order of
Fortran, or are small, so that a copy is made sooner than a description of how they lie. Results are
those of the general path, to the last bit; for all else, and where a number is bad, it is called.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .. import arrays, engines
from ..core.reductions import batch_length
from .arguments import whole_labels
from .outputs import NOT_WANTED

# The paths of plain arrays, which methods try first.
DIRECT_ELEMENTS = engines.Direct("elementwise")
DIRECT_ROWS = engines.Direct("direct_rows")

# Arrays of so many elements are copied; kernels read larger ones block by block, as they lie.
MOST = 8192
# Of `array.flags.num`: C-contiguous and aligned.
_AS_IS = 0x101
_FLOAT32, _FLOAT64, _BOOL = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.bool_)
# Kernels convert these as they come.
_NUMBERS = frozenset(np.dtype(kind) for kind in arrays.NUMBERS - {"bfloat16"})


class _OtherPath(Exception):
    """The general path has to do it."""


def _in_order(array: np.ndarray, shape: tuple[int, ...], turned: bool = False) -> bool:
    """Whether the general path walks through an array, spread to a shape, in the order of C.

    Or, for ``turned``, in that of Fortran: axes with longer steps first.
    """
    steps = [
        abs(step) if n > 1 else 0
        for step, n, whole in zip(array.strides, array.shape, shape)
        if whole > 1
    ]
    if turned:
        steps.reverse()
    return all(one >= other for one, other in pairwise(steps))


class _Inputs:
    """The arrays of a call in the form of plain ones, and as they came."""

    def __init__(self, prediction: Any, of_rows: bool) -> None:
        self.originals: list[np.ndarray] = []
        self.changed = False  # whether direct calls have not seen these arrays yet
        self.in_order = True  # whether weights and mask lie in the order of the prediction
        array, self.family = self._view(prediction)
        if array.dtype is not _FLOAT32 and array.dtype is not _FLOAT64:
            raise _OtherPath
        self.array, self.shape = array, array.shape
        self.samples = self.shape[:-1] if of_rows else self.shape
        # Elements are walked as they lie, rows one behind the other.
        self.turned = array.flags.fnc and not of_rows
        if self.turned:
            array, self.changed = array.T, True
        elif not (
            of_rows
            or array.ndim < 2
            or array.flags.num & _AS_IS == _AS_IS
            or (_in_order(array, self.shape) and min(array.strides) > 0)
        ):
            raise _OtherPath
        self.prediction = self._plain(array)

    def _view(self, given: Any, whole: bool = False) -> tuple[np.ndarray, arrays.Family]:
        """An array of the caller's; ``whole`` says that integers of lists stay integers."""
        found = arrays.host_view(given, whole)
        if found is None:
            raise _OtherPath
        self.changed |= found[0] is not given
        self.originals.append(found[0])
        return found

    def samples_of(self, given: Any, whole: bool = False) -> np.ndarray:
        """One with a number a sample."""
        array, _ = self._view(given, whole)
        if array.shape != self.samples or array.dtype not in _NUMBERS:
            raise _OtherPath
        if whole and array.dtype.kind == "f" and array.size <= MOST:
            try:
                array = whole_labels(arrays.Operand(array, array.dtype.name)).array
            except ValueError:
                raise _OtherPath from None
            self.changed = True
        return self._plain(array.T if self.turned else array)

    def spread(self, given: Any, dtype: Any = None) -> np.ndarray | None:
        """One of the samples' shape, of a leading part of it, or with axes of length 1."""
        if given is None:
            return None
        array, shape = self._view(given, whole=True)[0], self.samples
        own = array.shape
        if array.dtype not in _NUMBERS or (dtype is not None and array.dtype is not dtype):
            raise _OtherPath
        if own != shape:
            ones = 1 < len(own) == len(shape) and all(n in (1, all_) for n, all_ in zip(own, shape))
            if (own != shape[: len(own)] and not ones) or self.prediction.size > MOST:
                raise _OtherPath
            whole = np.empty(shape, array.dtype)
            array = array.reshape(own + (1,) * (len(shape) - len(own)))
            whole[...] = array
            self.in_order &= _in_order(array, shape, self.turned)
            array, self.changed = whole, True
        elif array.ndim > 1:
            self.in_order &= _in_order(array, shape, self.turned)
        return self._plain(array.T if self.turned else array)

    def _plain(self, array: np.ndarray) -> np.ndarray:
        if array.flags.num & _AS_IS == _AS_IS:
            return array
        if array.size > MOST:
            raise _OtherPath
        self.changed = True
        return array.copy()

    def receiver(self, like: Any, given: Any, dimensions: int = 0) -> tuple[Any, Any]:
        """Where a result goes, as the caller gets it and as kernels see it; None: to a new array.

        It has the prediction's shape, but for the last ``dimensions`` of its axes.
        """
        if given is None and self.family is not arrays.TORCH:
            return None, None
        if given is NOT_WANTED:
            return None, None
        if given is None:
            if dimensions:
                given = self.family.empty(self.samples, self.prediction.dtype.name)
            else:
                given = self.family.empty_like(like, None)
            seen = given.numpy()
        else:
            found = arrays.host_view(given)
            if found is None or found[1] is arrays.JAX or type(given) in (list, tuple):
                raise _OtherPath
            seen = found[0]
            if any(np.may_share_memory(seen, one) for one in self.originals):
                raise _OtherPath  # which knows what may be
        return given, seen.T if self.turned else seen

    def receivers(
        self, like: Any, values_out: Any, outs: tuple[Any, ...], reduction: str, dimensions: int = 0
    ) -> tuple[list[Any], list[Any]]:
        """Where values, gradient and hessian go: as the caller gets them, as kernels see them."""
        values = values_out if reduction == "none" else NOT_WANTED
        first, second = (*outs, NOT_WANTED, NOT_WANTED)[:2]
        pairs = [
            self.receiver(like, values, dimensions),
            self.receiver(like, first),
            self.receiver(like, second),
        ]
        return [given for given, _ in pairs], [seen for _, seen in pairs]

    def outcome(self, like: Any, given: list[Any], found: Any, reduction: str) -> Any:
        """Value, gradient and hessian as the caller gets them."""
        value, gradient, hessian = (*found, None, None)[:3]
        if reduction == "none":
            value = self.delivered(like, given[0], value)
        return (
            value,
            self.delivered(like, given[1], gradient),
            self.delivered(like, given[2], hessian),
        )

    def delivered(self, like: Any, given: Any, found: Any) -> Any:
        """A result as the caller gets it; ``given`` is where it went."""
        if given is not None or found is None:
            return given
        if self.turned:
            found = found.T
        elif found.shape == self.shape and not self.array.flags.c_contiguous:
            made = np.empty_like(self.array)  # which may lie in another order
            if made.strides != found.strides:
                made[...] = found
                found = made
        return self.family.finish(like, found)


Outcome = tuple[Any, Any, Any] | None


def elements(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    gradient_scale: float,
    check: bool,
    outs: tuple[Any, ...],
    values_out: Any,
) -> Outcome:
    """Value, gradient and hessian of losses of numbers; None where the general path has to."""
    like = prediction
    try:
        inputs = _Inputs(prediction, of_rows=False)
        target = inputs.samples_of(target)
        weight, counts = inputs.spread(sample_weight), inputs.spread(mask, _BOOL)
        given, (values_out, out, hess_out) = inputs.receivers(like, values_out, outs, reduction)
    except _OtherPath:
        return None
    divisor = None
    if weight is not None and counts is not None:
        if weight.size > MOST:
            return None
        inputs.changed, kept = True, counts
        weight, counts = np.where(kept, weight, weight.dtype.type(0)), None
        if reduction == "mean":  # over what counts
            divisor = float(np.count_nonzero(kept))
    if reduction == "batchmean" and inputs.turned:  # the first axis is another there
        divisor = batch_length(inputs.shape)
    if divisor is not None:
        reduction, gradient_scale = "sum", gradient_scale / divisor if divisor else 0.0
    # Weights are added in the order in which they lie.
    if not inputs.changed or (reduction == "weighted_mean" and not inputs.in_order):
        return None
    found = DIRECT_ELEMENTS.run(
        loss, derivatives, inputs.prediction, target, weight, reduction, gradient_scale, check, out,
        derivatives == 2 and outs[0] is NOT_WANTED, hess_out, values_out, counts,
    )  # fmt: skip
    if found is None:
        return None
    if divisor is not None:
        found = (found[0] / divisor if divisor else float("nan"), *found[1:])
    return inputs.outcome(like, given, found, reduction)


def rows(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    gradient_scale: float,
    check: bool,
    outs: tuple[Any, ...],
    values_out: Any,
) -> Outcome:
    """The same of losses of rows with labels."""
    like = prediction
    if len(outs) == 2 and outs[0] is NOT_WANTED:
        return None
    try:
        inputs = _Inputs(prediction, of_rows=True)
        target = inputs.samples_of(target, whole=True)
        weight, counts = inputs.spread(sample_weight), inputs.spread(mask, _BOOL)
        given, (values_out, out, hess_out) = inputs.receivers(like, values_out, outs, reduction, 1)
    except _OtherPath:
        return None
    if not inputs.changed:
        return None  # tried already
    found = DIRECT_ROWS.run(
        loss, derivatives, inputs.prediction, target, reduction, gradient_scale, out, hess_out,
        values_out, weight, counts, check,
    )  # fmt: skip
    if found is None:
        return None
    return inputs.outcome(like, given, found, reduction)
