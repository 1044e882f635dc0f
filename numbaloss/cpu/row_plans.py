"""What a loss of rows brings to its kernels: machine code, kept by structure, and its numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..core.contracts import brings
from ..formulas.catching import HEADER
from ..formulas.plans import Plans, plans_of
from ..formulas.structure import Structure
from ..jobs.rows import MARGIN, PLAIN, SOFTMAX, RowCall
from . import narrow, threads
from .asking import raises
from .compile import Code
from .maps import loss_map

# Behind class weights: loops read whole registers.
PADDING = 64
# Where the numbers of a loss go in a `RowCall`: losses may be made in calls, and its properties
# take 0.3 us each.
_CLASS_WEIGHT, _CLASS_WEIGHT_SUM, _INVERSE_TEMPERATURE, _ON, _OFF = (
    RowCall.memory.place[name]
    for name in ("class_weight", "class_weight_sum", "inverse_temperature", "on", "off")
)


class Kind(NamedTuple):
    """All but the structure of a loss that decides how its rows are computed."""

    real: str
    derivatives: int
    labelled: bool
    classes: int
    by_label: bool  # whether the log-probability of the label is all that counts
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
        self.by_label = kind.by_label
        # Whether its negative is the loss, and no more than a gradient is wanted.
        plain = kind.by_label and not (smooth or structure.weighted or kind.weighted)
        plain = plain and kind.derivatives < 2
        self.plain = plain and all("log_likelihood" in vars(cls) for cls in structure.classes)
        # Whether rows are so short that they are computed side by side, in tiles.
        most = narrow.MOST_BY_LABEL[real] if kind.by_label else narrow.MOST_CLASSES
        self.tiled = classes <= most
        self.catching = False  # whether the formula can raise an exception
        self.keep: list[Any] = []  # what addresses point to
        self.memory = np.zeros(HEADER + structure.size)  # that of parameters, before they are there
        self.rows = RowCall()  # what calls have in common, but for numbers of a loss
        # Of calls on plain arrays, without values of rows and with them: see `direct_rows`.
        self.ways: dict[bool, Any] = {}
        self._describe(self.rows)

    def _describe(self, rows: RowCall) -> None:
        kind, classes = self.kind, self.structure.classes
        rows.classes, rows.derivatives = kind.classes, kind.derivatives
        rows.map = self._compiled("label_point" if kind.by_label else "point").address
        if any(brings(cls, "normalizer") for cls in classes):
            rows.normalizer = self._compiled("normalizer").address
        rows.inverse_temperature = rows.on = 1.0
        if kind.ignored is not None:
            rows.ignores, rows.ignored_label = 1, kind.ignored
        rows.smooth, rows.reading = kind.smooth, kind.reading
        rows.labelled, rows.dense_logits = kind.labelled, kind.dense_logits
        rows.share = 1.0 / kind.classes if kind.mean_over_classes and kind.classes else 1.0

    def _compiled(self, method: str) -> Code:
        kind = self.kind
        self.catching |= raises(self.structure, kind.real, method)
        depth = max(kind.derivatives, int(kind.smooth and kind.by_label))
        found = loss_map(self.structure, kind.real, method, depth)
        self.keep.append(found)
        return found


# Losses made in calls find it here, whatever their parameters are.
_program = lru_cache(maxsize=256)(Program)


class Plan(NamedTuple):
    """What a loss brings to the kernels of one dtype; kept with the loss."""

    reals: np.ndarray  # the words of a `RowCall`, what its calls have in common, as float64
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
        found = plans[key] = filled(loss.row_options(), numbers, program, program.rows.reals)
    return found


def program_of(
    loss: Any, plans: Plans, real: str, derivatives: int, labelled: bool, classes: int
) -> Program:
    """What the plan of a loss has in common with others."""
    options, structure = loss.row_options(), plans.structure
    reading = MARGIN if loss.relative_to_label else SOFTMAX
    kind = (
        real,
        derivatives,
        labelled,
        classes,
        labelled and loss.by_label_alone(structure.classes),
        options.label_smoothing > 0.0,
        options.class_weight is not None,
        options.ignore_index,
        reading if loss.takes_logits else PLAIN,
        loss.dense_logits,
        loss.mean_over_classes,
    )
    return _program(structure, tuple.__new__(Kind, kind))


def filled(options: Any, numbers: list[float], program: Program, reals: np.ndarray) -> Plan:
    """A plan with the numbers of a loss; ``reals`` are those of the program, or of its way."""
    memory, reals, kind = program.memory.copy(), reals.copy(), program.kind
    weights = options.class_weight
    for place, number in enumerate(numbers, HEADER):
        memory[place] = number
    if weights is not None:
        weights = _padded(weights, kind.real)
    elif kind.smooth and kind.by_label:
        weights = _ones(kind.classes, kind.real)
    if weights is not None:
        reals.view(np.int64)[_CLASS_WEIGHT] = threads.address(weights)
        reals[_CLASS_WEIGHT_SUM] = np.add.reduce(weights, dtype=np.float64)
    if options.temperature != 1.0:
        reals[_INVERSE_TEMPERATURE] = 1.0 / options.temperature
    if kind.smooth:
        reals[_ON] = 1.0 - options.label_smoothing
        reals[_OFF] = options.label_smoothing / kind.classes
    return tuple.__new__(Plan, (reals, memory, weights, program))


def _padded(weights: np.ndarray, real: str) -> np.ndarray:
    """Class weights in the compute type, as loops read them."""
    padded = np.zeros(weights.size + PADDING, real)
    padded[: weights.size] = weights
    return padded


@lru_cache(maxsize=16)
def _ones(classes: int, real: str) -> np.ndarray:
    return _padded(np.ones(classes), real)
