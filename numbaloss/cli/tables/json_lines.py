"""JSON lines: an object a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json

from ..failures import Failure, reading
from .arrow import column_kind, column_width, opened, read_column
from .columns import Batch, Form, Kind, batch_rows, find_columns
from .sources import CODECS

# Bytes that are parsed in one go; a row must fit into one block.
BLOCK = 1 << 22


class JsonLinesTable:
    """Columns are the names of the objects; a name that a row lacks is null there."""

    numbered = False

    def __init__(self, path: Path) -> None:
        if not hasattr(arrow_json, "open_json"):
            raise Failure(f"{path}: this pyarrow, {pa.__version__}, streams no JSON; newer ones do")
        self.path = path
        self._codec = CODECS.get(path.suffix.lower())
        with reading(path), opened(path) as raw:
            first = next(iter(self._records(raw, None)), None)
        if first is None:
            raise Failure(f"{path} has no rows")
        self._first = first
        self._schema = first.schema
        self.names = list(first.schema.names)

    def _records(self, raw: Any, schema: Any) -> Iterator[Any]:
        stream = pa.CompressedInputStream(raw, self._codec) if self._codec else raw
        try:
            yield from arrow_json.open_json(
                stream,
                read_options=arrow_json.ReadOptions(block_size=BLOCK),
                parse_options=arrow_json.ParseOptions(
                    explicit_schema=schema,
                    unexpected_field_behavior="infer" if schema is None else "ignore",
                ),
            )
        except pa.ArrowInvalid as error:
            raise Failure(f"cannot read {self.path}: {self._said(str(error))}") from error

    def _said(self, error: str) -> str:
        """What is wrong, with the row that the first look would have found."""
        line = error.splitlines()[0]
        return line.replace("JSON parse error: ", "").rstrip(".")

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        return tuple(self._kind(column) for column in columns)

    def _kind(self, column: str) -> Kind:
        kind = column_kind(self._schema.field(column).type, column, self.path)
        if kind.width is None:
            return kind
        width = column_width(self._first.column(column))
        if width is None:
            raise Failure(f"{self.path} begins with rows without a {column}")
        return kind._replace(width=width)

    def _type(self, form: Form) -> Any:
        """Numbers are read as such, whether or not the first ones have fractions."""
        stored = self._schema.field(form.column).type
        if form.width is not None:
            return pa.list_(pa.float64())
        numeric = pa.types.is_integer(stored) or pa.types.is_null(stored)
        if form.key or form.classes is not None:
            return pa.string() if pa.types.is_null(stored) else stored
        return pa.float64() if numeric else stored

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        schema = pa.schema({form.column: self._type(form) for form in forms})
        size = max(self.path.stat().st_size, 1)
        start, step = 0, batch_rows(forms)
        with reading(self.path), opened(self.path) as raw:
            for whole in self._records(raw, schema):
                for first in range(0, whole.num_rows, step):
                    record = whole.slice(first, step)
                    batch = Batch(start, (), min(raw.tell() / size, 1.0))
                    arrays = tuple(
                        read_column(record.column(form.column), form, batch.place) for form in forms
                    )
                    yield batch._replace(arrays=arrays)
                    start += record.num_rows
