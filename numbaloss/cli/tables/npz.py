"""Archives of NumPy's arrays, unpacked piece by piece."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from ..failures import Failure, reading
from .columns import Batch, Form, Kind, find_columns
from .npy import elements, formed, kind_of, steps

# Bytes of an array that lies column after column, beyond which it is unpacked to disk.
IN_MEMORY = 1 << 26


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
            names = archive.namelist()
        self.names = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]

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
            opened = [
                files.enter_context(_opened(archive, form.column, member))
                for form, member in zip(forms, members, strict=True)
            ]
            for start, size in steps(rows, forms):
                batch = Batch(start, (), (start + size) / rows)
                arrays = tuple(
                    formed(_rows(file, member, start, size), form, batch)
                    for form, member, file in zip(forms, members, opened, strict=True)
                )
                yield batch._replace(arrays=arrays)
            for file, member in zip(opened, members, strict=True):
                # At the end of a member its checksum is compared.
                if not member.by_column and file.read(1):
                    raise ValueError("an array is longer than its header says")


def _opened(archive: zipfile.ZipFile, name: str, member: Member) -> IO[bytes]:
    """The numbers of an array, from the first one on.

    An array that lies column after column is unpacked once as a whole, for rows that need a
    piece of every column: a packed stream that goes to its place starts from its beginning.
    """
    file = archive.open(f"{name}.npy")
    if not member.by_column:
        file.seek(member.offset)
        return file
    whole: Any = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    with file:
        shutil.copyfileobj(file, whole, 1 << 20)
    return whole


def _rows(file: IO[bytes], member: Member, start: int, size: int) -> np.ndarray:
    if not member.by_column:
        found = elements(file, member.dtype, size * (1 if member.width is None else member.width))
        return found if member.width is None else found.reshape(size, member.width)
    assert member.width is not None
    found = np.empty((size, member.width), member.dtype)
    for column in range(member.width):
        file.seek(member.offset + (column * member.rows + start) * member.dtype.itemsize)
        found[:, column] = elements(file, member.dtype, size)
    return found


def _header(file: IO[bytes], name: str, path: Path) -> Member:
    """Shape and dtype of an array, read from the beginning of its file."""
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_2_0
    if version == (1, 0):
        read = np.lib.format.read_array_header_1_0
    shape, by_column, dtype = read(file)
    if len(shape) not in (1, 2):
        raise Failure(f"{path}: {name!r} has the shape {shape}; expected one or two dimensions")
    if min(shape) < 0:
        raise ValueError(f"{name!r} has the shape {shape}")
    # A column of one number a row is as good as none.
    width = None if shape[1:] in ((), (1,)) else shape[1]
    return Member(shape[0], width, by_column and width is not None, dtype, file.tell())
