"""Rules of learning: what one number of a parameter becomes, given its gradient and its state.

Each is a plain function ``point(p, g, s, k)`` of the parameter, the gradient, the states and the
numbers of the step (see :data:`NUMBERS`), which returns the parameter and the states. Kernels for
CPUs and for GPUs are compiled from these, and plain Python can run them. Types are those of the
arguments: a literal would make float64 of float32.

Formulas, the order of their operations and the place of every epsilon are PyTorch's
(``torch.optim``); Lion is that of X. Chen et al., *Symbolic Discovery of Optimization Algorithms*,
2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

# Numbers of a step that a rule gets, at most. The first is always what gradients are multiplied by.
NUMBERS = 10

Point = Callable[[Any, Any, Any, Any], Any]


class Rule(NamedTuple):
    """A rule, and what a leaf keeps for it from step to step."""

    name: str  # of the machine code too
    point: Point
    slots: tuple[str, ...]


def _descent(p, g, s, k):
    scale, decay, rate = k[:3]
    g = g * scale + decay * p
    return p - rate * g, s


def _momentum(p, g, s, k):
    scale, decay, rate, momentum, fresh, own, followed = k[:7]
    g = g * scale + decay * p
    b = momentum * s[0] + fresh * g
    return p - rate * (own * g + followed * b), (b,)


def _adam(p, g, s, k):
    scale, decay, keep, fresh, remember, squared, rate, root, eps = k[:9]
    g = g * scale + decay * p
    p = p * keep
    m = s[0] + (g - s[0]) * fresh
    v = s[1] * remember + squared * g * g
    return p - rate * m / (math.sqrt(v) * root + eps), (m, v)


def _amsgrad(p, g, s, k):
    scale, decay, keep, fresh, remember, squared, rate, root, eps = k[:9]
    g = g * scale + decay * p
    p = p * keep
    m = s[0] + (g - s[0]) * fresh
    v = s[1] * remember + squared * g * g
    top = s[2] if s[2] >= v else v
    return p - rate * m / (math.sqrt(top) * root + eps), (m, v, top)


def _rmsprop(p, g, s, k):
    scale, decay, rate, remember, fresh, eps = k[:6]
    g = g * scale + decay * p
    v = s[0] * remember + fresh * g * g
    return p - rate * g / (math.sqrt(v) + eps), (v,)


def _rmsprop_momentum(p, g, s, k):
    scale, decay, rate, remember, fresh, eps, momentum = k[:7]
    g = g * scale + decay * p
    v = s[0] * remember + fresh * g * g
    b = momentum * s[1] + g / (math.sqrt(v) + eps)
    return p - rate * b, (v, b)


def _centred(p, g, s, k):
    scale, decay, rate, remember, fresh, eps = k[:6]
    g = g * scale + decay * p
    v = s[0] * remember + fresh * g * g
    a = s[1] + (g - s[1]) * fresh
    d = v - a * a
    none = d - d  # rounding can make a variance negative; PyTorch takes the root of that
    return p - rate * g / (math.sqrt(none if d < none else d) + eps), (v, a)


def _centred_momentum(p, g, s, k):
    scale, decay, rate, remember, fresh, eps, momentum = k[:7]
    g = g * scale + decay * p
    v = s[0] * remember + fresh * g * g
    a = s[1] + (g - s[1]) * fresh
    d = v - a * a
    none = d - d
    b = momentum * s[2] + g / (math.sqrt(none if d < none else d) + eps)
    return p - rate * b, (v, a, b)


def _adagrad(p, g, s, k):
    scale, decay, rate, eps = k[:4]
    g = g * scale + decay * p
    total = s[0] + g * g
    return p - rate * g / (math.sqrt(total) + eps), (total,)


def _lion(p, g, s, k):
    scale, keep, rate, mixed, fresh = k[:5]
    g = g * scale
    u = s[0] + (g - s[0]) * mixed
    none = rate - rate
    # What is neither is 0, or NaN, which is to be seen.
    move = rate if u > none else (-rate if u < none else u)
    return p * keep - move, (s[0] + (g - s[0]) * fresh,)


DESCENT = Rule("descent", _descent, ())
MOMENTUM = Rule("momentum", _momentum, ("momentum_buffer",))
ADAM = Rule("adam", _adam, ("exp_avg", "exp_avg_sq"))
AMSGRAD = Rule("amsgrad", _amsgrad, ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))
RMSPROP = Rule("rmsprop", _rmsprop, ("square_avg",))
RMSPROP_MOMENTUM = Rule("rmsprop momentum", _rmsprop_momentum, ("square_avg", "momentum_buffer"))
CENTRED = Rule("centred", _centred, ("square_avg", "grad_avg"))
CENTRED_MOMENTUM = Rule(
    "centred momentum", _centred_momentum, ("square_avg", "grad_avg", "momentum_buffer")
)
ADAGRAD = Rule("adagrad", _adagrad, ("sum",))
LION = Rule("lion", _lion, ("exp_avg",))
RULES = (
    DESCENT, MOMENTUM, ADAM, AMSGRAD, RMSPROP, RMSPROP_MOMENTUM, CENTRED, CENTRED_MOMENTUM,
    ADAGRAD, LION,
)  # fmt: skip
