"""Losses of residuals in the form that ``scipy.optimize.least_squares`` takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.loss import Loss
from ..losses.regression import SquaredError
from ..losses.robust import Cauchy, GeneralRobust, Huber, LogCosh, PseudoHuber, SmoothL1


def rho(loss: Loss) -> Rho:
    r"""A loss for ``scipy.optimize.least_squares(..., loss=rho(numbaloss.Huber()))``.

    SciPy minimises :math:`\tfrac{1}{2} \sum C^2 \rho\left((f / C)^2\right)` with C its ``f_scale``;
    with :math:`\rho(z) = 2\, \ell(\sqrt z)` that is the sum of the losses :math:`\ell` of the
    residuals f / C.

    Parameters
    ----------
    loss : elementwise loss
        Of the residual alone, the same for r and -r, smooth at 0: ``Huber``, ``PseudoHuber``,
        ``Cauchy``, ``GeneralRobust``, ``LogCosh``, ``SmoothL1``, one of your own.

    Returns
    -------
    Rho
        A callable that can be pickled: of z, shape (m,), it makes an array (3, m) of float64, ρ
        and its first two derivatives by z, with their limits at z = 0.

    Raises
    ------
    TypeError, ValueError
        For a loss of another kind; with the reason.

    Notes
    -----
    Equal to SciPy's: ``rho(Huber())`` to "huber", ``rho(PseudoHuber())`` to "soft_l1",
    ``rho(Cauchy())`` to "cauchy", ``rho(0.5 * SquaredError())`` to "linear". ``method="lm"`` takes
    none.
    The second derivative near 0 is exact for losses of the library; for others, whose formula
    does not tell its fourth derivative, it is good to a few digits there, where SciPy multiplies
    it by z.
    """
    return Rho(loss)


class Rho:
    """What :func:`rho` returns."""

    def __init__(self, loss: Loss) -> None:
        _check(loss)
        self.loss = loss

    def __repr__(self) -> str:
        return f"rho({self.loss!r})"

    def __call__(self, z: Any) -> np.ndarray:
        """ρ, ρ' and ρ'' by z, in a new array (SciPy changes it)."""
        z = np.ascontiguousarray(z, np.float64)
        found = np.empty((3, *z.shape))
        r = np.sqrt(z)
        values, slopes, curves = _at(self.loss, r)
        found[0] = 2.0 * values
        away = r > 0.0
        # At 0 the quotient is the second derivative.
        found[1] = np.divide(slopes, r, out=curves.copy(), where=away)
        exact = _second(self.loss, z, r)
        found[2] = self._by_difference(z, found[1], curves) if exact is None else exact
        return found

    def _by_difference(self, z: np.ndarray, first: np.ndarray, curves: np.ndarray) -> np.ndarray:
        """(ℓ'' - ρ') / 2z; where that is a difference of rounding errors, its limit at 0."""
        difference = curves - first
        lost = np.abs(difference) <= 1e-9 * np.abs(curves)
        found = np.divide(difference, 2.0 * z, out=np.zeros_like(z), where=z > 0.0)
        if lost.any():
            # Far out a loss may be straight or flat, exactly.
            found[lost & (z <= _reach(self.loss))] = _limit(self.loss)
        return found


