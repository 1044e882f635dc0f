"""Parquet: one file, or a folder of them that is read as one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from ..failures import Failure, reading
from .arrow import column_kind, column_width, opened, read_column
from .columns import Batch, Form, Kind, batch_rows, find_columns

# Bytes that a column is read ahead. Without a limit Arrow loads a whole row group, and with
# its pre_buffer every row group of the file (measured on 20 million rows: 284 MB, not 98).
READ_AHEAD = 1 << 20


class ParquetTable:
    """Columns of one Parquet file, or of all files below a folder in the order of their names."""

    numbered = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = parquet_files(path) if path.is_dir() else [path]
        self._rows = 0
        self._schemas = []
        for file in self._files:
            with reading(file), opened(file) as raw:
                found = pq.ParquetFile(raw, pre_buffer=False)
                self._schemas.append(found.schema_arrow)
                self._rows += found.metadata.num_rows
                self.names = list(self._schemas[0].names)

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        for file, schema in zip(self._files, self._schemas, strict=True):
            find_columns(columns, schema.names, file)
        return tuple(self._kind(column) for column in columns)

    def _kind(self, column: str) -> Kind:
        """What all files have in common."""
        found = [
            column_kind(schema.field(column).type, column, file)
            for file, schema in zip(self._files, self._schemas, strict=True)
        ]
        first = found[0]
        for kind, file in zip(found, self._files, strict=True):
            if (kind.text is None, kind.width is None) != (first.text is None, first.width is None):
                raise Failure(f"{file}: column {column!r} is of another type than in other files")
        # Files of both precisions: the wider one serves all rows alike.
        real = max(kind.real for kind in found)
        width = self._width(column, first.width) if first.width is not None else None
        return Kind(real, width, first.text)

    def _width(self, column: str, declared: int) -> int:
        """The length of the first list, where the type does not tell it."""
        if declared >= 0:
            return declared
        for file in self._files:
            with reading(file), opened(file) as raw:
                rows = pq.ParquetFile(raw, pre_buffer=False, buffer_size=READ_AHEAD)
                for record in rows.iter_batches(1024, columns=[column]):
                    width = column_width(record.column(column))
                    if width is not None:
                        return width
        raise Failure(f"{self.path} has no rows" + (f" with a {column}" if self._rows else ""))

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        start = 0
        wanted = list(dict.fromkeys(form.column for form in forms))
        for file in self._files:
            part = str(file.relative_to(self.path)) if len(self._files) > 1 else ""
            start_in_part = 0
            with reading(file), opened(file) as raw:
                rows = pq.ParquetFile(raw, pre_buffer=False, buffer_size=READ_AHEAD)
                for record in rows.iter_batches(batch_rows(forms), columns=wanted):
                    size = record.num_rows
                    done = (start + size) / max(self._rows, 1)
                    batch = Batch(start, (), done, part, start_in_part)
                    arrays = tuple(
                        read_column(record.column(form.column), form, batch.place) for form in forms
                    )
                    yield batch._replace(arrays=arrays)
                    start += size
                    start_in_part += size


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files below a folder; those that start with a dot or underscore are notes."""
    found = [
        file
        for ending in ("*.parquet", "*.pq")
        for file in folder.rglob(ending)
        if file.is_file() and not any(part[0] in "._" for part in file.relative_to(folder).parts)
    ]
    if not found:
        raise Failure(f"{folder} is a folder without Parquet files")
    return sorted(found)
