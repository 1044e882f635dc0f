"""NumPy's own files, read piece by piece.

Nothing is mapped into memory for good: pages of a mapped file count as memory of the
process, and a file that shrinks while it is mapped kills it.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..failures import Failure, reading
from . import (
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
            for start, size in _steps(self._rows, forms):
                records = _elements(file, self._dtype, size)
                batch = Batch(start, (), (start + size) / self._rows)
                arrays = tuple(_formed(records[form.column], form, batch) for form in forms)
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
            for start, size in _steps(self._rows, forms, self._count):
                batch = Batch(start, (), (start + size) / self._rows)
                whole: Any = None
                if not self._by_column:
                    whole = _elements(file, self._dtype, size * self._count).reshape(size, -1)
                arrays = []
                for form, places in zip(forms, spans, strict=True):
                    if self._by_column:
                        found = self._columns(file, places, start, size)
                    else:
                        found = whole[:, places]
                    arrays.append(_formed(found if form.width else found[:, 0], form, batch))
                yield batch._replace(arrays=tuple(arrays))

    def _columns(self, file: IO[bytes], places: slice, start: int, size: int) -> np.ndarray:
        columns = []
        for place in range(places.start, places.stop):
            file.seek(self._offset + (place * self._rows + start) * self._dtype.itemsize)
            columns.append(_elements(file, self._dtype, size))
        return np.stack(columns, axis=1)


class Member(NamedTuple):
    """What the header of an array in an archive says."""

    rows: int
    width: int | None
    by_column: bool
    dtype: np.dtype
    offset: int


class NpzTable:
    """Named arrays of one or two dimensions, unpacked as they are read."""

    numbered = False

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path), zipfile.ZipFile(path) as archive:
            self.names = [name.removesuffix(".npy") for name in archive.namelist()]

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        members = self._members(columns)
        kinds = tuple(
            kind_of(member.dtype, name, self.path)._replace(width=member.width)
            for member, name in zip(members, columns, strict=True)
        )
        if len({member.rows for member in members}) > 1:
            each = ", ".join(
                f"{name} has {member.rows}" for name, member in zip(columns, members, strict=True)
            )
            raise Failure(f"{self.path}: the arrays must be of one length; {each}")
        return kinds

    def _members(self, columns: tuple[str, ...]) -> list[Member]:
        with reading(self.path), zipfile.ZipFile(self.path) as archive:
            found = []
            for name in columns:
                with archive.open(f"{name}.npy") as member:
                    found.append(_header(member, name, self.path))
            return found

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        members = self._members(tuple(form.column for form in forms))
        rows = members[0].rows
        with (
            reading(self.path),
            zipfile.ZipFile(self.path) as archive,
            ExitStack() as files,
        ):
            streams = [
                [
                    files.enter_context(_opened(archive, form.column, member, column))
                    for column in range((member.width or 1) if member.by_column else 1)
                ]
                for form, member in zip(forms, members, strict=True)
            ]
            for start, size in _steps(rows, forms):
                batch = Batch(start, (), (start + size) / rows)
                arrays = []
                for form, member, files_ in zip(forms, members, streams, strict=True):
                    count = size if member.by_column else size * (member.width or 1)
                    pieces = [_elements(file, member.dtype, count) for file in files_]
                    found = np.stack(pieces, axis=1) if member.by_column else pieces[0]
                    if member.width is not None:
                        found = found.reshape(size, member.width)
                    arrays.append(_formed(found, form, batch))
                yield batch._replace(arrays=tuple(arrays))
            for files_ in streams:
                files_[-1].read(1)  # at the end of a member its checksum is compared


def _opened(archive: zipfile.ZipFile, name: str, member: Member, column: int) -> IO[bytes]:
    """A stream of its own for every column that lies in one piece."""
    file = archive.open(f"{name}.npy")
    file.seek(member.offset + column * member.rows * member.dtype.itemsize)
    return file


def _header(file: IO[bytes], name: str, path: Path) -> Member:
    """Shape and dtype of an array, read from the beginning of its file."""
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    shape, by_column, dtype = read(file)
    if len(shape) not in (1, 2):
        raise Failure(f"{path}: {name!r} has the shape {shape}; expected one or two dimensions")
    # A column of one number a row is as good as none.
    width = None if shape[1:] in ((), (1,)) else shape[1]
    return Member(shape[0], width, by_column and width is not None, dtype, file.tell())


def kind_of(dtype: np.dtype, column: str, path: Path) -> Kind:
    """Raise for arrays of objects, dates, complex numbers, nested records."""
    width = None
    if dtype.subdtype is not None and len(dtype.shape) == 1:
        dtype, (width,) = dtype.subdtype
    if dtype.kind in "US" and width is None:
        return Kind(text="text")
    if dtype.kind not in "fiub" or dtype.shape:
        raise not_numbers(path, column, "text" if dtype.kind in "US" else dtype)
    return Kind(real_of(dtype.newbyteorder("=")), width)


def span(name: str) -> slice:
    """The columns that a number or a range of them means."""
    if ":" not in name:
        return slice(int(name), int(name) + 1)
    first, last = name.split(":")
    return slice(int(first), int(last))


def canonical(name: str, count: int, path: Path) -> str:
    """A number, or a range of them, counted from the first column."""
    if re.fullmatch(r"-?\d+", name) and -count <= int(name) < count:
        return str(int(name) % count)
    if re.fullmatch(r"(-?\d+)?:(-?\d+)?", name):
        ends = [int(end) if end else None for end in name.split(":")]
        start, stop, _ = slice(*ends).indices(count)
        if start < stop and all(end is None or -count <= end <= count for end in ends):
            return f"{start}:{stop}"
    raise Failure(f"{path} has no column {name!r}; its columns are the numbers 0 to {count - 1}")


def _formed(values: np.ndarray, form: Form, batch: Batch) -> np.ndarray:
    """What was read as what is wanted: numbers, or the places of texts among the classes."""
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


def _steps(rows: int, forms: tuple[Form, ...], read: int = 0) -> Iterator[tuple[int, int]]:
    """Where batches start, and their sizes; ``read`` numbers of a row are read, or more."""
    step = batch_rows(forms, read)
    for start in range(0, rows, step):
        yield start, min(step, rows - start)


def _elements(file: IO[bytes], dtype: np.dtype, size: int) -> np.ndarray:
    content = file.read(size * dtype.itemsize)
    if len(content) < size * dtype.itemsize:
        raise EOFError("it ends too early")
    return np.frombuffer(content, dtype)
