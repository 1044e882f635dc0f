"""A chart of one dtype and size: how many times the floor everybody takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import figures
from .contestants import ENTRIES
from .figures import Cell, digits

INK, FAINT = "#2b2b2b", "#8a8a8a"
BAR = 0.8
TITLES = {
    "out": "numbaloss",
    "new": "numbaloss, new array",
    "compile": "torch.compile",
    "sklearn": "scikit-learn",
}


def draw(results: dict[str, Any], cells: list[Cell], path: Path) -> None:
    """Draw the first dtype's largest arrays, and write the file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if not cells:
        raise SystemExit("there is nothing to draw: run or load the part 'speed'")
    dtype = cells[0]["dtype"]
    size = max(cell["size"] for cell in cells if cell["dtype"] == dtype)
    group = figures.groups(cells)[dtype, size]
    names = [name for name in figures.titles(group, ("ours", "peer")) if name != "new"]

    height = 0.17 * len(names) * len(group) + 1.9
    figure, axes = pyplot.subplots(figsize=(9, height), layout="constrained")
    longest = max(figures.ratio(cell, name, "floor") or 1 for cell in group for name in names)
    for row, cell in enumerate(group):
        _bars(axes, row, cell, names)
    axes.set_xscale("log")
    axes.set_xlim(0.93, longest * 1.7)
    axes.axvline(1.0, color=INK, linewidth=1)
    _ticks(axes, longest)
    axes.set_yticks(range(len(group)), [figures.loss_title(cell) for cell in group], fontsize=11)
    axes.set_ylim(len(group) - 0.45, -0.55)
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel(
        "times as long as moving the same bytes (logarithmic; figures: ns an element)",
        color=FAINT,
        fontsize=9,
    )
    heading(axes, f"Loss and gradient of {size:,} {dtype} numbers", 34)
    axes.legend(
        [pyplot.Rectangle((0, 0), 1, 1, color=ENTRIES[name].colour) for name in names],
        [TITLES.get(name, ENTRIES[name].title) for name in names],
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(names),
        frameon=False,
        fontsize=9.5,
        handlelength=1,
        handleheight=1,
        columnspacing=1.4,
    )
    save(figure, path)


def heading(axes: Any, text: str, pad: int) -> None:
    """The title of a chart."""
    axes.set_title(text, x=0.0, pad=pad, loc="left", fontsize=14, fontweight="bold", color=INK)


def save(figure: Any, path: Path) -> None:
    """Write the file, in a folder that is made for it."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160, facecolor="white")
    pyplot.close(figure)


def _bars(axes: Any, row: int, cell: Cell, names: list[str]) -> None:
    """One loss: a bar for each contestant that has it, from the floor to its time."""
    present = [name for name in names if name in cell["nanoseconds"]]
    if row % 2 == 0:
        axes.axhspan(row - 0.5, row + 0.5, color="#f6f6f3", zorder=0)
    thickness = BAR / len(names)
    top = row - thickness * (len(present) - 1) / 2
    for place, name in enumerate(present):
        times = figures.ratio(cell, name, "floor") or 1.0
        ours = ENTRIES[name].kind == "ours"
        # As thin as a line where a bar would vanish.
        end = max(times, 1.008)
        y = top + place * thickness
        axes.barh(y, end - 1.0, thickness * 0.86, left=1.0, color=ENTRIES[name].colour, zorder=2)
        axes.text(
            end * 1.02,
            y,
            digits(figures.per_element(cell, name)),
            va="center",
            fontsize=7.5,
            color=ENTRIES[name].colour if ours else FAINT,
            fontweight="bold" if ours else "normal",
        )


def _ticks(axes: Any, longest: float) -> None:
    from matplotlib.ticker import NullLocator

    ticks = [
        tick for tick in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= longest * 1.5
    ]
    axes.set_xticks(ticks, ["floor", *(f"{tick}x" for tick in ticks[1:])], fontsize=9)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#dddddd", linewidth=0.7, zorder=1)
    axes.set_axisbelow(True)
