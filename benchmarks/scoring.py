"""Files of predictions: three losses and eight metrics, beside reading alone and other libraries.

    python -m benchmarks.scoring FOLDER [--rows 20000000] [--repeats 2] [--json FILE]

Makes a Parquet file of float64 probabilities and integer labels in FOLDER (a file that is there is
used again), and computes the squared, the absolute and Huber's error, the areas under both curves,
log loss, Brier score, accuracy, F1, Matthews' correlation and R² with ``numbaloss score``, with
scikit-learn over arrays that pyarrow has read, and with polars; all must agree. Each runs in a
process of its own, imports included, in turns; the least of some runs. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DECODE = """
import sys
import pyarrow.parquet as pq
with pq.ParquetFile(sys.argv[1], pre_buffer=False, buffer_size=1 << 20) as file:
    for batch in file.iter_batches(1 << 17):
        pass
print("{}")
"""

SKLEARN = """
import json, sys
import numpy as np
import pyarrow.parquet as pq
from sklearn import metrics as m
table = pq.read_table(sys.argv[1])
p, t = table["prediction"].to_numpy(), table["target"].to_numpy()
hard, r = (p > 0.5).astype(np.int64), np.abs(p - t)
print(json.dumps({
    "mse": m.mean_squared_error(t, p), "mae": m.mean_absolute_error(t, p),
    "huber": np.where(r <= 0.3, 0.5 * r * r, 0.3 * (r - 0.15)).mean(),
    "roc_auc": m.roc_auc_score(t, p), "average_precision": m.average_precision_score(t, p),
    "log_loss": m.log_loss(t, p), "brier": m.brier_score_loss(t, p),
    "accuracy": m.accuracy_score(t, hard), "f_beta": m.f1_score(t, hard),
    "matthews_correlation": m.matthews_corrcoef(t, hard), "r2": m.r2_score(t, p),
}, default=float))
"""

POLARS = """
import json, sys
import polars as pl
rows = pl.scan_parquet(sys.argv[1])
p, t = pl.col("prediction"), pl.col("target").cast(pl.Float64)
r, hard = (p - t).abs(), (p > 0.5).cast(pl.Float64)
sums = rows.select(
    mse=(r * r).mean(), mae=r.mean(), log_loss=-(t * p.log() + (1 - t) * (1 - p).log()).mean(),
    huber=pl.when(r <= 0.3).then(0.5 * r * r).otherwise(0.3 * (r - 0.15)).mean(),
    accuracy=(hard == t).mean(), r2=1 - (r * r).sum() / ((t - t.mean()) ** 2).sum(),
    tp=(hard * t).sum(), p=hard.sum(), t=t.sum(), n=pl.len(),
).collect(engine="streaming").row(0, named=True)
tp, pp, tt, n = [float(sums.pop(name)) for name in ("tp", "p", "t", "n")]
sums["brier"] = sums["mse"]
sums["f_beta"] = 2 * tp / (pp + tt)
above = tp * n - pp * tt
sums["matthews_correlation"] = above / (pp * (n - pp) * tt * (n - tt)) ** 0.5
ordered = rows.select("prediction", t=t).sort("prediction", descending=True).collect()
found = ordered.select(
    roc_auc=(pl.col("t") * pl.col("prediction").rank("average")).sum(),
    average_precision=(pl.col("t") * pl.col("t").cum_sum() / pl.int_range(1, pl.len() + 1)).sum(),
).row(0, named=True)
sums["roc_auc"] = (found["roc_auc"] - tt * (tt + 1) / 2) / (tt * (n - tt))
sums["average_precision"] = found["average_precision"] / tt
print(json.dumps(sums))
"""

LOSSES = ("mse", "mae", "huber:delta=0.3")
METRICS = (
    "roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f_beta",
    "matthews_correlation", "r2",
)  # fmt: skip


def ours(path: Path, *more: str) -> list[str]:
    """The command that computes all."""
    options = [word for one in LOSSES for word in ("--loss", one)]
    options += [word for one in METRICS for word in ("--metric", one)]
    return [sys.executable, "-m", "numbaloss", "score", str(path), *options, "--json", *more]


def make(folder: Path, rows: int) -> Path:
    """The file, in row groups of a million."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"probabilities-{rows}.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng(0)
    schema = pa.schema([("prediction", pa.float64()), ("target", pa.int64())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as file:
        for start in range(0, rows, 1 << 20):
            size = min(1 << 20, rows - start)
            chance = rng.uniform(0.001, 0.999, size)
            happened = (rng.random(size) < chance).astype(np.int64)
            file.write_table(pa.table({"prediction": chance, "target": happened}))
    return path


class Run(NamedTuple):
    """What a process took; the processors' seconds tell more than the clock's on a busy machine."""

    seconds: float
    of_processors: float
    peak_mb: float


def measured(command: list[str]) -> tuple[Run, dict[str, Any]]:
    """What a process takes, and what it prints."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} has failed")
    seconds = time.perf_counter() - start
    processors = usage.ru_utime + usage.ru_stime
    return Run(seconds, processors, usage.ru_maxrss / 1024), json.loads(output)


def numbers(found: dict[str, Any]) -> dict[str, float]:
    """What the command line prints as JSON, by name."""
    if "losses" not in found:
        return found
    losses = [one.partition(":")[0] for one in LOSSES]
    of_losses = [one["value"] for one in found["losses"]]
    return dict(zip(losses, of_losses)) | {one["name"]: one["value"] for one in found["metrics"]}


def main(arguments: list[str] | None = None) -> None:
    """Measure, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    given = parser.parse_args(arguments)
    path = make(given.folder, given.rows)
    commands = {
        "reading alone": [sys.executable, "-c", DECODE, str(path)],
        "numbaloss": ours(path),
        "numbaloss, 2 workers": ours(path, "--workers", "2"),
        "numbaloss, bins=4096": [
            f"{one}:bins=4096" if one in ("roc_auc", "average_precision") else one
            for one in ours(path)
        ],
        "polars": [sys.executable, "-c", POLARS, str(path)],
        "scikit-learn": [sys.executable, "-c", SKLEARN, str(path)],
    }
    measured(commands["numbaloss"])  # compiles
    best: dict[str, Run] = {}
    values: dict[str, dict[str, float]] = {}
    for _ in range(given.repeats):
        for name, command in commands.items():
            run, found = measured(command)
            values[name] = numbers(found)
            best[name] = min(best.get(name, run), run)
            print(f"{name}: {run.seconds:.2f} s", file=sys.stderr)
    print(f"{given.rows:,} rows, 3 losses, 8 metrics     seconds   CPU s   peak MB")
    for name, run in best.items():
        print(f"{name:38} {run.seconds:10.2f} {run.of_processors:7.2f} {run.peak_mb:9.0f}")
    expected = values["scikit-learn"]
    for name in ("numbaloss", "numbaloss, 2 workers", "polars"):
        worst = max(abs(values[name][one] / expected[one] - 1) for one in expected)
        print(f"{name}: all within {worst:.1e} of scikit-learn")
    if given.json:
        given.json.write_text(
            json.dumps(
                {"rows": given.rows, "of": {name: run._asdict() for name, run in best.items()}},
                indent=1,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
