"""From the columns of a table to the arrays that losses take: numbers, rows of them, labels."""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

import numpy as np

from ..core.loss import domain
from .failures import Failure, UsageFailure
from .selection import Selected, select
from .specification import Chosen, Scorable
from .tables import Batch, Form, Kind, Table
from .tables.columns import no_class, not_numbers

# Stands for a label that is missing: no label has this number, and no ignore_index should.
MISSING = -(2**63) + 1
# Rows that kernels are compiled with: enough for them to be those of many rows.
EXAMPLE_ROWS = 64


class Layout(NamedTuple):
    """How the arrays of losses are made of the columns of a table."""

    forms: tuple[Form, ...]  # columns of the prediction, of the target, of the weight
    real: str
    weighted: bool
    # Of losses of rows: the names of the classes, and how many columns hold them.
    classes: tuple[str, ...] = ()
    columns: int = 0
    labelled: bool = False
    # Labels that are not the places of classes are these numbers instead; where there are no
    # classes, those that stand for the targets 0 and 1.
    numbers: tuple[int, ...] | None = None
    by: Form | None = None  # the column whose texts name groups
    other: tuple[Form, ...] = ()  # columns of a second prediction
    # Whether metrics take the prediction for labels: stored as integers, or as texts.
    whole: bool = False

    @property
    def read(self) -> tuple[Form, ...]:
        """All columns that are read."""
        return (*self.forms, *self.other, *(() if self.by is None else (self.by,)))

    def arrange(self, batch: Batch) -> Batch:
        """The batch with prediction, target and weight for its arrays, and keys of groups."""
        if self.by is not None:
            *arrays, keys = batch.arrays
            batch = batch._replace(arrays=tuple(arrays), keys=keys)
        if self.other:
            count = len(self.forms)
            others = batch.arrays[count:]
            other = side_by_side(others) if self.classes else others[0]
            batch = batch._replace(arrays=batch.arrays[:count], other=other)
        if not self.classes:
            return batch if self.numbers is None else two_classes(batch, self.numbers)
        prediction, rest = batch.arrays[: self.columns], batch.arrays[self.columns :]
        target, weight = (rest[:-1], rest[-1:]) if self.weighted else (rest, ())
        found = labels(target[0], self, batch) if self.labelled else side_by_side(target)
        return batch._replace(arrays=(side_by_side(prediction), found, *weight))

    def example(self, rows: int = 0) -> Batch:
        """A batch to compile with; of ``rows`` rows where losses take a number a row."""
        if not self.classes:
            column = np.full(rows, 0.5, self.real)  # most domains have it
            return Batch(0, (column,) * (3 if self.weighted else 2), 1.0)
        shape = EXAMPLE_ROWS, len(self.classes)
        target = np.zeros(shape[0], np.int64) if self.labelled else np.zeros(shape, self.real)
        weight = (np.ones(shape[0], self.real),) if self.weighted else ()
        return Batch(0, (np.zeros(shape, self.real), target, *weight), 1.0)


def arrange(
    table: Table,
    chosen: list[Chosen],
    prediction: tuple[str, ...],
    target: tuple[str, ...],
    weight: str | None,
    classes: tuple[str, ...] | None,
    by: str | None = None,
    compare: tuple[str, ...] = (),
) -> Layout:
    """Find out what a table holds, and whether the losses can take it."""
    wanted = {"prediction": prediction, "target": target}
    if weight is not None:
        wanted["weight"] = (weight,)
    more: dict[str, tuple[str, ...]] = {} if by is None else {"by": (by,)}
    if compare:
        more["compare"] = compare
    options = select(table, wanted | more)
    named = {one.option: one for one in options}
    options = options[: len(wanted)]
    found = _arranged(table, chosen, options, weight, classes)
    if compare:
        found = _with_other(table, found, named["prediction"], named["compare"])
    if by is not None:
        group = named["by"]
        others = [one for one in named.values() if one is not group]
        if len(group.columns) > 1 or any(group.columns[0] in one.columns for one in others):
            raise UsageFailure("--by names one column, and none that another option names")
        found = found._replace(by=Form(group.columns[0], found.real, key=True))
    return found


def _with_other(table: Table, found: Layout, prediction: Selected, other: Selected) -> Layout:
    """The layout with a second prediction, which must be like the first."""
    kinds = table.kinds(prediction.columns), table.kinds(other.columns)
    widths = [_width(table, one, kind) for one, kind in zip((prediction, other), kinds)]
    if widths[0] != widths[1]:
        says = [one or 1 for one in widths]
        raise Failure(
            f"{table.path}: --prediction has {says[0]} numbers a row, --compare {says[1]}"
        )
    columns = _ordered(other, found.classes) if found.classes else other.columns
    real = max(found.real, *(kind.real for kind in kinds[1]))
    forms = tuple(
        form._replace(real=real) if form.real == found.real else form for form in found.forms
    )
    whole = found.whole and all(kind.whole for kind in kinds[1])
    return found._replace(
        forms=forms, real=real, whole=whole, other=_forms(columns, kinds[1], real)
    )


