"""Losses as objectives and metrics of LightGBM, and estimators that learn by a loss.

>>> import numbaloss as nl
>>> from numbaloss.lightgbm import objective
>>> objective(nl.Huber(delta=2.0))
Native(Huber(delta=2.0), hessian='auto')
"""

from __future__ import annotations

import sys
from inspect import signature
from typing import Any

import numpy as np

try:
    import lightgbm
except ImportError as error:
    raise ImportError(
        'LightGBM is not installed: python -m pip install "numbaloss[lightgbm]"'
    ) from error

from .boosting.doctor import Report, examine
from .boosting.documentation import documented
from .boosting.estimators import BoostedClassifier, BoostedRegressor
from .boosting.objectives import Metric, Objective
from .structures.softmax import Softmax

__all__ = ["Classifier", "Regressor", "check", "metric", "objective", "sklearn_objective"]


def objective(loss: Any, hessian: str | float = "auto") -> Native:
    """An objective for ``lightgbm.train(params={"objective": ...})``.

    Weights of the Dataset are taken into account, once. LightGBM neither finds a start for an
    objective of one's own nor renews leaves for it: give the Dataset
    ``init_score=np.full(n, loss.best_constant(y))`` and add it to predictions, and keep
    ``hessian="auto"``, whose leaves need no renewal. Losses of C classes need ``num_class=C`` in
    the params.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins.
    hessian : str or float
        See :func:`numbaloss.boosting.derivatives`; ``"library"`` grows the trees of LightGBM's own
        objective of the same loss.

    Returns
    -------
    callable of (margins, Dataset), which pickles

    Notes
    -----
    Workers of Dask cannot add up hessians: there those of ``"secant"`` are left as they are, in
    units of the target, against which ``min_sum_hessian_in_leaf`` and ``lambda_l2`` count.
    """
    return Native(loss, hessian)


def sklearn_objective(loss: Any, hessian: str | float = "auto") -> SklearnObjective:
    """An objective for ``lightgbm.LGBMRegressor(objective=)`` and its siblings.

    Parameters as in :func:`objective`. Predictions are margins, and lack the start: take
    :class:`Regressor` and :class:`Classifier`.

    Returns
    -------
    callable of (target, margins, weight), which pickles
    """
    return SklearnObjective(loss, hessian)


@documented(
    "metric", place="``lightgbm.train(..., feval=)``", library="LightGBM",
    arguments="(predictions, Dataset)",
)  # fmt: skip
def metric(loss: Any, predictions: str = "margin") -> NativeMetric:
    return NativeMetric(loss, predictions)


@documented("check", data="Dataset", argument="dataset : lightgbm.Dataset")
def check(
    loss: Any,
    dataset: Any,
    hessian: str | float = "auto",
    *,
    min_sum_hessian_in_leaf: float = 1e-3,
) -> Report:
    """
    Parameters
    ----------
    min_sum_hessian_in_leaf : float
        That of the training: the least sum of hessians of a leaf.
    """
    dataset.construct()
    return examine(
        Native(loss, hessian), dataset.get_label(), dataset.get_weight(), min_sum_hessian_in_leaf,
        "min_sum_hessian_in_leaf", rows=dataset.num_data(),
    )  # fmt: skip


class Native(Objective):
    """What :func:`objective` returns."""

    library = "lightgbm"

    def __call__(self, prediction: Any, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
        return _of(self, prediction, dataset.get_label(), dataset.get_weight())


class SklearnObjective(Objective):
    """What :func:`sklearn_objective` returns."""

    library = "lightgbm"

    # LightGBM counts the parameters: three of them get the weights.
    def __call__(self, y_true: Any, y_pred: Any, weight: Any) -> tuple[np.ndarray, np.ndarray]:
        return _of(self, y_pred, y_true, weight)


def _of(
    objective: Objective, prediction: Any, target: Any, weight: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of LightGBM's margins, in the layout and dtype that it takes without a copy.

    Margins of classes lie class by class, in a buffer that it uses again.
    """
    prediction = np.asarray(prediction)
    loss = objective.loss
    if isinstance(loss, Softmax) and prediction.ndim == 1:
        raise ValueError(f"{loss!r} has a margin a class: give LightGBM num_class")
    return objective.derivatives(
        prediction, np.asarray(target), None if weight is None else np.asarray(weight), order="F",
        total=_as_they_are if _is_worker() else None,
    )  # fmt: skip


def _is_worker() -> bool:
    """Whether this is a worker of Dask: LightGBM tells nobody that it trains with others."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def _as_they_are(sums: np.ndarray) -> np.ndarray:
    """Sums that leave derivatives as they are: nobody can add them over LightGBM's workers, and
    each of them would multiply by another number."""
    return np.ones_like(sums)


class NativeMetric(Metric):
    """What :func:`metric` returns."""

    def __call__(self, prediction: Any, dataset: Any) -> tuple[str, float, bool]:
        return (
            self.__name__, self.value(prediction, dataset.get_label(), dataset.get_weight()), False
        )  # fmt: skip


class SklearnMetric(Metric):
    """A metric for ``eval_metric`` of LightGBM's estimators."""

    def __call__(self, y_true: Any, y_pred: Any, weight: Any) -> tuple[str, float, bool]:
        return self.__name__, self.value(y_pred, y_true, weight), False


class _Estimator:
    loss: Any
    hessian: Any
    model_: Any

    def _model(self, options: dict[str, Any], classes: int) -> Any:
        more: dict[str, Any] = {"num_class": classes} if isinstance(self.loss, Softmax) else {}
        more["objective"] = SklearnObjective(self.loss, self.hessian)
        chosen: dict[str, Any] = {"verbose": -1, "metric": "None"} | options | more
        return lightgbm.LGBMRegressor(**chosen)

    def _train(self, x: Any, y: np.ndarray, weight: Any, evaluation: Any, rest: Any) -> None:
        estimator: Any = self
        if evaluation is not None:
            rest["eval_init_score"] = [estimator._starts(len(one[1])) for one in evaluation]
            rest.setdefault("eval_metric", SklearnMetric(self.loss))
            if "eval_X" in signature(self.model_.fit).parameters:  # since 4.7
                rest["eval_X"], rest["eval_y"] = (tuple(one) for one in zip(*evaluation))
            else:
                rest["eval_set"] = evaluation
        self.model_.fit(
            x, y, sample_weight=weight, init_score=estimator._starts(len(y)), **rest
        )  # fmt: skip

    def _margin(self, x: Any, rest: dict[str, Any]) -> np.ndarray:
        found: np.ndarray = self.model_.predict(x, raw_score=True, **rest)
        return found + self.start_  # type: ignore[attr-defined,no-any-return]


_OWN = {
    "library": "LightGBM",
    "options": "Those of ``lightgbm.LGBMRegressor``, but for objective and num_class.",
    "model": "lightgbm.LGBMRegressor\n"
    "    The fitted model; its predictions are margins less the start.",
}


@documented("regressor", **_OWN)
class Regressor(_Estimator, BoostedRegressor):
    pass


@documented("classifier", **_OWN)
class Classifier(_Estimator, BoostedClassifier):
    pass
