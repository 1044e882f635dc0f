"""The commands `train` and `predict`: their options, and what they say."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import options
from .failures import Failure, UsageFailure

TRAIN_HELP = """\
Teach a model the numbers or classes of a column by a loss.

FILE is what `numbaloss score` reads. Every column but the target is an input,
unless --features or --drop say otherwise; inputs are numbers. They are
standardised, a share of the rows is set aside (of every class the same), and
the model learns from the others until the rows aside are predicted no better.

\b
A model is written
  linear             a linear model
  mlp:64,64          a network with hidden layers of these sizes
  mlp:64,64:tanh     and this activation: relu, gelu, tanh

The loss, written as for score, says what is learned: mse, mae, huber:delta=50,
quantile:q=0.9, poisson: numbers; bce, focal: two classes; cross_entropy: many.
Classes are what the target holds, numbers or text.

The FOLDER gets model.json and model.npz (a formula, and arrays by name), the
history in JSON and CSV, and a picture of the curve. `numbaloss predict` reads
it. The same seed gives the same bits. Ctrl-C keeps what was learned.

\b
Examples:
  numbaloss train examples/data/diabetes_predictions.csv --target target \\
      --loss huber:delta=50 --drop row
  numbaloss train passengers.parquet --target survived --loss bce \\
      --model mlp:32,32 --metric roc_auc --output survival
"""

PREDICT_HELP = """\
Predictions of the rows of FILE by a model that `numbaloss train` has written.

\b
Columns of the output are
  prediction       the number that the loss takes: for two classes a logit
  probability      of the second class; label: the likelier one
  mean             what a prediction of poisson, gamma, tweedie means
  logit_NAME       for many classes, and label
  and the target, where FILE has it, so that `numbaloss score` can read it.

Rows stay in their order. Only a few batches are ever in memory.

\b
Example:
  numbaloss predict survival passengers.parquet --output predictions.parquet
  numbaloss score predictions.parquet --target survived --loss bce
