"""Comma- or tab-separated text, compressed or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv

from ..failures import reading
from . import Batch, Form, Kind, find_columns, not_numbers
from .arrow import opened, read_column

# Bytes of text that are parsed in one go; Arrow holds dozens of blocks at a time. A line must
# fit into one: less would save 20 MB and stumble over tables of thousands of columns.
BLOCK = 1 << 19

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}


class DelimitedTable:
    """Columns of a text file with a header line. Numbers are read as float64.

    Empty fields, ``NA``, ``null`` and ``nan`` become NaN; ``true`` and ``false`` 1 and 0.
    """

    numbered = False

    def __init__(self, path: Path, delimiter: str) -> None:
        self.path = path
        # Newlines in quoted fields cost nothing that could be measured.
        self._parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        # A first look, at the beginning alone: the names, and which columns are no numbers.
        with reading(path), opened(path) as raw:
            self._schema = self._open(raw, {}).schema
            self.names = list(self._schema.names)

    def _open(self, raw: Any, types: dict[str, Any]) -> Any:
        codec = CODECS.get(self.path.suffix.lower())
        return arrow_csv.open_csv(
            pa.CompressedInputStream(raw, codec) if codec else raw,
            read_options=arrow_csv.ReadOptions(block_size=BLOCK),
            parse_options=self._parse,
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(types)
            ),
        )

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        return tuple(
            Kind() if _numeric(self._schema.field(name).type) else Kind(text=self._odd(name))
            for name in columns
        )

    def _odd(self, column: str) -> str:
        """What of a column of text to show."""
        kind = self._schema.field(column).type
        with reading(self.path), opened(self.path) as raw:
            block = self._open(raw, {column: kind}).read_next_batch()
        return _shown(_first_odd(block.column(0)))

    def _type(self, form: Form) -> Any:
        kind = self._schema.field(form.column).type
        if form.classes is not None:
            return pa.string()
        return kind if pa.types.is_boolean(kind) else pa.float64()

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        size = self.path.stat().st_size
        types = {form.column: self._type(form) for form in forms}
        start = 0
        with reading(self.path), opened(self.path) as raw:
            try:
                for record in self._open(raw, types):
                    if record.num_rows:
                        # Arrow reads ahead of what it hands out: near enough for a bar.
                        batch = Batch(start, (), min(raw.tell() / size, 1.0))
                        arrays = tuple(
                            read_column(record.column(form.column), form, batch.place)
                            for form in forms
                        )
                        yield batch._replace(arrays=arrays)
                        start += record.num_rows
            except pa.ArrowInvalid as error:
                found = re.search(r"column #(\d+): .*invalid value '(.*)'", str(error), re.DOTALL)
                if not found:
                    raise
                place = f", after row {start - 1}" if start else ""
                shown = _shown(found[2]) + place
                raise not_numbers(self.path, self.names[int(found[1])], shown) from None


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


def _shown(value: Any) -> str:
    return repr(str(value) if len(str(value)) <= 40 else f"{str(value)[:37]}...")
