"""Tables for the README, so that no figure is ever typed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import figures
from .catalogue import WORKS
from .contestants import ENTRIES
from .figures import Cell, digits


def render(results: dict[str, Any], cells: list[Cell]) -> str:
    """Everything that the results hold, one table after another."""
    parts = [_race(dtype, size, group) for (dtype, size), group in figures.groups(cells).items()]
    if results.get("small"):
        parts.append(_small(results["small"]["cells"]))
    if results.get("memory"):
        parts.append(_memory(results["memory"]))
    if results.get("startup"):
        parts.append(_startup(results["startup"]))
    parts.append(f"Measured on {figures.machine_line(results)}.")
    return "\n\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(name: str) -> str:
    return {"out": "numbaloss", "new": "new array", "compile": "torch.compile"}.get(
        name, ENTRIES[name].title
    )


def _race(dtype: str, size: int, cells: list[Cell]) -> str:
    titles = figures.titles(cells)
    header = [f"ns an element, {dtype}", *(_title(name) for name in titles), "best peer / ours"]
    rows = []
    for cell in cells:
        texts = [digits(figures.per_element(cell, name)) for name in titles]
        texts = [
            f"**{text}**" if ENTRIES[name].kind == "ours" else text
            for name, text in zip(titles, texts, strict=True)
        ]
        faster = figures.ratio(cell, figures.best_peer(cell), "new")
        rows.append([figures.loss_title(cell), *texts, f"{digits(faster)}x" if faster else "-"])
    return f"Value and gradient of {size:,} elements:\n\n" + _table(header, rows)


def _small(cells: list[Cell]) -> str:
    titles = figures.titles(cells)
    header = ["µs a call", *(_title("out" if name == "new" else name) for name in titles)]
    rows = []
    for cell in cells:
        times = [cell["nanoseconds"].get(name) for name in titles]
        texts = [digits(None if time is None else time / 1e3) for time in times]
        rows.append([figures.loss_title(cell), *texts])
    return "One call on 100 float32 numbers:\n\n" + _table(header, rows)


def _memory(found: list[dict[str, Any]]) -> str:
    names = [name for name in ENTRIES if any(one["contestant"] == name for one in found)]
    size = found[0]["size"]
    header = ["MB", *("numbaloss" if name == "new" else _title(name) for name in names)]
    rows = []
    for loss in dict.fromkeys(one["loss"] for one in found):
        of = {one["contestant"]: one["extra_bytes"] for one in found if one["loss"] == loss}
        texts = [digits(None if of.get(name) is None else of[name] / 1e6) for name in names]
        rows.append([WORKS[loss].title, *texts])
    caption = (
        f"Memory at the peak of a call on {size:,} float32 numbers, beside its inputs "
        f"(the gradient itself: {digits(size * 4 / 1e6)} MB):\n\n"
    )
    return caption + _table(header, rows)


def _startup(found: list[dict[str, Any]]) -> str:
    rows = [
        [f"{one['what']}: {one['title']}", one["cache"] or "-", digits(one["milliseconds"])]
        for one in found
    ]
    return "Fresh processes:\n\n" + _table(["", "disk cache", "ms"], rows)
