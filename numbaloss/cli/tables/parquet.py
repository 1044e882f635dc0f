"""Parquet: one file, or many that are read as one table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from ..failures import Failure, reading
from . import keys
from .arrow import column_kind, column_width, opened, read_column
from .columns import Batch, Form, Kind, batch_rows, find_columns
from .sources import Source

# Bytes that a column is read ahead. Without a limit Arrow loads a whole row group, and with
# its pre_buffer every row group of the file (measured on 20 million rows: 284 MB, not 98).
READ_AHEAD = 1 << 20

# Rows that one process reads on its own: whole row groups, as many as there must be for this.
PIECE_ROWS = 1 << 20


class Piece(NamedTuple):
    """Row groups of a file, one after the other."""

    file: int
    groups: tuple[int, ...]
    start: int  # number of the first row, over all files
    start_in_part: int


class ParquetTable:
    """Columns of one Parquet file, or of many in their order."""

    numbered = False

    def __init__(self, path: Path, files: list[Source]) -> None:
        self.path = path
        self._files = files
        self._rows = 0
        self._schemas = []
        self._pieces: list[Piece] = []
        for place, file in enumerate(files):
            with reading(file.path), opened(file.path) as raw:
                found = pq.ParquetFile(raw, pre_buffer=False)
                self._schemas.append(found.schema_arrow)
                self._cut(place, found.metadata)
        self._keys = keys.common(files, self._schemas[0].names)
        self.names = [*self._schemas[0].names, *self._keys]
        self.pieces = len(self._pieces)

    def _cut(self, place: int, metadata: Any) -> None:
        """Cut a file into pieces."""
        groups: list[int] = []
        start = rows = 0
        for group in range(metadata.num_row_groups):
            groups.append(group)
            rows += metadata.row_group(group).num_rows
            if rows >= PIECE_ROWS or group == metadata.num_row_groups - 1:
                self._pieces.append(Piece(place, tuple(groups), self._rows, start))
                self._rows += rows
                start += rows
                groups, rows = [], 0

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        stored = tuple(name for name in columns if name not in self._keys)
        for file, schema in zip(self._files, self._schemas, strict=True):
            find_columns(stored, schema.names, file.path)
        return tuple(
            keys.kind(self._files, column) if column in self._keys else self._kind(column)
            for column in columns
        )

    def _kind(self, column: str) -> Kind:
        """What all files have in common."""
        found = [
            column_kind(schema.field(column).type, column, file.path)
            for file, schema in zip(self._files, self._schemas, strict=True)
        ]
        first = found[0]
        for kind, file in zip(found, self._files, strict=True):
            if (kind.text is None, kind.width is None) != (first.text is None, first.width is None):
                raise Failure(
                    f"{file.path}: column {column!r} is of another type than in other files"
                )
        # Files of both precisions: the wider one serves all rows alike.
        real = max(kind.real for kind in found)
        width = self._width(column, first.width) if first.width is not None else None
        return Kind(real, width, first.text, whole=all(kind.whole for kind in found))

    def _width(self, column: str, declared: int) -> int:
        """The length of the first list, where the type does not tell it."""
        if declared >= 0:
            return declared
        for file in self._files:
            with reading(file.path), opened(file.path) as raw:
                rows = pq.ParquetFile(raw, pre_buffer=False, buffer_size=READ_AHEAD)
                for record in rows.iter_batches(1024, columns=[column]):
                    width = column_width(record.column(column))
                    if width is not None:
                        return width
        raise Failure(f"{self.path} has no rows" + (f" with a {column}" if self._rows else ""))

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        for place, pieces in groupby(self._pieces, lambda one: one.file):
            yield from self._read(place, list(pieces), forms)

    def batches_of(self, forms: tuple[Form, ...], piece: int) -> Iterator[Batch]:
        """The rows of one piece."""
        chosen = self._pieces[piece]
        return self._read(chosen.file, [chosen], forms)

    def _read(self, place: int, pieces: list[Piece], forms: tuple[Form, ...]) -> Iterator[Batch]:
        file = self._files[place]
        wanted = list(dict.fromkeys(form.column for form in forms if form.column not in self._keys))
        with reading(file.path), opened(file.path) as raw:
            rows = pq.ParquetFile(raw, pre_buffer=False, buffer_size=READ_AHEAD)
            for piece in pieces:
                # No batch goes on from one piece into the next: sums of batches are the same
                # numbers, whichever process reads which piece.
                records = rows.iter_batches(
                    batch_rows(forms), row_groups=list(piece.groups), columns=wanted
                )
                yield from self._batches(file, piece, records, forms)

    def _batches(
        self, file: Source, piece: Piece, records: Any, forms: tuple[Form, ...]
    ) -> Iterator[Batch]:
        start, start_in_part = piece.start, piece.start_in_part
        part = self._part(file) if len(self._files) > 1 else ""
        for record in records:
            size = record.num_rows
            done = (start + size) / max(self._rows, 1)
            batch = Batch(start, (), done, part, start_in_part)
            arrays = tuple(
                keys.column(file.keys[form.column], form, size, file.path)
                if form.column in self._keys
                else read_column(record.column(form.column), form, batch.place)
                for form in forms
            )
            yield batch._replace(arrays=arrays)
            start += size
            start_in_part += size

    def _part(self, file: Source) -> str:
        inside = file.path.is_relative_to(self.path)
        return str(file.path.relative_to(self.path) if inside else file.path)
