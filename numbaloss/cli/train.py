"""``numbaloss train``: a table, a loss and a model; the curve as it goes; a folder."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

from .. import train as learning
from ..metrics import Mean
from . import trained
from .failures import Failure, UsageFailure, first_line, writing
from .metrics import Asked
from .report import console, counted, print_lines
from .training_data import Rows, Scaling, is_binary, split
from .wrap import tight

OPTIMIZERS: dict[str, Any] = {
    "adam": learning.Adam,
    "adamw": learning.AdamW,
    "sgd": learning.SGD,
    "rmsprop": learning.RMSprop,
    "adagrad": learning.Adagrad,
    "lion": learning.Lion,
}
# Lines of the curve that are printed, at most about.
LINES = 25


class Settings(NamedTuple):
    """The options of the command that say how to learn."""

    loss_text: str
    loss: Any
    hidden: tuple[int, ...]
    activation: str = "relu"
    validation: float = 0.2
    metrics: tuple[Asked, ...] = ()
    optimizer: str = "adam"
    learning_rate: float = 0.01
    epochs: int = 200
    patience: int = 20
    batch_size: int | None = None
    dropout: float = 0.0
    clip: float | None = None
    restarts: int = 1
    seed: int = 0


class Learned(NamedTuple):
    """A trained model and how it came about."""

    model: trained.Trained
    history: learning.History
    rows: Rows
    used: tuple[int, int]  # rows to learn from, and to look at
    parameters: int


def read_model(text: str) -> tuple[tuple[int, ...], str]:
    """Sizes of hidden layers and the activation, of ``linear`` or ``mlp:64,64:tanh``."""
    if text == "linear":
        return (), "relu"
    found = re.fullmatch(r"mlp:(\d+(?:,\d+)*)(?::(relu|gelu|tanh))?", text.replace(" ", ""))
    if found is None:
        raise UsageFailure(
            f"--model {text!r}: write linear, mlp:64,64 (sizes of hidden layers) or "
            f"mlp:64,64:gelu (relu, gelu or tanh)"
        )
    sizes = tuple(map(int, found[1].split(",")))
    if min(sizes) < 1:
        raise UsageFailure(f"--model {text!r}: layers have at least 1 number")
    return sizes, found[2] or "relu"


def learn(rows: Rows, settings: Settings, told: Callable[[Any], Any]) -> Learned:
    """Split, standardise, fit; ``told`` hears of every epoch."""
    loss = settings.loss
    labels = None if rows.classes is None else rows.target
    first, second = split(len(rows.inputs), settings.validation, settings.seed, labels)
    scaling = Scaling.of(rows.inputs[first])
    inputs = scaling(rows.inputs)
    scaled = rows._replace(inputs=inputs)
    centre, scale = _centre_and_scale(rows, loss, first)
    model = trained.shifted(
        loss, inputs.shape[1], settings.hidden, settings.activation, rows.classes,
        inputs.dtype.name, centre, scale, settings.dropout, settings.seed,
    )  # fmt: skip
    size = settings.batch_size or min(max(len(first) // 100, 16), 1024)
    try:
        history = learning.fit(
            model, loss, scaled.some(first),
            validation=scaled.some(second),
            metrics={one.text: one.metric for one in settings.metrics},
            optimizer=OPTIMIZERS[settings.optimizer](settings.learning_rate),
            early_stopping=learning.EarlyStopping(patience=settings.patience),
            clip=settings.clip, epochs=settings.epochs, batch_size=size,
            restarts=settings.restarts, seed=settings.seed, callbacks=[told], progress=False,
        )  # fmt: skip
    except (ValueError, TypeError, FloatingPointError) as error:
        hint = "; a smaller --learning-rate or --clip 1 may help"
        more = hint if isinstance(error, FloatingPointError) else ""
        raise Failure(f"training stopped: {first_line(error)}{more}") from None
    target, *weight = scaled.some(second)[1:]
    results = {
        "best_epoch": history.best_epoch,
        "epochs": len(history.get("epoch", ())),
        "stopped": history.stopped,
        "rows_training": len(first),
        "rows_validation": len(second),
        "seed": settings.seed,
        "constant_validation_loss": _of_constant(loss, centre, target, *weight),
        **{name: value for name, value in history.best.items() if name.startswith("validation_")},
    }
    parameters = sum(one.size for one in learning.trees.leaves(model.parameters))
    target_name = ""  # the caller knows
    found = trained.Trained(
        model, scaling, settings.loss_text, loss, target_name, rows.features, rows.classes,
        settings.hidden, settings.activation, inputs.dtype.name, results,
    )  # fmt: skip
    return Learned(found, history, rows, (len(first), len(second)), parameters)


def _centre_and_scale(rows: Rows, loss: Any, chosen: np.ndarray) -> tuple[np.ndarray, float]:
    """Where predictions start, and the size of what is to be learned around it."""
    target = rows.target[chosen]
    weight = None if rows.weight is None else rows.weight[chosen]
    try:
        if loss.contract.of_classes:
            found = loss.best_constant(target, weight, classes=len(rows.classes or ()))
        else:
            found = loss.best_constant(target, weight)
    except (TypeError, ValueError) as error:
        if "target" in str(error):  # one out of the loss's domain
            raise Failure(
                f"--loss {loss!r} does not take this target: {first_line(error)}"
            ) from None
        found = np.zeros(len(rows.classes or ()) if loss.contract.of_classes else ())
    centre = np.asarray(found, np.float64)
    centre = np.where(np.isfinite(centre), centre, 0.0)
    scale = 1.0
    if rows.classes is None and not is_binary(loss) and loss.link_function == "identity":
        scale = float(np.std(target, dtype=np.float64)) or 1.0
    return centre, scale


def _of_constant(loss: Any, centre: np.ndarray, target: np.ndarray, *weight: np.ndarray) -> float:
    """The loss of rows that are all predicted alike, which a model has to beat."""
    prediction = np.broadcast_to(centre, (len(target), *centre.shape))
    total = Mean(loss).update(np.ascontiguousarray(prediction), target, *weight)
    return float(total.compute())


class Curve:
    """Prints the curve, a line now and then, as it goes."""

    def __init__(self, epochs: int, metrics: tuple[Asked, ...], restarts: int) -> None:
        self._every = max(1, math.ceil(epochs / LINES))
        self._epochs, self._names = epochs, [one.text for one in metrics]
        self._several, self._run, self._last = restarts > 1, 0, 0
        self._out = console()
        titles = ["epoch", "training", "validation", *self._names]
        self._widths = [max(len(one), 12) for one in titles]
        self._widths[0] = 7
        self._head = "".join(f"{one:>{width}}" for one, width in zip(titles, self._spaced()))

    def _spaced(self) -> list[int]:
        return [self._widths[0], *(width + 2 for width in self._widths[1:])]

    def __call__(self, event: Any) -> None:
        """After an epoch."""
        if event.number == 1:
            self._run += 1
            if self._several:
                self._print(f"run {self._run}")
            self._print(self._head, "bold")
        if event.number != 1 and event.number % self._every and event.number != self._epochs:
            return
        names = ("loss", "validation_loss", *(f"validation_{one}" for one in self._names))
        cells = [f"{event.number}", *(f"{event.history[one][-1]:.6g}" for one in names)]
        self._print("".join(f"{one:>{width}}" for one, width in zip(cells, self._spaced())))

    def _print(self, line: str, style: str = "") -> None:
        self._out.print(Text(line, style=style), soft_wrap=True)


def write(path: Path, learned: Learned) -> list[str]:
    """The folder; the names of its files."""
    names = ["model.json", "model.npz", "history.json", "history.csv"]

    def more(folder: Path) -> None:
        learned.history.to_json(folder / "history.json")
        learned.history.to_csv(folder / "history.csv")
        try:
            learned.history.plot(folder / "curve.png", f"{learned.model.loss_text}")
            names.append("curve.png")
        except ImportError:
            pass  # the summary says what is missing

    with writing(path):
        trained.save(path, learned.model, more)
    return names


def print_summary(
    file: Path, learned: Learned, seconds: float, output: Path | None, names: list[str]
) -> None:
    """What training came to, in a few lines."""
    print_lines(*_summary(file, learned, seconds, output, names))


def _summary(
    file: Path, learned: Learned, seconds: float, output: Path | None, names: list[str]
) -> Any:
    results, history = learned.model.results, learned.history
    if history.best_epoch is None:
        yield "stopped before the end of an epoch: nothing was learned"
        return
    yield ""
    said = [f"validation loss {results['validation_loss']:.6g}"]
    said += [
        f"{name.removeprefix('validation_')} {value:.6g}"
        for name, value in results.items()
        if name.startswith("validation_") and name != "validation_loss"
    ]
    said = [tight(one) for one in said]
    stopped = {"early stopping": ", stopped early", "interrupted": ", interrupted"}
    run = ""
    if history.restarts:
        place = next(i for i, one in enumerate(history.restarts) if one is history)
        run = f"run {place + 1}, "
    yield (
        f"{run}best epoch {history.best_epoch} of {results['epochs']}"
        f"{stopped.get(history.stopped, '')}: {', '.join(said)}"
    )
    yield f"a constant has validation loss {results['constant_validation_loss']:.6g}"
    skipped = f", {counted(learned.rows.skipped, 'row')} with a NaN skipped"
    of_classes = learned.rows.classes
    classes = f", {counted(len(of_classes), 'class', 'es')}" if of_classes else ""
    yield (
        f"{counted(learned.parameters, 'parameter')} learned from "
        f"{counted(learned.used[0], 'row')} of {tight(file)} by "
        f"{counted(len(learned.rows.features), 'column')}{classes}, looked at "
        f"{learned.used[1]:,}{skipped if learned.rows.skipped else ''}; {tight(f'{seconds:.3g} s')}"
    )
    if output is None:
        yield "nothing was written: --output FOLDER keeps the model"
        return
    yield f"wrote {tight(output)}: {', '.join(names)}"
    if "curve.png" not in names:
        yield 'no picture: that takes python -m pip install "numbaloss[plot]"'
    yield tight(f"numbaloss predict {output} FILE --output predictions.parquet")


def as_json(file: Path, learned: Learned, seconds: float, output: Path | None) -> dict[str, Any]:
    """The same for machines."""
    described = learned.model.describe()
    return {
        "file": str(file),
        "loss": described["loss"],
        "features": described["features"],
        "classes": described["classes"],
        "parameters": learned.parameters,
        "rows_skipped": learned.rows.skipped,
        **learned.model.results,
        "history": {name: list(column) for name, column in learned.history.items()},
        "seconds": round(seconds, 6),
        "output": None if output is None else str(output),
    }
