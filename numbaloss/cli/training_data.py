"""From a table to what a model learns from: standardised inputs, targets, classes, a split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.loss import domain
from .failures import Failure, UsageFailure
from .report import counted
from .selection import select
from .tables import Form, Table

# Below so many rows a part to look at says nothing.
FEWEST = 10
# A target of more different numbers is no label.
MOST_CLASSES = 1000


class Rows(NamedTuple):
    """The whole of a table, in memory."""

    inputs: np.ndarray
    target: np.ndarray  # numbers, or the places of classes
    weight: np.ndarray | None
    features: tuple[str, ...]
    classes: tuple[str, ...] | None  # their names, of losses of classes
    skipped: int

    def some(self, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
        """Inputs, target and weight of some rows, as ``fit`` takes them."""
        found = self.inputs[chosen], self.target[chosen]
        return found if self.weight is None else (*found, self.weight[chosen])


class Wanted(NamedTuple):
    """Columns, as they are written on the command line."""

    target: str
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    weight: str | None = None
    skip_nan: bool = False


def feature_names(table: Table, wanted: Wanted) -> tuple[str, ...]:
    """The columns of inputs: those that are named, or all that nothing else names."""
    options: dict[str, tuple[str, ...]] = {"target": (wanted.target,)}
    if wanted.weight is not None:
        options["weight"] = (wanted.weight,)
    if wanted.drop:
        options["drop"] = wanted.drop
    if wanted.features:
        options["features"] = wanted.features
    found = {one.option: one.columns for one in select(table, options)}
    if len(found["target"]) > 1:
        raise UsageFailure(f"--target names {len(found['target'])} columns; a model has one")
    others = {name for option, names in found.items() if option != "features" for name in names}
    chosen = found.get("features", tuple(table.names))
    if "features" in found and (both := sorted(set(chosen) & others)):
        raise UsageFailure(f"--features names {both[0]!r}, which another option names too")
    chosen = tuple(name for name in chosen if name not in others)
    if not chosen:
        raise Failure(f"{table.path} has no column but the target: there is nothing to learn from")
    return chosen


def read(table: Table, loss: Any, text: str, wanted: Wanted) -> Rows:
    """All rows of a table, checked; ``text`` is what the user calls the loss."""
    _refuse_limits(loss, text)
    features = feature_names(table, wanted)
    forms = feature_forms(table, features)
    real = "float64" if any(form.real == "float64" for form in forms) else "float32"
    (kind,) = table.kinds((wanted.target,))
    if kind.width is not None:
        raise Failure(f"{table.path}: --target {wanted.target} holds lists; it takes one number")
    texts = kind.text is not None
    if texts and not of_classes(loss):
        raise Failure(
            f"{table.path}: column {wanted.target!r} holds {kind.text}, and {text} learns "
            f"numbers: take a loss of classes, cross_entropy for one"
        )
    weight = (Form(wanted.weight, "float64"),) if wanted.weight is not None else ()
    read = (*forms, Form(wanted.target, "float64", key=texts), *weight)
    parts: list[tuple[np.ndarray, ...]] = [batch.arrays for batch in table.batches(read)]
    if not parts or not sum(len(part[0]) for part in parts):
        raise Failure(f"{table.path} has no rows")
    columns = [np.concatenate(some) for some in zip(*parts)]
    inputs = np.empty((len(columns[0]), len(features)), real)
    for place in range(len(features)):
        inputs[:, place] = columns[place]
    given = columns[len(features)]
    weights = columns[-1] if weight else None
    kept = _whole(table.path, wanted, features, inputs, given, weights)
    if not kept.all():
        inputs, given = inputs[kept], given[kept]
        weights = weights if weights is None else weights[kept]
    if len(inputs) < FEWEST:
        raise Failure(
            f"{table.path} has {counted(len(inputs), 'row')}"
            f"{'' if kept.all() else ' without a missing value'}: "
            f"training takes {FEWEST} at least, some of which it does not learn from"
        )
    _refuse_constants(table.path, features, inputs)
    target, classes = _target(table.path, loss, text, wanted.target, given)
    skipped = int((~kept).sum())
    return Rows(inputs, target, weights, features, classes, skipped)


def _refuse_limits(loss: Any, text: str) -> None:
    """Raise for a loss of probabilities, or of other numbers with limits: models have none."""
    of = domain(loss.prediction_domain)
    if not of.everything or (loss.contract.of_classes and not loss.takes_logits):
        names = {one.name for one in loss.parameters()} & {"from_logits", "log_input"}
        hint = f": leave {' and '.join(sorted(names))} at its default" if names else ""
        raise UsageFailure(
            f"--loss {text} takes predictions in {of}, and models give any number{hint}"
        )


def feature_forms(table: Table, features: tuple[str, ...]) -> tuple[Form, ...]:
    """How columns of inputs are read: as numbers."""
    forms = []
    for name, kind in zip(features, table.kinds(features)):
        remedy = f"turn it into numbers, or leave it out: --drop {name}"
        if kind.text is not None:
            raise Failure(
                f"{table.path}: column {name!r} holds {kind.text}, and models take numbers: "
                f"{remedy}{kind.hint}"
            )
        if kind.width is not None:
            raise Failure(f"{table.path}: column {name!r} holds lists: {remedy}")
        forms.append(Form(name, kind.real))
    return tuple(forms)


def of_classes(loss: Any) -> bool:
    """Whether targets are classes: of rows of logits, or two of a binary loss."""
    return bool(loss.contract.of_classes) or is_binary(loss)


def is_binary(loss: Any) -> bool:
    """Whether a loss of numbers is one of two classes, or of what is between 0 and 1."""
    if loss.contract.of_classes:
        return False
    of = domain(loss.target_domain)
    return bool(of.binary) or (of.low, of.high) in ((0.0, 1.0), (-1.0, 1.0))


def _whole(
    path: Path, wanted: Wanted, features: tuple[str, ...], inputs: np.ndarray, target: np.ndarray,
    weight: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Which rows hold no NaN; an error where that was not to be asked."""
    columns = [(name, inputs[:, place]) for place, name in enumerate(features)]
    columns.append((wanted.target, target))
    if weight is not None and wanted.weight is not None:
        columns.append((wanted.weight, weight))
        if (weight < 0).any():
            first = int((weight < 0).argmax())
            raise Failure(
                f"{path}: the weight of row {first} is {weight[first]:g}; it must be >= 0"
            )
    kept = np.ones(len(inputs), bool)
    for name, column in columns:
        missing = column == "" if column.dtype.kind == "U" else np.isnan(column)
        if missing.any() and not wanted.skip_nan:
            drop = f", --drop {name} the column" if name in features else ""
            raise Failure(
                f"{path}: column {name!r} has {int(missing.sum())} missing of {len(column)} "
                f"values, the first in row {int(missing.argmax())}: fill them in; --skip-nan "
                f"leaves such rows out{drop}"
            )
        kept &= ~missing
        if column.dtype.kind != "U" and np.isinf(column).any():
            first = int(np.isinf(column).argmax())
            raise Failure(f"{path}: column {name!r} holds an infinity in row {first}")
    return kept


