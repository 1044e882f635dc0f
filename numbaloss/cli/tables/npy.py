"""NumPy's own files, read piece by piece.

Nothing is mapped into memory for good: pages of a mapped file count as memory of the
process, and a file that shrinks while it is mapped kills it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..failures import Failure, reading
from .columns import (
    Batch,
    Form,
    Kind,
    Table,
    batch_rows,
    contiguous,
    find_columns,
    no_class,
    not_numbers,
    real_of,
)


def open_npy(path: Path) -> Table:
    """An array with named fields, or a two-dimensional one whose columns have numbers."""
    with reading(path):
        # Maps the file, to learn what is in it and where; no page of it is touched.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap):
            raise Failure(f"{path} is not an .npy file")
        offset, dtype, shape = array.offset, array.dtype, array.shape
        by_column = array.ndim == 2 and array.flags.f_contiguous and not array.flags.c_contiguous
    if dtype.names:
        if len(shape) != 1:
            raise Failure(f"{path} has the shape {shape}; expected one record a row")
        return FieldsTable(path, dtype, shape[0], offset)
    if len(shape) != 2:
        raise Failure(
            f"{path} has the shape {shape}; expected two dimensions, or named fields, so that "
            f"it has columns"
        )
    return PlainTable(path, dtype, shape, offset, by_column)


class FieldsTable:
    """Records, one after the other."""

    numbered = False

    def __init__(self, path: Path, dtype: np.dtype, rows: int, offset: int) -> None:
        self.path, self._dtype, self._rows, self._offset = path, dtype, rows, offset
        self.names = list(dtype.names or ())

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        return tuple(kind_of(self._dtype[name], name, self.path) for name in columns)

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        with reading(self.path), open(self.path, "rb") as file:
            file.seek(self._offset)
            for start, size in steps(self._rows, forms):
                records = elements(file, self._dtype, size)
                batch = Batch(start, (), (start + size) / self._rows)
                arrays = tuple(formed(records[form.column], form, batch) for form in forms)
                yield batch._replace(arrays=arrays)


class PlainTable:
    """A matrix, row after row or column after column. ``2:5`` are three of its columns."""

    numbered = True

    def __init__(
        self, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int, by_column: bool
    ) -> None:
        self.path, self._dtype, self._by_column = path, dtype, by_column
        self._rows, self._count = shape
        self._offset = offset
        self.names = [str(place) for place in range(self._count)]

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        one = kind_of(self._dtype, columns[0], self.path)
        spans = [span(name) for name in columns]
        return tuple(
            one._replace(width=places.stop - places.start if ":" in name else None)
            for name, places in zip(columns, spans, strict=True)
        )

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        spans = [span(form.column) for form in forms]
        with reading(self.path), open(self.path, "rb") as file:
            file.seek(self._offset)
            for start, size in steps(self._rows, forms, self._count):
                batch = Batch(start, (), (start + size) / self._rows)
                whole: Any = None
                if not self._by_column:
                    whole = elements(file, self._dtype, size * self._count).reshape(size, -1)
                arrays = []
                for form, places in zip(forms, spans, strict=True):
                    if self._by_column:
                        found = self._columns(file, places, start, size)
                    else:
                        found = whole[:, places]
                    arrays.append(formed(found if form.width else found[:, 0], form, batch))
                yield batch._replace(arrays=tuple(arrays))

    def _columns(self, file: IO[bytes], places: slice, start: int, size: int) -> np.ndarray:
        columns = []
        for place in range(places.start, places.stop):
            file.seek(self._offset + (place * self._rows + start) * self._dtype.itemsize)
            columns.append(elements(file, self._dtype, size))
        return np.stack(columns, axis=1)


def kind_of(dtype: np.dtype, column: str, path: Path) -> Kind:
    """Raise for arrays of objects, dates, complex numbers, nested records."""
    width = None
    if dtype.subdtype is not None and len(dtype.shape) == 1:
        dtype, (width,) = dtype.subdtype
    if dtype.kind in "US" and width is None:
        return Kind(text="text")
    if dtype.kind not in "fiub" or dtype.shape:
        raise not_numbers(path, column, "text" if dtype.kind in "US" else dtype)
    return Kind(real_of(dtype.newbyteorder("=")), width, whole=dtype.kind in "iub")


def span(name: str) -> slice:
    """The columns that a number or a range of them means."""
    if ":" not in name:
        return slice(int(name), int(name) + 1)
    first, last = name.split(":")
    return slice(int(first), int(last))


def canonical(name: str, count: int, path: Path) -> str:
    """A number, or a range of them, counted from the first column."""
    if count == 0:
        raise Failure(f"{path} has no columns")
    if re.fullmatch(r"-?\d+", name) and -count <= int(name) < count:
        return str(int(name) % count)
    if re.fullmatch(r"(-?\d+)?:(-?\d+)?", name):
        ends = [int(end) if end else None for end in name.split(":")]
        start, stop, _ = slice(*ends).indices(count)
        if start < stop and all(end is None or -count <= end <= count for end in ends):
            return f"{start}:{stop}"
    raise Failure(f"{path} has no column {name!r}; its columns are the numbers 0 to {count - 1}")


def formed(values: np.ndarray, form: Form, batch: Batch) -> np.ndarray:
    """What was read as what is wanted: numbers, or the places of texts among the classes."""
    if form.key:
        return values.astype(str)
    if form.classes is None:
        return contiguous(values, form.real)
    texts = values.astype(str)
    names = np.array(form.classes)
    order = np.argsort(names)
    places = np.minimum(np.searchsorted(names[order], texts), len(names) - 1)
    found = order[places].astype(form.real)
    unknown = names[order][places] != texts
    if unknown.any():
        for index in np.flatnonzero(unknown):
            if texts[index] not in ("", "nan"):
                raise no_class(str(texts[index]), batch.place(int(index)), form.classes)
        found[unknown] = np.nan
    return found


def steps(rows: int, forms: tuple[Form, ...], read: int = 0) -> Iterator[tuple[int, int]]:
    """Where batches start, and their sizes; ``read`` numbers of a row are read, or more."""
    step = batch_rows(forms, read)
    for start in range(0, rows, step):
        yield start, min(step, rows - start)


def elements(file: IO[bytes], dtype: np.dtype, size: int) -> np.ndarray:
    content = file.read(size * dtype.itemsize)
    if len(content) < size * dtype.itemsize:
        raise EOFError("it ends too early")
    return np.frombuffer(content, dtype)
