"""Tables on disk as streams of batches: a few columns, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..failures import Failure, UsageFailure, reading
from .columns import Batch, Form, Kind, Table
from .sources import ENDINGS, Source, Sources, find, format_of
from .text import TextOptions

__all__ = ["Batch", "Form", "Kind", "Table", "open_sources", "open_table", "piece_of", "pieces"]


def open_sources(sources: Sources, text: TextOptions | None = None) -> Table:
    """Open what was found as one table."""
    files = sources.files
    if len(files) == 1 and not files[0].keys and not sources.folder:
        return open_table(files[0].path, text, files[0].format)
    if {one.format for one in files} == {"parquet"}:
        from .parquet import ParquetTable

        return ParquetTable(sources.title, files)
    from .parts import PartsTable

    return PartsTable(
        sources.title, files, lambda one: open_table(one.path, text, one.format or sources.format)
    )


def open_table(path: Path, text: TextOptions | None = None, kind: str | None = None) -> Table:
    """Open a file, or a folder of files, of a format that the name's ending tells if nobody does.

    Modules are imported as they are needed: NumPy's formats work without pyarrow.
    """
    with reading(path):
        folder, there, regular = path.is_dir(), path.exists(), path.is_file()
        empty = regular and path.stat().st_size == 0
    if folder:
        return open_sources(find([str(path)], kind), text)
    if not there:
        raise Failure(f"{path} does not exist")
    if not regular:  # a pipe for one, which would be empty at the second look
        raise Failure(f"{path} is neither a file nor a folder; `-` reads standard input")
    if empty:
        raise Failure(f"{path} is empty")
    kind = kind or format_of(path)
    if kind == "parquet":
        from .parquet import ParquetTable

        return ParquetTable(path, [Source(path, {}, kind)])
    if kind in ("csv", "tsv"):
        from .delimited import DelimitedTable

        return DelimitedTable(path, "\t" if kind == "tsv" else ",", text or TextOptions())
    if kind == "arrow":
        from .ipc import IpcTable

        return IpcTable(path)
    if kind == "jsonl":
        from .json_lines import JsonLinesTable

        return JsonLinesTable(path)
    if kind == "npy":
        from .npy import open_npy

        return open_npy(path)
    if kind == "npz":
        from .npz import NpzTable

        return NpzTable(path)
    raise UsageFailure(
        f"{path}: files end in {', '.join(ENDINGS)} (text also in .gz, .bz2, .zst), or are a "
        f"folder of such files; --format names another file's format"
    )


def pieces(table: Table) -> int:
    """How many parts of a table can be read apart from one another."""
    return int(getattr(table, "pieces", 1))


def piece_of(table: Table, forms: tuple[Form, ...], piece: int) -> Iterator[Batch]:
    """The batches of one part; one after the other they are those of the whole table."""
    if pieces(table) == 1:
        return table.batches(forms)
    return table.batches_of(forms, piece)  # type: ignore[attr-defined]
