"""Linear models that are fitted to any loss."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..core.links import LINKS
from ..core.loss import Loss, domain
from ..registry import get
from ..scipy.objective import LinearObjective
from .scoring import encoded, takes_probabilities
from .solver import as_started, minimum


class _Linear(BaseEstimator):
    """What both models share: parameters, and the fit."""

    loss: Any

    def __init__(
        self,
        loss: Loss | str = "squared_error",
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-8,
    ) -> None:
        self.loss, self.l1, self.l2 = loss, l1, l2
        self.fit_intercept, self.max_iter, self.tol = fit_intercept, max_iter, tol

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters, with ``deep`` those of the loss too, as ``loss__delta``."""
        found: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            try:
                loss = _made(self.loss)
            except (TypeError, ValueError):  # which `fit` will tell
                return found
            names = [parameter.name for parameter in loss.parameters()]
            found |= {f"loss__{name}": value for name, value in zip(names, loss.values())}
        return found

    def set_params(self, **params: Any) -> Any:
        """Set parameters, those of the loss by ``loss__delta=2.0``: which makes another loss."""
        of_loss = {
            name.removeprefix("loss__"): params.pop(name)
            for name in [*params]
            if name.startswith("loss__")
        }
        super().set_params(**params)
        if of_loss:
            self.loss = _made(self.loss).replace(**of_loss)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _fit(self, X: Any, y: np.ndarray, sample_weight: Any, loss: Any, classes: Any) -> Any:
        for name in ("l1", "l2"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be in [0, inf), not {getattr(self, name)}")
        # Of several models beside one another the mean is over all of them.
        models = y.shape[1] if y.ndim == 2 else 1
        model = LinearObjective(
            loss,
            X,
            y,
            self.l2 / models,
            sample_weight,
            "weighted_mean",
            self.fit_intercept,
            classes,
        )
        constant = loss.best_constant(y, sample_weight) if self.fit_intercept else 0.0
        start, l1 = as_started(model, constant), self.l1 / models
        at, self.n_iter_, converged = minimum(model, start, l1, self.max_iter, self.tol)
        if not converged:
            warnings.warn(
                f"{loss!r} has no gradient below tol={self.tol} after {self.n_iter_} iterations: "
                f"raise max_iter, scale the features, or take a loss without kinks",
                ConvergenceWarning,
                stacklevel=3,
            )
        W, b = model.split(at)
        self._loss = loss
        self.coef_, self.intercept_ = W.T.copy(), b.copy() if b.ndim else float(b)
        return self

    def _margins(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_)


def _made(loss: Any) -> Any:
    if isinstance(loss, str):
        return get(loss)
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a loss of numbaloss or the name of one, not {loss!r}")
    return loss


class LinearRegressor(RegressorMixin, _Linear):
    r"""A linear model of numbers, fitted to any elementwise loss.

    .. math:: \min_{w, b} \frac{\sum_i s_i\, \ell(x_i w + b,\ y_i)}{\sum_i s_i}
              + l_1 \lVert w \rVert_1 + \tfrac{1}{2} l_2 \lVert w \rVert_2^2

    Parameters
    ----------
    loss : elementwise loss, or its name
        ``loss__delta`` in ``set_params`` and ``GridSearchCV`` is its parameter ``delta``.
    l1, l2 : float >= 0
        Of the penalties, in units of the loss.
    fit_intercept : bool
        Whether there is a b, which is not penalised.
    max_iter : int
        Of L-BFGS, which Newton's steps follow.
    tol : float
        The largest element of a gradient that is taken for 0.

    Attributes
    ----------
    coef_ : array of shape (n_features,)
    intercept_ : float
    n_iter_ : int

    Notes
    -----
    ``predict`` gives means: of ``Poisson``, ``Gamma`` and ``Tweedie`` the exponential of the linear
    function. scikit-learn's ``Ridge(alpha)`` is ``SquaredError`` with ``l2=2 * alpha / n``,
    ``Lasso(alpha)`` ``l1=2 * alpha``, ``PoissonRegressor(alpha)`` ``Poisson`` with ``l2=alpha``.
    Losses with kinks, ``AbsoluteError`` and ``Quantile``, are minimised as far as L-BFGS gets.

    Examples
    --------
    >>> import numbaloss as nl
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0]
    >>> LinearRegressor(nl.Huber(0.5)).fit(X, y).predict([[4.0]]).round(3).tolist()
    [9.0]
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegressor:
        """Fit the model to features (n, F), dense or sparse, and targets (n,)."""
        loss = _made(self.loss)
        if loss.contract.name != "elementwise":
            raise TypeError(f"LinearRegressor takes an elementwise loss, not {loss!r}")
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=np.float64, y_numeric=True
        )  # fmt: skip
        y = np.asarray(y, np.float64)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        return self._fit(X, y, sample_weight, loss, None)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> np.ndarray:
        """Means: the inverse link of the linear function."""
        margins = self._margins(X)
        return self._loss.inverse_link(margins)  # type: ignore[no-any-return]


def _has_probabilities(self: Any) -> bool:
    loss = _made(self.loss)
    if loss.contract.name == "elementwise" and not LINKS[loss.link_function].of_probability:
        raise AttributeError(f"{loss!r} has no probabilities")
    return True


class LinearClassifier(ClassifierMixin, _Linear):
    r"""A linear model of classes, fitted to any loss of them.

    .. math:: \min_{W, b} \frac{\sum_i s_i\, \ell(x_i W + b,\ y_i)}{\sum_i s_i}
              + l_1 \lVert W \rVert_1 + \tfrac{1}{2} l_2 \lVert W \rVert_2^2

    Parameters
    ----------
    loss : loss of logits, or its name
        One of rows, such as ``CrossEntropy``, for any number of classes; or a binary one, such as
        ``BinaryCrossEntropy``, ``Focal`` and ``Hinge``: of more than two classes, one model
        against the rest for each. ``loss__gamma`` in ``set_params`` and ``GridSearchCV`` is its
        parameter ``gamma``.
    l1, l2, fit_intercept, max_iter, tol
        As in :class:`LinearRegressor`.

    Attributes
    ----------
    classes_ : array
        The labels, of any kind, sorted.
    coef_ : array of shape (n_features,), or (n_classes, n_features)
        Of a binary loss with two classes, the one model of the second class; else one a class.
    intercept_ : float, or array of shape (n_classes,)
    n_iter_ : int

    Notes
    -----
    scikit-learn's ``LogisticRegression(C)`` is ``CrossEntropy``, or of two classes
    ``BinaryCrossEntropy``, with ``l2=1 / (C * n)``. ``predict_proba`` is the softmax, or of
    binary losses the inverse link, of several classes divided by its sum.

    Examples
    --------
    >>> import numbaloss as nl
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"]
    >>> model = LinearClassifier(nl.Focal(), l2=0.01).fit(X, y)
    >>> model.predict([[-1.0], [4.0]]).tolist()
    ['no', 'yes']
    """

    def __init__(
        self,
        loss: Loss | str = "cross_entropy",
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-8,
    ) -> None:
        super().__init__(
            loss, l1=l1, l2=l2, fit_intercept=fit_intercept, max_iter=max_iter, tol=tol
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearClassifier:
        """Fit the model to features (n, F), dense or sparse, and labels (n,) of any kind."""
        loss = _made(self.loss)
        if loss.contract.name not in ("elementwise", "rows") or takes_probabilities(loss):
            raise TypeError(f"LinearClassifier takes a loss of logits, not {loss!r}")
        if not loss.contract.of_classes and domain(loss.target_domain).high != 1.0:
            raise TypeError(f"LinearClassifier takes a loss of classes, not {loss!r}")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y has one class, {self.classes_[0]!r}; a classifier needs two")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if loss.contract.of_classes:
            return self._fit(X, numbers, sample_weight, loss, count)  # type: ignore[no-any-return]
        if count > 2:
            numbers = (numbers[:, None] == np.arange(count)).astype(np.int64)
        target = encoded(loss, numbers)
        return self._fit(X, target, sample_weight, loss, None)  # type: ignore[no-any-return]

    def decision_function(self, X: Any) -> np.ndarray:
        """Margins: of two classes those of the second, (n,); else one a class, (n, C)."""
        margins = self._margins(X)
        two = len(self.classes_) == 2 and margins.ndim == 2
        return margins[:, 1] - margins[:, 0] if two else margins

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest labels."""
        margins = self.decision_function(X)
        found = (margins > 0.0).astype(int) if margins.ndim == 1 else margins.argmax(axis=1)
        return np.asarray(self.classes_[found])

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, (n, C)."""
        margins = self._margins(X)
        found = self._loss.inverse_link(margins)
        if found.ndim == 1:
            return np.stack([1.0 - found, found], axis=1)
        if not self._loss.contract.of_classes:
            found = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)
        return np.asarray(found)
