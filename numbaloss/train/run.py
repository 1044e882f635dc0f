"""One run over the epochs: what it does batch by batch, and all that it depends on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .data import Source
from .evaluation import evaluate
from .history import History
from .interrupts import Interrupts
from .progress import Progress
from .steps import Stepper
from .stopping import Best, EarlyStopping
from .trees import named_leaves


class Epoch(NamedTuple):
    """What callbacks are given after an epoch."""

    number: int  # from 1
    history: History
    model: Any
    optimizer: Any


@dataclass
class Settings:
    """What is the same for all restarts."""

    model: Any
    loss: Any
    training: Source
    validation: Source | None
    metrics: dict[str, Any]
    epochs: int
    shuffle: bool
    reduction: str
    one_thread: bool
    early_stopping: EarlyStopping | None
    monitor: str
    less_is_better: bool
    keep_best: bool
    callbacks: Iterable[Callable[[Epoch], Any]]
    every: int | None  # steps between two checkpoints within an epoch


@dataclass
class Sums:
    """Of the steps of an epoch so far."""

    loss: float = 0.0
    count: float = 0.0
    norm: float = 0.0
    steps: int = 0
    skipped: int = 0
    seconds: float = 0.0
    rate: float = math.nan  # that of the last step

    def add(self, taken: Any, rate: float) -> None:
        """A step more; what was skipped adds nothing."""
        self.steps += 1
        self.rate = rate
        if taken.skipped:
            self.skipped += 1
            return
        self.loss += taken.value * taken.divisor
        self.count += taken.divisor
        self.norm += taken.norm


@dataclass
class Run:
    """One run from a start to its end, which may go on from a state."""

    settings: Settings
    stepper: Stepper
    schedule: Any
    random: np.random.Generator
    progress: Progress
    save: Callable[[Run], None]
    history: History = field(default_factory=History)
    sums: Sums = field(default_factory=Sums)
    epoch: int = 0  # those that are complete
    step: int = 0
    batch: int = 0  # of this epoch, those that are done
    done: bool = False
    best: Best = field(init=False)
    best_parameters: dict[str, np.ndarray] | None = None

    def __post_init__(self) -> None:
        stop = self.settings.early_stopping
        delta = stop.min_delta if stop is not None else 0.0
        self.best = Best(self.settings.monitor, self.settings.less_is_better, delta)
        self.history.monitor = self.settings.monitor
        self._order = self.random.bit_generator.state

    def go(self, interrupts: Interrupts) -> None:
        """Epoch after epoch, until something ends it."""
        while not self.done and self.epoch < self.settings.epochs:
            try:
                complete = not interrupts.asked and self._train(interrupts)
                if complete:
                    self._finish()
            except KeyboardInterrupt:
                # In the middle of something: the checkpoint stays the one before.
                interrupts.asked = True
                self.history.stopped = "interrupted"
                return
            if not complete:
                self.history.stopped = "interrupted"
            self.save(self)
            if not complete:
                return
        if not self.history.stopped or self.history.stopped == "interrupted":
            self.history.stopped = "epochs"

    def _train(self, interrupts: Interrupts) -> bool:
        """The rest of an epoch; whether it came to its end."""
        start, before = time.perf_counter(), self.sums.seconds
        # Where the order of rows began: a run that goes on draws it again.
        self.random.bit_generator.state = self._order
        random = self.random if self.settings.shuffle else None
        seen = 0
        for batch in self.settings.training.batches(self.epoch, random, self.batch):
            where = f"step {self.step} (epoch {self.epoch + 1}, batch {self.batch + 1})"
            rate = self.learning_rate()
            taken = self.stepper.take(batch, rate, where)
            self.step += 1
            self.batch += 1
            self.sums.add(taken, rate)
            self.sums.seconds = before + time.perf_counter() - start
            seen += batch.rows
            self.progress.step(self.epoch + 1, seen, self.settings.training.rows, taken.value)
            if interrupts.asked:
                return False
            if self.settings.every and self.step % self.settings.every == 0:
                self.save(self)
        if not self.batch:
            raise ValueError("data has no batches")
        return True

    def learning_rate(self) -> float:
        """That of the next step."""
        if self.schedule is None:
            return float(self.stepper.optimizer.learning_rate)
        return float(self.schedule(self.step))

    def _finish(self) -> None:
        """What follows the last batch of an epoch."""
        row = self._row()
        self.epoch, self.batch = self.epoch + 1, 0
        self._order = self.random.bit_generator.state
        self.history.add(row)
        self.sums = Sums()
        if self.settings.monitor not in row:
            raise ValueError(
                f"the monitor {self.settings.monitor!r} is no column of the history, which has "
                f"{', '.join(row)}"
            )
        value = row[self.settings.monitor]
        if self.best.update(value, self.epoch - 1):
            self.history.best_epoch = self.epoch
            if self.settings.keep_best:
                self.best_parameters = parameters_of(self.settings.model)
        if self.schedule is not None and hasattr(self.schedule, "update"):
            self.schedule.update(value)
        self.progress.epoch(row)
        stop = self.settings.early_stopping
        if stop is not None and self.best.waited >= stop.patience:
            self.done, self.history.stopped = True, "early stopping"
        event = Epoch(self.epoch, self.history, self.settings.model, self.stepper.optimizer)
        for callback in self.settings.callbacks:
            if callback(event) is True:
                self.done, self.history.stopped = True, "callback"

    def _row(self) -> dict[str, float]:
        sums, settings = self.sums, self.settings
        steps = sums.steps - sums.skipped
        per = sums.count if settings.reduction != "sum" else 1.0
        row: dict[str, float] = {"epoch": self.epoch + 1}
        row["loss"] = sums.loss / per if steps else math.nan
        source = settings.validation
        if source is not None or settings.metrics:
            found = evaluate(
                settings.model, settings.loss, source or settings.training, settings.metrics,
                settings.reduction, settings.one_thread,
            )  # fmt: skip
            prefix = "validation_" if source is not None else ""
            row |= {f"{prefix}{k}": v for k, v in found.items() if prefix or k != "loss"}
        row["learning_rate"] = sums.rate
        row["gradient_norm"] = sums.norm / steps if steps else math.nan
        row["skipped"] = sums.skipped
        row["seconds"] = sums.seconds
        return row

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        model = self.settings.model
        return {
            "parameters": parameters_of(model),
            "optimizer": self.stepper.optimizer.state(),
            "model": model.state() if hasattr(model, "state") else None,
            "schedule": self.schedule.state() if hasattr(self.schedule, "state") else None,
            "order": self._order,
            "history": self.history.to_dict(),
            "sums": vars(self.sums).copy(),
            "counts": [self.epoch, self.step, self.batch],
            "done": self.done,
            "best": self.best.state(),
            "best_parameters": self.best_parameters,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        model = self.settings.model
        put_parameters(model, state["parameters"])
        self.stepper.optimizer.load_state(state["optimizer"])
        if state["model"] is not None:
            model.load_state(state["model"])
        if state["schedule"] is not None:
            self.schedule.load_state(state["schedule"])
        self._order = state["order"]
        self.history = History.from_dict(state["history"])
        self.sums = Sums(**state["sums"])
        self.epoch, self.step, self.batch = state["counts"]
        self.done = state["done"]
        self.best.load_state(state["best"])
        self.best_parameters = state["best_parameters"]


def parameters_of(model: Any) -> dict[str, np.ndarray]:
    """Copies of all parameters, by name."""
    return {name: np.array(one) for name, one in named_leaves(model.parameters)}


def put_parameters(model: Any, values: dict[str, np.ndarray]) -> None:
    """Write values into a model's parameters."""
    for name, array in named_leaves(model.parameters):
        array[...] = values[name]
