"""What a loss of rows brings to its kernels: parameters, flags and numbers, by dtype and width."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.loss import domain
from ..formulas.fitting import lower_for
from ..formulas.plans import plans_of
from ..formulas.structure import Structure, parameters_of
from ..jobs.cuda_rows import RowFlags, RowNumbers
from .fields import new
from .powers import scales

_flag = RowFlags.bit


class Plan(NamedTuple):
    """What a loss brings to the kernels of one dtype and one kind of targets."""

    structure: Structure
    parameters: Any
    class_weight: np.ndarray | None
    by_label: bool  # whether the log-probability of the label is all that counts
    flags: int
    numbers: RowNumbers  # but for the scale, and limits of numbers


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
    asked = {
        _flag.smooth: smooth,
        _flag.labelled: labelled,
        _flag.margin: loss.relative_to_label,
        _flag.plain: not loss.takes_logits,
        _flag.check_prediction: not loss.tested_domain().everything,
        _flag.dense_logits: loss.dense_logits,
        _flag.check_target: not (labelled or of_target.everything),
    }
    numbers = new(RowNumbers)
    numbers.inverse_temperature = 1.0 / options.temperature
    numbers.power_high, numbers.power_low = scales(dtype.name, 1.0 / options.temperature)
    numbers.on = 1.0 - options.label_smoothing
    numbers.off = options.label_smoothing / classes
    numbers.class_weight_sum = 0.0 if weights is None else float(weights.sum(dtype=np.float64))
    numbers.share = 1.0 / classes if loss.mean_over_classes else 1.0
    return Plan(
        structure,
        parameters_of(lowered, dtype.type),
        weights,
        by_label,
        sum(flag for flag, wanted in asked.items() if wanted),
        numbers,
    )
