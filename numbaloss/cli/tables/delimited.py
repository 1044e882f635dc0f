"""Comma- or tab-separated text, compressed or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.csv as arrow_csv

from ..failures import Failure, reading
from .arrow import opened, read_column
from .columns import Batch, Form, Kind, find_columns, not_numbers
from .sources import CODECS
from .text import HEAD, TextOptions, find_delimiter, find_encoding

# Bytes of text that are parsed in one go; Arrow holds dozens of blocks at a time. A row must
# fit into one: they grow for longer ones, up to a size that only quotes without an end reach.
BLOCK = 1 << 19
MOST = 1 << 27

Result = TypeVar("Result")


class DelimitedTable:
    """Columns of a text file with a header line. Numbers are read as float64.

    Empty fields, ``NA``, ``null`` and ``nan`` become NaN; ``true`` and ``false`` 1 and 0.
    """

    numbered = False

    def __init__(self, path: Path, usual: str, options: TextOptions) -> None:
        self.path = path
        self._codec = CODECS.get(path.suffix.lower())
        self._block = BLOCK
        self._decimal = options.decimal
        with reading(path), opened(path) as raw:
            head = self._unpacked(raw).read(HEAD)
        self._long = len(head) == HEAD
        self._encoding = options.encoding or find_encoding(head, path)
        delimiter = options.delimiter or find_delimiter(
            head, self._encoding, usual, options.decimal
        )
        # Newlines in quoted fields cost nothing that could be measured.
        self._parse = arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        # A first look, at the beginning alone: the names, and which columns are no numbers.
        self._schema = self._looked(lambda rows: rows.schema)
        with reading(path):
            self.names = list(self._schema.names)

    def _unpacked(self, raw: Any) -> Any:
        return pa.CompressedInputStream(raw, self._codec) if self._codec else raw

    def _open(self, raw: Any, types: dict[str, Any]) -> Any:
        return arrow_csv.open_csv(
            self._unpacked(raw),
            read_options=arrow_csv.ReadOptions(
                block_size=self._block,
                encoding="utf8" if self._encoding == "utf-8" else self._encoding,
            ),
            parse_options=self._parse,
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(types), decimal_point=self._decimal
            ),
        )

    def _looked(self, look: Callable[[Any], Result], types: dict[str, Any] | None = None) -> Result:
        """What a look at the opened file finds; again with larger blocks for lines that need it."""
        with reading(self.path):
            while True:
                try:
                    with opened(self.path) as raw:
                        return look(self._open(raw, types or {}))
                except pa.ArrowInvalid as error:
                    self._grow(error)

    def _grow(self, error: Exception) -> None:
        """Make blocks larger where a row did not fit; otherwise raise the error."""
        no_header = "Empty CSV file or block" in str(error)
        if no_header and not self._long:
            raise ValueError("it has no line with the names of columns") from None
        if not (no_header or "straddling object" in str(error)):
            raise error
        if self._block >= MOST:
            raise ValueError(f"a row has more than {MOST >> 20} MB; is a quote without its end?")
        self._block *= 4

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        find_columns(columns, self.names, self.path)
        return tuple(
            Kind(whole=_whole(self._schema.field(name).type))
            if _numeric(self._schema.field(name).type)
            else self._text(name)
            for name in columns
        )

    def _text(self, column: str) -> Kind:
        """A column of text, with its first entry that is no number."""
        types = {column: pa.binary()}
        values = self._looked(lambda rows: rows.read_next_batch(), types).column(0).to_pylist()
        row, value = self._first_odd(values)
        try:
            value.decode()
        except UnicodeDecodeError:
            return Kind(
                text=f"text in row {row} that is not UTF-8",
                hint="; --encoding names another, cp1252 for one",
            )
        return Kind(text=f"{_shown(value)} in row {row}", hint=self._hint(value))

    def _first_odd(self, values: list[bytes]) -> tuple[int, bytes]:
        """The first entry that does not read as a number, nor stand for a missing one."""
        blanks = {one.encode() for one in arrow_csv.ConvertOptions().null_values}
        point = re.escape(self._decimal.encode())
        number = re.compile(
            rb"-?(\d+(%b\d*)?|%b\d+)(e[+-]?\d+)?|-?inf(inity)?|nan" % (point, point), re.IGNORECASE
        )
        for row, value in enumerate(values):
            bare = (value or b"").strip()
            if bare not in blanks and not number.fullmatch(bare):
                return row, value
        return 0, values[0] if values else b""

    def _hint(self, value: bytes) -> str:
        """The option that would read it, for numbers with another decimal mark."""
        if self._decimal == "." and re.fullmatch(rb"\s*[+-]?\d*,\d+(e[+-]?\d+)?\s*", value):
            return "; --decimal , reads decimal commas"
        if self._decimal == "," and re.fullmatch(rb"\s*[+-]?\d*\.\d+(e[+-]?\d+)?\s*", value):
            return "; it has a decimal point, and --decimal says a comma"
        return ""

    def _type(self, form: Form) -> Any:
        kind = self._schema.field(form.column).type
        if form.classes is not None or form.key:
            return pa.string()
        return kind if pa.types.is_boolean(kind) else pa.float64()

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        size = self.path.stat().st_size
        types = {form.column: self._type(form) for form in forms}
        start = 0
        with reading(self.path):
            while True:
                try:
                    with opened(self.path) as raw:
                        for record in self._records(raw, types, start):
                            # Arrow reads ahead of what it hands out: near enough for a bar.
                            batch = Batch(start, (), min(raw.tell() / size, 1.0))
                            arrays = tuple(
                                read_column(record.column(form.column), form, batch.place)
                                for form in forms
                            )
                            yield batch._replace(arrays=arrays)
                            start += record.num_rows
                    return
                except pa.ArrowInvalid as error:
                    found = re.search(
                        r"column #(\d+): .*error to (\w+): invalid (?:value '(.*)'|UTF8)",
                        str(error),
                        re.DOTALL,
                    )
                    if found:
                        column = self.names[int(found[1])]
                        raise self._unread(column, found[2], found[3], start) from None
                    # A line beyond the block: once more, from the row after the last one.
                    self._grow(error)

    def _records(self, raw: Any, types: dict[str, Any], start: int) -> Iterator[Any]:
        """Pieces of the table from a row on; those before are read and dropped."""
        for record in self._open(raw, types):
            if start < record.num_rows:
                yield record.slice(start)
            start = max(start - record.num_rows, 0)

    def _unread(self, column: str, kind: str, value: str | None, start: int) -> Failure:
        """The entry that stopped the reader, which looked at rows from ``start`` on."""

        def find(rows: Any) -> int | None:
            row = 0
            for record in rows:
                for index, text in enumerate(record.column(0).to_pylist()):
                    if row + index >= start and _is(text, value):
                        return row + index
                row += record.num_rows
            return None

        row = self._looked(find, {column: pa.binary()})
        place = f" in row {row}" if row is not None else f" after row {start - 1}"
        if value is None:
            return Failure(
                f"{self.path}: column {column!r} holds text{place} that is not UTF-8; --encoding "
                f"names another, cp1252 for one"
            )
        among = ", among true and false" if kind == "bool" else ""
        return not_numbers(
            self.path, column, _shown(value) + place + among, self._hint(value.encode())
        )


def _is(text: bytes, value: str | None) -> bool:
    """Whether a field is the one that was complained of: a number's text, or no UTF-8 at all."""
    if value is not None:
        return text.strip() == value.strip().encode()
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


def _whole(kind: Any) -> bool:
    return pa.types.is_boolean(kind) or pa.types.is_integer(kind)


def _numeric(kind: Any) -> bool:
    known = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    return any(is_kind(kind) for is_kind in known)


def _shown(value: bytes | str) -> str:
    text = value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
