"""The picture of a run: loss, metrics, learning rate, length of the gradient."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .files import write_whole

TRAINING, VALIDATION, FURTHER, QUIET = "#1f6f8b", "#c8553d", "#6b8f3a", "#8a8a8a"
# So many metrics have a panel each; more share one.
ALONE = 3
_NOT_METRICS = ("epoch", "loss", "validation_loss", "learning_rate", "gradient_norm")


def draw(history: Any, path: str | Path | None = None, title: str = "") -> Any:
    """The figure of a history; written to ``path``, .png, .svg or .pdf, where there is one."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plots need matplotlib: python -m pip install "numbaloss[plot]"'
        ) from error
    metrics = [name for name in history if name not in (*_NOT_METRICS, "seconds", "skipped")]
    # Metrics have scales of their own, until there are too many of them.
    groups = [[name] for name in metrics] if len(metrics) <= ALONE else [metrics]
    panels = 3 + len(groups)
    across = panels if panels < 4 else -(-panels // 2)
    down = -(-panels // across)
    figure = Figure(figsize=(3.3 * across, 2.7 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    _losses(axes[0], history)
    for axis, names in zip(axes[1:], groups):
        _metrics(axis, history, names)
    _line(axes[panels - 2], history, "learning_rate", "learning rate")
    _line(axes[panels - 1], history, "gradient_norm", "length of the gradient")
    for axis in axes[panels:]:
        axis.remove()
    if title:
        figure.suptitle(title, fontsize=11)
    if path is not None:
        kind = Path(path).suffix.lstrip(".").lower() or "png"
        write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=120))
    return figure


def _plain(axis: Any, name: str, history: Any) -> None:
    axis.set_title(name, loc="left", fontsize=10)
    axis.set_xlabel("epoch", fontsize=9)
    axis.tick_params(labelsize=8)
    # Epochs are whole, and a run of one is a point.
    axis.xaxis.get_major_locator().set_params(integer=True)
    if len(history["epoch"]) == 1:
        axis.set_xlim(0.5, 1.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _losses(axis: Any, history: Any) -> None:
    others = [one for one in history.restarts if one is not history and one.get("epoch")]
    for place, one in enumerate(others):
        name = "validation_loss" if "validation_loss" in one else "loss"
        label = None if place else "other runs"
        axis.plot(one["epoch"], one[name], color="#c9c9c9", linewidth=1, zorder=1, label=label)
    style = _style(history)
    axis.plot(history["epoch"], history["loss"], style, color=TRAINING, label="training")
    if "validation_loss" in history:
        axis.plot(
            history["epoch"],
            history["validation_loss"],
            style,
            color=VALIDATION,
            label="validation",
        )
    if history.best_epoch is not None and history.monitor in ("loss", "validation_loss"):
        colour = VALIDATION if history.monitor == "validation_loss" else TRAINING
        best = history.best_epoch
        axis.plot([best], [history[history.monitor][best - 1]], "o", color=colour, markersize=5)
        axis.axvline(best, color=QUIET, linewidth=0.8, linestyle=":", label=f"best, {best}")
    every = [value for name in ("loss", "validation_loss") for value in history.get(name, ())]
    _maybe_logarithmic(axis, every)
    axis.legend(fontsize=8, frameon=False)
    _plain(axis, "loss", history)


def _metrics(axis: Any, history: Any, names: list[str]) -> None:
    colours = (VALIDATION, TRAINING, FURTHER, "#8b5fa8", "#c79a2b", QUIET)
    for place, name in enumerate(names):
        label = name.removeprefix("validation_").replace("_", " ")
        colour = colours[place % len(colours)]
        axis.plot(history["epoch"], history[name], _style(history), color=colour, label=label)
    where = "validation" if "validation_loss" in history else "training"
    if len(names) > 1:
        axis.legend(fontsize=8, frameon=False)
    what = "metrics" if len(names) > 1 else names[0].removeprefix("validation_").replace("_", " ")
    _plain(axis, f"{what}, {where}", history)


def _line(axis: Any, history: Any, name: str, title: str) -> None:
    axis.plot(history["epoch"], history[name], _style(history), color=TRAINING)
    _maybe_logarithmic(axis, history[name])
    if len(set(history[name])) == 1 and history[name][0] > 0:
        # Otherwise matplotlib shows a constant in its sixth digit.
        axis.set_ylim(0, 2 * history[name][0])
    _plain(axis, title, history)


def _style(history: Any) -> str:
    return "o-" if len(history["epoch"]) == 1 else "-"


def _maybe_logarithmic(axis: Any, values: Any) -> None:
    """A logarithmic axis where numbers above 0 span more than a factor of 20."""
    finite = [one for one in values if math.isfinite(one)]
    if finite and min(finite) > 0 and max(finite) / min(finite) > 20:
        axis.set_yscale("log")
