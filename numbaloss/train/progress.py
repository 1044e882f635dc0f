"""A line on the terminal that says how far a run is."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

# Seconds between two looks of the line.
EVERY = 0.1
BAR = 20


class Progress:
    """Rewrites one line of stderr; silent unless it is wanted, or stderr is a terminal."""

    def __init__(self, wanted: bool | None, epochs: int, title: str = "") -> None:
        self._on = sys.stderr.isatty() if wanted is None else wanted
        self._epochs, self._title = epochs, f"{title} " if title else ""
        self._shown = 0.0
        self._length = 0

    def step(self, epoch: int, rows: int, of: int | None, loss: float) -> None:
        """After a batch: rows of the epoch so far."""
        if not self._on or time.monotonic() - self._shown < EVERY:
            return
        self._shown = time.monotonic()
        share = "" if of is None else f" [{'#' * (BAR * rows // of):{BAR}}]"
        self._write(f"epoch {epoch}/{self._epochs}{share} {rows:,} rows  loss {loss:.4g}")

    def epoch(self, row: dict[str, Any]) -> None:
        """After an epoch."""
        if not self._on:
            return
        skip = ("epoch", "gradient_norm", "skipped", "seconds")
        said = "  ".join(
            f"{name.replace('_', ' ')} {value:.4g}"
            for name, value in row.items()
            if name not in skip
        )
        self._write(f"epoch {row['epoch']}/{self._epochs}  {said}")

    def close(self) -> None:
        """Leave the last line where it is."""
        if self._on and self._length:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._length = 0

    def _write(self, line: str) -> None:
        line = f"{self._title}{line}"[: max(shutil.get_terminal_size().columns - 1, 20)]
        sys.stderr.write(f"\r{line:{self._length}}")
        sys.stderr.flush()
        self._length = len(line)
