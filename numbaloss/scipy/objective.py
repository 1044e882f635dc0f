"""The loss of a linear model as a function of its coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from ..core.loss import Loss
from ..structures.softmax import LogLikelihood

_NOTHING = np.empty(0)


def objective(
    loss: Loss,
    X: Any,
    y: Any,
    l2: float = 0.0,
    sample_weight: Any = None,
    *,
    reduction: str = "mean",
    intercept: bool = False,
    classes: int | None = None,
) -> LinearObjective:
    r"""The objective of a linear model, for ``scipy.optimize.minimize``.

    .. math:: f(W) = \mathrm{reduction}\, \ell(X W + b,\ y) + \tfrac{1}{2} l_2 \lVert W \rVert^2

    Parameters
    ----------
    loss : loss
        An elementwise loss, or one of rows (softmax).
    X : array or sparse matrix of shape (n, F)
        Features; computed in float64.
    y : array
        Targets, (n,) or (n, K) for K models beside one another; of losses of rows labels from 0
        to C - 1 of shape (n,), or dense targets (n, C).
    l2 : float >= 0
        Of the penalty, in units of the loss; the intercept b is not penalised.
    sample_weight : array of shape (n,), optional
        Weights >= 0.
    reduction : {"mean", "weighted_mean", "sum"}
        scikit-learn sums for ``LogisticRegression`` (``l2`` is 1 / C there) and ``Ridge``.
    intercept : bool
        Whether the last coefficient, or the last C of them, is b.
    classes : int, optional
        Of losses of rows; by default the largest label + 1.

    Returns
    -------
    LinearObjective
        Its ``fun``, ``jac``, ``hess`` and ``hessp`` take flat coefficients: W, of shape (F,) or
        (F, C), in C order, then b.

    Examples
    --------
    >>> import numbaloss as nl
    >>> from scipy.optimize import minimize
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> model = objective(nl.SquaredError(), X, y, intercept=True)
    >>> minimize(model.fun, model.start, jac=True).x.round(4).tolist()
    [2.0, 1.0]
    """
    return LinearObjective(loss, X, y, l2, sample_weight, reduction, intercept, classes)


class LinearObjective:
    """What :func:`objective` returns: a function of coefficients, with its derivatives.

    Attributes
    ----------
    start : array of float64
        Coefficients of 0.
    """

    def __init__(
        self,
        loss: Any,
        X: Any,
        y: Any,
        l2: float,
        sample_weight: Any,
        reduction: str,
        intercept: bool,
        classes: int | None,
    ) -> None:
        structure = getattr(getattr(loss, "contract", None), "name", None)
        if structure not in ("elementwise", "rows"):
            raise TypeError(
                f"a linear model takes a loss of numbers or of rows (softmax), not {loss!r}"
            )
        if reduction not in ("mean", "weighted_mean", "sum"):
            raise ValueError(f"reduction must be mean, weighted_mean or sum, not {reduction!r}")
        if not 0.0 <= l2 < np.inf:
            raise ValueError(f"l2 must be in [0, inf), not {l2}")
        self.loss, self.l2, self.reduction, self.intercept = loss, float(l2), reduction, intercept
        self.X: Any = X.tocsr() if scipy.sparse.issparse(X) else np.asarray(X)
        if self.X.dtype != np.float64:
            self.X = self.X.astype(np.float64)
        if self.X.ndim != 2:
            raise ValueError(f"X must have two dimensions, not {self.X.ndim}")
        self.y, self.sample_weight = np.asarray(y), sample_weight
        if len(self.y) != self.X.shape[0]:
            raise ValueError(f"X has {self.X.shape[0]} rows and y {len(self.y)}")
        self.rows = structure == "rows"
        # The shape of the predictions of a sample.
        self.outputs: tuple[int, ...] = self.y.shape[1:]
        if self.rows and self.y.ndim == 1:
            found = int(self.y.max(initial=0)) + 1 if classes is None else classes
            self.outputs = (found,)
        self.shape = (self.X.shape[1], *self.outputs)
        self.start = np.zeros((self.X.shape[1] + intercept) * int(np.prod(self.outputs)))
        self._at = _NOTHING
        self._curved_at = _NOTHING

    def split(self, coefficients: Any) -> tuple[np.ndarray, np.ndarray]:
        """W and b of flat coefficients, as views; b is 0 where there is none."""
        flat = np.asarray(coefficients, np.float64)
        if flat.shape != self.start.shape:
            raise ValueError(
                f"coefficients must have the shape {self.start.shape}, not {flat.shape}"
            )
        size = int(np.prod(self.shape))
        b = flat[size:].reshape(self.outputs) if self.intercept else np.zeros(self.outputs)
        return flat[:size].reshape(self.shape), b

    def predict(self, coefficients: Any) -> np.ndarray:
        """X W + b."""
        W, b = self.split(coefficients)
        return np.asarray(self.X @ W + b)

    def fun(self, coefficients: Any) -> tuple[float, np.ndarray]:
        """Value and gradient, for ``minimize(model.fun, model.start, jac=True)``."""
        if not np.array_equal(self._at, coefficients):
            W, _ = self.split(coefficients)
            value, slopes = self.loss.value_and_grad(
                self.predict(coefficients),
                self.y,
                sample_weight=self.sample_weight,
                reduction=self.reduction,
            )
            flat = self._back(slopes, W)
            value += 0.5 * self.l2 * float((W * W).sum())
            self._at, self._found = np.array(coefficients, np.float64), (float(value), flat)
        value, gradient = self._found
        return value, gradient.copy()

    def value(self, coefficients: Any) -> float:
        """The value alone, for ``minimize(model.value, model.start, jac=model.jac)``."""
        return self.fun(coefficients)[0]

    def jac(self, coefficients: Any) -> np.ndarray:
        """The gradient alone."""
        return self.fun(coefficients)[1]

    def hessp(self, coefficients: Any, direction: Any) -> np.ndarray:
        """The hessian times a direction.

        Exact for elementwise losses and for cross-entropy of logits without a z-loss; other
        losses of rows by central differences of the exact gradient, to some 9 digits.
        """
        V, c = self.split(direction)
        if self.rows and not self._is_log_likelihood():
            return self._differences(coefficients, np.asarray(direction, np.float64))
        moved = np.asarray(self.X @ V + c)
        h, p = self._curvature(coefficients)
        if self.rows:
            moved -= (p * moved).sum(axis=-1, keepdims=True)
            return self._back(h[:, None] * p * moved, V)
        return self._back(h * moved, V)

    def hess(self, coefficients: Any) -> np.ndarray:
        """The hessian, a square matrix as wide as there are coefficients."""
        if self.shape != (self.X.shape[1],):
            columns = [self.hessp(coefficients, unit) for unit in np.eye(self.start.size)]
            found = np.array(columns)
            return 0.5 * (found + found.T)
        h, _ = self._curvature(coefficients)
        X, F = self.X, self.X.shape[1]
        sparse = scipy.sparse.issparse(X)
        weighted = X.multiply(h[:, None]).tocsr() if sparse else X * h[:, None]
        square = X.T @ weighted
        square = square.toarray() if sparse else square
        square[np.diag_indices(F)] += self.l2
        if not self.intercept:
            return np.asarray(square)
        found = np.empty((F + 1, F + 1))
        found[:F, :F] = square
        found[:F, F] = found[F, :F] = np.asarray(weighted.sum(axis=0)).ravel()
        found[F, F] = h.sum()
        return found

    def _back(self, slopes: np.ndarray, W: np.ndarray) -> np.ndarray:
        """A function of predictions as one of coefficients, with the penalty's part of it."""
        of_W = np.asarray(self.X.T @ slopes) + self.l2 * W
        if not self.intercept:
            return of_W.ravel()
        return np.concatenate([of_W.ravel(), np.ravel(slopes.sum(axis=0))])

    def _is_log_likelihood(self) -> bool:
        return type(self.loss.lower()) is LogLikelihood

    def _curvature(self, coefficients: Any) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives by the predictions.

        Of rows: s and p, so that the hessian of a row is s (diag(p) - p p'). The library gives
        its diagonal with weights, divisor and temperature in it, and s by the sum of that.
        """
        if not np.array_equal(self._curved_at, coefficients):
            prediction = self.predict(coefficients)
            h = self.loss.hess(
                prediction, self.y, sample_weight=self.sample_weight, reduction=self.reduction
            )
            p = h
            if self.rows:
                scaled = prediction / self.loss.row_options().temperature
                scaled -= scaled.max(axis=-1, keepdims=True)
                p = np.exp(scaled)
                p /= p.sum(axis=-1, keepdims=True)
                mass = (p * (1.0 - p)).sum(axis=-1)
                h = h.sum(axis=-1) / np.where(mass > 0.0, mass, 1.0)
            self._curved_at = np.array(coefficients, np.float64)
            self._curves = h, p
        return self._curves

    def _differences(self, coefficients: Any, direction: np.ndarray) -> np.ndarray:
        at = np.asarray(coefficients, np.float64)
        size = float(np.abs(direction).max(initial=0.0))
        if size == 0.0:
            return np.zeros_like(direction)
        step = 6e-6 * max(1.0, float(np.abs(at).max(initial=0.0))) / size
        ahead, behind = self.jac(at + step * direction), self.jac(at - step * direction)
        return (ahead - behind) / (2.0 * step)
