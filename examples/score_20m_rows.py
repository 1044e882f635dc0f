"""Score twenty million rows, and measure time and memory beside other ways to do it.

    python examples/score_20m_rows.py FOLDER [ROWS [REPEATS]]

Makes a Parquet file of float32 predictions, targets and weights in FOLDER (240 MB, seed 0;
a file that is there already is used again), and computes the weighted mean of the squared
error, the absolute error and the quantile loss at 0.9 with

* ``numbaloss score``,
* pandas and the metrics of scikit-learn,

and reads the file with pyarrow without computing anything, which is the least it can take.
Each runs in a process of its own, of which wall time and peak memory are shown, imports
included; the best of three repeats. Needs pandas and scikit-learn.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS = 1 << 20

DECODE = """
import sys
import pyarrow.parquet as pq
with pq.ParquetFile(sys.argv[1], pre_buffer=False, buffer_size=1 << 20) as file:
    for batch in file.iter_batches(1 << 17):
        pass
"""

PANDAS = """
import json, sys
import pandas
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, mean_squared_error
table = pandas.read_parquet(sys.argv[1])
given = table.target, table.prediction
values = [
    mean_squared_error(*given, sample_weight=table.weight),
    mean_absolute_error(*given, sample_weight=table.weight),
    mean_pinball_loss(*given, sample_weight=table.weight, alpha=0.9),
]
print(json.dumps([float(value) for value in values]))
"""

# A process starts with the peak of the one that it was forked from, this one: hence a small
# one in between.
MEASURE = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
output = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
print(json.dumps([seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status), output]))
sys.stdout.flush()
os._exit(0)
"""

LOSSES = ["--loss", "squared_error", "--loss", "absolute_error", "--loss", "quantile:q=0.9"]
SCORE = [*LOSSES, "--weight", "weight", "--reduction", "weighted_mean", "--json"]


class Run(NamedTuple):
    seconds: float
    megabytes: float
    output: str


def make(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    names = ("prediction", "target", "weight")
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, GROUP_ROWS):
            size = min(GROUP_ROWS, rows - start)
            prediction = random.standard_normal(size, np.float32)
            target = prediction + random.standard_normal(size, np.float32)
            weight = random.random(size, np.float32)
            writer.write_table(pa.table([prediction, target, weight], schema=schema))


def run(command: list[str]) -> Run:
    """Run a command to its end; its time, its peak memory, what it printed."""
    text = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    seconds, peak, code, output = json.loads(text)
    if code:
        raise SystemExit(f"{command} failed")
    return Run(seconds, peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), output)


def main(folder: Path, rows: int = 20_000_000, repeats: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{rows}_rows.parquet"
    if not path.exists():
        make(path, rows)
    commands = {
        "pyarrow, decoding alone": [sys.executable, "-c", DECODE, str(path)],
        "numbaloss score": [sys.executable, "-m", "numbaloss", "score", str(path), *SCORE],
        "pandas + scikit-learn": [sys.executable, "-c", PANDAS, str(path)],
    }
    # The first run compiles, and brings the file into the system's cache.
    first = run(commands["numbaloss score"])
    runs = {name: min(run(command) for _ in range(repeats)) for name, command in commands.items()}
    ours = json.loads(runs["numbaloss score"].output)
    values = [one["value"] for one in ours["losses"]]
    theirs = json.loads(runs["pandas + scikit-learn"].output)
    np.testing.assert_allclose(values, theirs, rtol=1e-5)

    reference = runs["numbaloss score"]
    print(f"{rows:,} rows, {path.stat().st_size / 1e6:.0f} MB of Parquet, three losses, weights")
    print(f"{'':26}{'time':>9}{'peak memory':>14}{'time':>9}{'memory':>9}")
    for name, one in runs.items():
        times, memories = one.seconds / reference.seconds, one.megabytes / reference.megabytes
        print(
            f"{name:26}{one.seconds:>7.2f} s{one.megabytes:>11.0f} MB"
            f"{times:>8.2f}x{memories:>8.2f}x"
        )
    print(
        f"numbaloss score: {ours['seconds']:.2f} s of it over the rows "
        f"({ours['rows_per_second'] / 1e6:.0f} million a second), the rest is start-up; "
        f"{first.seconds:.1f} s the first time"
    )


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), *(int(one.replace("_", "")) for one in sys.argv[2:4]))
