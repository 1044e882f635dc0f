"""When to stop, and which parameters were the best."""

from __future__ import annotations

import math
from typing import Any


class EarlyStopping:
    """Stop where nothing has become better for some epochs.

    Parameters
    ----------
    monitor : str
        The column of the history that is looked at: ``"validation_loss"``, ``"loss"``, or a metric,
        ``"validation_roc_auc"``.
    patience : int >= 1
        Epochs without improvement after which the run stops.
    min_delta : float >= 0
        What is better by no more than this is no improvement.
    restore_best : bool
        Give the model the parameters of its best epoch at the end.
    mode : {"min", "max"}, optional
        What is better; unless told, less for losses and for the metrics of which less is better,
        more for the others.
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: str | None = None,
    ) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 epoch, not {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be >= 0, not {min_delta!r}")
        if mode not in (None, "min", "max"):
            raise ValueError(f'mode must be "min" or "max", not {mode!r}')
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.restore_best, self.mode = restore_best, mode

    def __repr__(self) -> str:
        return f"EarlyStopping({self.monitor!r}, patience={self.patience})"


class Best:
    """The best epoch so far, by one column of the history."""

    def __init__(self, monitor: str, less_is_better: bool, min_delta: float = 0.0) -> None:
        self.monitor, self.less, self.min_delta = monitor, less_is_better, min_delta
        self.value, self.epoch, self.waited = math.inf if less_is_better else -math.inf, -1, 0

    def update(self, value: float, epoch: int) -> bool:
        """Whether the epoch is the best so far. NaN is not better than anything."""
        gain = self.value - value if self.less else value - self.value
        if gain > self.min_delta or (self.epoch < 0 and not math.isnan(value)):
            self.value, self.epoch, self.waited = value, epoch, 0
            return True
        self.waited += 1
        return False

    def beats(self, other: Best) -> bool:
        """Whether this is better than that of another run."""
        return self.value < other.value if self.less else self.value > other.value

    def state(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.value, self.epoch, self.waited = state["value"], state["epoch"], state["waited"]
