"""Tables for the README, so that no figure is ever typed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import figures
from .contestants import ENTRIES
from .figures import Cell, digits


def render(results: dict[str, Any], cells: list[Cell], rows: list[Cell]) -> str:
    """Everything that the results hold, one table after another; of the races, these cells."""
    parts = [_race(dtype, size, group) for (dtype, size), group in figures.groups(cells).items()]
    for (dtype, size), group in figures.groups(rows).items():
        parts.append(_widths(dtype, size, group) if size else _few_rows(dtype, group))
    if results.get("small"):
        parts.append(_small(results["small"]["cells"]))
    if results.get("memory"):
        parts.append(_memory(results["memory"]))
    if results.get("startup"):
        parts.append(_startup(results["startup"]))
    parts.append(f"Measured on {figures.machine_line(results)}.")
    return "\n\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(name: str) -> str:
    return {"out": "numbaloss", "new": "new array", "compile": "torch.compile"}.get(
        name, ENTRIES[name].title
    )


def _race(dtype: str, size: int, cells: list[Cell]) -> str:
    return f"Value and gradient of {size:,} elements:\n\n" + _times(
        f"ns an element, {dtype}", cells, figures.loss_title, figures.per_element
    )


def _widths(dtype: str, size: int, cells: list[Cell]) -> str:
    return f"Cross-entropy with labels, value and gradient of {size:,} elements:\n\n" + _times(
        f"classes, {dtype}; ns an element",
        cells,
        lambda cell: f"{cell['shape'][1]:,}",
        figures.per_element,
    )


def _few_rows(dtype: str, cells: list[Cell]) -> str:
    return "Cross-entropy of few rows:\n\n" + _times(
        f"rows x classes, {dtype}; µs a call", cells, figures.shape_title, figures.microseconds
    )


def _times(
    corner: str,
    cells: list[Cell],
    row_title: Callable[[Cell], str],
    number: Callable[[Cell, str], float | None],
) -> str:
    titles = figures.titles(cells)
    header = [corner, *(_title(name) for name in titles), "best peer / ours"]
    rows = []
    for cell in cells:
        texts = [digits(number(cell, name)) for name in titles]
        texts = [
            f"**{text}**" if ENTRIES[name].kind == "ours" else text
            for name, text in zip(titles, texts, strict=True)
        ]
        faster = figures.ratio(cell, figures.best_peer(cell), "new")
        rows.append([row_title(cell), *texts, f"{digits(faster)}x" if faster else "-"])
    return table(header, rows)


def _small(cells: list[Cell]) -> str:
    titles = figures.titles(cells)
    header = ["µs a call", *(_title("out" if name == "new" else name) for name in titles)]
    rows = []
    for cell in cells:
        texts = [digits(figures.microseconds(cell, name)) for name in titles]
        rows.append([figures.loss_title(cell), *texts])
    return "One call on 100 float32 numbers:\n\n" + table(header, rows)


def _memory(found: list[dict[str, Any]]) -> str:
    names = [name for name in ENTRIES if any(one["contestant"] == name for one in found)]
    size = found[0]["size"]
    header = ["MB", *("numbaloss" if name == "new" else _title(name) for name in names)]
    rows = [
        [title, *(digits(megabytes.get(name)) for name in names)]
        for title, megabytes in figures.megabytes(found).items()
    ]
    caption = (
        f"Memory at the peak of a call on {size:,} float32 numbers, beside its inputs "
        f"(the gradient itself: {digits(size * 4 / 1e6)} MB):\n\n"
    )
    return caption + table(header, rows)


def _startup(found: list[dict[str, Any]]) -> str:
    rows = [
        [f"{one['what']}: {one['title']}", one["cache"] or "-", digits(one["milliseconds"])]
        for one in found
    ]
    return "Fresh processes:\n\n" + table(["", "disk cache", "ms"], rows)
