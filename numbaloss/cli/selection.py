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
from collections import Counter
from typing import NamedTuple

from .failures import Failure, UsageFailure, did_you_mean
from .tables import Table
from .tables.columns import find_columns
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
    present = frozenset(table.names)  # tables may have thousands of columns
    pieces = {option: _pieces(texts, present) for option, texts in wanted.items()}
    named = {
        option: set(_own([one for one in found if not _is_pattern(one, present)], table))
        for option, found in pieces.items()
    }
    return [
        _selected(
            option, found, table, present, set().union(*(named[o] for o in named if o != option))
        )
        for option, found in pieces.items()
    ]


def _pieces(texts: tuple[str, ...], present: frozenset[str]) -> list[str]:
    pieces: list[str] = []
    for text in texts:
        whole = text in present
        pieces += [text] if whole else [piece.strip() for piece in text.split(",")]
    return pieces


def _is_pattern(piece: str, present: frozenset[str]) -> bool:
    return "*" in piece and piece not in present


def _own(pieces: list[str], table: Table) -> list[str]:
    """The names of columns as the table has them."""
    if table.numbered:
        return [canonical(piece, len(table.names), table.path) for piece in pieces]
    find_columns(tuple(pieces), table.names, table.path)
    return pieces


def _selected(
    option: str, pieces: list[str], table: Table, present: frozenset[str], others: set[str]
) -> Selected:
    columns: list[str] = []
    matched: tuple[str, ...] | None = None
    for piece in pieces:
        if not _is_pattern(piece, present):
            columns += _own([piece], table) if table.numbered else [piece]
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
    if len(set(columns)) < len(columns):
        name = next(name for name, times in Counter(columns).items() if times > 1)
        raise UsageFailure(f"--{option} names the column {name!r} twice")
    return Selected(option, tuple(columns), matched, pieces[0] if matched else "")
