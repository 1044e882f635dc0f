"""A chart of rows of logits: nanoseconds an element over the number of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import figures
from .chart import FAINT, INK, TITLES, heading, save
from .contestants import ENTRIES
from .figures import Cell


def draw_rows(cells: list[Cell], path: Path) -> None:
    """Draw the first dtype's largest arrays, and write the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = figures.widths(cells)
    if not cells:
        raise SystemExit("there is nothing to draw: run or load the part 'rows'")
    dtype = cells[0]["dtype"]
    total = max(cell["total"] for cell in cells if cell["dtype"] == dtype)
    group = sorted(figures.groups(cells)[dtype, total], key=lambda cell: cell["shape"][1])

    figure, axes = pyplot.subplots(figsize=(9, 5.4), layout="constrained")
    ends = [line for name in figures.titles(group) if (line := _line(axes, group, name))]
    axes.set_xscale("log")
    axes.set_yscale("log")
    _frame(axes, group)
    _label(axes, ends)
    heading(axes, f"Cross-entropy and its gradient, {total:,} {dtype} logits", 12)
    save(figure, path)


def _line(axes: Any, cells: list[Cell], name: str) -> tuple[float, float, str, str] | None:
    """One contestant; returns where its line ends, with its title and colour."""
    points = [
        (cell["shape"][1], time)
        for cell in cells
        if (time := figures.per_element(cell, name)) is not None
    ]
    if not points:
        return None
    entry = ENTRIES[name]
    ours = entry.kind == "ours"
    axes.plot(
        *zip(*points, strict=True),
        color=entry.colour,
        linewidth=2.4 if ours else 1.3,
        linestyle=(0, (4, 2)) if entry.kind == "floor" else "-",
        marker="" if entry.kind == "floor" else "o",
        markersize=4.5 if ours else 3.5,
        zorder=3 if ours else 2,
    )
    return *points[-1], TITLES.get(name, entry.title), entry.colour


def _label(axes: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Titles to the right of the chart, each at the height of its line, none over another."""
    low, high = axes.get_ylim()
    places = axes.transData.transform([(x, y) for x, y, _, _ in ends])
    bottom, top = axes.transData.transform([(1.0, low), (1.0, high)])[:, 1]
    order = sorted(range(len(ends)), key=lambda number: places[number][1])
    least = 0.05
    height = -1.0
    for number in order:
        x, y, title, colour = ends[number]
        height = max((places[number][1] - bottom) / (top - bottom), height + least)
        axes.annotate(
            title,
            (x, y),
            xytext=(1.025, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9.5,
            color=colour,
            fontweight="bold" if title.startswith("numbaloss") else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.6},
            annotation_clip=False,
        )


def _frame(axes: Any, cells: list[Cell]) -> None:
    """Axes with ticks that are numbers of classes and nanoseconds."""
    from matplotlib.ticker import NullLocator

    widths = [cell["shape"][1] for cell in cells]
    wanted = [width for width in (2, 4, 10, 31, 128, 1000, 4096, 32000, 128256) if width in widths]
    axes.set_xticks(wanted, [f"{width:,}" for width in wanted], fontsize=9)
    low, high = axes.get_ylim()
    ticks = [
        tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if low <= tick <= high
    ]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.grid(color="#e4e4e4", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("classes", color=FAINT, fontsize=9)
    axes.set_ylabel("nanoseconds an element", color=FAINT, fontsize=9)
