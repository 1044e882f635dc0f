"""NumPy's own files, read piece by piece.

Nothing is mapped into memory for good: pages of a mapped file count as memory of the
process, and a file that shrinks while it is mapped kills it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..failures import Failure, reading
from . import BATCH_ROWS, Batch, Table, contiguous, find_columns, not_numbers, real_of


def open_npy(path: Path, columns: tuple[str, ...]) -> Table:
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
        find_columns(columns, list(dtype.names), path)
        for name in columns:
            check_numbers(dtype[name], name, path)
        return RowsTable(path, columns, dtype, shape[0], offset)
    if len(shape) != 2:
        raise Failure(
            f"{path} has the shape {shape}; expected two dimensions, or named fields, so that "
            f"it has columns"
        )
    places = [_column_number(name, shape[1], path) for name in columns]
    check_numbers(dtype, columns[0], path)
    if by_column:
        stride = shape[0] * dtype.itemsize
        starts = [offset + place * stride for place in places]
        return ColumnsTable(path, dtype, shape[0], starts)
    # Rows of a plain array are records with one unnamed field a column.
    record = np.dtype([(str(place), dtype) for place in range(shape[1])])
    return RowsTable(path, tuple(map(str, places)), record, shape[0], offset)


class RowsTable:
    """Records, one after the other."""

    def __init__(
        self, path: Path, columns: tuple[str, ...], dtype: np.dtype, rows: int, offset: int
    ) -> None:
        self._path, self._columns, self._dtype = path, columns, dtype
        self._rows, self._offset = rows, offset
        self.real = real_of(dtype[columns[0]].newbyteorder("="))

    def batches(self) -> Iterator[Batch]:
        with reading(self._path), open(self._path, "rb") as file:
            file.seek(self._offset)
            for start, size in _steps(self._rows):
                records = _elements(file, self._dtype, size)
                arrays = tuple(contiguous(records[name], self.real) for name in self._columns)
                yield Batch(start, arrays, (start + size) / self._rows)


class ColumnsTable:
    """Whole columns, one after the other."""

    def __init__(self, path: Path, dtype: np.dtype, rows: int, starts: list[int]) -> None:
        self._path, self._dtype, self._rows, self._starts = path, dtype, rows, starts
        self.real = real_of(dtype.newbyteorder("="))

    def batches(self) -> Iterator[Batch]:
        with reading(self._path), open(self._path, "rb") as file:
            for start, size in _steps(self._rows):
                arrays = []
                for place in self._starts:
                    file.seek(place + start * self._dtype.itemsize)
                    arrays.append(contiguous(_elements(file, self._dtype, size), self.real))
                yield Batch(start, tuple(arrays), (start + size) / self._rows)


class NpzTable:
    """Named arrays of one dimension, unpacked as they are read."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path, self._columns = path, columns
        with reading(path), zipfile.ZipFile(path) as archive:
            present = [name.removesuffix(".npy") for name in archive.namelist()]
            find_columns(columns, present, path)
            headers = []
            for name in columns:
                with archive.open(f"{name}.npy") as member:
                    headers.append(_header(member, name, path))
        sizes = {rows for rows, _ in headers}
        if len(sizes) > 1:
            each = ", ".join(
                f"{name} has {rows}" for name, (rows, _) in zip(columns, headers, strict=True)
            )
            raise Failure(f"{path}: the arrays must be of one length; {each}")
        self._rows = headers[0][0]
        self.real = real_of(headers[0][1].newbyteorder("="))

    def batches(self) -> Iterator[Batch]:
        with reading(self._path), zipfile.ZipFile(self._path) as archive:
            members = [archive.open(f"{name}.npy") for name in self._columns]
            dtypes = [
                _header(member, name, self._path)[1]
                for member, name in zip(members, self._columns, strict=True)
            ]
            for start, size in _steps(self._rows):
                arrays = tuple(
                    contiguous(_elements(member, dtype, size), self.real)
                    for member, dtype in zip(members, dtypes, strict=True)
                )
                yield Batch(start, arrays, (start + size) / self._rows)
            for member in members:
                member.read(1)  # at the end of a member its checksum is compared


def check_numbers(dtype: np.dtype, column: str, path: Path) -> None:
    """Raise for arrays of objects, text, dates, complex numbers, nested records."""
    if dtype.kind not in "fiub" or dtype.shape:
        raise not_numbers(path, column, "text" if dtype.kind in "US" else dtype)


def _column_number(name: str, count: int, path: Path) -> int:
    try:
        number = int(name)
    except ValueError:
        number = count
    if not -count <= number < count:
        raise Failure(
            f"{path} has no column {name!r}; its columns are the numbers 0 to {count - 1}"
        )
    return number % count


def _header(member: IO[bytes], name: str, path: Path) -> tuple[int, np.dtype]:
    """Length and dtype of an array, read from the beginning of its file."""
    version = np.lib.format.read_magic(member)
    read: Any = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    shape, _, dtype = read(member)
    check_numbers(dtype, name, path)
    if len(shape) != 1 and shape[1:] != (1,):
        raise Failure(f"{path}: {name!r} has the shape {shape}; expected one dimension")
    return shape[0], dtype


def _steps(rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, BATCH_ROWS):
        yield start, min(BATCH_ROWS, rows - start)


def _elements(file: IO[bytes], dtype: np.dtype, size: int) -> np.ndarray:
    content = file.read(size * dtype.itemsize)
    if len(content) < size * dtype.itemsize:
        raise EOFError("it ends too early")
    return np.frombuffer(content, dtype)