"""


class Optimizer(StrEnum):
    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"
    rmsprop = "rmsprop"
    adagrad = "adagrad"
    lion = "lion"


Target = Annotated[
    str, typer.Option("--target", "-t", metavar="COLUMN", help="Column of what is learned.")
]
OneLoss = Annotated[
    str, typer.Option("--loss", "-l", metavar="LOSS", help="As above.", show_default=False)
]
Features = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        "-f",
        metavar="COLUMN",
        help="Columns of inputs, a,b,c or 'x_*'.",
        show_default="all others",
    ),
]
Drop = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN", help="Columns that are no inputs.", show_default=False),
]
ModelText = Annotated[str, typer.Option("--model", metavar="MODEL", help="As above.")]
Validation = Annotated[
    float, typer.Option(metavar="SHARE", help="Share of the rows that is set aside.")
]
Epochs = Annotated[int, typer.Option(min=1, metavar="N", help="Epochs at most.")]
Patience = Annotated[
    int, typer.Option(min=1, metavar="N", help="Epochs without improvement that end it.")
]
OptimizerName = Annotated[
    Optimizer, typer.Option(metavar="NAME", help="adam, adamw, sgd, rmsprop, adagrad, lion.")
]
Rate = Annotated[float, typer.Option(metavar="RATE", help="Learning rate.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Rows of a step.", show_default="rows / 100, 16 to 1024"),
]
DropoutShare = Annotated[
    float, typer.Option(metavar="SHARE", help="Hidden numbers that are left out in training.")
]
Clip = Annotated[
    float | None, typer.Option(metavar="LENGTH", help="Greatest length of the gradient.")
]
Restarts = Annotated[
    int, typer.Option(min=1, metavar="N", help="Runs from other weights; the best is kept.")
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Of split, weights and order.")]
Folder = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where the model goes."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the FOLDER of another run.")]
Trained = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Of `numbaloss train`.", show_default=False)
]
Predictions = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="OUT", help=".parquet or .csv.", show_default=False),
]

Progress = Callable[[str], AbstractContextManager[Any]]


def train(
    file: options.File,
    loss: OneLoss,
    target: Target = "target",
    features: Features = None,
    drop: Drop = None,
    model: ModelText = "linear",
    validation: Validation = 0.2,
    metric: options.Metrics = None,
    weight: options.Weight = None,
    skip_nan: options.SkipNaN = False,
    epochs: Epochs = 200,
    patience: Patience = 20,
    optimizer: OptimizerName = Optimizer.adam,
    learning_rate: Rate = 0.01,
    batch_size: BatchSize = None,
    dropout: DropoutShare = 0.0,
    clip: Clip = None,
    restarts: Restarts = 1,
    seed: Seed = 0,
    output: Folder = None,
    force: Force = False,
    as_json: options.AsJSON = False,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
) -> None:
    from . import metrics, report, specification, tables, trained, training_data
    from . import train as training
    from .tables.text import text_options

    for name, value, low, high in (
        ("validation", validation, 0.0, 1.0),
        ("dropout", dropout, -1e-300, 1.0),
    ):
        if not low < value < high:
            raise UsageFailure(f"--{name} must be a share below 1, not {value:g}")
    if not 0.0 < learning_rate < float("inf"):
        raise UsageFailure(f"--learning-rate must be above 0, not {learning_rate:g}")
    if clip is not None and not clip > 0.0:
        raise UsageFailure(f"--clip must be above 0, not {clip:g}")
    (chosen,) = specification.choose([loss])
    hidden, activation = training.read_model(model)
    settings = training.Settings(
        chosen.text, chosen.loss, hidden, activation, validation,
        tuple(metrics.choose(metric or [])), optimizer.value, learning_rate, epochs, patience,
        batch_size, dropout, clip, restarts, seed,
    )  # fmt: skip
    if output is not None:
        trained.check_folder(output, force)
    table = tables.open_table(file, text_options(delimiter, decimal, encoding))
    wanted = training_data.Wanted(
        target, tuple(features or ()), tuple(drop or ()), weight, skip_nan
    )
    rows = training_data.read(table, chosen.loss, chosen.text, wanted)
    start = time.perf_counter()
    told = (lambda event: None) if as_json else training.Curve(epochs, settings.metrics, restarts)
    learned = training.learn(rows, settings, told)
    learned = learned._replace(model=learned.model._replace(target=target))
    seconds = time.perf_counter() - start
    names: list[str] = []
    if output is not None and learned.history.best_epoch is not None:
        names = training.write(output, learned)
    if as_json:
        report.print_json(training.as_json(file, learned, seconds, output if names else None))
    else:
        training.print_summary(file, learned, seconds, output if names else None, names)
    if learned.history.best_epoch is None:
        raise Failure("training ended before its first epoch did")


def predict(
    folder: Trained,
    file: options.File,
    output: Predictions,
    as_json: options.AsJSON = False,
    delimiter: options.Delimiter = None,
    decimal: options.Decimal = None,
    encoding: options.Encoding = None,
) -> None:
    from . import predict as prediction
    from . import report, tables, trained
    from .tables.text import text_options
    from .wrap import tight

    model = trained.load(folder)
    prediction.check_output(output, file)
    table = tables.open_table(file, text_options(delimiter, decimal, encoding))
    rows, names, scored = prediction.predict(table, model, output, lambda done: None)
    if as_json:
        report.print_json({"rows": rows, "columns": names, "output": str(output)})
        return
    report.print_lines(
        f"{tight(report.counted(rows, 'row'))} of {tight(file)}: {', '.join(map(tight, names))}",
        tight(f"wrote {output}"),
        *([tight(_how_to_score(model, output))] if scored else []),
    )


def _how_to_score(model: Any, output: Path) -> str:
    """The command that scores what was written."""
    words = ["numbaloss", "score", str(output), "--target", model.target, "--loss"]
    words.append(model.loss_text)
    if model.loss.contract.of_classes:
        words += ["--prediction", "logit_*"]
    elif model.classes is not None and model.classes != ("0", "1"):
        words += ["--classes", ",".join(model.classes)]
    return shlex.join(words)


def add_to(app: typer.Typer) -> None:
    """Make both known to the command line."""
    app.command(help=TRAIN_HELP, short_help="Teach a model by a loss.")(train)
    app.command(help=PREDICT_HELP, short_help="Predictions of a trained model.")(predict)
