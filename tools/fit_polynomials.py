"""Derive the polynomial coefficients of ``numbaloss/vmath/coefficients.py``.

Every polynomial of the package approximates a smooth function ``g`` on an interval with a given
weight, so that ``weight * (polynomial - g)`` is the relative error of the elementary function it
serves.  The fit is a weighted least-squares fit on Chebyshev nodes in 60-digit arithmetic, made
nearly minimax by a few rounds of Lawson's reweighting.  Coefficients are then rounded to the
target precision from the lowest degree up, and the remaining ones refitted after each rounding,
so that the rounding of one coefficient is absorbed by the next.

Run ``python tools/fit_polynomials.py`` to rewrite the file, ``--check`` to compare only.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpmath import mp, mpf

mp.dps = 60
TARGET = Path(__file__).resolve().parent.parent / "numbaloss" / "vmath" / "coefficients.py"
HALF_LN2 = mp.log(2) / 2 * mpf("1.002")  # a little more: the rounded quotient is not exact
SQRT_HALF = 1 / mp.sqrt(2)


@dataclass(frozen=True)
class Fit:
    """One polynomial: what it approximates, where, to which degree and in which precision."""

    name: str
    serves: str
    function: Callable[[mpf], mpf]
    weight: Callable[[mpf], mpf]
    low: mpf
    high: mpf
    degree: int
    single: bool


def exp_rest(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2, continued through 0."""
    if abs(r) < mpf("1e-15"):
        return mpf(1) / 2 + r / 6
    return (mp.expm1(r) - r) / r**2


def log_rest(f: mpf) -> mpf:
    """(log(1 + f) - f + f^2/2) / f^3, continued through 0."""
    if abs(f) < mpf("1e-15"):
        return mpf(1) / 3 - f / 4
    return (mp.log1p(f) - f + f * f / 2) / f**3


def log1p_rest(z: mpf) -> mpf:
    """(1 - L / sinh(L)) / (2 z) with z = 2 cosh(L) - 2, continued through 0."""
    log = 2 * mp.asinh(mp.sqrt(z) / 2)
    return (1 - log / mp.sinh(log)) / (2 * z) if z > mpf("1e-20") else mpf(1) / 12 - z / 60


def log1p_unit_rest(e: mpf) -> mpf:
    """(e - log(1 + e)) / e^2, continued through 0."""
    return (e - mp.log1p(e)) / e**2 if e > mpf("1e-20") else mpf(1) / 2 - e / 3


def log1p_ratio(e: mpf) -> mpf:
    """log(1 + e) / e, continued through 0."""
    return mp.log1p(e) / e if e > mpf("1e-30") else mpf(1)


def tanh_rest(z: mpf) -> mpf:
    """(tanh(x) - x) / x^3 with z = x^2, continued through 0."""
    x = mp.sqrt(z)
    return (mp.tanh(x) - x) / x**3 if z > mpf("1e-15") else -mpf(1) / 3 + 2 * z / 15


def log_cosh_rest(z: mpf) -> mpf:
    """(log(cosh(x)) - x^2/2) / x^4 with z = x^2, continued through 0."""
    x = mp.sqrt(z)
    if z < mpf("1e-12"):
        return -mpf(1) / 12 + z / 45
    return (mp.log(mp.cosh(x)) - z / 2) / z**2


def log2_ratio(f: mpf) -> mpf:
    """log2(1 + f) / f, continued through 0."""
    return mp.log1p(f) / f / mp.log(2) if abs(f) > mpf("1e-30") else 1 / mp.log(2)


def exp2_ratio(r: mpf) -> mpf:
    """(2^r - 1) / r, continued through 0."""
    return mp.expm1(r * mp.log(2)) / r if abs(r) > mpf("1e-30") else mp.log(2)


def atanh_rest(z: mpf) -> mpf:
    """((atanh(s)/s - 1)/z - 1/3)/z with z = s^2: 1/5 + z/7 + z^2/9 + ..."""
    return mp.nsum(lambda k: z**k / (2 * k + 5), [0, mp.inf]) if z > 0 else mpf(1) / 5


