"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import figures
from .contestants import ENTRIES
from .figures import Cell, digits


def show(results: dict[str, Any], cells: list[Cell], rows: list[Cell]) -> None:
    """Print everything that the results hold; of the races, what is in these cells."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.width < 100:
        console = Console(highlight=False, width=100)
    console.print(figures.machine_line(results), style="dim")
    if cells:
        console.print(_race(cells))
    if wide := figures.widths(rows):
        console.print(_rows(wide))
    if few := figures.few_rows(rows):
        console.print(_few_rows(few))
    if results.get("small"):
        console.print(_small(results["small"]["cells"]))
    if results.get("memory"):
        console.print(_memory(results["memory"]))
    if results.get("startup"):
        console.print(_startup(results["startup"]))


def _table(title: str, caption: str, columns: list[str]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=0,
    )
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _best(numbers: list[float | None]) -> list[str]:
    """Numbers as text, the smallest in bold."""
    least = min((number for number in numbers if number is not None), default=None)
    texts = [digits(number) for number in numbers]
    return [
        text if number is None or number != least else f"[bold]{text}[/bold]"
        for number, text in zip(numbers, texts, strict=True)
    ]


def _race(cells: list[Cell]) -> Any:
    return _grouped(
        "Value and gradient, nanoseconds an element", cells, figures.loss_title, figures.per_element
    )


def _rows(cells: list[Cell]) -> Any:
    return _grouped(
        "Cross-entropy of rows with labels, nanoseconds an element",
        cells,
        lambda cell: f"{cell['shape'][1]:>7,} classes",
        figures.per_element,
    )


def _few_rows(cells: list[Cell]) -> Any:
    return _grouped(
        "Cross-entropy of few rows, microseconds a call",
        cells,
        figures.shape_title,
        figures.microseconds,
    )


def _grouped(
    title: str,
    cells: list[Cell],
    row_title: Callable[[Cell], str],
    number: Callable[[Cell, str], float | None],
) -> Any:
    """Everybody's time on every cell, by dtype and size, beside floor and peers."""
    titles = figures.titles(cells)
    ratios = ["ours /\nfloor", "peer\n/ new", *(["PyTorch\n/ new"] if "torch" in titles else [])]
    table = _table(
        title,
        "ours writes into the same array in every call, new returns a new one. "
        "floor moves the same bytes and computes nothing. peer: the fastest other library.",
        ["", *(title.replace(", ", ",\n") for title in titles.values()), *ratios],
    )
    for (dtype, size), group in figures.groups(cells).items():
        heading = f"{dtype}, {figures.size_title(size)}" if size else dtype
        table.add_row(f"[bold]{heading}[/bold]")
        for cell in group:
            racers = [name for name in titles if name != "floor"]
            best = _best([number(cell, name) for name in racers])
            texts = dict(zip(racers, best, strict=True))
            texts["floor"] = f"[dim]{digits(number(cell, 'floor'))}[/dim]"
            table.add_row(
                "  " + row_title(cell),
                *(texts[name] for name in titles),
                digits(figures.ratio(cell, "out", "floor")),
                digits(figures.ratio(cell, figures.best_peer(cell), "new")),
                *([digits(figures.ratio(cell, "torch", "new"))] if "torch" in titles else []),
            )
        table.add_section()
    return table


def _small(cells: list[Cell]) -> Any:
    titles = figures.titles(cells)
    table = _table(
        "One call on 100 float32 numbers, microseconds",
        "",
        ["", *("numbaloss" if name == "new" else title for name, title in titles.items()),
         "PyTorch / ours"],
    )  # fmt: skip
    for cell in cells:
        texts = _best([figures.microseconds(cell, name) for name in titles])
        ratio = digits(figures.ratio(cell, "torch", "new"))
        table.add_row(figures.loss_title(cell), *texts, ratio)
    return table


def _memory(found: list[dict[str, Any]]) -> Any:
    names = [name for name in ENTRIES if any(one["contestant"] == name for one in found)]
    size = found[0]["size"]
    table = _table(
        f"Memory at the peak of a call on {size:,} float32 numbers, megabytes",
        f"Beside prediction and target. The gradient itself takes {digits(size * 4 / 1e6)}.",
        ["", *(ENTRIES[name].title for name in names)],
    )
    for title, megabytes in figures.megabytes(found).items():
        table.add_row(title, *(digits(megabytes.get(name)) for name in names))
    return table


def _startup(found: list[dict[str, Any]]) -> Any:
    table = _table(
        "Starting, milliseconds",
        "import: beyond NumPy. first call: beyond importing; warm and cold: whether the code "
        "is on disk.",
        ["", "cache", "ms"],
    )
    for what in dict.fromkeys(one["what"] for one in found):
        table.add_row(f"[bold]{what}[/bold]")
        for one in found:
            if one["what"] == what:
                table.add_row("  " + one["title"], one["cache"], digits(one["milliseconds"]))
    return table
