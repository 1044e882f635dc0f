"""Files of results: one row for every row of the input, whole or not there at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from .failures import Failure, UsageFailure, writing
from .tables.sources import Sources

ENDINGS = (".parquet", ".npy")

# Rows of a row group: what Arrow itself makes by default. Readers skip and share out work
# by row groups, so that one a batch would be too many. Of many columns fewer rows: they wait
# in memory.
GROUP_ROWS = 1 << 20
GROUP_NUMBERS = 1 << 23


class Field(NamedTuple):
    """One of the results of a loss: a number a row, or one a class."""

    name: str
    classes: tuple[str, ...] | None = None

    def columns(self) -> list[str]:
        """What it is called where every number of a row has a column."""
        if self.classes is None:
            return [self.name]
        return [f"{self.name}_{name}" for name in self.classes]


class Results(Protocol):
    """Receives results of consecutive rows, in the order of the fields."""

    def append(self, results: list[np.ndarray]) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


def check_output(
    path: Path, sources: Sources, option: str = "--output", endings: tuple[str, ...] = ENDINGS
) -> None:
    """Raise where ``path`` cannot become a file of results, before any work is done.

    Nothing that is read is ever replaced, whatever links lead to it. A folder that is read takes
    no results at all: the next run would read them.
    """
    with writing(path):
        if path.is_dir():
            raise Failure(f"{path} is a folder; the results go into a file")
        if path.suffix.lower() not in endings:
            *first, last = endings
            raise UsageFailure(
                f"{option} {path}: the name must end in {', '.join(first)} or {last}"
            )
        if not path.parent.is_dir():
            raise Failure(f"cannot write {path}: the folder {path.parent} does not exist")
        place = path.parent.resolve()
        for source in sources.folders:
            if any(source.samefile(folder) for folder in (place, *place.parents)):
                raise UsageFailure(f"{option} {path} lies in the folder that is read, {source}")
        inputs = (one.path for one in sources.files)
        if path.exists() and any(one.exists() and path.samefile(one) for one in inputs):
            raise UsageFailure(f"{option} {path} would replace the file that is read")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file, which takes the place of ``path`` when all went well."""
    # A signal may come at any time: what is deleted in the end has its name before it is made.
    temporary = path.parent / f".numbaloss-{secrets.token_hex(8)}.tmp"
    file: IO[bytes] | None = None
    try:
        with writing(path):
            file = open(temporary, "xb")  # noqa: SIM115 - closed below, whatever happens
        yield file
        with writing(path):
            file.close()
            os.replace(temporary, path)
    finally:
        # Closing writes what is in the buffer: on a full disk it fails once more.
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextmanager
def open_results(path: Path | None, fields: list[Field], real: str) -> Iterator[Results | None]:
    """A writer of results of rows, to a file that is there when it is complete."""
    if path is None:
        yield None
        return
    with replacing(path) as file:
        with writing(path):
            kind = NpyResults if path.suffix.lower() == ".npy" else ParquetResults
            results = kind(path, file, fields, real)
        try:
            yield results
            results.finish()
        except BaseException:
            results.abandon()
            raise


class ParquetResults:
    def __init__(self, path: Path, file: IO[bytes], fields: list[Field], real: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        names = [name for field in fields for name in field.columns()]
        self._schema = pa.schema([(name, getattr(pa, real)()) for name in names])
        # Dictionaries of numbers that hardly repeat cost time and save nothing.
        self._writer = pq.ParquetWriter(file, self._schema, use_dictionary=False)
        self._waiting: list[Any] = []
        self._rows = 0
        self._group = max(min(GROUP_ROWS, GROUP_NUMBERS // len(names)), 1)

    def append(self, results: list[np.ndarray]) -> None:
        import pyarrow as pa

        columns: list[np.ndarray] = []
        for result in results:
            columns += [result] if result.ndim == 1 else [*np.ascontiguousarray(result.T)]
        # Not pa.array(column), which imports pandas.
        arrays = [
            pa.Array.from_buffers(field.type, len(column), [None, pa.py_buffer(column)])
            for field, column in zip(self._schema, columns, strict=True)
        ]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._waiting.append(batch)
        self._rows += batch.num_rows
        if self._rows >= self._group:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        with writing(self._path):
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._rows = [], 0

    def finish(self) -> None:
        if self._waiting:
            self._flush()
        with writing(self._path):
            self._writer.close()

    def abandon(self) -> None:
        # An open writer would write its footer when it is collected, and complain.
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()


class NpyResults:
    """One array: plain for a single result, with named fields for several."""

    def __init__(self, path: Path, file: IO[bytes], fields: list[Field], real: str) -> None:
        self._path, self._file = path, file
        self._shape: tuple[int, ...] = ()
        described = [
            (field.name, real, () if field.classes is None else (len(field.classes),))
            for field in fields
        ]
        if len(fields) == 1:
            self._dtype, self._shape = np.dtype(real), described[0][2]
        else:
            self._dtype = np.dtype(described)
        self._rows = 0
        self._header()

    def _header(self) -> None:
        # NumPy leaves room for the longest length, so that a later header takes no more space.
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self._rows, *self._shape),
        }
        np.lib.format.write_array_header_2_0(self._file, header)  # type: ignore[arg-type]

    def append(self, results: list[np.ndarray]) -> None:
        if self._dtype.names is None:
            records = results[0]
        else:
            records = np.empty(len(results[0]), self._dtype)
            for name, result in zip(self._dtype.names, results, strict=True):
                records[name] = result
        with writing(self._path):
            self._file.write(records.data)
        self._rows += len(records)

    def finish(self) -> None:
        with writing(self._path):
            self._file.seek(0)
            self._header()

    def abandon(self) -> None:
        pass
