"""Tables on disk as streams of batches: a few columns, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..failures import Failure, UsageFailure, did_you_mean

# Rows of a batch. The arrays of one stay in the second-level cache between the decoder,
# the losses and the sums, and a launch of the kernels costs nothing beside it.
BATCH_ROWS = 1 << 17

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".npy", ".npz")


class Batch(NamedTuple):
    """Consecutive rows of the wanted columns, as contiguous arrays of the compute type."""

    start: int  # number of the first row, counted from 0 over all files
    arrays: tuple[np.ndarray, ...]
    done: float  # share of the whole that is read, this batch included
    part: str = ""  # name of the file, where the table is a folder of them
    start_in_part: int = 0

    def place(self, index: int) -> str:
        """How to call row ``index`` of this batch in a message."""
        inside = f" (row {self.start_in_part + index} of {self.part})" if self.part else ""
        return f"row {self.start + index}{inside}"


class Table(Protocol):
    """Columns that can be read once, from the first row to the last.

    ``real`` is the type of all batches: ``"float32"`` where the first column is stored in
    half or single precision, else ``"float64"``.
    """

    real: str

    def batches(self) -> Iterator[Batch]: ...


def open_table(path: Path, columns: tuple[str, ...], delimiter: str | None = None) -> Table:
    """Open a file, or a folder of Parquet files, for the columns named.

    Formats are told by the ending of the name. Modules are imported as they are needed:
    NumPy's formats work without pyarrow.
    """
    if path.is_dir():
        from .parquet import ParquetTable

        return ParquetTable(path, columns)
    if not path.exists():
        raise Failure(f"{path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise Failure(f"{path} is empty")
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in (".gz", ".bz2", ".zst", ".lz4"):
        endings = [one for one in endings[-2:-1] if one in (".csv", ".tsv", ".txt")]
    ending = endings[-1] if endings else ""
    if ending in (".parquet", ".pq"):
        from .parquet import ParquetTable

        return ParquetTable(path, columns)
    if ending in (".csv", ".tsv", ".txt"):
        from .delimited import DelimitedTable

        return DelimitedTable(path, columns, delimiter or ("\t" if ending == ".tsv" else ","))
    if ending == ".npy":
        from .npy import open_npy

        return open_npy(path, columns)
    if ending == ".npz":
        from .npy import NpzTable

        return NpzTable(path, columns)
    raise UsageFailure(
        f"{path}: files end in {', '.join(ENDINGS)} (text also in .gz, .bz2, .zst), or are a "
        f"folder of Parquet files"
    )


def find_columns(wanted: tuple[str, ...], present: list[str], path: Path | str) -> None:
    """Raise where a wanted column is missing, or there twice."""
    for name in wanted:
        times = present.count(name)
        if times == 0:
            raise Failure(f"{path} has no column {name!r}; {did_you_mean(name, present)}")
        if times > 1:
            raise Failure(f"{path} has {times} columns that are called {name!r}")


def real_of(dtype: np.dtype | str) -> str:
    """The type that predictions of a stored type are computed in."""
    return "float32" if str(dtype) in ("float16", "halffloat", "float32", "float") else "float64"


def contiguous(values: np.ndarray, real: str) -> np.ndarray:
    """What kernels take as it is; a copy only where the stored type is another one."""
    # A stored number beyond float32 becomes infinite there: what the row then shows.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=real)


def not_numbers(path: Path | str, column: str, kind: object) -> Failure:
    return Failure(f"{path}: column {column!r} holds {kind}, not numbers")
