"""The minimum of a loss of a linear model with penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize

from ..scipy.objective import LinearObjective

# Newton's steps that finish what L-BFGS has begun; matrices up to this width are worth them.
_STEPS = 20
_WIDEST = 600


def minimum(
    model: LinearObjective, start: np.ndarray, l1: float, max_iter: int, tol: float
) -> tuple[np.ndarray, int, bool]:
    r"""Coefficients at the least :math:`f(W) + l_1 \lVert W \rVert_1`.

    By L-BFGS-B, with :math:`l_1` on parts above and below 0 apart, which makes the penalty linear
    and zeros exact; then by Newton's steps among coefficients that are not 0, if the hessian has
    an inverse there.

    Returns
    -------
    coefficients : array
    iterations : int
    converged : bool
    """
    penalised = int(np.prod(model.shape))
    options = {"maxiter": max_iter, "gtol": tol, "ftol": 1e-15, "maxcor": 20}
    if l1 == 0.0:
        found = minimize(model.fun, start, jac=True, method="L-BFGS-B", options=options)
        at = found.x
    else:

        def apart(both: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = model.fun(_joined(both, penalised))
            of_weights = gradient[:penalised]
            slopes = [of_weights + l1, l1 - of_weights, gradient[penalised:]]
            return value + l1 * both[: 2 * penalised].sum(), np.concatenate(slopes)

        weights, rest = start[:penalised], start[penalised:]
        both = np.concatenate([np.maximum(weights, 0.0), np.maximum(-weights, 0.0), rest])
        bounds = [(0.0, None)] * (2 * penalised) + [(None, None)] * len(rest)
        found = minimize(apart, both, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        at = _joined(found.x, penalised)
    polished = _polished(model, at, l1, penalised, tol)
    converged = bool(found.success)
    if polished is not None:
        at, converged = polished, True
    return at, max(int(found.nit), 1), converged


def _joined(both: np.ndarray, penalised: int) -> np.ndarray:
    weights = both[:penalised] - both[penalised : 2 * penalised]
    return np.concatenate([weights, both[2 * penalised :]])


def _polished(
    model: LinearObjective, at: np.ndarray, l1: float, penalised: int, tol: float
) -> np.ndarray | None:
    """A better minimum nearby, by Newton's steps; None where they do not get there."""
    if at.size > _WIDEST or not np.isfinite(at).all():
        return None
    free = np.ones(at.size, bool)
    signs = np.zeros(at.size)
    if l1:
        signs[:penalised] = np.sign(at[:penalised])
        free[:penalised] = signs[:penalised] != 0.0
    if not free.any():
        return None
    at = at.copy()
    for _ in range(_STEPS):
        slopes = (model.jac(at) + l1 * signs)[free]
        size = float(np.abs(slopes).max())
        hessian = model.hess(at)[np.ix_(free, free)]
        # Of softmax the classes may be moved together: the least of all steps is taken.
        try:
            values, vectors = np.linalg.eigh(hessian)
        except np.linalg.LinAlgError:
            return None
        largest = float(values[-1])
        if not largest > 0.0 or values[0] < -1e-9 * largest:
            return None
        seen = values > 1e-12 * largest
        step = vectors[:, seen] @ ((vectors[:, seen].T @ slopes) / values[seen])
        moved = at.copy()
        moved[free] -= step
        after = (model.jac(moved) + l1 * signs)[free]
        if not float(np.abs(after).max()) < size:
            return at if size <= tol else None
        if l1 and (np.sign(moved[:penalised]) != signs[:penalised]).any():
            return None
        at = moved
    return at


def as_started(model: LinearObjective, constant: Any) -> np.ndarray:
    """Coefficients of 0 and an intercept."""
    start = model.start.copy()
    if model.intercept:
        start[int(np.prod(model.shape)) :] = np.ravel(constant)
    return start
