"""Arrow's own files: of IPC, which Feather is too, and streams of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..failures import Failure, reading
from .arrow import column_kind, column_width, opened, read_column
from .columns import Batch, Form, Kind, batch_rows, find_columns

_MARK = b"ARROW1"


class IpcTable:
    """Columns of the record batches of one file, of which one is in memory at a time."""

    numbered = False

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._reader() as (_, schema):
            self._schema = schema
            self.names = list(schema.names)

    @contextmanager
    def _reader(self, columns: list[str] | None = None) -> Iterator[tuple[Any, Any]]:
        """Record batches with the share that is read, and their schema."""
        places = None if columns is None else [self.names.index(name) for name in columns]
        options = pa.ipc.IpcReadOptions(included_fields=places)
        with reading(self.path), opened(self.path) as raw:
            mark = raw.read(len(_MARK))
            if mark == b"FEA1":
                raise Failure(f"{self.path} is Feather of version 1; write it anew, as version 2")
            raw.seek(0)
            if mark == _MARK:
                file = pa.ipc.open_file(raw, options=options)
                count = file.num_record_batches
                yield (
                    ((file.get_batch(k), (k + 1) / count) for k in range(count)), file.schema,
                )  # fmt: skip
            else:
                size = max(self.path.stat().st_size, 1)
                stream = pa.ipc.open_stream(raw, options=options)
                yield ((one, min(raw.tell() / size, 1.0)) for one in stream), stream.schema

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        return tuple(self._kind(column) for column in columns)

    def _kind(self, column: str) -> Kind:
        kind = column_kind(self._schema.field(column).type, column, self.path)
        if kind.width is None or kind.width >= 0:
            return kind
        with self._reader([column]) as (batches, _):
            for record, _ in batches:
                width = column_width(record.column(column))
                if width is not None:
                    return kind._replace(width=width)
        raise Failure(f"{self.path} has no rows with a {column}")

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        start, step = 0, batch_rows(forms)
        wanted = list(dict.fromkeys(form.column for form in forms))
        with self._reader(wanted) as (batches, _):
            for whole, done in batches:
                for first in range(0, whole.num_rows, step):
                    record = whole.slice(first, step)
                    batch = Batch(start, (), done)
                    arrays = tuple(
                        read_column(record.column(form.column), form, batch.place) for form in forms
                    )
                    yield batch._replace(arrays=arrays)
                    start += record.num_rows
