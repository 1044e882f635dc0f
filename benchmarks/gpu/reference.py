"""Values, gradients and hessians in float64, and how far results are from them.

The formulas are written for ``xp``, which is PyTorch, CuPy or NumPy: they use what all three
have under the same name. Arrays are compared block by block, for float64 takes eight bytes.
"""

from __future__ import annotations

from math import log, prod, sqrt
from typing import Any

from .cases import Case
from .inputs import Arrays
from .libraries import Library

BLOCK = 2**25

# Norm of the difference over the norm of the reference. Half precisions are off by the rounding
# of the gradient alone, at most half a unit: 2**-11 and 2**-9.
BOUNDS = {"float64": 1e-12, "float32": 1e-5, "float16": 6e-4, "bfloat16": 2.5e-3}
VALUE_BOUNDS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-5, "bfloat16": 1e-5}
# Huber's second derivative jumps, and rounding puts an element on the other side of it.
HESSIAN_BOUND = 1e-3
TEMPERATURE = 2.0  # of the distillation

Derivatives = tuple[Any, Any, Any]


def elementwise(xp: Any, loss: str, p: Any, t: Any) -> Derivatives:
    """Value, gradient and, where some case wants it, hessian at every element."""
    if loss in ("binary_cross_entropy", "focal"):
        return _binary(xp, loss, p, t)
    if loss == "poisson":
        rate = xp.exp(p)
        return rate - t * p, rate - t, rate
    r = p - t
    if loss == "squared_error":
        return r * r, 2.0 * r, None
    if loss == "absolute_error":
        return xp.abs(r), xp.sign(r), None
    if loss == "huber":
        g = xp.clip(r, -1.0, 1.0)
        return g * (r - 0.5 * g), g, (xp.abs(r) <= 1.0) * 1.0
    if loss == "log_cosh":
        size = xp.abs(r)
        return size + xp.log1p(xp.exp(-2.0 * size)) - log(2.0), xp.tanh(r), None
    raise NotImplementedError(f"there is no reference for {loss}")


def _binary(xp: Any, loss: str, x: Any, t: Any) -> Derivatives:
    if loss == "binary_cross_entropy":
        p = 1.0 / (1.0 + xp.exp(-x))
        return _softplus(xp, x) - t * x, p - t, p * (1.0 - p)
    # Focal, gamma 2, targets 0 or 1: z is the logit of being wrong, m its probability.
    sign = 1.0 - 2.0 * t
    z = sign * x
    m, entropy = 1.0 / (1.0 + xp.exp(-z)), _softplus(xp, z)
    return m * m * entropy, sign * m * m * (m + 2.0 * (1.0 - m) * entropy), None


def _softplus(xp: Any, x: Any) -> Any:
    return 0.5 * (x + xp.abs(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def rows(xp: Any, loss: str, x: Any, t: Any, every: Any) -> Derivatives:
    """Value of every row, gradient; ``every`` counts the rows. Labels where t is a vector."""
    if loss == "distillation":
        student, teacher = _log_softmax(xp, x / TEMPERATURE), _log_softmax(xp, t / TEMPERATURE)
        q = xp.exp(teacher)
        value = TEMPERATURE**2 * (q * (teacher - student)).sum(1)
        return value, TEMPERATURE * (xp.exp(student) - q), None
    logs = _log_softmax(xp, x)
    p = xp.exp(logs)
    if len(t.shape) == 1:
        dense = xp.zeros_like(p)
        dense[every, t] = 1.0
    else:
        dense = t
    if loss == "cross_entropy":
        return -(dense * logs).sum(1), p * dense.sum(1)[:, None] - dense, None
    if loss == "brier":
        error = p - dense
        return (error * error).sum(1), 2.0 * p * (error - (p * error).sum(1)[:, None]), None
    raise NotImplementedError(f"there is no reference for {loss}")


def _log_softmax(xp: Any, x: Any) -> Any:
    x = x - xp.amax(x, axis=1, keepdims=True)
    return x - xp.log(xp.exp(x).sum(1))[:, None]


def errors(library: Library, case: Case, given: Arrays, value: Any) -> dict[str, float]:
    """How far value, gradient and hessian of a call are from the reference."""
    divisor = case.samples if case.reduction == "mean" else 1
    total = 0.0
    sums: dict[str, list[Any]] = {}
    step = max(1, BLOCK // prod(case.shape[1:]))
    for start in range(0, case.shape[0], step):
        part = slice(start, start + step)
        values, *derivatives = _block(library, case, given, part)
        total += float(values.sum())
        outputs = {"gradient": given.gradient, "hessian": given.hessian}
        for (name, output), wanted in zip(outputs.items(), derivatives, strict=True):
            if output is not None:
                wanted = wanted / divisor
                off = library.double(output[part]) - wanted
                # Kept on the device until the end.
                sums.setdefault(name, []).append(((off * off).sum(), (wanted * wanted).sum()))
    wanted_value = total / divisor
    found = {"value": abs(float(value) - wanted_value) / abs(wanted_value)}
    for name, pairs in sums.items():
        off, size = (sum(float(one) for one in ones) for ones in zip(*pairs, strict=True))
        found[name] = sqrt(off / size) if size else float("nan")
    return found


def distance(library: Library, got: Any, wanted: Any) -> float:
    """Norm of the difference of two arrays over the norm of the second."""
    step = max(1, BLOCK // prod(wanted.shape[1:]))
    off = size = 0.0
    for start in range(0, len(wanted), step):
        one, other = (library.double(array[start : start + step]) for array in (got, wanted))
        off += float(((one - other) * (one - other)).sum())
        size += float((other * other).sum())
    return sqrt(off / size) if size else float("nan")


def _block(library: Library, case: Case, given: Arrays, part: slice) -> Derivatives:
    """The reference for some rows or elements, weights included."""
    xp = library.xp
    p = library.double(given.prediction[part])
    t = given.target[part]
    if case.part == "rows":
        t = t if case.targets == "labels" else library.double(t)
        found = rows(xp, case.loss, p, t, library.arange(len(p)))
    else:
        found = elementwise(xp, case.loss, p, library.double(t))
    if given.weight is None:
        return found
    w = library.double(given.weight[part])
    value, *derivatives = found
    spread = w[:, None] if len(p.shape) > 1 else w
    first, second = (None if one is None else one * spread for one in derivatives)
    return value * w, first, second


def complaint(case: Case, found: dict[str, float]) -> str | None:
    """What is wrong with these errors; NaN is always wrong."""
    bounds = {
        "value": VALUE_BOUNDS[case.dtype],
        "gradient": BOUNDS[case.dtype],
        "hessian": HESSIAN_BOUND,
    }
    wrong = [
        f"{name} is off by {error:.1e}, allowed is {bounds[name]:.0e}"
        for name, error in found.items()
        if not error <= bounds[name]
    ]
    return "; ".join(wrong) or None
