"""What the words of a command line stand for: files, folders, patterns, standard input."""

from __future__ import annotations

import glob
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ..failures import Failure, UsageFailure, reading

FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".arrows": "arrow",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".npy": "npy", ".npz": "npz",
}  # fmt: skip
ENDINGS = tuple(FORMATS)
# What a folder may hold besides Parquet, and what may be compressed.
_IN_FOLDERS = ("csv", "tsv", "arrow", "jsonl")
_PACKED = ("csv", "tsv", "jsonl")
CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
# A key of partitions without a value, as Hive writes it.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class Source(NamedTuple):
    """A file, and what the names of its folders say: ``country=de``."""

    path: Path
    keys: dict[str, str]
    format: str | None


class Sources(NamedTuple):
    """The files of a table."""

    title: Path  # how messages call the whole
    files: list[Source]
    folder: bool = False  # whether somebody named a folder, or a pattern: all are read as parts
    format: str | None = None
    # Folders that are read, whatever lies in them.
    folders: tuple[Path, ...] = ()


def format_of(path: Path) -> str | None:
    """The format that the ending of a name stands for; compressed text is text."""
    endings = [ending.lower() for ending in path.suffixes]
    packed = bool(endings) and endings[-1] in CODECS
    ending = (endings[-2:-1] or [""])[0] if packed else endings[-1] if endings else ""
    found = FORMATS.get(ending)
    return found if not packed or found in _PACKED else None


def find(texts: list[str], kind: str | None = None) -> Sources:
    """The files that words stand for, in the order of the words and of names."""
    files: list[Source] = []
    folders: list[Path] = []
    several = len(texts) > 1
    for text in texts:
        path = Path(text)
        with reading(path):
            is_folder, there = path.is_dir(), path.exists()
        if is_folder:
            folders.append(path)
            found = _below(path, kind)
            files += [
                Source(one, _keys(one.relative_to(path)), kind or form) for one, form in found
            ]
        elif there or not re.search(r"[*?\[]", text):
            files.append(Source(path, _keys(path), kind or format_of(path)))
        else:
            # Shells expand patterns; those that are quoted come as they are.
            matches = [Path(one) for one in sorted(glob.glob(text, recursive=True))]
            matches = [one for one in matches if one.is_file()]
            if not matches:
                raise Failure(f"{text}: no file matches")
            files += [Source(one, _keys(one), kind or format_of(one)) for one in matches]
            several = True
    title = Path(texts[0]) if len(texts) == 1 else Path(f"{texts[0]} and {len(texts) - 1} more")
    return Sources(title, files, several or bool(folders), kind, tuple(folders))


def _below(folder: Path, kind: str | None) -> list[tuple[Path, str]]:
    """The files of one format below a folder; those with a dot or underscore first are notes."""
    with reading(folder):
        named = [
            (file, kind if kind is not None and format_of(file) is None else format_of(file))
            for file in sorted(folder.rglob("*"))
            if not any(part[0] in "._" for part in file.relative_to(folder).parts)
            and file.is_file()
        ]
    wanted = [kind] if kind else ["parquet"]
    found = [(file, form) for file, form in named if form in wanted]
    if not found and kind is None:
        found = [(file, form) for file, form in named if form in _IN_FOLDERS]
        forms = sorted({form for _, form in found})
        if len(forms) > 1:
            raise UsageFailure(
                f"{folder} holds files of several formats, {', '.join(forms)}: --format names one"
            )
    if not found:
        what = {"parquet": "Parquet files"}.get(wanted[0], f"files of the format {wanted[0]}")
        raise Failure(f"{folder} is a folder without {what}")
    return found


def _keys(path: Path) -> dict[str, str]:
    """What the names of folders say, ``country=de/year=2024``, as Hive and Spark write them."""
    found = {}
    for part in path.parts[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            found[unquote(name)] = "" if value == _NO_VALUE else unquote(value)
    return found


@contextmanager
def standard_input(kind: str | None) -> Iterator[Path]:
    """A temporary file of what comes in at standard input: files are looked at more than once."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageFailure("- reads standard input, and nothing is written to it")
    stream = sys.stdin.buffer
    with tempfile.TemporaryDirectory(prefix="numbaloss-") as folder:
        path = Path(folder, "stdin")
        with reading("standard input"), open(path, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        with open(path, "rb") as file:
            head = file.read(16)
        if not head:
            raise Failure("standard input is empty")
        named = path.with_name(f"stdin{_ending(head, kind)}")
        path.rename(named)
        try:
            yield named
        except Failure as failure:
            said = str(failure).replace(str(named), "standard input")
            raise type(failure)(said) from None


def _ending(head: bytes, kind: str | None) -> str:
    """The ending of a file that begins so: formats have marks, what has none is text."""
    packed = {
        b"\x1f\x8b": ".gz",
        b"BZh": ".bz2",
        b"\x28\xb5\x2f\xfd": ".zst",
        b"\x04\x22\x4d\x18": ".lz4",
    }
    codec = next((ending for mark, ending in packed.items() if head.startswith(mark)), "")
    if kind is not None:
        return next(ending for ending, form in FORMATS.items() if form == kind) + codec
    marks = {
        b"PAR1": ".parquet", b"ARROW1": ".arrow", b"\xff\xff\xff\xff": ".arrows",
        b"\x93NUMPY": ".npy", b"PK\x03\x04": ".npz",
    }  # fmt: skip
    for mark, ending in marks.items():
        if head.startswith(mark):
            return ending
    return (".jsonl" if head.lstrip()[:1] == b"{" else ".csv") + codec