def _arranged(
    table: Table,
    chosen: list[Chosen],
    options: list[Selected],
    weight: str | None,
    classes: tuple[str, ...] | None,
) -> Layout:
    found = iter(table.kinds(tuple(name for option in options for name in option.columns)))
    kinds = [tuple(islice(found, len(option.columns))) for option in options]
    if weight is not None:
        _one_number(table, options[2], kinds[2], "weights are a number a row")
    if chosen[0].loss.contract.of_classes:
        return _of_rows(table, chosen, options, kinds, classes)
    return _of_numbers(table, chosen, options, kinds, classes)


def _of_numbers(
    table: Table,
    chosen: list[Chosen],
    options: list[Selected],
    kinds: list[tuple[Kind, ...]],
    given: tuple[str, ...] | None,
) -> Layout:
    """Losses of a number a row; ``given`` are what a binary target calls 0 and 1."""
    other = next((one for one in chosen if not _is_binary(one.loss)), None)
    if given is not None and other is not None:
        raise UsageFailure(
            f"--classes is for losses of rows of predictions, and of targets that are 0 or 1; "
            f"{other.text} is neither"
        )
    if given is not None and len(given) != 2:
        raise UsageFailure(f"--classes names {len(given)} classes; {chosen[0].text} has two")
    for option, kind in zip(options, kinds, strict=True):
        reason = f"{chosen[0].text} takes a number a row"
        if option.option == "target" and kind[0].text is not None and other is None:
            if given is not None:
                kind = (kind[0]._replace(text=None), *kind[1:])
            elif not kind[0].hint:
                hint = "; --classes no,yes says which text is 0 and which is 1"
                kind = (kind[0]._replace(hint=hint), *kind[1:])
        _one_number(table, option, kind, reason)
    real = kinds[0][0].real
    forms = [Form(option.columns[0], real) for option in options]
    numbers = None
    if given is not None and kinds[1][0].text is None and all(map(_is_number, given)):
        numbers = tuple(map(int, given))
    elif given is not None:
        forms[1] = forms[1]._replace(classes=given)
    return Layout(tuple(forms), real, len(options) > 2, numbers=numbers, whole=kinds[0][0].whole)


def _is_binary(loss: Scorable) -> bool:
    """Whether targets are 0 and 1, or between them."""
    low, high, *_ = domain(loss.target_domain)
    return (low, high) == (0.0, 1.0)


def _one_number(table: Table, option: Selected, kinds: tuple[Kind, ...], reason: str) -> None:
    if len(kinds) > 1:
        raise UsageFailure(f"--{option.option} names {len(kinds)} columns; {reason}")
    (kind,), (name,) = kinds, option.columns
    if kind.text is not None:
        raise not_numbers(table.path, name, kind.text, kind.hint)
    if kind.width is not None:
        raise Failure(
            f"{table.path}: column {name!r} holds lists of {kind.width} numbers; {reason}"
        )


def _of_rows(
    table: Table,
    chosen: list[Chosen],
    options: list[Selected],
    kinds: list[tuple[Kind, ...]],
    given: tuple[str, ...] | None,
) -> Layout:
    prediction, target = options[:2]
    count = _width(table, prediction, kinds[0])
    if count is None:
        raise UsageFailure(
            f"--prediction {prediction.columns[0]} is one number a row; {chosen[0].text} takes "
            f"one a class: several columns (a,b,c or 'logit_*') or a column of lists"
        )
    classes, numbers = _classes(prediction, count, given)
    real = max(kind.real for kind in kinds[0])
    forms = _forms(_ordered(prediction, classes), kinds[0], real)
    columns = len(forms)
    kind = kinds[1][0]
    labelled = len(kinds[1]) == 1 and kind.width is None
    _check_accepted(chosen, labelled, target)
    if labelled:
        if kind.text is not None and given is None and prediction.matched is None:
            raise UsageFailure(
                f"--target {target.columns[0]} holds text: --classes a,b,c says in which order "
                f"--prediction has the classes"
            )
        # Where only some of the names are numbers, numbers are names too, and no places.
        mixed = len({_is_number(name) for name in classes}) > 1
        by_name = kind.text is not None or mixed
        forms += (Form(target.columns[0], "float64", classes=classes if by_name else None),)
        numbers = None if by_name else numbers
    else:
        dense = _width(table, target, kinds[1])
        if dense != count:
            raise Failure(f"{table.path}: --target has {dense} numbers a row, --prediction {count}")
        forms += _forms(_ordered(target, classes), kinds[1], real)
    if len(options) > 2:
        forms += (Form(options[2].columns[0], real),)
    return Layout(forms, real, len(options) > 2, classes, columns, labelled, numbers)