def relative_to_expm1(r: mpf) -> mpf:
    return r * r / mp.expm1(r) if r != 0 else mpf(0)


def relative_to_log1p(f: mpf) -> mpf:
    return f**3 / mp.log1p(f) if f != 0 else mpf(0)


def relative_to_tanh(z: mpf) -> mpf:
    x = mp.sqrt(z)
    return x**3 / mp.tanh(x) if z != 0 else mpf(0)


def relative_to_log_cosh(z: mpf) -> mpf:
    return z * z / mp.log(mp.cosh(mp.sqrt(z))) if z != 0 else mpf(0)


def relative_to_log1p_unit(z: mpf) -> mpf:
    log = 2 * mp.asinh(mp.sqrt(z) / 2)
    return 2 * mp.sinh(log) * z / log if z != 0 else mpf(0)


def fits() -> list[Fit]:
    half = mpf(1) / 2
    log_low, log_high = SQRT_HALF - 1, mp.sqrt(2) - 1
    rows: list[Fit] = []
    degrees = ((True, 4, 4, 7, 4, 5), (False, 9, 9, 19, 10, 14))
    for single, exp, expm1, log, tanh, log_cosh in degrees:
        bits = "32" if single else "64"
        rows += [
            Fit(f"EXP_{bits}", "e^r = 1 + r + r^2 p(r), |r| <= ln(2)/2", exp_rest,
                lambda r: r * r / mp.exp(r), -HALF_LN2, HALF_LN2, exp, single),
            Fit(f"EXPM1_{bits}", "e^r - 1 = r + r^2 p(r), |r| <= ln(2)/2", exp_rest,
                relative_to_expm1, -HALF_LN2, HALF_LN2, expm1, single),
            Fit(f"LOG_{bits}", "log(1+f) = f - f^2/2 + f^3 p(f), 1+f in [sqrt(1/2), sqrt(2)]",
                log_rest, relative_to_log1p, log_low, log_high, log, single),
            Fit(f"TANH_{bits}", "tanh(x) = x + x^3 p(x^2), |x| <= 0.55", tanh_rest,
                relative_to_tanh, mpf(0), mpf("0.3025"), tanh, single),
            Fit(f"LOG_COSH_{bits}", "log(cosh(x)) = x^2/2 + x^4 p(x^2), |x| <= 1", log_cosh_rest,
                relative_to_log_cosh, mpf(0), mpf(1), log_cosh, single),
        ]  # fmt: skip
    rows += [
        Fit("LOG1P_UNIT_32", "log(1+e) = e - e^2 p(e), e in [0, 1]", log1p_unit_rest,
            lambda e: e / log1p_ratio(e), mpf(0), mpf(1), 8, True),
        Fit("LOG1P_UNIT_64", "log(1+e) = e - z (1/2 + (e+q) p(z)), q = e/(1+e), z = e q <= 1/2",
            log1p_rest, relative_to_log1p_unit, mpf(0), half, 9, False),
        Fit("POW_LOG2_32", "log2(1+f) = f p(f), for float32 pow, in float64", log2_ratio,
            lambda f: 1 / log2_ratio(f), log_low, log_high, 13, False),
        Fit("POW_EXP2_32", "2^r = 1 + r p(r), |r| <= 1/2, for float32 pow, in float64",
            exp2_ratio, lambda r: r / mp.power(2, r), -half, half, 6, False),
        Fit("POW_ATANH_64", "atanh(s) = s + s^3/3 + s^5 p(s^2), |s| <= (sqrt(2)-1)/(sqrt(2)+1)",
            atanh_rest, lambda z: z * z, mpf(0), mpf("0.02945"), 6, False),
    ]  # fmt: skip
    rows += [
        Fit(name, "log(1+e) = e p(e), e in [0, 1], for GPUs", log1p_ratio,
            lambda e: 1 / log1p_ratio(e), mpf(0), mpf(1), degree, True)
        for name, degree in (("LOG1P_UNIT_GPU", 9), ("LOG1P_UNIT_ROUGH", 7))
    ]  # fmt: skip
    return rows


