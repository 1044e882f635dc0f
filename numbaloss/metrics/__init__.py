"""Metrics: numbers that tell how good predictions are, of any number of rows, exactly.

Every metric is a class, with ``update``, ``merge``, ``compute``, ``reset`` and a plain ``state``,
and a function for one call. Arguments are (prediction, target), weights are of rows.

>>> import numpy as np
>>> from numbaloss import metrics
>>> metrics.roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
0.75
>>> auc = metrics.RocAuc().update(np.array([0.1, 0.4]), np.array([0, 0]))
>>> auc.merge(metrics.RocAuc().update(np.array([0.35, 0.8]), np.array([1, 1]))).compute()
0.75

Totals are sums that do not round, so that results are the same bits for every way of cutting rows
into batches, threads, files and workers. NaN among predictions, and among targets that are
numbers, makes results NaN, but for that in rows of weight 0; a label that is NaN is an error.
"""

from typing import Any

from .base import Metric, one_shot
from .catalogue import CLASSES, FUNCTIONS, NAMES, find
from .means import Mean
from .scorer import Scorer

__all__ = ["NAMES", "Mean", "Metric", "Scorer", "find", *sorted(CLASSES), *sorted(FUNCTIONS)]

_made: dict[str, Any] = {name: one_shot(metric, name) for name, metric in FUNCTIONS.items()}
globals().update(CLASSES)
globals().update(_made)