def _width(table: Table, option: Selected, kinds: tuple[Kind, ...]) -> int | None:
    """How many numbers a row an option names; None where it is a single one."""
    for kind, name in zip(kinds, option.columns, strict=True):
        if kind.text is not None:
            raise not_numbers(table.path, name, kind.text, kind.hint)
        if len(kinds) > 1 and kind.width is not None:
            raise Failure(
                f"{table.path}: column {name!r} holds lists; --{option.option} takes one column "
                f"of lists or several of numbers"
            )
        if kind.width == 0:
            raise Failure(f"{table.path}: column {name!r} holds empty lists")
    return len(kinds) if len(kinds) > 1 else kinds[0].width


def _classes(
    prediction: Selected, count: int, given: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """The names of the classes; and their numbers, where labels hold these."""
    names = given or prediction.matched or tuple(map(str, range(count)))
    if given is not None and len(given) != count:
        raise Failure(f"--classes names {len(given)} classes, --prediction has {count} columns")
    if not all(map(_is_number, names)):
        return names, None
    if given is None:
        names = tuple(sorted(names, key=int))
    numbers = tuple(map(int, names))
    if len(set(numbers)) < count:
        raise UsageFailure(f"--prediction {prediction.pattern} matches a number twice")
    return names, None if numbers == tuple(range(count)) else numbers


def _is_number(name: str) -> bool:
    return re.fullmatch(r"-?\d{1,18}", name) is not None


def _ordered(option: Selected, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The columns, those of a pattern in the order of the classes that they are called after."""
    if option.matched is None or sorted(option.matched) != sorted(classes):
        return option.columns
    columns = dict(zip(option.matched, option.columns, strict=True))
    return tuple(columns[name] for name in classes)


def _forms(columns: tuple[str, ...], kinds: tuple[Kind, ...], real: str) -> tuple[Form, ...]:
    return tuple(Form(name, real, kind.width) for name, kind in zip(columns, kinds, strict=True))


def _check_accepted(chosen: list[Chosen], labelled: bool, target: Selected) -> None:
    """Raise for labels where a loss takes none, and for anything else where it takes labels."""
    for one in chosen:
        accepts = getattr(one.loss, "accepts", ())
        if labelled and "labels" not in accepts:
            raise UsageFailure(
                f"--loss {one.text!r} takes a target for every class, not labels: name as many "
                f"--target columns as --prediction has"
            )
        if not labelled and "dense" not in accepts:
            raise UsageFailure(f"--loss {one.text!r} takes labels: name one --target column")


def side_by_side(columns: tuple[np.ndarray, ...]) -> np.ndarray:
    """Columns as a matrix; a matrix as it is."""
    if len(columns) == 1 and columns[0].ndim == 2:
        return columns[0]
    matrix = np.empty((len(columns[0]), len(columns)), columns[0].dtype)
    for place, column in enumerate(columns):
        matrix[:, place] = column
    return matrix


def two_classes(batch: Batch, numbers: tuple[int, ...]) -> Batch:
    """The batch with targets of 0 and 1 for those two numbers; NaN stays."""
    prediction, target, *weight = batch.arrays
    odd = ~(np.isnan(target) | np.isin(target, numbers))
    if odd.any():
        first = int(odd.argmax())
        names = tuple(map(str, numbers))
        raise no_class(f"{target[first]:.9g}", batch.place(first), names)
    found = np.where(np.isnan(target), target, target == numbers[1]).astype(target.dtype)
    return batch._replace(arrays=(prediction, found, *weight))


def labels(values: np.ndarray, layout: Layout, batch: Batch) -> np.ndarray:
    """Numbers as labels from 0 up; what is negative stays so, and may be ignored."""
    missing = np.isnan(values)
    odd = ~missing & ((values != np.floor(values)) | (np.abs(values) > 2.0**62))
    if odd.any():
        first = int(odd.argmax())
        large = " below 2**62" if abs(values[first]) > 2.0**62 else ""
        raise Failure(
            f"the target of {batch.place(first)} is {values[first]:.17g}; labels are whole "
            f"numbers{large}"
        )
    found = np.where(missing, 0.0, values).astype(np.int64)
    if layout.numbers is not None:
        found = _places(found, missing, layout, batch)
    found[missing] = MISSING
    return found


def _places(found: np.ndarray, missing: np.ndarray, layout: Layout, batch: Batch) -> np.ndarray:
    """The places of numbers among the classes."""
    numbers = np.array(layout.numbers)
    order = np.argsort(numbers)
    places = np.minimum(np.searchsorted(numbers[order], found), len(numbers) - 1)
    known = numbers[order][places] == found
    unknown = ~known & ~missing & (found >= 0)
    if unknown.any():
        first = int(unknown.argmax())
        raise no_class(str(found[first]), batch.place(first), layout.classes)
    return np.where(known, order[places], found)
