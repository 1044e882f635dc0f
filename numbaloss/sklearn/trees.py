"""Losses for ``HistGradientBoostingRegressor`` and its classifier: an experiment.

scikit-learn takes objects for ``loss=``, of a class that it keeps for itself and may change with
any version: so this works with those that it was tried with, and says so where it meets another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sklearn

from ..boosting.objectives import Metric, Objective
from ..core import links
from ..core.intervals import Interval
from ..core.loss import domain
from ..structures.softmax import Softmax

KNOWN = ("1.6", "1.7", "1.8", "1.9")
_VERSION = ".".join(sklearn.__version__.split(".")[:2])

if _VERSION in KNOWN:
    from sklearn._loss.loss import BaseLoss
else:
    BaseLoss = object


def hist_gradient_boosting_loss(
    loss: Any, hessian: str | float = "auto", *, classes: int | None = None
) -> Any:
    """A loss for ``HistGradientBoostingRegressor(loss=)`` or ``HistGradientBoostingClassifier``.

    It owns start, weights and link, so that the estimators' own ``predict`` gives means, and
    ``predict_proba`` probabilities. Experimental: scikit-learn's side of it is private.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins. Those of numbers are for the regressor; those of two classes, and of
        rows, for the classifier.
    hessian : str or float
        See :func:`numbaloss.boosting.derivatives`.
    classes : int, optional
        How many classes there are, three or more: of losses of rows alone.

    Returns
    -------
    object of scikit-learn's ``BaseLoss``, which pickles and clones

    Raises
    ------
    RuntimeError
        For versions of scikit-learn that this was not tried with.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaloss as nl
    >>> from sklearn.ensemble import HistGradientBoostingRegressor
    >>> X = np.linspace(0.0, 1.0, 200)[:, None]
    >>> loss = hist_gradient_boosting_loss(nl.Huber(0.1))
    >>> model = HistGradientBoostingRegressor(loss=loss).fit(X, X[:, 0])
    >>> bool(abs(model.predict(X) - X[:, 0]).max() < 0.1)
    True
    """
    if _VERSION not in KNOWN:
        raise RuntimeError(
            f"hist_gradient_boosting_loss was tried with scikit-learn {', '.join(KNOWN)}, whose "
            f"private parts it needs, and this is {sklearn.__version__}: take "
            f"numbaloss.lightgbm.Regressor or Classifier, whose trees are of the same kind"
        )
    rows = isinstance(loss, Softmax)
    if rows and (classes is None or classes < 3):
        raise ValueError(
            f"{loss!r} has a margin a class: name their number, classes=3 or more; two classes "
            f"take a loss of one margin, numbaloss.BinaryCrossEntropy() for instance"
        )
    if not rows and classes is not None:
        raise ValueError(f"classes is for losses of rows, and not for {loss!r}")
    of: Interval = Interval() if rows else domain(loss.target_domain)
    labels = rows or of.binary or (of.low, of.high) in ((0.0, 1.0), (-1.0, 1.0))
    return (_OfClasses if labels else _OfNumbers)(loss, hessian, classes)


class _Link:
    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def inverse(self, margin: np.ndarray, out: Any = None) -> np.ndarray:
        """Means."""
        found: np.ndarray = self.loss.inverse_link(margin)
        return found


class _OfNumbers(BaseLoss):  # type: ignore[misc]
    """What the estimators ask of a loss. None of it is inherited: it is their test of a class."""

    differentiable = True  # leaves are not renewed
    need_update_leaves_values = False
    approx_hessian = True
    constant_hessian = False

    def __init__(self, loss: Any, hessian: str | float, classes: int | None) -> None:
        self.objective, self.metric = Objective(loss, hessian), Metric(loss)
        self.link, self.n_classes = _Link(loss), classes
        self.is_multiclass = classes is not None

    def __repr__(self) -> str:
        return f"hist_gradient_boosting_loss({self.objective.loss!r})"

    def _targets(self, y: np.ndarray) -> np.ndarray:
        return y

    def fit_intercept_only(self, y_true: Any, sample_weight: Any = None) -> np.ndarray:
        """The best constant margin."""
        more = {"classes": self.n_classes} if self.is_multiclass else {}
        start = self.objective.loss.best_constant(self._targets(y_true), sample_weight, **more)
        return np.atleast_1d(np.asarray(start, np.float64))

    def init_gradient_and_hessian(
        self, n_samples: int, dtype: Any = np.float64, order: Any = "F"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Arrays for both."""
        shape: Any = (n_samples, self.n_classes) if self.is_multiclass else (n_samples,)
        return np.empty(shape, dtype, order), np.empty(shape, dtype, order)

    def gradient_hessian(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any = None, gradient_out: Any = None,
        hessian_out: Any = None, n_threads: int = 1,
    ) -> tuple[Any, Any]:  # fmt: skip
        """Both, of margins of shape (n,), (n, 1) or (n, C)."""
        margin = raw_prediction if self.is_multiclass else raw_prediction.reshape(-1)
        gradient, hessian = self.objective.derivatives(
            margin, self._targets(y_true), sample_weight, order="F"
        )
        gradient_out[...], hessian_out[...] = gradient, hessian
        return gradient_out, hessian_out

    def __call__(
        self, y_true: Any, raw_prediction: Any, sample_weight: Any = None, n_threads: int = 1
    ) -> float:
        margin = raw_prediction if self.is_multiclass else raw_prediction.reshape(-1)
        return self.metric.value(margin, self._targets(y_true), sample_weight)


class _OfClasses(_OfNumbers):
    """The same of labels, which come as numbers from 0 on."""

    def _targets(self, y: np.ndarray) -> np.ndarray:
        if self.is_multiclass:
            return y
        ends = domain(self.objective.loss.target_domain)
        return np.where(y == 1.0, ends.high, ends.low)

    def predict_proba(self, raw_prediction: np.ndarray) -> np.ndarray:
        """Probabilities of the classes."""
        loss = self.objective.loss
        if self.is_multiclass:
            known = loss.link_function == "softmax"
        else:
            known = links.LINKS[loss.link_function].of_probability
        if not known:
            raise ValueError(f"margins of {loss!r} are no probabilities; predict gives classes")
        found = loss.inverse_link(raw_prediction)
        if self.is_multiclass:
            return found
        second = found.reshape(-1)
        return np.column_stack([1.0 - second, second])