def _refuse_constants(path: Path, features: tuple[str, ...], inputs: np.ndarray) -> None:
    same = (inputs == inputs[0]).all(axis=0)
    if same.any():
        place = int(same.argmax())
        names = [features[one] for one in np.flatnonzero(same)]
        raise Failure(
            f"{path}: column {names[0]!r} is {inputs[0, place]:g} in every row, and tells nothing: "
            f"--drop {','.join(names)}"
        )


def _target(
    path: Path, loss: Any, text: str, name: str, given: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The target as the loss takes it, and what its classes are called."""
    if not of_classes(loss):
        if (given == given[0]).all():
            raise Failure(
                f"{path}: the target {name!r} is {given[0]:g} in every row: there is nothing to "
                f"learn"
            )
        return given, None
    of = None if loss.contract.of_classes else domain(loss.target_domain)
    if of is not None and given.dtype.kind == "f" and not of.binary:
        inside = (given >= of.low) & (given <= of.high)
        if inside.all() and not np.isin(given, (of.low, of.high)).all():
            return given, None  # shares
    found, places = np.unique(given, return_inverse=True)
    if len(found) == 1:
        raise Failure(
            f"{path}: the target {name!r} has one class alone, {_shown(found[0])}: there is "
            f"nothing to tell apart"
        )
    if found.dtype.kind == "f" and not (found == np.floor(found)).all():
        odd = found[found != np.floor(found)][0]
        row = int((given == odd).argmax())
        raise Failure(
            f"{path}: the target {name!r} holds {odd:g} in row {row}, which is no class: take a "
            f"loss of numbers, mse for one"
        )
    if len(found) > MOST_CLASSES:
        raise Failure(f"{path}: the target {name!r} has {len(found):,} classes, more than "
                      f"{MOST_CLASSES:,}: take a loss of numbers, mse for one")  # fmt: skip
    names = tuple(map(_shown, found))
    if of is None:
        return places.astype(np.int64), names
    if len(found) > 2:
        raise Failure(
            f"{path}: the target {name!r} has {len(found)} classes, and {text} tells two apart: "
            f"take cross_entropy"
        )
    return np.where(places == 1, of.high, of.low), names


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:.17g}"


class Scaling(NamedTuple):
    """What makes columns have mean 0 and standard deviation 1."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, inputs: np.ndarray) -> Scaling:
        """That of rows; a column that is constant among them is moved alone."""
        mean = inputs.mean(axis=0, dtype=np.float64)
        deviation = inputs.std(axis=0, dtype=np.float64)
        # What rounding makes of a constant is not its deviation.
        flat = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(flat, 1.0, deviation))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Standardised, in the type of the inputs."""
        return ((inputs - self.mean) / self.deviation).astype(inputs.dtype)


def split(
    rows: int, share: float, seed: int, classes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to look at; of every class the same share."""
    random = np.random.Generator(np.random.PCG64(seed))
    order = random.permutation(rows)
    groups: Iterator[np.ndarray] = iter([order])
    if classes is not None:
        groups = (order[classes[order] == one] for one in np.unique(classes))
    held = np.zeros(rows, bool)
    for group in groups:
        held[group[: round(share * len(group))]] = True
    if not held.any():
        held[order[:1]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
