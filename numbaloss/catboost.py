"""Losses as objectives and metrics of CatBoost, and estimators that learn by a loss.

They run on CPUs: an objective in Python cannot train CatBoost on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import catboost
except ImportError as error:
    raise ImportError(
        'CatBoost is not installed: python -m pip install "numbaloss[catboost]"'
    ) from error

from . import engines
from .boosting.derivatives import hessian_mode
from .boosting.doctor import Report, examine
from .boosting.documentation import documented
from .boosting.estimators import BoostedClassifier, BoostedRegressor
from .boosting.modes import linear
from .boosting.objectives import Metric, Objective, unit_scale
from .boosting.row_hessian import row_hessian
from .core.loss import domain
from .structures.softmax import Softmax

__all__ = ["Classifier", "Regressor", "check", "metric", "objective"]


def objective(
    loss: Any, hessian: str | float = "auto", *, scale: float = 1.0, outputs: int = 1
) -> Native:
    """An objective for CatBoost's ``loss_function``.

    CatBoost's derivatives have the other sign, and it hands weights over without applying them: so
    they are taken into account here, once. It starts from 0; give the Pool
    ``baseline=np.full(n, loss.best_constant(y))`` and add it to predictions, which are margins.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins. One of classes is for ``CatBoostClassifier(classes_count=C)``; CatBoost
        asks for each sample alone, which takes some 30 us.
    hessian : str or float
        See :func:`numbaloss.boosting.derivatives`. Losses of classes that are linear in the
        log-probabilities (cross-entropy) give CatBoost the full matrix, whatever this is.
    scale : float
        Multiplies gradient and hessian. CatBoost asks in chunks of 1000 samples, so that nobody
        can tell the mean hessian, against which ``l2_leaf_reg`` counts: where the hessian is
        ``"secant"``, about the median residual is a good number.
    outputs : int
        How many columns the target of an elementwise loss has.

    Returns
    -------
    object with the methods that CatBoost calls, which pickles
    """
    if outputs > 1 and not isinstance(loss, Softmax):
        return NativeMultiTarget(loss, hessian, scale)
    return Native(loss, hessian, scale)


def metric(loss: Any) -> NativeMetric:
    """A metric for CatBoost's ``eval_metric``: the mean loss of margins, lower is better.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins.

    Returns
    -------
    object with the methods that CatBoost calls, which pickles
    """
    return NativeMetric(loss)


@documented("check", data="Pool", argument="pool : catboost.Pool")
def check(loss: Any, pool: Any, hessian: str | float = "auto") -> Report:
    label, weight = np.asarray(pool.get_label(), np.float64), np.asarray(pool.get_weight())
    return examine(
        Native(loss, hessian, 1.0), label, weight if weight.size else None, 0.0,
        "the sum of hessians", rows=pool.num_row(),
    )  # fmt: skip


class Native(Objective):
    """What :func:`objective` returns."""

    library = "catboost"
    no_jit = True  # else CatBoost tries to compile its methods, and warns that it cannot
    scale: float

    def __init__(self, loss: Any, hessian: str | float = "auto", scale: float = 1.0) -> None:
        super().__init__(loss, hessian, scale)
        # Whether derivatives are the formula's; CatBoost's own hessians are exact too.
        self.exact = self.mode in ("exact", "library") and domain(loss.prediction_domain).everything

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> np.ndarray:
        """First and second derivatives of a chunk of samples, with the signs turned."""
        if self.exact:
            # CatBoost asks in chunks of 1000 samples and fewer: each line takes its time.
            pairs = engines.module("cpu", "derivative_pairs").run
            found: np.ndarray | None = pairs(
                self.loss, approxes, targets, weights, -float(self.scale)
            )
            if found is not None:
                return found
        prediction, target = np.asarray(approxes), np.asarray(targets)
        weight = None if weights is None else np.asarray(weights)
        # In this order CatBoost reads it as memory; lists and tuples make a round 2 to 4 times as
        # long as with its own loss.
        found = np.empty((len(prediction), 2))
        if self.exact:
            _, found[:, 0], found[:, 1] = self.loss.value_grad_hess(
                prediction, target, sample_weight=weight, reduction="sum",
                gradient_scale=-self.scale,
            )  # fmt: skip
            return found
        for column, one in enumerate(self.derivatives(prediction, target, weight)):
            np.negative(one, out=found[:, column])
        return found

    def calc_ders_multi(self, approxes: Any, target: Any, weight: Any) -> tuple[Any, Any]:
        """Derivatives of one sample, by all classes."""
        row = np.array(approxes, np.float64)[None]
        label = np.array([target], np.int64)
        given = None if weight is None else np.array([weight], np.float64)
        gradient, hessian = self.derivatives(row, label, given)
        if linear(self.loss) and getattr(self.loss, "z_loss", 0.0) == 0.0:
            return -gradient[0], -row_hessian(self.loss, row, label, given)[0]
        return -gradient[0], -np.diag(hessian[0])


class NativeMultiTarget(Native, catboost.MultiTargetCustomObjective):
    """What :func:`objective` returns for several outputs."""

    def calc_ders_multi(self, approxes: Any, targets: Any, weight: Any) -> tuple[Any, Any]:
        """Derivatives of one sample, by all outputs."""
        row = np.array(approxes, np.float64)[None]
        target = np.array(targets, np.float64)[None]
        given = None if weight is None else np.array([weight], np.float64)
        gradient, hessian = self.derivatives(row, target, given)
        return -gradient[0], -np.diag(hessian[0])


class NativeMetric(Metric):
    """What :func:`metric` returns."""

    no_jit = True

    def is_max_optimal(self) -> bool:
        """A loss: lower is better."""
        return False

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        """The sum of the loss over samples, and of their weights."""
        rows = np.column_stack([np.asarray(one) for one in approxes])
        prediction = rows if isinstance(self.loss, Softmax) else rows[:, 0]
        target = np.asarray(target)
        given = np.ones(len(target)) if weight is None else np.asarray(weight, np.float64)
        total = float(given.sum())
        return self.value(prediction, target, given) * total, total

    def get_final_error(self, error: float, weight: float) -> float:
        """The mean."""
        return error / (weight + 1e-38)


class _Estimator:
    loss: Any
    hessian: Any
    model_: Any
    start_: Any

    def _model(self, options: dict[str, Any], classes: int) -> Any:
        if str(options.get("task_type", "CPU")).upper() == "GPU":
            raise ValueError(
                "CatBoost trains by an objective in Python on CPUs alone: leave task_type out"
            )
        chosen: dict[str, Any] = {"verbose": 0, "allow_writing_files": False} | options
        chosen.setdefault("eval_metric", NativeMetric(self.loss))
        if isinstance(self.loss, Softmax):
            native = objective(self.loss, self.hessian)
            return catboost.CatBoostClassifier(
                loss_function=native, classes_count=classes, **chosen
            )
        if np.ndim(self.start_):
            raise ValueError(
                "this estimator has one output; several take catboost.CatBoostRegressor with "
                "loss_function=numbaloss.catboost.objective(loss, outputs=C)"
            )
        self._chosen = chosen  # the objective is made where the targets are known
        return None

    def _train(self, x: Any, y: np.ndarray, weight: Any, evaluation: Any, rest: Any) -> None:
        estimator: Any = self
        start = estimator._starts(len(y))
        if self.model_ is None:
            native = objective(self.loss, self.hessian, scale=self._scale(start, y, weight))
            self.model_ = catboost.CatBoostRegressor(loss_function=native, **self._chosen)
            del self._chosen
        if evaluation is not None:
            evaluation = [
                catboost.Pool(one, target, baseline=estimator._starts(len(target)))
                for one, target in evaluation
            ]
        self.model_.fit(x, y, sample_weight=weight, baseline=start, eval_set=evaluation, **rest)

    def _scale(self, start: np.ndarray, y: np.ndarray, weight: Any) -> float:
        """What makes the mean hessian at the start 1, where that is a secant."""
        if hessian_mode(self.loss, self.hessian) != "secant":
            return 1.0
        given = None if weight is None else np.asarray(weight)
        _, hessian = Native(self.loss, self.hessian, 1.0).derivatives(start, y, given)
        return unit_scale(hessian, given)

    def _margin(self, x: Any, rest: dict[str, Any]) -> np.ndarray:
        found = self.model_.predict(x, prediction_type="RawFormulaVal", **rest)
        return np.asarray(found) + self.start_


_OWN = {
    "library": "CatBoost",
    "options": "Those of CatBoost, but for ``loss_function`` and ``classes_count``.",
    "model": "catboost.CatBoostRegressor, or CatBoostClassifier for losses of rows\n"
    "    The fitted model; its predictions are margins less the start.",
}


@documented("regressor", **_OWN)
class Regressor(_Estimator, BoostedRegressor):
    pass


@documented("classifier", **_OWN)
class Classifier(_Estimator, BoostedClassifier):
    pass
