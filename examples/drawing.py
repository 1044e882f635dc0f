"""Axes, colours and options that the examples of training share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

BLUE, RED, GREEN, VIOLET, GREY = "#1f6f8b", "#c8553d", "#6b8f3a", "#8b5fa8", "#8a8a8a"
COLOURS = (BLUE, RED, GREEN, VIOLET, GREY)


def options(text: str | None, arguments: list[str] | None) -> argparse.Namespace:
    """``--fast`` and ``--plot FILE``, as all of them have."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="small sizes, for a try")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a picture")
    return parser.parse_args(arguments)


def panels(count: int, width: float = 3.4, height: float = 2.9) -> tuple[Any, list[Any]]:
    """A figure of so many panels in a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def title(axis: Any, text: str, x: str = "", y: str = "") -> None:
    """A title, names of the axes, and no frame."""
    axis.set_title(text, loc="left", fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    if x == "epoch":
        axis.xaxis.get_major_locator().set_params(integer=True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def bars(axis: Any, values: dict[str, float], form: str = "{:.3g}", colours: Any = COLOURS) -> None:
    """Horizontal bars with their numbers, the first on top."""
    names = list(values)[::-1]
    numbers = [values[name] for name in names]
    axis.barh(names, numbers, color=colours[: len(names)][::-1], height=0.6)
    for place, number in enumerate(numbers):
        axis.text(number, place, f" {form.format(number)}", va="center", fontsize=8)
    axis.set_xlim(0, 1.2 * max(numbers))
    axis.tick_params(labelsize=8)


def save(figure: Any, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")