def _at(loss: Any, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = np.ravel(r)
    found = loss.value_grad_hess(flat, np.zeros_like(flat), reduction="none")
    values, slopes, curves = (np.reshape(one, np.shape(r)) for one in found)
    return values, slopes, curves


def _check(loss: Any) -> None:
    """Raise unless a loss is a smooth, even function of the residual."""
    if getattr(getattr(loss, "contract", None), "name", None) != "elementwise":
        raise TypeError(f"least_squares takes a loss of numbers, such as Huber(), not {loss!r}")
    r = np.array([0.25, 1.0, 3.0, 7.5])
    try:
        here, away = (
            loss(r, 0.0 * r, reduction="none"),
            loss(r + 8.0, 0.0 * r + 8.0, reduction="none"),
        )
        mirrored = loss(-r, 0.0 * r, reduction="none")
    except ValueError as error:
        raise ValueError(f"{loss!r} is no function of the residual alone: {error}") from None
    if not np.allclose(here, away, rtol=1e-9):
        raise ValueError(f"{loss!r} is no function of the residual alone, as least_squares has it")
    if not np.allclose(here, mirrored, rtol=1e-9):
        raise ValueError(
            f"{loss!r} has other values for r and -r; least_squares squares its residuals"
        )
    # Near 0 the slope is a multiple of r, unless there is a kink.
    slopes = loss.grad(np.array([2.0**-100, 2.0**-101]), np.zeros(2), reduction="sum")
    if not abs(slopes[0] - 2.0 * slopes[1]) <= 1e-3 * abs(slopes[0]):
        raise ValueError(
            f"{loss!r} has a kink at 0, where least_squares needs a derivative by r²; "
            f"PseudoHuber and SmoothL1 are smooth relatives"
        )


def _second(loss: Any, z: np.ndarray, r: np.ndarray) -> np.ndarray | None:
    """ρ'' of losses of the library, without differences; None for others."""
    kind = type(loss)
    if kind is SquaredError:
        return np.zeros_like(z)
    if kind is Huber or (kind is SmoothL1 and loss.beta > 0.0):
        edge = loss.delta if kind is Huber else loss.beta
        slope = loss.delta if kind is Huber else 1.0
        far = r > edge
        return np.where(far, -0.5 * slope / np.where(far, r, 1.0) ** 3, 0.0)
    if kind is PseudoHuber:
        return -0.5 / loss.delta**2 * (1.0 + z / loss.delta**2) ** -1.5
    if kind is Cauchy:
        return -1.0 / (loss.scale * (1.0 + z / loss.scale**2)) ** 2
    if kind is LogCosh:
        return _second_of_log_cosh(z, r)
    if kind is GeneralRobust:
        return _second_of_general(loss.alpha, loss.scale, z)
    return None


def _second_of_log_cosh(z: np.ndarray, r: np.ndarray) -> np.ndarray:
    # The series of tanh(r) / r by z, differentiated; beyond its reach nothing cancels.
    series = np.polynomial.Polynomial(
        [1.0, -1 / 3, 2 / 15, -17 / 315, 62 / 2835, -1382 / 155925, 21844 / 6081075,
         -929569 / 638512875]
    ).deriv()  # fmt: skip
    near = z < 0.01
    safe = np.where(near, 1.0, r)
    t = np.tanh(safe)
    far = ((1.0 - t * t) - t / safe) / (2.0 * safe * safe)
    return np.where(near, series(np.where(near, z, 0.0)), far)


def _second_of_general(alpha: float, scale: float, z: np.ndarray) -> np.ndarray | None:
    x = z / scale**2
    if alpha == 2.0:
        return np.zeros_like(z)
    with np.errstate(over="ignore"):
        if alpha == -np.inf:
            return -0.5 / scale**4 * np.exp(-0.5 * x)
        if alpha == np.inf:
            return 0.5 / scale**4 * np.exp(0.5 * x)
        sign = 0.5 if alpha > 2.0 else -0.5
        grown = x / abs(alpha - 2.0)
        return sign / scale**4 * np.exp((0.5 * alpha - 2.0) * np.log1p(grown))


def _reach(loss: Any) -> float:
    """z up to which a loss of somebody's may be taken for its limit."""
    return _step(loss)[0] ** 2


def _limit(loss: Any) -> float:
    """ρ'' at 0: a sixth of the fourth derivative, by a difference of second ones."""
    h, change = _step(loss)
    return change / (3.0 * h * h)


def _step(loss: Any) -> tuple[float, float]:
    """A residual at which the curvature has changed by a measurable little, and by how much."""
    h = 2.0 ** np.arange(-100.0, 60.0)
    _, _, curves = _at(loss, np.concatenate([[0.0], h]))
    changes = curves[1:] - curves[0]
    seen = np.abs(changes) > 1e-5 * np.abs(curves[0])
    if not seen.any():
        return np.inf, 0.0
    first = int(seen.argmax())
    return float(h[first]), float(changes[first])
