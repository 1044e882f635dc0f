"""Parquet: one file, or a folder of them that is read as one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..failures import Failure, reading
from . import BATCH_ROWS, Batch, contiguous, find_columns, not_numbers, real_of

# Bytes that a column is read ahead. Without a limit Arrow loads a whole row group, and with
# its pre_buffer every row group of the file (measured on 20 million rows: 284 MB, not 98).
READ_AHEAD = 1 << 20


class ParquetTable:
    """Columns of one Parquet file, or of all files below a folder in the order of their names."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self._path = path
        self._columns = columns
        self._files = parquet_files(path) if path.is_dir() else [path]
        self._rows = 0
        reals = set()
        for file in self._files:
            with reading(file), pq.ParquetFile(file, pre_buffer=False) as opened:
                schema = opened.schema_arrow
                find_columns(columns, schema.names, file)
                for name in columns:
                    check_numeric(schema.field(name).type, name, file)
                reals.add(real_of(str(_stored(schema.field(columns[0]).type))))
                self._rows += opened.metadata.num_rows
        # Files of both precisions: the wider one serves all rows alike.
        self.real = max(reals)

    def batches(self) -> Iterator[Batch]:
        start = 0
        wanted = list(dict.fromkeys(self._columns))
        for file in self._files:
            part = str(file.relative_to(self._path)) if len(self._files) > 1 else ""
            start_in_part = 0
            with (
                reading(file),
                pq.ParquetFile(file, pre_buffer=False, buffer_size=READ_AHEAD) as opened,
            ):
                for record in opened.iter_batches(BATCH_ROWS, columns=wanted):
                    arrays = tuple(numbers(record.column(c), self.real) for c in self._columns)
                    size = len(arrays[0])
                    done = (start + size) / max(self._rows, 1)
                    yield Batch(start, arrays, done, part, start_in_part)
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


def check_numeric(kind: Any, column: str, path: Path) -> None:
    """Raise for columns of text, dates, lists: anything that is no number."""
    kind = _stored(kind)
    kinds = pa.types
    if not (
        kinds.is_integer(kind)
        or kinds.is_floating(kind)
        or kinds.is_boolean(kind)
        or kinds.is_decimal(kind)
        or kinds.is_null(kind)
    ):
        text = kinds.is_string(kind) or kinds.is_large_string(kind)
        raise not_numbers(path, column, "text" if text else kind)


def _stored(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def numbers(column: Any, real: str) -> np.ndarray:
    """An Arrow array as a NumPy one; null becomes NaN.

    By way of the buffers: `to_numpy`, and already a scalar NaN, make pyarrow import pandas,
    which takes 50 MB and a quarter of a second.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    values = contiguous(_buffer(column), real)
    if column.null_count:
        missing = _buffer(column.is_null().cast(pa.uint8())).astype(bool)
        values = np.where(missing, values.dtype.type(np.nan), values)
    return values


def _buffer(column: Any) -> np.ndarray:
    """The numbers of an Arrow array where they lie; what null ones hold is undefined."""
    width = column.type.bit_width // 8
    dtype = np.dtype(f"{'u' if pa.types.is_integer(column.type) else 'f'}{width}")
    if not len(column):
        return np.empty(0, dtype)
    # The first buffer says which are null, the second one holds the numbers.
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * width)
