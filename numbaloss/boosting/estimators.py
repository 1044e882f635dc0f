"""Estimators of scikit-learn's kind that own start, link, weights and classes of a loss."""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError(
        'estimators need scikit-learn: python -m pip install "scikit-learn>=1.5"'
    ) from error

from ..core import links
from ..core.intervals import Interval
from ..core.loss import domain
from ..structures.softmax import Softmax
from .derivatives import refuse_other_than_margins
from .devices import on_host


class Boosted(BaseEstimator):
    """A booster that learns by a loss. Subclasses know the library."""

    def __init__(self, loss: Any, *, hessian: str | float = "auto", **options: Any) -> None:
        self.loss = loss
        self.hessian = hessian
        self._options = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)

    # What a library does its own way.

    def _model(self, options: dict[str, Any], classes: int) -> Any:
        """Its model, with this objective."""
        raise NotImplementedError

    def _train(self, x: Any, y: np.ndarray, weight: Any, evaluation: Any, rest: Any) -> None:
        """Fit ``model_``."""
        raise NotImplementedError

    def _margin(self, x: Any, rest: dict[str, Any]) -> np.ndarray:
        """Margins, the start included."""
        raise NotImplementedError

    # Parameters, those of the loss among them.

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters: loss, hessian, the library's, and with ``deep`` those of the loss."""
        found = {"loss": self.loss, "hessian": self.hessian}
        found |= {name: getattr(self, name) for name in self._options}
        if deep and hasattr(self.loss, "parameters"):
            found |= {
                f"loss__{one.name}": value
                for one, value in zip(self.loss.parameters(), self.loss.values())
            }
        return found

    def set_params(self, **params: Any) -> Any:
        """Set parameters; ``loss__delta=2.0`` makes another loss."""
        inner = {
            name.removeprefix("loss__"): params.pop(name)
            for name in list(params)
            if name.startswith("loss__")
        }
        for name, value in params.items():
            if name not in ("loss", "hessian") and name not in self._options:
                self._options = (*self._options, name)
            setattr(self, name, value)
        if inner:
            self.loss = self.loss.replace(**inner)
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    # Fitting and predicting.

    def _fitted(
        self, x: Any, y: np.ndarray, sample_weight: Any, classes: int, rest: dict[str, Any]
    ) -> Any:
        loss = self.loss
        wanted = {"classes": classes} if isinstance(loss, Softmax) else {}
        self.start_ = loss.best_constant(y, sample_weight, **wanted)
        options = {name: getattr(self, name) for name in self._options}
        self.model_ = self._model(options, classes)
        evaluation = rest.pop("eval_set", None)
        if evaluation is not None:
            evaluation = [(one, self._encoded(target)) for one, target in evaluation]
        self._train(x, y, sample_weight, evaluation, rest)
        if hasattr(x, "shape"):
            self.n_features_in_ = x.shape[1]
        return self

    def _encoded(self, y: Any) -> np.ndarray:
        return np.asarray(on_host(y))

    def _starts(self, count: int) -> np.ndarray:
        """The start of each sample."""
        shape = (count, *np.shape(self.start_))
        return np.ascontiguousarray(np.broadcast_to(np.asarray(self.start_), shape))

    def margin(self, X: Any, **rest: Any) -> np.ndarray:
        """What the loss takes for its predictions: logits, logarithms of means.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes
        **rest
            What the library's own ``predict`` takes.

        Returns
        -------
        array of shape (n,), or (n, C)
        """
        check_is_fitted(self, "model_")
        return self._margin(X, rest)


