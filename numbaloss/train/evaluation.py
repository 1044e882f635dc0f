"""A model on data that it does not learn from: the loss of all rows, and metrics.

The loss is the sum over all rows, divided once: not a mean of the means of batches, in which the
rows of a small last batch weigh more. Sums do not round (:mod:`numbaloss.metrics`), so that it
is the same for every size of batches whose predictions are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..metrics import NAMES, Mean, Metric, find
from ..metrics.means import OfLoss, Perplexity
from ..registry import snake_case
from .data import Batch, Source
from .products import one_blas_thread


def chosen_metrics(given: Any) -> dict[str, Metric]:
    """Metrics by name, of names, objects, a list of those or a dict."""
    if isinstance(given, Mapping):
        return {name: _metric(one) for name, one in given.items()}
    if isinstance(given, (str, Metric)):
        given = (given,)
    found: dict[str, Metric] = {}
    for one in given:
        name = one if isinstance(one, str) else _name(one)
        if name in found:
            raise ValueError(f"two metrics are called {name}: give a dict of them, by their names")
        found[name] = _metric(one)
    return found


def _metric(given: Any) -> Metric:
    if isinstance(given, str):
        return find(given)()
    if not isinstance(given, Metric):
        raise TypeError(f"metrics are names or objects of numbaloss.metrics, not {given!r}")
    return copy.deepcopy(given).reset()


def _name(metric: Any) -> str:
    kind = metric.loss if isinstance(metric, OfLoss) else metric
    return NAMES.get(type(metric)) or snake_case(type(kind).__name__)


def outputs_of(found: Any) -> tuple[Any, ...]:
    """What a model's ``forward`` gives, as the arguments of a loss."""
    return tuple(found) if isinstance(found, tuple) else (found,)


def arguments(outputs: tuple[Any, ...], batch: Batch) -> tuple[Any, ...]:
    """What the loss takes: outputs, and the target if there is one."""
    return outputs if batch.target is None else (*outputs, batch.target)


def counted(loss: Any, outputs: tuple[Any, ...], batch: Batch, reduction: str) -> float:
    """What the mean of a loss over a batch divides by, so that batches can be added up."""
    if reduction == "sum":
        return 1.0
    name = loss.contract.name
    target, weight = batch.target, batch.weight
    if name == "elementwise":
        size = float(np.size(outputs[0]))
        if reduction == "mean" or weight is None:
            return size
        return float(np.sum(weight, dtype=np.float64)) * size / float(np.size(weight))
    options = getattr(loss, "row_options", lambda: None)()
    if options is None or target is None or np.ndim(target) >= np.ndim(outputs[0]):
        weighted = reduction == "weighted_mean" and weight is not None
        return float(np.sum(weight, dtype=np.float64)) if weighted else float(batch.rows)
    labels = np.asarray(target)
    kept: Any = slice(None) if options.ignore_index is None else labels != options.ignore_index
    labels = labels[kept]
    if reduction == "mean":
        return float(labels.size)
    of_rows = np.ones(labels.shape) if weight is None else np.asarray(weight, np.float64)[kept]
    if options.class_weight is not None:
        of_rows = of_rows * np.asarray(options.class_weight)[labels]
    return float(of_rows.sum())


def evaluate(
    model: Any,
    loss: Any,
    source: Source,
    metrics: Mapping[str, Metric] | None = None,
    reduction: str = "mean",
    one_thread: bool = True,
) -> dict[str, float]:
    """``loss`` and metrics of all batches of a source, by name.

    Metrics are given what predictions mean (``loss.inverse_link``: probabilities of logits, means
    of logarithms); means of losses and the perplexity the predictions themselves.
    """
    total = Mean(loss, reduction=reduction)
    made = {name: copy.deepcopy(one).reset() for name, one in (metrics or {}).items()}
    with one_blas_thread(one_thread):
        for batch in source.batches(0, None, 0):
            outputs = outputs_of(model.forward(batch.inputs, training=False))
            total.update(*arguments(outputs, batch), sample_weight=batch.weight)
            if made:
                _update(made.values(), loss, outputs, batch)
    found = {"loss": float(total.compute())}
    for name, metric in made.items():
        value = metric.compute()
        if np.ndim(value):
            raise TypeError(f"metric {name} gives several numbers; one is needed")
        found[name] = float(value)
    return found


def _update(metrics: Iterable[Metric], loss: Any, outputs: tuple[Any, ...], batch: Batch) -> None:
    if len(outputs) > 1:
        raise TypeError(f"metrics need one prediction, and {loss!r} takes {len(outputs)} arrays")
    meant: Any = None
    for metric in metrics:
        if isinstance(metric, (OfLoss, Perplexity)):
            metric.update(outputs[0], batch.target, batch.weight)
            continue
        if meant is None:
            link = getattr(loss, "inverse_link", None)
            meant = outputs[0] if link is None else link(outputs[0])
        metric.update(meant, batch.target, batch.weight)
