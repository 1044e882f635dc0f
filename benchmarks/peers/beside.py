"""Two results side by side: the same race with wide and with narrow vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import figures
from .figures import Cell, digits
from .markdown import table

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}


def render(both: list[tuple[dict[str, Any], list[Cell], list[Cell]]]) -> str:
    """Tables of results, of the races of elements and of rows that they have in common."""
    names = [VECTORS.get(results["machine"]["vectors"], "") for results, _, _ in both]
    parts = []
    for (dtype, _), _ in figures.groups(both[0][1]).items():
        own = [_of(cells, dtype) for _, cells, _ in both]
        parts.append(_table(f"ns an element, {dtype}", names, own, figures.loss_title))
    for (dtype, total), _ in figures.groups(both[0][2]).items():
        own = [[one for one in _of(rows, dtype) if one["total"] == total] for _, _, rows in both]
        if total:
            corner, title = f"classes, {dtype}; ns an element", _classes
            parts.append(_table(corner, names, own, title))
        else:
            corner = f"rows x classes, {dtype}; µs a call"
            parts.append(_table(corner, names, own, figures.shape_title, figures.microseconds))
    parts += [f"Measured on {figures.machine_line(results)}." for results, _, _ in both]
    return "\n\n".join(parts)


def _of(cells: list[Cell], dtype: str) -> list[Cell]:
    return [cell for cell in cells if cell["dtype"] == dtype]


def _classes(cell: Cell) -> str:
    return f"{cell['shape'][1]:,}"


def _table(
    corner: str,
    names: list[str],
    both: list[list[Cell]],
    title: Callable[[Cell], str],
    number: Callable[[Cell, str], float | None] = figures.per_element,
) -> str:
    header = [corner]
    for name in names:
        header += [f"{name}: numbaloss", "floor", "best peer", "peer / ours", "ours / floor"]
    found: list[dict[str, Cell]] = [{title(cell): cell for cell in cells} for cells in both]
    rows = []
    for one in found[0]:
        if all(one in cells for cells in found):
            row = [one]
            for cells in found:
                row += _figures(cells[one], number)
            rows.append(row)
    return table(header, rows)


def _figures(cell: Cell, number: Callable[[Cell, str], float | None]) -> list[str]:
    ours = "out" if "out" in cell["nanoseconds"] else "new"
    peer = figures.best_peer(cell)
    # As everywhere: other libraries make a new array in every call, the floor makes none.
    faster, slower = figures.ratio(cell, peer, "new"), figures.ratio(cell, ours, "floor")
    return [
        f"**{digits(number(cell, ours))}**",
        digits(number(cell, "floor")),
        digits(number(cell, peer)) if peer else "-",
        f"{digits(faster)}x" if faster else "-",
        f"{digits(slower)}x" if slower else "-",
    ]