class BoostedRegressor(RegressorMixin, Boosted):
    """Predicts means: the loss's inverse link of what the trees say."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **rest: Any) -> Any:
        """Learn, from the best constant on.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes
        y : array of shape (n,), or (n, C) where the library has several outputs
        sample_weight : array of shape (n,), optional
            Weights >= 0, applied once, to gradients, hessians and the start.
        **rest
            What the library's own ``fit`` takes; ``eval_set`` is a list of pairs (X, y).

        Returns
        -------
        the estimator
        """
        refuse_other_than_margins(self.loss)
        if isinstance(self.loss, Softmax):
            raise TypeError(f"{self.loss!r} is a loss of classes: take the Classifier")
        return self._fitted(X, np.asarray(on_host(y)), on_host(sample_weight), 1, rest)

    def predict(self, X: Any, **rest: Any) -> np.ndarray:
        """Means (medians, quantiles), not logarithms or logits.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes

        Returns
        -------
        array of shape (n,), or (n, C)
        """
        found: np.ndarray = self.loss.inverse_link(self.margin(X, **rest))
        return found


class BoostedClassifier(ClassifierMixin, Boosted):
    """Predicts classes, whatever their labels are."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **rest: Any) -> Any:
        """Learn, from the best constant on.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes
        y : array of shape (n,)
            Labels of any kind, texts too; two of them for binary losses.
        sample_weight : array of shape (n,), optional
            Weights >= 0, applied once, to gradients, hessians and the start.
        **rest
            What the library's own ``fit`` takes; ``eval_set`` is a list of pairs (X, y).

        Returns
        -------
        the estimator
        """
        refuse_other_than_margins(self.loss)
        self.classes_ = np.unique(np.asarray(on_host(y)))
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"y has one class alone, {self.classes_[0]!r}; expected two or more")
        if not isinstance(self.loss, Softmax):
            of = domain(self.loss.target_domain)
            if not of.binary and (of.low, of.high) not in ((0.0, 1.0), (-1.0, 1.0)):
                raise TypeError(f"{self.loss!r} is no loss of classes: take the Regressor")
            if count != 2:
                raise ValueError(
                    f"y has {count} classes; {self.loss!r} is for two: take a loss of classes, "
                    f"numbaloss.CrossEntropy() for instance"
                )
        return self._fitted(X, self._encoded(y), on_host(sample_weight), count, rest)

    def _encoded(self, y: Any) -> np.ndarray:
        given = np.asarray(on_host(y))
        place = np.searchsorted(self.classes_, given)
        place = np.minimum(place, len(self.classes_) - 1)
        unknown = self.classes_[place] != given
        if unknown.any():
            raise ValueError(f"{given[unknown][0]!r} is none of the classes {self.classes_}")
        if isinstance(self.loss, Softmax):
            return place
        ends: Interval = domain(self.loss.target_domain)
        return np.where(place == 1, ends.high, ends.low)

    def decision_function(self, X: Any, **rest: Any) -> np.ndarray:
        """Margins: above 0 for the second of two classes.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes

        Returns
        -------
        array of shape (n,), or (n, C)
        """
        return self.margin(X, **rest)

    def predict(self, X: Any, **rest: Any) -> np.ndarray:
        """Labels of the likeliest classes.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes

        Returns
        -------
        array of shape (n,)
        """
        margin = self.margin(X, **rest)
        place = margin.argmax(axis=1) if margin.ndim == 2 else (margin > 0.0).astype(int)
        found: np.ndarray = self.classes_[place]
        return found

    def predict_proba(self, X: Any, **rest: Any) -> np.ndarray:
        """Probabilities of the classes, in the order of ``classes_``; rows sum to 1.

        They are those of the loss's link. Focal losses push them towards a half.

        Parameters
        ----------
        X : array of shape (n, features), or what else the library takes

        Returns
        -------
        array of shape (n, C)

        Raises
        ------
        ValueError
            For losses whose margins are no probabilities: hinges.
        """
        loss = self.loss
        rows = isinstance(loss, Softmax)
        known = loss.link_function == "softmax" if rows else (
            links.LINKS[loss.link_function].of_probability
        )  # fmt: skip
        if not known:
            raise ValueError(f"margins of {loss!r} are no probabilities; predict gives classes")
        found = loss.inverse_link(np.asarray(self.margin(X, **rest), np.float64))
        return found if rows else np.column_stack([1.0 - found, found])
