"""Columns of tables: what they hold, how they are read, and batches of their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..failures import Failure, did_you_mean

# Rows of a batch. The arrays of one stay in the second-level cache between the decoder,
# the losses and the sums, and a launch of the kernels costs nothing beside it.
BATCH_ROWS = 1 << 17

# Numbers of a batch, where its rows have many of them: of 10 classes some 50,000 rows.
BATCH_NUMBERS = 1 << 19


class Batch(NamedTuple):
    """Consecutive rows of the wanted columns, as contiguous arrays of the compute type."""

    start: int  # number of the first row, counted from 0 over all files; -1 if nobody knows
    arrays: tuple[np.ndarray, ...]
    done: float  # share of the whole that is read, this batch included
    part: str = ""  # name of the file, where the table is a folder of them
    start_in_part: int = 0
    keys: np.ndarray | None = None  # texts that name the group of each row
    other: np.ndarray | None = None  # a second prediction

    def place(self, index: int) -> str:
        """How to call row ``index`` of this batch in a message."""
        if self.start < 0:  # nobody has counted the rows of other files
            return f"row {self.start_in_part + index} of {self.part}"
        inside = f" (row {self.start_in_part + index} of {self.part})" if self.part else ""
        return f"row {self.start + index}{inside}"


class Kind(NamedTuple):
    """What a column holds: a number a row, unless it says otherwise."""

    real: str = "float64"  # the type that its numbers are computed in
    width: int | None = None  # how many numbers a row, in a column of lists
    text: str | None = None  # of a column of text: what of it to show in a message
    hint: str = ""  # how it might be read after all
    whole: bool = False  # whether its numbers are integers or booleans: labels, perhaps


class Form(NamedTuple):
    """How to read a column."""

    column: str
    real: str
    width: int | None = None
    classes: tuple[str, ...] | None = None  # text becomes its place among these
    key: bool = False  # whatever it holds becomes text


class Table(Protocol):
    """Columns that can be read once, from the first row to the last."""

    path: Path
    names: list[str]
    numbered: bool  # whether columns are called by their numbers, and ranges of these

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        """What is in some columns; a Failure for what is neither numbers nor text."""
        ...

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]: ...


def find_columns(wanted: tuple[str, ...], present: list[str], path: Path | str) -> None:
    """Raise where a wanted column is missing, or there twice."""
    count = Counter(present)
    for name in wanted:
        times = count[name]
        if times == 0:
            hint = did_you_mean(name, present)
            if len(present) == 1 and {".csv", ".tsv", ".txt"} & set(Path(path).suffixes):
                hint += "; --delimiter says what is between columns"
            raise Failure(f"{path} has no column {name!r}; {hint}")
        if times > 1:
            raise Failure(f"{path} has {times} columns that are called {name!r}")


def batch_rows(forms: tuple[Form, ...], read: int = 0) -> int:
    """Rows of a batch of these columns, where at least ``read`` numbers of a row are read."""
    numbers = sum(1 if form.width is None else form.width for form in forms)
    return min(BATCH_ROWS, max(BATCH_NUMBERS // max(numbers, read, 1), 1))


def real_of(dtype: np.dtype | str) -> str:
    """The type that predictions of a stored type are computed in."""
    return "float32" if str(dtype) in ("float16", "halffloat", "float32", "float") else "float64"


def contiguous(values: np.ndarray, real: str) -> np.ndarray:
    """What kernels take as it is; a copy only where the stored type is another one."""
    # A stored number beyond float32 becomes infinite there: what the row then shows.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=real)


def not_numbers(path: Path | str, column: str, kind: object, hint: str = "") -> Failure:
    return Failure(f"{path}: column {column!r} holds {kind}, not numbers{hint}")


def no_class(label: str, place: str, classes: tuple[str, ...]) -> Failure:
    shown = label if len(label) <= 40 else f"{label[:37]}..."
    known = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
    return Failure(f"the target of {place} is {shown!r}; the classes are {known}")
