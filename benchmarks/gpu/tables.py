"""Tables on a terminal, and in Markdown."""

from __future__ import annotations

import importlib.util
from typing import Any

from . import figures, summary
from .figures import Table

WIDTH = 80


def show(results: dict[str, Any]) -> None:
    """Print everything; as Markdown where rich is not installed."""
    if importlib.util.find_spec("rich") is None:
        print(render(results))
        print("\n".join(figures.problems(results)))
        return
    from rich.console import Console

    console = Console(highlight=False, width=WIDTH)
    for line in figures.machine_lines(results):
        console.print(line, style="dim", markup=False)
    for table in summary.tables(results) if results.get("steps") else figures.tables(results):
        console.print(_rich(table))
    for line in figures.problems(results):
        console.print(line, style="red" if line.startswith("ERROR") else "dim", markup=False)


def render(results: dict[str, Any]) -> str:
    """Markdown, for the README."""
    parts = [_markdown(table) for table in figures.tables(results)]
    return "\n\n".join([*parts, *figures.machine_lines(results)])


def _rich(table: Table) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    found = RichTable(
        title=table.title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
    )
    for name, is_text in zip(table.header, _texts(table), strict=True):
        found.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for row in table.rows:
        found.add_row(*row)
    return found


def _texts(table: Table) -> list[bool]:
    """Which columns hold words: they stand at the left, numbers at the right."""
    return [not place or name in ("", "arrays") for place, name in enumerate(table.header)]


def _markdown(table: Table) -> str:
    rule = ["---" if is_text else "---:" for is_text in _texts(table)]
    lines = [table.header, rule, *table.rows]
    return f"{table.title}:\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)
