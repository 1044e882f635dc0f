"""What a loss of rows brings to its kernels: parameters, flags and numbers, by dtype and width."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.loss import domain
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.structure import Structure, parameters_of
from . import rows
from .powers import scales


class Plan(NamedTuple):
    """What a loss brings to the kernels of one dtype and one kind of targets."""

    structure: Structure
    parameters: Any
    class_weight: np.ndarray | None
    by_label: bool  # whether the log-probability of the label is all that counts
    flags: int
    reals: tuple[Any, ...]  # those of `rows`, but for the scale


def plan(loss: Any, real: str, labelled: bool, classes: int) -> Plan:
    """The plan of a loss; kept with the loss."""
    plans = plans_of(loss, "_gpu_plans")
    key = real, labelled, classes
    if key not in plans:
        if len(plans) > 64:
            plans.clear()
        plans[key] = _plan(loss, np.dtype(real), labelled, classes)
    return plans[key]


def _plan(loss: Any, dtype: np.dtype, labelled: bool, classes: int) -> Plan:
    options, lowered = loss.row_options(), lower_for(loss, dtype.name)
    structure = Structure.of(lowered)
    smooth, weights = options.label_smoothing > 0.0, options.class_weight
    by_label = labelled and loss.by_label_alone(structure.classes)
    if weights is None and by_label and smooth:
        weights = np.ones(classes)
    if weights is not None:
        weights = weights.astype(dtype)
    of_target = domain(loss.target_domain)
    flags = (
        (rows.SMOOTH if smooth else 0)
        | (rows.LABELLED if labelled else 0)
        | (rows.MARGIN if loss.relative_to_label else 0)
        | (0 if loss.takes_logits else rows.PLAIN)
        | (0 if loss.tested_domain().everything else rows.TESTED)
        | (rows.DENSE_LOGITS if loss.dense_logits else 0)
        | (0 if labelled or of_target.everything else rows.CHECKED)
    )
    numbers = [0.0] * rows.REALS
    numbers[rows.INVERSE] = 1.0 / options.temperature
    numbers[rows.POWER_HIGH : rows.POWER_LOW + 1] = scales(dtype.name, 1.0 / options.temperature)
    numbers[rows.ON] = 1.0 - options.label_smoothing
    numbers[rows.OFF] = options.label_smoothing / classes
    numbers[rows.WHOLE] = 0.0 if weights is None else float(weights.sum(dtype=np.float64))
    numbers[rows.SHARE] = 1.0 / classes if loss.mean_over_classes else 1.0
    return Plan(
        structure,
        parameters_of(lowered, dtype.type),
        weights,
        by_label,
        flags,
        tuple(dtype.type(number) for number in numbers),
    )
