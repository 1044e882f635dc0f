"""What a loss of rows brings to its kernels: machine code, kept by structure, and its numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..core.contracts import brings
from ..formulas.catching import HEADER
from ..formulas.plans import Plans, plans_of
from ..formulas.structure import Structure
from . import narrow, rows, threads
from .asking import raises
from .compile import Code
from .maps import loss_map

# Behind class weights: loops read whole registers.
PADDING = 64


class Kind(NamedTuple):
    """All but the structure of a loss that decides how its rows are computed."""

    real: str
    derivatives: int
    labelled: bool
    classes: int
    fast: bool  # whether the log-probability of the label is all that counts
    smooth: bool  # whether there is label smoothing
    weighted: bool  # whether there are class weights
    ignored: int | None  # the label of rows that do not count
    reading: int
    dense_logits: bool
    mean_over_classes: bool


class Program:
    """What plans of one structure and kind have in common, whatever numbers their losses have."""

    def __init__(self, structure: Structure, kind: Kind) -> None:
        self.structure, self.kind = structure, kind
        real, smooth, classes = kind.real, kind.smooth, kind.classes
        self.fast = kind.fast
        # Whether its negative is the loss, and no more than a gradient is wanted.
        plain = kind.fast and not (smooth or structure.weighted or kind.weighted)
        plain = plain and kind.derivatives < 2
        self.plain = plain and all("log_likelihood" in vars(cls) for cls in structure.classes)
        # Whether rows are so short that they are computed side by side, in tiles.
        self.tiled = classes <= (narrow.MOST_BY_LABEL[real] if self.fast else narrow.MOST_CLASSES)
        self.catching = False  # whether the formula can raise an exception
        self.keep: list[Any] = []  # what addresses point to
        self.memory = np.zeros(HEADER + structure.size)  # that of parameters, before they are there
        self.fields = np.zeros(rows.FIELDS)  # the description of a call, but for numbers of a loss
        self.way: Any = None  # of calls on plain arrays: see `direct_rows`
        self._describe(self.fields.view(np.int64), self.fields)

    def _describe(self, fields: np.ndarray, reals: np.ndarray) -> None:
        kind, classes = self.kind, self.structure.classes
        fields[rows.CLASSES] = kind.classes
        fields[rows.DERIVATIVES] = kind.derivatives
        fields[rows.MAP] = self._compiled("label_point" if kind.fast else "point").address
        if any(brings(cls, "normalizer") for cls in classes):
            fields[rows.NORMALIZER] = self._compiled("normalizer").address
        reals[rows.INVERSE_TEMPERATURE] = reals[rows.ON] = 1.0
        if kind.ignored is not None:
            fields[rows.IGNORES], fields[rows.IGNORE] = 1, kind.ignored
        fields[rows.SMOOTH] = kind.smooth
        fields[rows.READING] = kind.reading
        fields[rows.LABELLED] = kind.labelled
        fields[rows.DENSE_LOGITS] = kind.dense_logits
        mean = kind.mean_over_classes and kind.classes
        reals[rows.SHARE] = 1.0 / kind.classes if mean else 1.0

    def _compiled(self, method: str) -> Code:
        kind = self.kind
        self.catching |= raises(self.structure, kind.real, method)
        depth = max(kind.derivatives, int(kind.smooth and kind.fast))
        found = loss_map(self.structure, kind.real, method, depth)
        self.keep.append(found)
        return found


# Losses made in calls find it here, whatever their parameters are.
_program = lru_cache(maxsize=256)(Program)


class Plan(NamedTuple):
    """What a loss brings to the kernels of one dtype; kept with the loss."""

    fields: np.ndarray  # the fixed part of the description of a call, as float64
    parameters: np.ndarray
    weights: np.ndarray | None  # those of classes, to which the description points
    program: Program


def plan(loss: Any, real: str, derivatives: int, labelled: bool, classes: int) -> Plan:
    """The plan of a loss for a compute dtype, rows of one width and one kind of targets."""
    plans = plans_of(loss)
    key = real, derivatives, labelled, classes
    found: Plan | None = plans.get(key)
    if found is None:
        if len(plans) > 64:
            plans.clear()
        numbers = plans.numbers(loss, real)
        program = program_of(loss, plans, *key)
        found = plans[key] = filled(loss.row_options(), numbers, program, program.fields)
    return found


def program_of(
    loss: Any, plans: Plans, real: str, derivatives: int, labelled: bool, classes: int
) -> Program:
    """What the plan of a loss has in common with others."""
    options, structure = loss.row_options(), plans.structure
    reading = rows.MARGIN if loss.relative_to_label else rows.SOFTMAX
    kind = (
        real,
        derivatives,
        labelled,
        classes,
        labelled and loss.by_label_alone(structure.classes),
        options.label_smoothing > 0.0,
        options.class_weight is not None,
        options.ignore_index,
        reading if loss.takes_logits else rows.PLAIN,
        loss.dense_logits,
        loss.mean_over_classes,
    )
    return _program(structure, tuple.__new__(Kind, kind))


def filled(options: Any, numbers: list[float], program: Program, fields: np.ndarray) -> Plan:
    """A plan with the numbers of a loss; ``fields`` are those of the program, and of its way."""
    memory, fields, kind = program.memory.copy(), fields.copy(), program.kind
    weights = options.class_weight
    for place, number in enumerate(numbers, HEADER):
        memory[place] = number
    if weights is not None:
        weights = _padded(weights, kind.real)
    elif kind.smooth and kind.fast:
        weights = _ones(kind.classes, kind.real)
    if weights is not None:
        fields.view(np.int64)[rows.CLASS_WEIGHT] = threads.address(weights)
        fields[rows.WEIGHT_SUM] = np.add.reduce(weights, dtype=np.float64)
    if options.temperature != 1.0:
        fields[rows.INVERSE_TEMPERATURE] = 1.0 / options.temperature
    if kind.smooth:
        fields[rows.ON] = 1.0 - options.label_smoothing
        fields[rows.OFF] = options.label_smoothing / kind.classes
    return tuple.__new__(Plan, (fields, memory, weights, program))


def _padded(weights: np.ndarray, real: str) -> np.ndarray:
    """Class weights in the compute type, as loops read them."""
    padded = np.zeros(weights.size + PADDING, real)
    padded[: weights.size] = weights
    return padded


@lru_cache(maxsize=16)
def _ones(classes: int, real: str) -> np.ndarray:
    return _padded(np.ones(classes), real)
