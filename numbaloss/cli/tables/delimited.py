"""Comma- or tab-separated text, compressed or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from ..failures import Failure, reading
from . import Batch, find_columns, not_numbers
from .parquet import numbers

# Bytes of text that are parsed in one go; Arrow holds dozens of blocks at a time. A line must
# fit into one: less would save 20 MB and stumble over tables of thousands of columns.
BLOCK = 1 << 19

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


class DelimitedTable:
    """Columns of a text file with a header line. Numbers are read as float64.

    Empty fields, ``NA``, ``null`` and ``nan`` become NaN; ``true`` and ``false`` 1 and 0.
    """

    real = "float64"

    def __init__(self, path: Path, columns: tuple[str, ...], delimiter: str) -> None:
        self._path = path
        self._columns = columns
        self._wanted = list(dict.fromkeys(columns))
        # Newlines in quoted fields cost nothing that could be measured.
        self._parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        # A first look, at the beginning alone: the names, and which columns are no numbers.
        self._types: dict[str, Any] = {}
        with reading(path), pa.OSFile(str(path)) as raw:
            reader = self._open(raw)
            self._names = reader.schema.names
            find_columns(columns, self._names, path)
            block = None
            for name in self._wanted:
                kind = reader.schema.field(name).type
                self._types[name] = kind if pa.types.is_boolean(kind) else pa.float64()
                if not _numeric(kind):
                    block = block or reader.read_next_batch()
                    raise _not_a_number(path, name, _first_odd(block.column(name)), 0)

    def _open(self, raw: Any) -> Any:
        codec = CODECS.get(self._path.suffix.lower())
        return arrow_csv.open_csv(
            pa.CompressedInputStream(raw, codec) if codec else raw,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK),
            parse_options=self._parse,
            convert_options=arrow_csv.ConvertOptions(
                column_types=self._types, include_columns=self._wanted if self._types else []
            ),
        )

    def batches(self) -> Iterator[Batch]:
        size = self._path.stat().st_size
        start = 0
        with reading(self._path), pa.OSFile(str(self._path)) as raw:
            try:
                for record in self._open(raw):
                    if record.num_rows:
                        arrays = tuple(numbers(record.column(c), self.real) for c in self._columns)
                        # Arrow reads ahead of what it hands out: near enough for a bar.
                        yield Batch(start, arrays, min(raw.tell() / size, 1.0))
                        start += record.num_rows
            except pa.ArrowInvalid as error:
                found = re.search(r"column #(\d+): .*invalid value '(.*)'", str(error), re.DOTALL)
                if not found:
                    raise
                name = self._names[int(found[1])]
                raise _not_a_number(self._path, name, found[2], start) from None


def _numeric(kind: Any) -> bool:
    known = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    return any(is_kind(kind) for is_kind in known)


def _first_odd(values: Any) -> Any:
    """The first entry of an Arrow array that does not read as a number."""
    for value in values.to_pylist():
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            return value
    return values[0]


def _not_a_number(path: Path, column: str, value: Any, start: int) -> Failure:
    shown = str(value) if len(str(value)) <= 40 else f"{str(value)[:37]}..."
    place = f", after row {start - 1}" if start else ""
    return not_numbers(path, column, f"{shown!r}{place}")
