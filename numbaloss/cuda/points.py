"""Elements of an elementwise loss, one at a time and a vector at a time.

Nearly all elements ask for nothing but the formula. They are computed a vector at a time without
a branch or a test of what a call may ask for; a vector in which anything is unusual is computed
again, one element after another, with all the questions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..formulas.points import point
from ..jobs.cuda_elementwise import ElementwiseFlags
from .backend import device_function
from .dtypes import compute_type

_flag = ElementwiseFlags.bit


@cache
def with_questions(kind: str, derivatives: int) -> Callable:
    """Make a function of one element: value, gradient, hessian, and 1 if it is out of range.

    ``one(loss, p, t, w, scale, numbers, flags)``.
    """
    real = compute_type(kind)
    zero, one, half = real(0), real(1), real(0.5)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1

    @device_function
    def one_(loss, p, t, w, scale, numbers, flags):
        low, high = numbers.low, numbers.high
        bad = zero
        if flags & _flag.signed:
            t = t * half + half
        if flags & _flag.check_target:
            bad += (
                one if ((t < numbers.near_low) or (t > numbers.near_high)) and w != zero else zero
            )
            # A rounding beyond the domain: the bound is meant.
            t = low if t < low else t
            t = high if t > high else t
        value, gradient, hessian = point(loss, p, t)
        v = real(value)
        # NaN is dealt with here rather than in every loss: min, max and comparisons lose it.
        v = p + t if (p != p) or (t != t) else v
        g = h = zero
        if with_gradient:
            g = v if v != v else real(gradient) * scale
        if with_hessian:
            h = v if v != v else real(hessian) * scale
        if flags != 0:
            if flags & _flag.check_binary:
                off = (t == t) and (t != low) and (t != high)
                bad += one if off and w != zero else zero
            if flags & _flag.check_prediction:
                bad += (
                    one if ((p < numbers.lowest) or (p > numbers.highest)) and w != zero else zero
                )
            if flags & _flag.weighted:
                if flags & _flag.check_weight:
                    bad += zero if w >= zero else one
                # Not a product alone: 0 * NaN is NaN.
                v = zero if w == zero else v * w
                g = zero if w == zero else g * w
                h = zero if w == zero else h * w
        return v, g, h, bad

    return one_


@cache
def _without_questions(kind: str, derivatives: int) -> Callable:
    """``quick(loss, p, t, scale)``: the same of numbers in range, of weight 1."""
    real = compute_type(kind)
    zero = real(0)
    with_gradient, with_hessian = derivatives > 0, derivatives > 1

    @device_function
    def quick(loss, p, t, scale):
        value, gradient, hessian = point(loss, p, t)
        g = h = zero
        if with_gradient:
            g = real(gradient) * scale
        if with_hessian:
            h = real(hessian) * scale
        return real(value), g, h

    return quick


@cache
def several(kind: str, derivatives: int, count: int) -> Callable:
    """``several(loss, p, t, scale)`` of tuples of numbers in range; and the sum of the values."""
    if count == 1:
        quick = _without_questions(kind, derivatives)

        @device_function
        def single(loss, p, t, scale):
            v, g, h = quick(loss, p[0], t[0], scale)
            return (v,), (g,), (h,), v

        return single
    half = count // 2
    part = several(kind, derivatives, half)

    @device_function
    def both(loss, p, t, scale):
        a = part(loss, p[:half], t[:half], scale)
        b = part(loss, p[half:], t[half:], scale)
        return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]

    return both


@cache
def weighed(kind: str, count: int) -> Callable:
    """``weigh(v, g, h, w)`` of tuples; then the sum, and whether a weight is negative."""
    zero = compute_type(kind)(0)
    if count == 1:

        @device_function
        def single(v, g, h, w):
            x = w[0]
            nothing = x == zero
            y = zero if nothing else v[0] * x
            return (
                (y,),
                (zero if nothing else g[0] * x,),
                (zero if nothing else h[0] * x,),
                y,
                x < zero,
            )

        return single
    half = count // 2
    part = weighed(kind, half)

    @device_function
    def both(v, g, h, w):
        a = part(v[:half], g[:half], h[:half], w[:half])
        b = part(v[half:], g[half:], h[half:], w[half:])
        return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] | b[4]

    return both


@cache
def recoded(kind: str, count: int) -> Callable:
    """``recode(t)``: targets from -1 to 1 as those from 0 to 1."""
    half = compute_type(kind)(0.5)
    if count == 1:
        return device_function(lambda t: (t[0] * half + half,))
    part, middle = recoded(kind, count // 2), count // 2
    return device_function(lambda t: part(t[:middle]) + part(t[middle:]))


@cache
def unusual(count: int) -> Callable:
    """``unusual(p, t, numbers, flags)``: whether one of p and t is NaN or not as it should be."""

    # A comparison that holds of what is in range is the one that fails for NaN.
    def ends(p, t, low, high):
        return (p != p) | ((t != low) & (t != high))

    def target(p, t, low, high):
        return (p != p) | (not (t >= low)) | (not (t <= high))

    def nan(p, t, low, high):
        return (p != p) | (t != t)

    def prediction(p, t, low, high):
        return (not (p >= low)) | (not (p <= high))

    of_ends, of_target, of_nan, of_prediction = (
        _any(device_function(one), count) for one in (ends, target, nan, prediction)
    )

    @device_function
    def unusual_(p, t, numbers, flags):
        low, high = numbers.low, numbers.high
        if flags & _flag.check_binary:
            found = of_ends(p, t, low, high)
        elif flags & _flag.check_target:
            found = of_target(p, t, low, high)
        else:
            found = of_nan(p, t, low, high)
        if flags & _flag.check_prediction:
            found = found | of_prediction(p, t, numbers.lowest, numbers.highest)
        return found

    return unusual_


def _any(test: Callable, count: int) -> Callable:
    """Whether a test holds anywhere in tuples."""
    if count == 1:

        @device_function
        def single(p, t, low, high):
            return test(p[0], t[0], low, high)

        return single
    half = count // 2
    part = _any(test, half)

    @device_function
    def either(p, t, low, high):
        a = part(p[:half], t[:half], low, high)
        return a | part(p[half:], t[half:], low, high)

    return either
