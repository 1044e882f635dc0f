"""Losses of rows of classes, row by row."""

import numpy as np

from numbaloss.core.contracts import brings
from numbaloss.core.request import Outcome
from numbaloss.formulas.structure import Structure, lower

from .points import asked, check_inputs, divisor, run_direct, write

__all__ = ["check_inputs", "divisor", "run", "run_direct"]


def run(request):
    loss, inputs = request.loss, request.inputs
    prediction, target = inputs[0].array, inputs[1].array
    classes = prediction.shape[-1]
    labelled = target.ndim < prediction.ndim
    rows = prediction.reshape(-1, classes)
    targets = target.reshape(-1) if labelled else target.reshape(-1, classes)
    found = [_row(loss, row, one, labelled) for row, one in zip(rows, targets)]
    columns = [np.array([one[which] for one in found]) for which in range(3)]
    write(request.outputs, columns, request.scale)
    return Outcome(float(columns[0].sum()))


def _softmax(numbers):
    """Logarithms of the softmax, without cancellation where one number is far above the others."""
    distances = np.asarray(numbers, np.longdouble) - np.max(numbers)
    log_sum = np.log1p(np.exp(np.delete(distances, np.argmax(distances))).sum())
    return distances - log_sum, log_sum + np.max(numbers)


def _row(loss, row, target, labelled):
    """Value, gradient and diagonal of the hessian of one row."""
    ask, options = asked(loss), loss.row_options()
    inverse = 1.0 / options.temperature
    x, classes = row.astype(np.float64) * inverse, len(row)
    if labelled and target == options.ignore_index:
        return 0.0, np.zeros(classes), np.zeros(classes)
    shares = np.eye(classes)[target] if labelled else np.asarray(target, np.float64)
    if loss.dense_logits:
        shares = np.exp(_softmax(shares * inverse)[0]).astype(np.float64)
    shares = (1.0 - options.label_smoothing) * shares + options.label_smoothing / classes
    weight = np.ones(classes) if options.class_weight is None else options.class_weight
    if loss.relative_to_label:
        seen, weight = x - x[target], np.full(classes, weight[target])
    else:
        seen, log_sum = _softmax(x) if loss.takes_logits else (x, 0.0)
    terms = np.array([ask("point", one, t) for one, t in zip(seen, shares)]) * weight[:, None]
    value, (slope, hessian) = terms[:, 0].sum(), terms[:, 1:].T
    if loss.relative_to_label:
        slope[target], hessian[target] = (
            slope[target] - slope.sum(),
            hessian.sum() - hessian[target],
        )
    elif loss.takes_logits:
        p = np.exp(seen)
        q = np.array([np.delete(p, j).sum() for j in range(classes)])
        term = (0.0, 0.0, 0.0)
        if any(brings(cls, "normalizer") for cls in Structure.of(lower(loss)).classes):
            term = ask("normalizer", log_sum)
        rest = term[1] - slope.sum()
        value += term[0]
        others = hessian.sum() - hessian
        hessian = hessian * q * q + (others + term[2]) * p * p + rest * p * q
        slope = slope * q + (term[1] - (slope.sum() - slope)) * p
    share = 1.0 / classes if loss.mean_over_classes else 1.0
    return value * share, slope * inverse * share, hessian * inverse * inverse * share
