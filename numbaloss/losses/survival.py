"""Losses of times until an event, some of which are known by bounds alone."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..registry import register
from ..structures.multi_output import MultiOutput
from ..vmath import exp, expm1, log, log1p, softplus

_ROOT_HALF, _LOG_ROOT_TAU = math.sqrt(0.5), 0.5 * math.log(2.0 * math.pi)
_FAR = 12.0  # erfc is no smaller than a normal float32 number up to here
INFINITY = math.inf


def _tail(z):
    """ln(1 - F(z)) of the normal distribution."""
    if z < 0.0:
        return log1p(-0.5 * math.erfc(-z * _ROOT_HALF))
    if z < _FAR:
        return log(0.5 * math.erfc(z * _ROOT_HALF))
    # 1 - 1/z^2 + 3/z^4 - 15/z^6 ...: fourteen terms have all digits of float64.
    u = 1.0 / (z * z)
    rest = -27.0 * u + 1.0
    rest = -25.0 * u * rest + 1.0
    rest = -23.0 * u * rest + 1.0
    rest = -21.0 * u * rest + 1.0
    rest = -19.0 * u * rest + 1.0
    rest = -17.0 * u * rest + 1.0
    rest = -15.0 * u * rest + 1.0
    rest = -13.0 * u * rest + 1.0
    rest = -11.0 * u * rest + 1.0
    rest = -9.0 * u * rest + 1.0
    rest = -7.0 * u * rest + 1.0
    rest = -5.0 * u * rest + 1.0
    rest = -3.0 * u * rest + 1.0
    rest = -1.0 * u * rest + 1.0
    return log(rest / z) - (0.5 * (z * z) + _LOG_ROOT_TAU)


def _between(above_low, above_high):
    """-ln of a probability, from the logs of what lies above its bounds."""
    return -(above_low + log(-expm1(above_high - above_low)))


class _Aft(MultiOutput):
    outputs = ("log_time",)
    targets = ("lower", "upper")
    domains: ClassVar = {"lower": "[0, inf)", "upper": "(0, inf]"}
    scale: float = 1.0
    log_scale: float = 0.0


class _NormalAft(_Aft):
    def value(self, log_time, lower, upper):
        first, last = (log(lower) - log_time) / self.scale, (log(upper) - log_time) / self.scale
        if lower == upper:
            return 0.5 * (first * first) + (_LOG_ROOT_TAU + self.log_scale + log(upper))
        turned = first + last < 0.0  # by symmetry: what is far lies above
        low, high = (-last, -first) if turned else (first, last)
        if (lower == 0.0) | (upper == INFINITY):
            return -_tail(low)
        return _between(_tail(low), _tail(high))


class _LogisticAft(_Aft):
    def value(self, log_time, lower, upper):
        first, last = (log(lower) - log_time) / self.scale, (log(upper) - log_time) / self.scale
        if lower == upper:
            return softplus(first) + softplus(-first) + (self.log_scale + log(upper))
        turned = first + last < 0.0
        low, high = (-last, -first) if turned else (first, last)
        if (lower == 0.0) | (upper == INFINITY):
            return softplus(low)
        return _between(-softplus(low), -softplus(high))


class _ExtremeAft(_Aft):
    def value(self, log_time, lower, upper):
        first, last = (log(lower) - log_time) / self.scale, (log(upper) - log_time) / self.scale
        if lower == upper:
            return exp(first) - first + (self.log_scale + log(upper))
        if upper == INFINITY:
            return exp(first)
        if lower == 0.0:
            return -log(-expm1(-exp(last)))
        return _between(-exp(first), -exp(last))


_CLASSES: dict[str, Any] = {
    "normal": _NormalAft,
    "logistic": _LogisticAft,
    "extreme": _ExtremeAft,
}


@register
class AFT(MultiOutput):
    r"""Accelerated failure time: minus log likelihood of times that may be censored.

    .. math::
        \ell = \begin{cases}
        -\ln f(z) + \ln(\sigma t) & t = \text{lower} = \text{upper} \\
        -\ln\bigl(F(z_u) - F(z_l)\bigr) & \text{lower} < \text{upper}
        \end{cases} \qquad z = \frac{\ln t - m}{\sigma}

    The output m is the log of a typical time; the targets are the bounds of what is known: equal
    for an event that was seen, upper = inf for one that was not (right-censored), lower = 0 for
    one that had happened before (left-censored). Where lower exceeds upper the value is NaN.

    Parameters
    ----------
    distribution : {"normal", "logistic", "extreme"}
        That of the noise of the log of times.
    scale : float > 0
        Its scale σ.

    References
    ----------
    A. Barnwal et al., *Survival regression with accelerated failure time model in XGBoost*, 2022.
    """

    outputs = ("log_time",)
    targets = ("lower", "upper")
    domains: ClassVar = _Aft.domains
    distribution: str = "normal"
    scale: float = 1.0
    bounds: ClassVar = {"scale": "(0, inf)"}

    def validate(self) -> None:
        if self.distribution not in _CLASSES:
            known = ", ".join(map(repr, _CLASSES))
            raise ValueError(f"AFT: distribution must be one of {known}, not {self.distribution!r}")

    def lower(self) -> MultiOutput:
        return _CLASSES[self.distribution](self.scale, math.log(self.scale))  # type: ignore[no-any-return]
