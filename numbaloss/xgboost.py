"""Losses as objectives and metrics of XGBoost, and estimators that learn by a loss.

>>> import numbaloss as nl
>>> from numbaloss.xgboost import objective
>>> objective(nl.Huber(delta=2.0))
Native(Huber(delta=2.0), hessian='auto')
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import xgboost
except ImportError as error:
    raise ImportError(
        'XGBoost is not installed: python -m pip install "numbaloss[xgboost]"'
    ) from error

from .boosting.devices import beside, on_host
from .boosting.doctor import Report, examine
from .boosting.documentation import documented
from .boosting.estimators import BoostedClassifier, BoostedRegressor
from .boosting.objectives import Metric, Objective
from .structures.softmax import Softmax

__all__ = [
    "Classifier", "Regressor", "check", "metric", "objective", "params", "sklearn_objective",
]  # fmt: skip

# Whether each class and each output can start from a number of its own.
_ROW_OF_STARTS = tuple(int(one) for one in xgboost.__version__.split(".")[:2]) >= (3, 1)
# Objectives of XGBoost with the same link, so that its own predict inverts it. "reg:gamma" and
# not "count:poisson", which would bound the steps too.
_TWINS = {"identity": "reg:squarederror", "log": "reg:gamma", "logit": "binary:logistic"}


def objective(loss: Any, hessian: str | float = "auto") -> Native:
    """An objective for ``xgboost.train(..., obj=)``.

    It takes weights of the DMatrix into account, once; QuantileDMatrix, several outputs, and
    training on a GPU work. XGBoost hands over predictions on the host up to 3.2, wherever it
    trains; where they come as arrays of CuPy (from a version that keeps them there, or to a round
    of one's own, ``booster.boost(dtrain, iteration, grad=, hess=)``), all is computed on the GPU,
    and gradient and hessian are CuPy's. Give :func:`params` to ``train`` too.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins.
    hessian : str or float
        See :func:`numbaloss.boosting.derivatives`; ``"library"`` grows the trees of XGBoost's own
        objective of the same loss.

    Returns
    -------
    callable of (margins, DMatrix), which pickles
    """
    return Native(loss, hessian)


def sklearn_objective(loss: Any, hessian: str | float = "auto") -> SklearnObjective:
    """An objective for ``xgboost.XGBRegressor(objective=)`` and its siblings.

    Parameters as in :func:`objective`. The start is XGBoost's, and predictions are margins: take
    :class:`Regressor` and :class:`Classifier`, or give it ``base_score``.

    Returns
    -------
    callable of (target, margins, sample_weight), which pickles
    """
    return SklearnObjective(loss, hessian)


@documented(
    "metric", place="``xgboost.train(..., custom_metric=)``", library="XGBoost",
    arguments="(predictions, DMatrix)",
)  # fmt: skip
def metric(loss: Any, predictions: str = "margin") -> NativeMetric:
    return NativeMetric(loss, predictions)


def params(
    loss: Any, y: Any, sample_weight: Any = None, *, classes: int | None = None
) -> dict[str, Any]:
    """Parameters for ``xgboost.train`` beside :func:`objective`: the start, and the link.

    ``base_score`` is the best constant, and ``objective`` one of XGBoost's with the loss's link,
    whose gradients nobody takes: ``Booster.predict`` gives means and probabilities, a saved model's
    too. Losses without such a twin (``Exponential``, squared hinges) have margins as they are.

    Parameters
    ----------
    loss : Elementwise or Softmax
    y : array of shape (n,) or (n, C)
        The targets.
    sample_weight : array of shape (n,), optional
    classes : int, optional
        How many classes there are, if not one more than the largest label.

    Returns
    -------
    dict
        For losses of classes it has ``num_class``. XGBoost before 3.1 starts all classes, and all
        outputs, from one number: there they start from 0, and :class:`Classifier` starts them where
        they should.
    """
    found: dict[str, Any] = {"disable_default_eval_metric": True}
    y, sample_weight = on_host(y), on_host(sample_weight)
    if isinstance(loss, Softmax):
        start = loss.best_constant(y, sample_weight, classes=classes)
        twin = "multi:softprob" if loss.link_function == "softmax" else "reg:squarederror"
        rows = [float(one) for one in start] if _ROW_OF_STARTS else 0.5
        found |= {"objective": twin, "num_class": len(start), "base_score": rows}
        return found
    link = loss.link_function if loss.link_function in _TWINS else "identity"
    start = loss.best_constant(y, sample_weight)
    found["objective"] = _TWINS[link]
    # What XGBoost takes for its start is a mean.
    mean = np.asarray(start if link == "identity" else loss.inverse_link(start), np.float64)
    mean = np.clip(mean, 1e-7, 1 - 1e-7) if link == "logit" else mean
    if _ROW_OF_STARTS or not mean.ndim:
        found["base_score"] = mean.tolist()
    return found


@documented("check", data="DMatrix", argument="dtrain : xgboost.DMatrix or QuantileDMatrix")
def check(
    loss: Any, dtrain: Any, hessian: str | float = "auto", *, min_child_weight: float = 1.0
) -> Report:
    """
    Parameters
    ----------
    min_child_weight : float
        That of the training: the least sum of hessians of a leaf.
    """
    return examine(
        Native(loss, hessian), on_host(dtrain.get_label()), on_host(_or_none(dtrain.get_weight())),
        min_child_weight, "min_child_weight", rows=dtrain.num_row(),
    )  # fmt: skip


class Native(Objective):
    """What :func:`objective` returns."""

    library = "xgboost"

    def __call__(self, prediction: Any, dtrain: Any) -> tuple[np.ndarray, np.ndarray]:
        weight = _or_none(dtrain.get_weight())
        prediction, target, weight = beside(prediction, dtrain.get_label(), weight)
        return self.derivatives(prediction, target, weight, total=_total())


class SklearnObjective(Objective):
    """What :func:`sklearn_objective` returns."""

    library = "xgboost"

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        prediction, target, weight = beside(y_pred, y_true, sample_weight)
        return self.derivatives(prediction, target, weight, total=_total())


class NativeMetric(Metric):
    """What :func:`metric` returns."""

    def __call__(self, prediction: Any, dmatrix: Any) -> tuple[str, float]:
        weight = _or_none(dmatrix.get_weight())
        return self.__name__, self.value(prediction, dmatrix.get_label(), weight)


class SklearnMetric(Metric):
    """A metric for ``eval_metric`` of XGBoost's estimators: (target, predictions) to a number."""

    def __call__(self, y_true: Any, y_score: Any, sample_weight: Any = None) -> float:
        return self.value(y_score, y_true, sample_weight)


def _or_none(weight: np.ndarray) -> np.ndarray | None:
    return weight if weight.size else None


def _total() -> Any:
    """What adds sums over the workers of a distributed training; None where there is one."""
    collective = xgboost.collective
    if not collective.is_distributed():
        return None
    return lambda sums: collective.allreduce(sums, collective.Op.SUM)


class _Estimator:
    loss: Any
    hessian: Any
    model_: Any

    def _model(self, options: dict[str, Any], classes: int) -> Any:
        # Its own metric, that of the squared error, cannot read rows of classes.
        metric = {"eval_metric": SklearnMetric(self.loss), "disable_default_eval_metric": True}
        options = metric | options
        more: dict[str, Any] = {"num_class": classes} if isinstance(self.loss, Softmax) else {}
        start = self.start_  # type: ignore[attr-defined]
        # A row of starts is given sample by sample: older versions know one number.
        more["base_score"] = float(start) if np.ndim(start) == 0 else 0.0
        more["objective"] = SklearnObjective(self.loss, self.hessian)
        return xgboost.XGBRegressor(**(options | more))

    def _train(self, x: Any, y: np.ndarray, weight: Any, evaluation: Any, rest: Any) -> None:
        if np.ndim(self.start_):  # type: ignore[attr-defined]
            rest["base_margin"] = self._starts(len(y))  # type: ignore[attr-defined]
            if evaluation is not None:
                rest["base_margin_eval_set"] = [
                    self._starts(len(one[1]))  # type: ignore[attr-defined]
                    for one in evaluation
                ]
        rest.setdefault("verbose", False)
        self.model_.fit(x, y, sample_weight=weight, eval_set=evaluation, **rest)

    def _margin(self, x: Any, rest: dict[str, Any]) -> np.ndarray:
        if np.ndim(self.start_):  # type: ignore[attr-defined]
            rest["base_margin"] = self._starts(np.shape(x)[0])  # type: ignore[attr-defined]
        found: np.ndarray = self.model_.predict(x, output_margin=True, **rest)
        return found


_OWN = {
    "library": "XGBoost",
    "options": "Those of ``xgboost.XGBRegressor``, but for objective, base_score and num_class.",
    "model": "xgboost.XGBRegressor\n    The fitted model; it predicts margins.",
}


@documented("regressor", **_OWN)
class Regressor(_Estimator, BoostedRegressor):
    """
    Examples
    --------
    >>> import numpy as np
    >>> import numbaloss as nl
    >>> from numbaloss.xgboost import Regressor
    >>> x = np.arange(20.0)[:, None]
    >>> model = Regressor(nl.AbsoluteError(), n_estimators=40, max_depth=2).fit(x, 3.0 * x[:, 0])
    >>> bool(abs(model.predict([[10.0]]) - 30.0).max() < 5.0)
    True
    """


@documented("classifier", **_OWN)
class Classifier(_Estimator, BoostedClassifier):
    pass
