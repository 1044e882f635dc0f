"""The options of the command `score`: types, names and help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Reduction(StrEnum):
    mean = "mean"
    weighted_mean = "weighted_mean"
    sum = "sum"


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


class FileFormat(StrEnum):
    csv = "csv"
    tsv = "tsv"
    parquet = "parquet"
    arrow = "arrow"
    jsonl = "jsonl"
    npy = "npy"
    npz = "npz"


File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]
Files = Annotated[list[str], typer.Argument(metavar="FILE", show_default=False)]
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        "-l",
        metavar="LOSS",
        help="As above; may be given many times.",
        show_default=False,
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-m",
        metavar="METRIC",
        help="roc_auc, f_beta:beta=2 ...; may be given many times.",
        show_default=False,
    ),
]
Prediction = Annotated[
    list[str] | None,
    typer.Option(
        "--prediction",
        "-p",
        metavar="COLUMN",
        help="Column of predictions; or columns, a,b,c or 'p_*'.",
        show_default="prediction",
    ),
]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="COLUMN",
        help="Column of targets or labels; or columns.",
        show_default="target",
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="What labels call the classes, in their order."),
]
Weight = Annotated[
    str | None,
    typer.Option("--weight", "-w", metavar="COLUMN", help="Column of weights >= 0."),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Column of groups that are scored apart, too."),
]
Compare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of a second prediction, or columns: which one is better?",
        show_default=False,
    ),
]
Bins = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Show how often probabilities come true, in N bins."),
]
ReductionName = Annotated[
    Reduction,
    typer.Option(
        metavar="NAME",
        help="mean divides by the rows, weighted_mean by the sum of weights, sum by nothing.",
    ),
]
SkipNaN = Annotated[bool, typer.Option("--skip-nan", help="Leave rows out that hold a NaN.")]
NoCheck = Annotated[
    bool, typer.Option("--no-check", help="Do not test numbers against the loss's domain.")
]
PerSample = Annotated[bool, typer.Option("--per-sample", help="Write the value of every row.")]
Gradient = Annotated[bool, typer.Option("--gradient", help="Write the gradient of every row.")]
Hessian = Annotated[
    bool, typer.Option("--hessian", help="Write the second derivative of every row.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="OUT", help="Where to: .parquet or .npy; alone: values."
    ),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="OUT", help="Write what is printed as a table, too: .csv, .parquet or .json."
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads; default: the processors, up to 8."),
]
Workers = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Processes that share the files and row groups."),
]
Dask = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Compute on a cluster: tcp://host:8786."),
]
Format = Annotated[
    FileFormat | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Of files and of -: csv, tsv, parquet, arrow, jsonl, npy, npz.",
        show_default="found",
    ),
]
DeviceName = Annotated[
    Device,
    typer.Option(metavar="NAME", help="Where to compute: cpu, or cuda, a GPU."),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="Between the fields of a text file; default: found, of , ; tab |.",
    ),
]
Decimal = Annotated[
    str | None,
    typer.Option(metavar="MARK", help="In numbers of a text file: . or a comma."),
]
Encoding = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a text file: utf-8, cp1252, utf-16 ..."),
]
