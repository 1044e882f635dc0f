"""Columns as they are written on a command line.

=================  ===============================================================
``prediction``     a column by its name
``a,b,c``          several of them, in this order; a name that has a comma comes first
``logit_*``        those that match, in the order of the file
``0:10``           of a plain array, whose columns have numbers: the first ten
=================  ===============================================================
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .failures import Failure, UsageFailure, did_you_mean
from .tables import Table, find_columns
from .tables.npy import canonical


class Selected(NamedTuple):
    """The columns that an option names."""

    option: str
    columns: tuple[str, ...]
    # What the star stood for in each of them, where the option is one pattern.
    matched: tuple[str, ...] | None = None
    pattern: str = ""


def select(table: Table, wanted: dict[str, tuple[str, ...]]) -> list[Selected]:
    """What the options name in a table. A pattern leaves out what other options name."""
    pieces = {option: _pieces(texts, table) for option, texts in wanted.items()}
    named = {
        option: {_own(piece, table) for piece in found if not _is_pattern(piece, table)}
        for option, found in pieces.items()
    }
    return [
        _selected(option, found, table, set().union(*(named[o] for o in named if o != option)))
        for option, found in pieces.items()
    ]


def _pieces(texts: tuple[str, ...], table: Table) -> list[str]:
    pieces: list[str] = []
    for text in texts:
        whole = text in table.names
        pieces += [text] if whole else [piece.strip() for piece in text.split(",")]
    return pieces


def _is_pattern(piece: str, table: Table) -> bool:
    return "*" in piece and piece not in table.names


def _own(piece: str, table: Table) -> str:
    """The name of a column as the table has it."""
    if table.numbered:
        return canonical(piece, len(table.names), table.path)
    find_columns((piece,), table.names, table.path)
    return piece


def _selected(option: str, pieces: list[str], table: Table, others: set[str]) -> Selected:
    columns: list[str] = []
    matched: tuple[str, ...] | None = None
    for piece in pieces:
        if not _is_pattern(piece, table):
            columns.append(_own(piece, table))
            continue
        pattern = "(.*)".join(map(re.escape, piece.split("*")))
        found = [(name, re.fullmatch(pattern, name)) for name in table.names if name not in others]
        matches = [(name, match) for name, match in found if match]
        if not matches:
            raise Failure(
                f"{table.path} has no column that matches {piece!r} and that no other option "
                f"names; {did_you_mean(piece, table.names)}"
            )
        columns += [name for name, _ in matches]
        # The numbers of columns are not the names of anything.
        if len(pieces) == 1 and piece.count("*") == 1 and len(matches) > 1 and not table.numbered:
            matched = tuple(match[1] for _, match in matches)
    find_columns(tuple(columns) if not table.numbered else (), table.names, table.path)
    for name in columns:
        if columns.count(name) > 1:
            raise UsageFailure(f"--{option} names the column {name!r} twice")
    return Selected(option, tuple(columns), matched, pieces[0] if matched else "")
