"""Losses as scorers: for ``GridSearchCV``, ``cross_val_score`` and their like."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..core.links import LINKS
from ..core.loss import Loss

_METHODS = ("predict", "predict_proba", "decision_function")


def scorer(loss: Loss, response_method: str | None = None) -> LossScorer:
    """A loss as a scorer: ``GridSearchCV(model, grid, scoring=scorer(numbaloss.Huber()))``.

    Parameters
    ----------
    loss : loss
        An elementwise loss, or one of rows (softmax) for classifiers.
    response_method : {None, "predict", "predict_proba", "decision_function"}
        What of the estimator is scored. None: of classifiers ``predict_proba`` where it has that
        and the loss has probabilities, else ``decision_function``; of others ``predict``.

    Returns
    -------
    LossScorer
        ``scorer(estimator, X, y, sample_weight=None)`` gives minus the weighted mean of the loss:
        greater is better. ``set_score_request(sample_weight=True)`` has weights routed to it.

    Notes
    -----
    Losses that take logits or logarithms get them: probabilities and means go through
    ``loss.link``, probabilities no nearer to 0 and 1 than the rounding of their dtype, as in
    scikit-learn's ``log_loss``. What ``decision_function`` returns is taken for logits, of two
    classes for those of the second. Labels of any kind are numbered by ``estimator.classes_``.

    Examples
    --------
    >>> import numbaloss as nl
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"]
    >>> model = LogisticRegression().fit(X, y)
    >>> round(scorer(nl.CrossEntropy())(model, X, y), 4)
    -0.3476
    """
    return LossScorer(loss, response_method)


class LossScorer(BaseEstimator):
    """What :func:`scorer` returns: it can be pickled, and asked for weights."""

    def __init__(self, loss: Any, response_method: str | None = None) -> None:
        structure = getattr(getattr(loss, "contract", None), "name", None)
        if structure not in ("elementwise", "rows"):
            raise TypeError(f"scorer takes a loss of numbers or of rows (softmax), not {loss!r}")
        if response_method is not None and response_method not in _METHODS:
            raise ValueError(
                f"response_method must be None or one of {', '.join(_METHODS)}, not "
                f"{response_method!r}"
            )
        self.loss, self.response_method = loss, response_method

    def __repr__(self) -> str:
        return f"scorer({self.loss!r}, response_method={self.response_method!r})"

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        return self.score(estimator, X, y, sample_weight)

    def score(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Minus the weighted mean of the loss."""
        prediction, target = self._arrays(estimator, X, y)
        reduction = "mean" if sample_weight is None else "weighted_mean"
        weight = None if sample_weight is None else np.asarray(sample_weight)
        value = self.loss(prediction, target, sample_weight=weight, reduction=reduction)
        return -float(value)

    def _arrays(self, estimator: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        classes = getattr(estimator, "classes_", None)
        method = self.response_method or _method(self.loss, estimator, classes)
        response = np.asarray(getattr(estimator, method)(X))
        if response.dtype.kind != "f":
            response = response.astype(np.float64)
        if classes is None or method == "predict":
            if self.loss.contract.of_classes:
                raise ValueError(
                    f"{self.loss!r} scores classifiers, by predict_proba or decision_function; "
                    f"{type(estimator).__name__} gives {method}"
                )
            return _margin(self.loss, response, method), np.asarray(y)
        return _of_classes(self.loss, response, method), _numbered(self.loss, y, classes)


def _method(loss: Any, estimator: Any, classes: Any) -> str:
    if classes is None:
        return "predict"
    probable = loss.contract.of_classes or _of_probability(loss)
    for method in ("predict_proba", "decision_function") if probable else _METHODS[:0:-1]:
        if hasattr(estimator, method):
            return method
    return "predict"


def _of_probability(loss: Any) -> bool:
    """Whether a loss of two classes has probabilities: its predictions, or by its link."""
    if takes_probabilities(loss):
        return True
    return LINKS[loss.link_function].of_probability and loss.link_function != "margin"


def takes_probabilities(loss: Any) -> bool:
    """Whether predictions of a loss are probabilities, not logits."""
    if loss.contract.of_classes:
        return not loss.takes_logits
    return str(loss.prediction_domain) == "[0, 1]"


def _margin(loss: Any, response: np.ndarray, method: str) -> np.ndarray:
    """What a loss takes, of what an estimator gives."""
    if method == "decision_function":
        if not takes_probabilities(loss):
            return response
        # Of losses of probabilities the link is the identity.
        return LINKS["logit"].mean(response)
    if method == "predict_proba":
        least = np.finfo(response.dtype).eps
        response = np.clip(response, least, 1.0 - least)
    found: np.ndarray = loss.link(response)
    return found


def _of_classes(loss: Any, response: np.ndarray, method: str) -> np.ndarray:
    if not loss.contract.of_classes:
        if response.ndim == 2:
            if response.shape[1] != 2:
                raise ValueError(
                    f"{loss!r} takes two classes, not {response.shape[1]}; CrossEntropy and its "
                    f"family take as many as there are"
                )
            response = response[:, 1]
        return _margin(loss, response, method)
    if response.ndim == 1:
        response = np.stack([np.zeros_like(response), response], axis=1)
    if method == "decision_function" and takes_probabilities(loss):
        power = np.exp(response - response.max(axis=1, keepdims=True))
        return np.asarray(power / power.sum(axis=1, keepdims=True))
    if method == "decision_function" or takes_probabilities(loss):
        return response
    return _margin(loss, response, method)


def _numbered(loss: Any, y: Any, classes: Any) -> np.ndarray:
    """Labels as losses take them: numbers of classes, or -1 and 1."""
    y, classes = np.asarray(y), np.asarray(classes)
    found = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    if y.ndim != 1 or (classes[found] != y).any():
        unknown = sorted(set(np.ravel(y).tolist()) - set(classes.tolist()), key=str)
        raise ValueError(
            f"y has labels that the estimator was not fitted with: {unknown[:5]}"
            if unknown
            else f"y must have one dimension, not {y.ndim}"
        )
    return encoded(loss, found)


def encoded(loss: Any, number: np.ndarray) -> np.ndarray:
    """Numbers of classes as targets of a loss."""
    if loss.contract.of_classes:
        return number
    recoding = loss.recoding()
    return 2 * number - 1 if recoding is not None and recoding.signed else number
