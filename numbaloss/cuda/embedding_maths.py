"""What is done to the elements and to the totals of vectors that belong together."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .. import vmath
from ..formulas.points import point, root, term
from ..formulas.structure import Structure
from ..jobs.cuda_vectors import VectorFlags
from .backend import device_function
from .dtypes import compute_type

_flag = VectorFlags.bit


def form_of(structure: Structure) -> str:
    """What the kernel of a loss computes: "distance" or "cosine" of pairs, or "triplet"."""
    cls: Any
    (cls,) = structure.classes
    if cls.contract.vectors == 3:
        return "triplet"
    if cls.metric not in ("distance", "cosine"):
        raise ValueError(
            f"{cls.__name__}.metric must be 'distance' or 'cosine', not {cls.metric!r}"
        )
    return str(cls.metric)


@cache
def sums(cosine: bool, count: int) -> Callable:
    """``add(loss, x, y)``: the total of ``count`` pairs of elements, or their products' sum."""
    if count > 1:
        half = count // 2
        part = sums(cosine, half)

        @device_function
        def both(loss, x, y):
            return part(loss, x[:half], y[:half]) + part(loss, x[half:], y[half:])

        return both
    if cosine:
        return device_function(lambda loss, x, y: x[0] * y[0])

    @device_function
    def single(loss, x, y):
        difference = x[0] - y[0]
        value, _ = term(loss, difference, difference)
        return value

    return single


@cache
def slopes(form: str, kind: str, count: int) -> Callable:
    """``slopes(loss, swapped, factors, a, b, c)``: the gradients by ``count`` elements of each."""
    if count > 1:
        half = count // 2
        part = slopes(form, kind, half)

        @device_function
        def both(loss, swapped, factors, a, b, c):
            x = part(loss, swapped, factors, a[:half], b[:half], c[:half])
            y = part(loss, swapped, factors, a[half:], b[half:], c[half:])
            return x[0] + y[0], x[1] + y[1], x[2] + y[2]

        return both
    real = compute_type(kind)
    zero = real(0)

    @device_function
    def of_distance(loss, swapped, factors, a, b, c):
        difference = a[0] - b[0]
        _, slope = term(loss, difference, difference)
        g = factors[0] * real(slope)
        return (g,), (-g,), (zero,)

    @device_function
    def of_cosine(loss, swapped, factors, a, b, c):
        across, along_a, along_b = factors
        return (across * b[0] - along_a * a[0],), (across * a[0] - along_b * b[0],), (zero,)

    @device_function
    def of_triplet(loss, swapped, factors, a, b, c):
        near = a[0] - b[0]
        far = (b[0] if swapped else a[0]) - c[0]
        _, of_near = term(loss, near, near)
        _, of_far = term(loss, far, far)
        pull, push = factors[0] * real(of_near), factors[1] * real(of_far)
        if swapped:
            return (pull,), (push - pull,), (-push,)
        return (pull + push,), (-pull,), (-push,)

    return {"distance": of_distance, "cosine": of_cosine, "triplet": of_triplet}[form]


@cache
def finisher(form: str, kind: str) -> Callable:
    """From the totals of a row to its value, and what its gradients are made of.

    ``finish(loss, flags, scale, sums, target, weight)``: the value, whether there is a gradient,
    whether the negative is compared with the positive, and the factors of the slopes.
    """
    real = compute_type(kind)
    zero, one = real(0), real(1)
    sqrt = vmath.sqrt

    @device_function
    def of_distance(loss, flags, scale, sums, target, weight):
        total = sums[0]
        distance, of_total = root(loss, total, total)
        value_, slope_ = point(loss, real(distance), target)
        value, slope = real(value_), real(slope_)
        # NaN is dealt with here rather than in every loss: min, max and comparisons lose it.
        if (total != total) or (target != target):
            value = slope = total + target
        live = weight != zero
        # Not a product alone: 0 * NaN is NaN.
        value = value * weight if live else zero
        return value, live, False, (slope * real(of_total) * weight * scale, zero, zero)

    @device_function
    def of_cosine(loss, flags, scale, sums, target, weight):
        both, square_a, square_b = sums
        lengths = real(sqrt(square_a)) * real(sqrt(square_b))
        nothing = (square_a == zero) or (square_b == zero)
        cosine = zero if nothing else both / lengths
        cosine = one if cosine > one else cosine
        cosine = -one if cosine < -one else cosine
        value_, slope_ = point(loss, cosine, target)
        value, slope = real(value_), real(slope_)
        lost = both + square_a + square_b + target
        if lost != lost:
            value = slope = lost
            nothing = False
        live = (weight != zero) and not nothing
        value = value * weight if weight != zero else zero
        factor = slope * weight * scale
        across = along_a = along_b = zero
        if live:
            across = factor / lengths
            along_a, along_b = factor * cosine / square_a, factor * cosine / square_b
        return value, live, False, (across, along_a, along_b)

    @device_function
    def of_triplet(loss, flags, scale, sums, target, weight):
        near, far, across = sums
        positive_, of_near_ = root(loss, near, near)
        negative_, of_far_ = root(loss, far, far)
        negative, of_far = real(negative_), real(of_far_)
        swapped = False
        if flags & _flag.swap:
            other_, of_across = root(loss, across, across)
            other = real(other_)
            if other < negative:
                swapped, negative, of_far = True, other, real(of_across)
        value_, pull_, push_ = point(loss, real(positive_), negative)
        value, pull, push = real(value_), real(pull_), real(push_)
        lost = near + far + across
        if lost != lost:
            value = pull = push = lost
        live = weight != zero
        value = value * weight if live else zero
        share = weight * scale
        return value, live, swapped, (pull * real(of_near_) * share, push * of_far * share, zero)

    return {"distance": of_distance, "cosine": of_cosine, "triplet": of_triplet}[form]
