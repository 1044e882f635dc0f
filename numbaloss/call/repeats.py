"""Calls on a GPU that were made before, with other arrays of the same kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import engines
from ..arrays.plain_gpu import NO_STREAM, OF_ITS_LIBRARY, SIZES, Plain, family, plain
from ..device_value import DeviceValue, Later

# Calls that are remembered with a loss: of so many shapes and options.
MOST = 64
# What kernels tell addresses apart by: where vectors may begin.
_ALIGNMENT = 15
# Prediction, target, weight and mask; gradient and hessian follow.
_INPUTS = 4
_SEEN, _NEVER = object(), object()
# Part of what calls are remembered by, so that all can be forgotten at once.
_generation = 0


def forget() -> None:
    """Remember no call any more: the GPU is another one."""
    global _generation
    _generation += 1


def again(
    general: Callable[..., tuple[Any, Any, Any]],
    name_first: Callable[..., None],
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    check: Any,
    wait: bool,
    outs: tuple[Any, ...],
    gradient_scale: Any,
    more: tuple[Any, ...] = (),
) -> tuple[Any, Any, Any] | None:
    """Value and derivatives of a call like one before; None where ``general`` is to be asked.

    It is, once, with somebody who writes down what it launches. ``name_first`` raises the error
    that names the first number out of range.
    """
    plans = loss.__dict__.get("_gpu_plans")
    if plans is None or plans.stale(loss):
        return None
    p, t = plain(prediction), plain(target)
    if p is None or t is None:
        return None
    if type(reduction) is not str or type(gradient_scale) is not float or type(check) is not bool:
        return None
    device = p[3]
    given: list[Plain | None] = [p, t, None, None, None, None]
    if sample_weight is not None:
        given[2] = plain(sample_weight)
        if given[2] is None:
            return None
    if mask is not None:
        given[3] = plain(mask)
        if given[3] is None:
            return None
    for place, out in enumerate(outs, _INPUTS):
        if out is not None:
            given[place] = found = plain(out)
            if found is None or found[4]:
                return None
    stream = p[5]
    if stream == OF_ITS_LIBRARY:
        stream = family(prediction, device).stream(prediction)
    key: list[Any] = [derivatives, reduction, gradient_scale, check, stream, more]
    for one in given:
        if one is None:
            key.append(None)
        elif one[3] != device:
            return None
        else:
            key += one[0] & _ALIGNMENT, one[1], one[2]
    name = _generation, device, *key
    known = plans.get(name)
    if known is None:
        if len(plans) > MOST:
            plans.clear()
        plans[name] = _SEEN
        return None
    if known is _NEVER:
        return None
    if known is _SEEN:
        plans[name] = _NEVER  # where this ends in an error
        with engines.module("cuda", "repeats").Recorder() as recorder:
            value, *found_derivatives = general(
                loss, derivatives, prediction, target, sample_weight, mask, reduction, None, check,
                False, outs, gradient_scale, *more,
            )  # fmt: skip
        plans[name] = _Call.of(recorder, given, len(outs), value, found_derivatives) or _NEVER
        return _delivered(value, wait, found_derivatives)
    found_value, *found_derivatives = known.run(prediction, given, outs)
    if found_value is None:
        return None
    if stream == NO_STREAM and not wait:
        found_value.wait()  # its library reads results whenever it likes
    later = None
    if known.ranges and not wait:
        later = Later(
            lambda arrays: name_first(loss, arrays, check, *more),
            (prediction, target, sample_weight, mask),
        )
    value = DeviceValue(found_value, known.ranges, later)
    return _delivered(value, wait, found_derivatives)


def _delivered(value: Any, wait: bool, derivatives: Any) -> tuple[Any, Any, Any] | None:
    """Results, with a number in the place of a value that is to be waited for.

    None for an error: the general path makes the call once more, and names what is wrong.
    """
    gradient, hessian = derivatives
    if not wait or type(value) is not DeviceValue:  # a number: arrays without elements
        return value, gradient, hessian
    sums = value.sums.read()
    return None if sums.out_of_range else (sums.value, gradient, hessian)


_NOT_DONE = None, None, None


class _Call:
    """A call that can be repeated, and what it takes to hand its results out."""

    __slots__ = ("alignments", "bytes", "launches", "ranges")

    def __init__(
        self, launches: Any, ranges: str, sizes: list[int], alignments: tuple[int, ...]
    ) -> None:
        self.launches, self.ranges = launches, ranges
        self.bytes, self.alignments = sizes, alignments

    @classmethod
    def of(
        cls, recorder: Any, given: list[Plain | None], count: int, value: Any, derivatives: Any
    ) -> _Call | None:
        """What was recorded of a call of these arrays and results, the first of them derivatives.

        None where it cannot be repeated.
        """
        found = list(given)
        for place in range(count):
            found[_INPUTS + place] = plain(derivatives[place])
            if found[_INPUTS + place] is None:
                return None
        addresses = [0 if one is None else one[0] for one in found]
        launches = recorder.repeatable(addresses) if type(value) is DeviceValue else None
        if launches is None or _overlap(found):
            return None
        alignments = tuple(address & _ALIGNMENT for address in addresses[_INPUTS:])
        return cls(launches, value.ranges, [_bytes(one) for one in found], alignments)

    def run(
        self, prediction: Any, given: list[Plain | None], outs: tuple[Any, ...]
    ) -> tuple[Any, Any, Any]:
        """The same once more: the record of its value, and derivatives.

        No record where arrays lie in each other, or results otherwise than they did.
        """
        derivatives, made = [None, None], False
        for place, out in enumerate(outs):
            if out is None:
                made = True
                out = family(prediction, given[0][3]).empty_like(prediction, None)  # type: ignore[index]
                given[_INPUTS + place] = found = plain(out)
                if found is None or found[0] & _ALIGNMENT != self.alignments[place]:
                    return _NOT_DONE
            derivatives[place] = out
        addresses = [0 if one is None else one[0] for one in given]
        if not made or len(outs) > 1:
            for place, size in enumerate(self.bytes[_INPUTS:], _INPUTS):
                first = addresses[place]
                for other, length in enumerate(self.bytes):
                    begin = addresses[other]
                    if other != place and begin < first + size and first < begin + length:
                        return _NOT_DONE
        gradient, hessian = derivatives
        return self.launches.run(addresses), gradient, hessian


def _bytes(one: Plain | None) -> int:
    return 0 if one is None else math.prod(one[1]) * SIZES[one[2]]


def _overlap(given: list[Plain | None]) -> bool:
    """Whether a result lies in another array."""
    extents = [(one[0], one[0] + _bytes(one)) if one else (0, 0) for one in given]
    return any(
        a[0] < b[1] and b[0] < a[1]
        for place, a in enumerate(extents[_INPUTS:], _INPUTS)
        for other, b in enumerate(extents)
        if other != place
    )
