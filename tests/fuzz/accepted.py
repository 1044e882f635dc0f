"""Deviations that are documented, or that no user has a right to call wrong; each with a reason.

A finding that one of these explains is counted apart, and is no failure. A fault that is known
and will be mended does not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import numbaloss as nl

from .calls import Call
from .draws import seen
from .elementwise_formulas import Number


class Accepted(NamedTuple):
    name: str
    reason: str
    explains: Callable[[Call, str, str], bool]


def _inputs(call: Call) -> list[np.ndarray]:
    names = ("prediction", "target")
    return [seen(call.arrays[name].original(), call.real).astype(Number) for name in names]


def _parts(loss: Any) -> list[Any]:
    return [term for _, term in getattr(loss, "terms", ((1.0, loss),))]


def _quotient_out_of_range(call: Call, kind: str, text: str) -> bool:
    if not kind.startswith("wrong") or not any(
        isinstance(one, nl.SquaredLogError) for one in _parts(call.loss)
    ):
        return False
    p, t = _inputs(call)
    with np.errstate(all="ignore"):
        quotient = np.abs(p - t) / (1 + np.minimum(p, t))
        return bool((quotient > np.finfo(call.real).max).any())


def _cooled_logits_out_of_range(call: Call, kind: str, text: str) -> bool:
    heat = min(getattr(one, "temperature", 1.0) for one in _parts(call.loss))
    if not kind.startswith("wrong") or heat >= 1.0 or call.structure != "softmax":
        return False
    logits = [one for one in _inputs(call) if one.size]
    with np.errstate(all="ignore"):
        largest = max([np.nanmax(np.abs(one), initial=0.0) for one in logits], default=0.0)
    return bool(largest / Number(heat) > np.finfo(call.real).max / 4)


def _power_of_mean_out_of_range(call: Call, kind: str, text: str) -> bool:
    powers = {nl.Gamma: lambda one: [1.0], nl.Tweedie: lambda one: [one.power - 1, one.power - 2]}
    found = [
        abs(power)
        for one in _parts(call.loss)
        for cls, of in powers.items()
        if isinstance(one, cls)
        for power in of(one)
    ]
    if not kind.startswith("wrong") or not found:
        return False
    p, _ = _inputs(call)
    largest = np.nanmax(np.abs(p[np.isfinite(p)]), initial=0.0)
    return bool(largest * max(found) > 0.99 * np.log(Number(np.finfo(call.real).max)))


def _rate_out_of_range(call: Call, kind: str, text: str) -> bool:
    of_logarithms = any(isinstance(one, nl.Poisson) and one.log_input for one in _parts(call.loss))
    if not kind.startswith("wrong") or " is inf" not in text or not of_logarithms:
        return False
    p, _ = _inputs(call)
    largest = p[np.isfinite(p)].max(initial=0.0)
    return bool(largest > 0.99 * np.log(Number(np.finfo(call.real).max)))


def _target_times_power_out_of_range(call: Call, kind: str, text: str) -> bool:
    if not kind.startswith("wrong") or " is inf" not in text.replace("-inf", "inf"):
        return False
    p, t = _inputs(call)
    edge = Number(np.finfo(call.real).max) / 4
    with np.errstate(all="ignore"):
        scores = [
            np.abs(t * np.exp(p * (1 - Number(one.power))))
            for one in _parts(call.loss)
            if isinstance(one, nl.Tweedie)
        ]
    return any(bool((score > edge).any()) for score in scores)


def _distances_out_of_range(call: Call, kind: str, text: str) -> bool:
    if not kind.startswith("wrong") or not isinstance(call.loss, nl.BatchTriplet):
        return False
    vectors = seen(call.arrays["embeddings"].original(), call.real).astype(Number)
    largest = np.nanmax(np.abs(vectors), initial=0.0)
    return bool(2.0 * largest * np.sqrt(vectors.shape[-1]) > np.finfo(call.real).max / 4)


def _row_near_the_largest_number(call: Call, kind: str, text: str) -> bool:
    if not kind.startswith("wrong") or call.structure != "softmax":
        return False
    found = [np.abs(one[np.isfinite(one)]) for one in _inputs(call)]
    largest = max(one.max(initial=0.0) for one in found)
    return bool(largest > np.finfo(call.real).max / 1024)


def _square_near_the_largest_number(call: Call, kind: str, text: str) -> bool:
    squares = any(isinstance(one, nl.GeneralRobust) and one.alpha == 2 for one in _parts(call.loss))
    found = text.replace("-inf", "inf")
    # Infinity times a scale of 0.
    none = " is nan" in found and call.options.get("gradient_scale") == 0.0
    if not kind.startswith("wrong") or not (" is inf" in found or none) or not squares:
        return False
    p, t = _inputs(call)
    residual = np.abs(p - t)
    residual = residual[np.isfinite(residual)].max(initial=0.0)
    return bool(residual > np.sqrt(Number(np.finfo(call.real).max)) / 4)


def _product_near_the_largest_number(call: Call, kind: str, text: str) -> bool:
    found = re.search(r"is -?inf, not from (\S+) to (\S+)", text)
    if not kind.startswith("wrong") or found is None:
        return False
    expected = max(abs(Number(found[1])), abs(Number(found[2])))
    products = call.structure == "softmax" or "sample_weight" in call.arrays
    return bool(products and expected > np.finfo(call.real).max / 1024)


def _targets_below_normal_numbers(call: Call, kind: str, text: str) -> bool:
    focal = any(isinstance(one, nl.Focal | nl.AsymmetricFocal) for one in _parts(call.loss))
    weighed = focal or any(
        isinstance(one, nl.BinaryCrossEntropy)
        and (np.any(np.asarray(one.pos_weight) != 1.0) or one.label_smoothing > 0.0)
        for one in _parts(call.loss)
    )
    if not kind.startswith("wrong") or not weighed:
        return False
    _, t = _inputs(call)
    return bool(((t > 0) & (t < 2 * np.finfo(call.real).tiny)).any())


def _infinite_logits_and_roundings(call: Call, kind: str, text: str) -> bool:
    if not kind.startswith("wrong") or call.options.get("check", True):
        return False
    p, t = _inputs(call)
    far = 16 * np.finfo(call.real).eps
    beyond = ((t > 1) & (t < 1 + far)) | ((t < 0) & (t > -far))
    return p.shape == t.shape and bool((np.isinf(p) & beyond).any())


ACCEPTED = [
    Accepted(
        "products near the largest number",
        "a number that is out of range stays so, even if a weight below 1, or the number of "
        "classes as a divisor, follows",
        _product_near_the_largest_number,
    ),
    Accepted(
        "weighed targets below normal numbers",
        "times a weight below 1 they are 0 or lose digits, as any product that is too small",
        _targets_below_normal_numbers,
    ),
    Accepted(
        "infinite logits with unchecked roundings of targets",
        "check=False takes targets as they are: 1 - t of a target a rounding above 1 is a weight "
        "below 0, and takes part in an infinite loss",
        _infinite_logits_and_roundings,
    ),
    Accepted(
        "squares of GeneralRobust",
        "its docstring says that it is a multiple of SquaredError where alpha is 2, out of range "
        "where that is",
        _square_near_the_largest_number,
    ),
    Accepted(
        "powers of a mean of Gamma and Tweedie",
        "their docstrings say that a power of the mean beyond the range makes the value infinite",
        _power_of_mean_out_of_range,
    ),
    Accepted(
        "rates of Poisson",
        "its docstring says that a rate beyond the range makes all results infinite, even where a "
        "target as large is subtracted",
        _rate_out_of_range,
    ),
    Accepted(
        "products of a target and a power of Tweedie",
        "its docstring says that such a product beyond the range makes all results infinite, even "
        "if a factor below 1 follows",
        _target_times_power_out_of_range,
    ),
    Accepted(
        "distances beyond the largest number",
        "the docstring of BatchTriplet says that they are infinite, and in no order",
        _distances_out_of_range,
    ),
    Accepted(
        "quotient of SquaredLogError",
        "its docstring says that a quotient beyond the range makes the value infinite",
        _quotient_out_of_range,
    ),
    Accepted(
        "logits over a temperature below 1",
        "logits are divided by the temperature first, as the formula has it: beyond the largest "
        "number they are infinite",
        _cooled_logits_out_of_range,
    ),
    Accepted(
        "logits near the largest number",
        "differences of logits, and sums over a row, may leave the range where a logit is within "
        "a factor of 1024 of the largest number",
        _row_near_the_largest_number,
    ),
]


def explanation(call: Call | None, kind: str, text: str) -> str | None:
    """The name of what explains a finding."""
    if call is None:
        return None
    found: Any = (one.name for one in ACCEPTED if one.explains(call, kind, text))
    return next(found, None)