def nodes(low: mpf, high: mpf, count: int) -> list[mpf]:
    centre, radius = (low + high) / 2, (high - low) / 2
    return [centre + radius * mp.cos(mp.pi * (i + mpf(1) / 2) / count) for i in range(count)]


def least_squares(xs: list[mpf], rhs: list[mpf], weights: list[mpf], powers: range) -> list[mpf]:
    """Coefficients of ``powers`` that minimise the weighted squares (normal equations)."""
    size = len(powers)
    rows = [[x**k for k in powers] for x in xs]
    normal, right = mp.matrix(size, size), mp.matrix(size, 1)
    for row, value, weight in zip(rows, rhs, weights, strict=True):
        square = weight * weight
        for i in range(size):
            right[i] += square * row[i] * value
            for j in range(i + 1):
                normal[i, j] += square * row[i] * row[j]
    for i in range(size):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return list(mp.lu_solve(normal, right))


def rounded(value: mpf, single: bool) -> mpf:
    return mpf(float(np.float32(float(value)))) if single else mpf(float(value))


def derive(fit: Fit) -> tuple[list[float], mpf]:
    """The rounded coefficients, lowest degree first, and the largest weighted error."""
    xs = nodes(fit.low, fit.high, 4 * (fit.degree + 1))
    goal = [fit.function(x) for x in xs]
    base = [fit.weight(x) for x in xs]
    lawson = [mpf(1)] * len(xs)
    for _ in range(8):  # Lawson: weight grows where the error is large
        weights = [w * mp.sqrt(v) for w, v in zip(base, lawson, strict=True)]
        free = least_squares(xs, goal, weights, range(fit.degree + 1))
        error = [
            abs(w * (mp.polyval(free[::-1], x) - g)) for x, g, w in zip(xs, goal, base, strict=True)
        ]
        lawson = [v * (e + max(error) / 100) for v, e in zip(lawson, error, strict=True)]
        total = sum(lawson) / len(lawson)
        lawson = [v / total for v in lawson]
    weights = [w * mp.sqrt(v) for w, v in zip(base, lawson, strict=True)]
    done: list[mpf] = []
    for k in range(fit.degree + 1):
        rest = [
            g - sum(c * x**i for i, c in enumerate(done)) for x, g in zip(xs, goal, strict=True)
        ]
        done.append(
            rounded(least_squares(xs, rest, weights, range(k, fit.degree + 1))[0], fit.single)
        )
    check = nodes(fit.low, fit.high, 401)
    worst = max(abs(fit.weight(x) * (mp.polyval(done[::-1], x) - fit.function(x))) for x in check)
    return [float(c) for c in done], worst


def render() -> str:
    lines = [
        '"""Polynomial coefficients, lowest degree first.',
        "",
        "Written by tools/fit_polynomials.py, which says how; do not edit.  The error is the",
        "largest relative one of the function served, rounding of the coefficients included.",
        '"""',
        "",
    ]
    for fit in fits():
        coefficients, worst = derive(fit)
        lines.append(f"# {fit.serves}")
        lines.append(f"# degree {fit.degree}, error 2^{float(mp.log(worst, 2)):.1f}")
        lines.append(f"{fit.name} = (")
        for value in coefficients:
            lines.append(f"    {repr(value) if not fit.single else f'{value:.9g}'},")
        lines.append(")")
        lines.append("")
        print(fit.name, f"2^{float(mp.log(worst, 2)):.1f}", file=sys.stderr)
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file, do not write")
    options = parser.parse_args()
    text = render()
    if not options.check:
        TARGET.write_text(text)
        return 0
    return 0 if TARGET.read_text() == text else 1


if __name__ == "__main__":
    raise SystemExit(main())
