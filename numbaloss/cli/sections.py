"""Tables of metrics, groups, two predictions and bins, as a terminal shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .failures import harmless
from .metrics import lines
from .scoring import Scores


def plain_table(*titles: str) -> Table:
    """A table with a line under its head and no other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title)
    return table


def print_sections(out: Console, scores: Scores, names: tuple[str, str]) -> None:
    """All that is there, one table under the other."""
    if scores.comparisons:
        _print_comparisons(out, scores, names)
    elif scores.metrics:
        _print_metrics(out, scores)
    if scores.groups:
        _print_groups(out, scores)
    if scores.reliability is not None:
        _print_bins(out, scores.reliability)


def _print_metrics(out: Console, scores: Scores) -> None:
    table = _numbers("Metric", "value")
    for asked, value in scores.metrics:
        table.add_row(Text(asked.text), Text("\n".join(lines(value))))
    out.print(table)


def _print_groups(out: Console, scores: Scores) -> None:
    names = list(next(iter(scores.groups.values())))
    table = _numbers("Group", *names)
    for key, found in scores.groups.items():
        cells = [Text("\n".join(lines(found[name]))) for name in names]
        table.add_row(Text(harmless(key)), *cells)
    out.print(table)


def _print_comparisons(out: Console, scores: Scores, names: tuple[str, str]) -> None:
    table = _numbers("Of both", *map(harmless, names), "difference", "std. error", "better")
    table.columns[-1].justify = "left"
    for one in scores.comparisons:
        better: Any = {"prediction": names[0], "other": names[1]}.get(one.better or "", one.better)
        table.add_row(
            Text(one.text),
            Text("\n".join(lines(one.value))),
            Text("\n".join(lines(one.other))),
            "" if one.difference is None else f"{one.difference:+.4g}",
            "" if one.standard_error is None else f"{one.standard_error:.2g}",
            Text(harmless(better) if better else ""),
        )
    out.print(table)
    if any(one.better == "neither" for one in scores.comparisons):
        out.print(Text("neither: the difference is within two standard errors"))


def _print_bins(out: Console, bins: dict[str, list[float]]) -> None:
    table = _numbers("Probability", "rows", "mean", "came true", "difference")
    for low, high, weight, mean, share in zip(*(bins[name] for name in _BINS), strict=True):
        cells = ["", "", ""]
        if weight:
            cells = [f"{mean:.6f}", f"{share:.6f}", f"{share - mean:+.6f}"]
        table.add_row(f"{low:.4g} to {high:.4g}", f"{weight:.10g}", *cells)
    out.print(table)


_BINS = ("from", "to", "weight", "prediction", "target")


def _numbers(*titles: str) -> Table:
    """A table whose columns but the first hold numbers."""
    table = plain_table(*titles)
    for column in table.columns:
        column.overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def sections_as_json(scores: Scores, names: tuple[str, str]) -> dict[str, Any]:
    """The same for machines."""
    return {
        "metrics": [
            {"name": asked.name, "metric": repr(asked.metric), "value": np.asarray(value).tolist()}
            for asked, value in scores.metrics
        ],
        "groups": {
            key: {name: np.asarray(value).tolist() for name, value in found.items()}
            for key, found in scores.groups.items()
        },
        "comparisons": [
            {
                "name": one.name,
                "prediction": names[0],
                "compared": names[1],
                "value": np.asarray(one.value).tolist(),
                "other": np.asarray(one.other).tolist(),
                "difference": one.difference,
                "standard_error": one.standard_error,
                "better": one.better,
            }
            for one in scores.comparisons
        ],
        "reliability": scores.reliability,
    }
