"""Formulas of the losses of rows, in extended precision, with what rounding may do to them.

Of each loss the map φ(l, t) of a log-probability and a target, with two derivatives, written a
second time; how they make a row's value, gradient and hessian is written once, for all.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .elementwise_formulas import Number, Three, times

LOWEST = Number(-math.inf)


class Rows(NamedTuple):
    """Results of rows, and the sizes of the errors that rounding excuses."""

    value: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray
    value_error: np.ndarray
    gradient_error: np.ndarray
    hessian_error: np.ndarray


def _log(t: np.ndarray) -> np.ndarray:
    return np.log(np.where(t > 0, t, 1))


def _rest(logs: np.ndarray) -> np.ndarray:
    """1 - p"""
    return -np.expm1(logs)


def cross_entropy(logs, t, **_):
    return -times(t, logs), -t, 0 * t


def kl_divergence(logs, t, **_):
    return times(t, _log(t) - logs), -t, 0 * t


def distillation(logs, t, temperature):
    scale = Number(temperature) ** 2
    return tuple(scale * one for one in kl_divergence(logs, t))


def categorical_focal(logs, t, gamma, **_):
    g, p, rest = Number(gamma), np.exp(logs), _rest(logs)
    if gamma == 0:
        return cross_entropy(logs, t)
    pl = np.where(p == 0, Number(0), p * logs)
    fade = rest**g
    # d/dl of -(1-p)^g l: g (1-p)^(g-1) p l - (1-p)^g
    steep = np.where(rest > 0, np.where(rest > 0, rest, 1) ** (g - 1), 0)
    slope = g * steep * pl - fade
    # its derivative; where p is 1 the terms with (1-p)^(g-2) l tend to those without
    ratio = np.where(rest > 0, pl / np.where(rest > 0, rest, 1), -1)
    bend = g * steep * (pl + 2 * p - (g - 1) * p * ratio)
    return times(t, -fade * logs), t * slope, times(t, bend)


def generalized_cross_entropy(logs, t, q, **_):
    q = Number(q)
    power = np.exp(q * logs)
    return -t * np.expm1(q * logs) / q, -t * power, -t * q * power


def symmetric_cross_entropy(logs, t, alpha, beta, log_zero, **_):
    a, b, floor = Number(alpha), Number(beta), Number(log_zero)
    mirror = b * np.exp(logs) * np.where(t > 0, np.maximum(_log(t), floor), floor)
    return -a * times(t, logs) - mirror, -a * t - mirror, -mirror


def poly1(logs, t, epsilon, **_):
    e = Number(epsilon)
    raised = e * np.exp(logs)
    return times(t, e * _rest(logs) - logs), -t * (1 + raised), -t * raised


def jensen_shannon(logs, t, **_):
    p = np.exp(logs)
    both = np.where(p + t > 0, p + t, 1)
    tilt = (p - t) / both
    # log(2p / (p + t)) is log1p(tilt); of numbers that are far apart by a difference of logs.
    close = np.abs(tilt) < 0.5
    middle = np.log(both / 2)
    of_p = times(p, np.where(close, np.log1p(np.where(close, tilt, 0)), logs - middle))
    of_t = times(t, np.where(close, np.log1p(np.where(close, -tilt, 0)), _log(t) - middle))
    slope = of_p / 2
    return (of_p + of_t) / 2, slope, slope + p * t / both / 2


def brier(logs, t, **_):
    p = np.exp(logs)
    error = np.where(t == 1, np.expm1(logs), p - t)
    return error * error, 2 * p * error, 2 * p * (p + error)


MAPS = {
    one.__name__: one
    for one in (
        cross_entropy, kl_divergence, distillation, categorical_focal, generalized_cross_entropy,
        symmetric_cross_entropy, poly1, jensen_shannon, brier,
    )
}  # fmt: skip
SPARSE = ("cross_entropy", "kl_divergence", "distillation", "categorical_focal",
          "generalized_cross_entropy", "poly1")  # fmt: skip


def named(loss: Any) -> tuple[str, dict[str, Any]]:
    from numbaloss.registry import snake_case

    names = [parameter.name for parameter in loss.parameters()]
    parameters = dict(zip(names, loss.values()))
    if not parameters.pop("from_logits", True):
        raise ValueError("these formulas take logits")
    return snake_case(type(loss).__name__), parameters


def of_rows(loss: Any, x: np.ndarray, t: np.ndarray, eps: float, off: np.ndarray | None) -> Rows:
    """Results of a loss of rows or a sum of such; ``t`` are dense targets, one-hot for labels.

    ``off`` says how far off each row's logits may be already.
    """
    with np.errstate(all="ignore"):
        if hasattr(loss, "terms"):
            parts = [(Number(w), of_rows(term, x, t, eps, off)) for w, term in loss.terms]
            sums = [sum(w * one[k] for w, one in parts) for k in range(3)]
            errors = [
                sum(abs(w) * (one[3 + k] + eps * np.abs(one[k])) for w, one in parts)
                for k in range(3)
            ]
            return Rows(*sums, *errors)  # type: ignore[arg-type]
        name, parameters = named(loss)
        if name == "multi_margin":
            return _margins(x, t, eps, off, parameters)
        return _by_softmax(name, parameters, x, t, eps, off)


def _softmax(x: np.ndarray, temperature: float, eps: float, off: np.ndarray | None) -> Any:
    """Log-probabilities and how far off they may be, the log of the sum, probabilities."""
    scaled = x / Number(temperature)
    top = np.max(scaled, axis=-1, keepdims=True)
    apart = scaled - top
    powers = np.exp(apart)
    log_sum = np.log(np.sum(powers, axis=-1, keepdims=True))
    logs = apart - log_sum
    p = np.exp(logs)
    mean = np.sum(np.where(p > 0, p * np.abs(apart), 0), axis=-1, keepdims=True)
    error = eps * (np.abs(apart) + mean + log_sum + 1)
    if off is not None:
        error = error + 2 * off[:, None] / Number(temperature)
    return logs, error, (log_sum + top)[..., 0], p


def _envelope(function: Any, logs: np.ndarray, error: np.ndarray, eps: float) -> list[Any]:
    """φ and its derivatives, each with what an error of l may do to it."""
    centre, low, high = (
        function(logs),
        function(logs - error),
        function(np.minimum(logs + error, 0)),
    )
    found = []
    for one, a, b in zip(centre, low, high):
        change = np.fmax(np.fmax(a, b), one) - np.fmin(np.fmin(a, b), one)
        change = np.where(np.isinf(one), 0, change)
        found.append((one, change + eps * np.abs(one)))
    return found


def _by_softmax(name, parameters, x, t, eps, off) -> Rows:
    classes = x.shape[-1]
    temperature = parameters.get("temperature", 1.0)
    logs, error, log_sum, p = _softmax(x, temperature, eps, off)
    t_error: Any = eps * np.abs(t)
    if name == "distillation":
        of_teacher, teacher_error, _, t = _softmax(t, temperature, eps, None)
        t_error = t * teacher_error
    smoothing = Number(parameters.get("label_smoothing", 0.0))
    if smoothing:
        t = t * (1 - smoothing) + smoothing / classes
        t_error = eps * np.abs(t)
    own = {k: v for k, v in parameters.items() if k not in ("class_weight", "label_smoothing")}
    if name != "distillation":
        own.pop("temperature", None)

    def phi(at: np.ndarray, target: np.ndarray = t) -> Three:
        if name == "distillation":
            scale = Number(temperature) ** 2
            own_logs = of_teacher if target is t else np.log(target)
            return scale * times(target, own_logs - at), -scale * target, 0 * target
        found = MAPS[name](at, target, **own)
        return tuple(np.where(target == 0, 0, one) for one in found) if name in SPARSE else found

    parts = _envelope(phi, logs, error, eps)
    moved = phi(logs, t + t_error), phi(logs, np.maximum(t - t_error, 0))
    weight: Any = parameters.get("class_weight")
    weight = Number(1) if weight is None else weight.astype(Number)
    a, b, c = (weight * one for one, _ in parts)
    da, db, dc = (
        weight * (wrong + np.abs(up - one) + np.abs(down - one))
        for (one, wrong), up, down in zip(parts, *moved)
    )
    if name == "distillation":  # the teacher's own error, against which nothing cancels
        da = da + Number(temperature) ** 2 * t * (teacher_error + error)
    total, slack = np.sum(b, -1, keepdims=True), np.sum(db, -1, keepdims=True)
    # The sum of slopes as kernels make it: each slope rounded.
    slack = slack + eps * np.sum(np.abs(b), -1, keepdims=True)
    value, value_error = np.sum(a, -1), np.sum(da, -1) + eps * np.sum(np.abs(a), -1)
    z = Number(parameters.get("z_loss", 0.0))
    lse = log_sum[:, None]
    lse_error = eps * (np.abs(lse) + np.max(np.abs(x), -1, keepdims=True) / Number(temperature) + 1)
    if off is not None:
        lse_error = lse_error + off[:, None] / Number(temperature)
    by_sum, bend_of_sum = 2 * z * lse, 2 * z
    value = value + (z * lse * lse)[:, 0] if z else value
    value_error = value_error + (2 * z * np.abs(lse) * lse_error + eps * z * lse * lse)[:, 0]
    pull = total - by_sum
    pull_error = slack + 2 * z * lse_error
    dp = p * (np.expm1(np.minimum(2 * error, 1)) + eps)
    gradient = b - p * pull
    gradient_error = db + p * pull_error + dp * (np.abs(pull) + pull_error)
    gradient_error = gradient_error + eps * (np.abs(b) + p * (np.abs(total) + np.abs(by_sum)))
    sizes = np.sum(np.abs(c), -1, keepdims=True)
    spread = np.sum(c, -1, keepdims=True)
    hessian = c * (1 - 2 * p) + p * p * spread - p * (1 - p) * pull + p * p * bend_of_sum
    bound = np.abs(c) + p * p * sizes + p * (np.abs(total) + np.abs(by_sum)) + p * p * bend_of_sum
    hessian_error = dc + p * p * np.sum(dc, -1, keepdims=True) + p * pull_error + eps * bound
    hessian_error = hessian_error + dp * (
        2 * np.abs(c) + 2 * p * sizes + np.abs(pull) + bend_of_sum
    )
    hessian_error = hessian_error + dp * pull_error
    T = Number(temperature)
    return Rows(
        value, gradient / T, hessian / (T * T),
        value_error, gradient_error / T, hessian_error / (T * T),
    )  # fmt: skip


def _margins(x, t, eps, off, parameters) -> Rows:
    classes = x.shape[-1]
    m, power = Number(parameters["margin"]), parameters["p"]
    label = np.argmax(t, -1)
    own = np.take_along_axis(x, label[:, None], -1)
    excess = m + (x - own)
    wrong = eps * (np.abs(m) + np.abs(x - own) + np.abs(excess))
    wrong = np.where(np.isfinite(wrong), wrong, 0)
    if off is not None:
        wrong = wrong + 2 * off[:, None]
    others = t == 0
    active = (excess > 0) & others
    unsure = (np.abs(excess) <= wrong) & others
    e = np.where(active, excess, 0)
    e = np.where(np.isinf(own), np.nan, e)  # nobody knows what infinities differ by
    if power == 1:
        a, b, c = e, np.where(active, Number(1), 0), np.zeros_like(x)
        db, dc = np.where(unsure, Number(1), 0), np.zeros_like(x)
    else:
        a, b, c = e * e, 2 * e, np.where(active, Number(2), 0)
        db, dc = 2 * np.where(others, wrong, 0), np.where(unsure, Number(2), 0)
    da = np.where(others, wrong, 0) * (1 if power == 1 else 2 * e + wrong)
    total = np.sum(b, -1, keepdims=True)
    at_label = ~others
    gradient = np.where(at_label, -total, b)
    hessian = np.where(at_label, np.sum(c, -1, keepdims=True), c)
    slack = np.sum(db, -1, keepdims=True) + eps * np.abs(total)
    bend_slack = np.sum(dc, -1, keepdims=True)
    rows = (
        np.sum(a, -1), gradient, hessian,
        np.sum(da, -1) + eps * np.sum(a, -1),
        np.where(at_label, slack, db + eps * np.abs(b)),
        np.where(at_label, bend_slack, dc) + eps * np.abs(hessian),
    )  # fmt: skip
    share = np.full(len(x), Number(1) / classes)
    if parameters["class_weight"] is not None:
        share = share * parameters["class_weight"].astype(Number)[label]
    return Rows(*(one * share.reshape(-1, *[1] * (one.ndim - 1)) for one in rows))
