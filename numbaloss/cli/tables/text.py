"""What a text file is written in: its encoding, and what is between its fields."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import NamedTuple

from ..failures import Failure, UsageFailure

# Bytes that are looked at; a delimiter shows in a few lines.
HEAD = 1 << 16
LINES = 20

DELIMITERS = (",", ";", "\t", "|")
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class TextOptions(NamedTuple):
    """How text is written, as far as the user says so."""

    delimiter: str | None = None
    decimal: str = "."
    encoding: str | None = None


def text_options(delimiter: str | None, decimal: str | None, encoding: str | None) -> TextOptions:
    """The options of a command line, checked."""
    if delimiter is not None:
        # Shells hand a backslash and a t over as they are.
        delimiter = _character("delimiter", {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter))
    if decimal is not None and (_character("decimal", decimal).isalnum() or decimal in "+- \t"):
        raise UsageFailure(f"--decimal must be a mark, . or a comma, not {decimal!r}")
    if decimal is not None and decimal == delimiter:
        raise UsageFailure(f"--decimal and --delimiter are both {decimal!r}")
    if encoding is not None:
        try:
            name = codecs.lookup(encoding).name
            "".encode(name)  # not those that turn bytes into bytes
        except (LookupError, ValueError):
            raise UsageFailure(f"--encoding {encoding}: Python knows no such encoding") from None
        encoding = "utf-8" if name == "utf-8-sig" else name
    return TextOptions(delimiter, decimal or ".", encoding)


def _character(option: str, text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in '"\r\n\0':
        raise UsageFailure(f"--{option} must be one character of ASCII, not {text!r}")
    return text


def find_encoding(head: bytes, path: Path) -> str:
    """The encoding by the first bytes of a file, where nobody names it."""
    for mark, name in MARKS.items():  # those of UTF-32 first, which begin like UTF-16's
        if head.startswith(mark):
            return name
    start = head[:1000]
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(start) > 3 and start[place::2].count(0) > len(start) * 0.3:
            raise Failure(f"{path} is UTF-16 text without a mark: --encoding {name} reads it")
    header = head.split(b"\n", 1)[0]
    try:
        # Not bytes.decode: a letter at the end may be cut in two.
        codecs.getincrementaldecoder("utf-8")().decode(header)
    except UnicodeDecodeError as error:
        # The names of columns decide: Western text is nearly always one of these two.
        shown = header[max(error.start - 12, 0) : error.start + 12].decode("cp1252", "replace")
        raise Failure(
            f"{path}: the header is not UTF-8, for its byte 0x{header[error.start]:02x}; with "
            f"--encoding cp1252 it reads {shown!r}, other encodings have other letters"
        ) from None
    return "utf-8"


def find_delimiter(head: bytes, encoding: str, usual: str, decimal: str) -> str:
    """What is between the fields, by the first lines; ``usual`` where they do not tell.

    The one that gives most columns, as many in every line. A wrong guess finds no columns of
    the names that are asked for: it is told, and gives no wrong numbers.
    """
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    widths = {
        one: _widths(text, one, len(head) == HEAD)
        for one in dict.fromkeys((usual, *DELIMITERS))
        if one != decimal
    }
    even = {one: found for one, found in widths.items() if len(set(found)) == 1 and found[0] > 1}
    # Lines of unlike lengths are told by the reader; then the header alone decides.
    chosen = even or {one: found for one, found in widths.items() if found and found[0] > 1}
    if not even and usual in chosen:
        return usual
    return max(chosen, key=lambda one: chosen[one][0], default=usual)


def _widths(text: str, delimiter: str, cut: bool) -> list[int]:
    """How many fields lines have; without the last one where the text is cut off."""
    found = []
    try:
        for fields in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            if fields:
                found.append(len(fields))
            if len(found) > LINES:
                return found[:LINES]
    except csv.Error:  # a field beyond the module's limit
        pass
    return found[:-1] if cut and len(found) > 1 else found
