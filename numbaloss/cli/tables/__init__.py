"""Tables on disk as streams of batches: a few columns, a few rows at a time."""

from __future__ import annotations

from pathlib import Path

from ..failures import Failure, UsageFailure, reading
from .columns import Batch, Form, Kind, Table
from .text import TextOptions

__all__ = ["Batch", "Form", "Kind", "Table", "open_table"]

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".npy", ".npz")


def open_table(path: Path, text: TextOptions | None = None) -> Table:
    """Open a file, or a folder of Parquet files.

    Formats are told by the ending of the name. Modules are imported as they are needed:
    NumPy's formats work without pyarrow.
    """
    with reading(path):
        folder, there, regular = path.is_dir(), path.exists(), path.is_file()
        empty = regular and path.stat().st_size == 0
    if folder:
        from .parquet import ParquetTable

        return ParquetTable(path)
    if not there:
        raise Failure(f"{path} does not exist")
    if not regular:  # a pipe for one, which would be empty at the second look
        raise Failure(f"{path} is neither a file nor a folder")
    if empty:
        raise Failure(f"{path} is empty")
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in (".gz", ".bz2", ".zst", ".lz4"):
        endings = [one for one in endings[-2:-1] if one in (".csv", ".tsv", ".txt")]
    ending = endings[-1] if endings else ""
    if ending in (".parquet", ".pq"):
        from .parquet import ParquetTable

        return ParquetTable(path)
    if ending in (".csv", ".tsv", ".txt"):
        from .delimited import DelimitedTable

        return DelimitedTable(path, "\t" if ending == ".tsv" else ",", text or TextOptions())
    if ending == ".npy":
        from .npy import open_npy

        return open_npy(path)
    if ending == ".npz":
        from .npz import NpzTable

        return NpzTable(path)
    raise UsageFailure(
        f"{path}: files end in {', '.join(ENDINGS)} (text also in .gz, .bz2, .zst), or are a "
        f"folder of Parquet files"
    )
