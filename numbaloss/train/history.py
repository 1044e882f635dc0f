"""What a run came to, epoch by epoch."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from .files import write_text


class History(dict):
    """A dict of lists, one number an epoch in each.

    ``epoch`` counts from 1; ``loss`` is the mean over the rows that the epoch trained on, each
    when it was seen, and ``validation_loss`` that after the epoch; metrics stand under their names,
    ``validation_accuracy``; ``learning_rate`` is that of the last step, ``gradient_norm`` the
    mean length of the gradient of a step, before it was clipped, ``skipped`` the steps that were
    left out because something was not finite, ``seconds`` the time of the epoch.

    Attributes
    ----------
    best_epoch : int or None
        The epoch, from 1, whose monitored number was best; None before the first.
    monitor : str
        The column by which.
    stopped : str
        Why the run ended: ``"epochs"``, ``"early stopping"``, ``"interrupted"``, ``"callback"``.
    restarts : list of History
        Those of all restarts, this one too; empty where there was one run.
    """

    def __init__(self, columns: dict[str, list[float]] | None = None) -> None:
        super().__init__(columns or {})
        self.best_epoch: int | None = None
        self.monitor = "loss"
        self.stopped = ""
        self.restarts: list[History] = []

    def add(self, row: dict[str, float]) -> None:
        """An epoch more."""
        for name, value in row.items():
            self.setdefault(name, []).append(value)

    @property
    def best(self) -> dict[str, float]:
        """The row of the best epoch."""
        if self.best_epoch is None:
            return {}
        return {name: column[self.best_epoch - 1] for name, column in self.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain numbers and lists."""
        return {
            "columns": {name: list(column) for name, column in self.items()},
            "best_epoch": self.best_epoch,
            "monitor": self.monitor,
            "stopped": self.stopped,
            "restarts": [one.to_dict() for one in self.restarts if one is not self],
            "place": next((i for i, one in enumerate(self.restarts) if one is self), None),
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> History:
        """What :meth:`to_dict` has described."""
        found = cls({name: list(column) for name, column in content["columns"].items()})
        found.best_epoch, found.monitor = content["best_epoch"], content["monitor"]
        found.stopped = content["stopped"]
        found.restarts = [cls.from_dict(one) for one in content["restarts"]]
        if content["place"] is not None:
            found.restarts.insert(content["place"], found)
        return found

    def to_json(self, path: str | Path) -> None:
        """Write a file of JSON; NaN and infinities are strings there."""
        write_text(path, json.dumps(_texts(self.to_dict()), indent=1, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: str | Path) -> History:
        """Read what :meth:`to_json` has written."""
        return cls.from_dict(_numbers(json.loads(Path(path).read_text(encoding="utf-8"))))

    def to_csv(self, path: str | Path) -> None:
        """Write a line of names, and one an epoch."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(self)
        lines.writerows(zip(*self.values()))
        write_text(path, text.getvalue())

    def plot(self, path: str | Path | None = None, title: str = "") -> Any:
        """Draw loss, metrics, learning rate and gradient norm; write them where a path is given.

        Needs matplotlib. Returns its figure.
        """
        from .curves import draw

        return draw(self, path, title)


_TEXTS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def _texts(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _texts(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_texts(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    return content


def _numbers(content: Any) -> Any:
    columns = content["columns"]
    content["columns"] = {
        name: [_TEXTS[one] if isinstance(one, str) else one for one in column]
        for name, column in columns.items()
    }
    content["restarts"] = [_numbers(one) for one in content["restarts"]]
    return content
