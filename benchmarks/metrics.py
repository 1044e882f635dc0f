"""Metrics beside scikit-learn's, of the same rows.

    python -m benchmarks.metrics [--rows 10000000] [--json FILE]

Each is the least of some runs; both take turns.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numbaloss import metrics

Call = Callable[[], Any]


def cases(rows: int) -> dict[str, tuple[Call, Call]]:
    """Name to our call and scikit-learn's."""
    import sklearn.metrics as peer

    rng = np.random.default_rng(0)
    p = rng.random(rows)
    t = (rng.random(rows) < p).astype(np.int64)
    y = p + rng.normal(size=rows)
    size = np.abs(y)
    label = rng.integers(0, 10, rows)
    guess = np.where(rng.random(rows) < 0.7, label, rng.integers(0, 10, rows))
    near = p + 0.1
    return {
        "mae": (lambda: metrics.mae(p, y), lambda: peer.mean_absolute_error(y, p)),
        "mse": (lambda: metrics.mse(p, y), lambda: peer.mean_squared_error(y, p)),
        "r2": (lambda: metrics.r2(p, y), lambda: peer.r2_score(y, p)),
        "poisson_deviance": (
            lambda: metrics.poisson_deviance(near, size),
            lambda: peer.mean_poisson_deviance(size, near),
        ),
        "log_loss": (lambda: metrics.log_loss(p, t), lambda: peer.log_loss(t, p)),
        "brier": (lambda: metrics.brier(p, t), lambda: peer.brier_score_loss(t, p)),
        "roc_auc": (lambda: metrics.roc_auc(p, t), lambda: peer.roc_auc_score(t, p)),
        "average_precision": (
            lambda: metrics.average_precision(p, t),
            lambda: peer.average_precision_score(t, p),
        ),
        "accuracy": (
            lambda: metrics.accuracy(guess, label),
            lambda: peer.accuracy_score(label, guess),
        ),
        "f_beta, macro": (
            lambda: metrics.f_beta(guess, label, average="macro"),
            lambda: peer.f1_score(label, guess, average="macro"),
        ),
    }


def least(call: Call, times: int) -> float:
    """The shortest of some runs, in ms."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return 1e3 * min(found)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    results = {}
    print(f"{given.rows:,} rows of float64     ours, ms   scikit-learn, ms   ratio")
    for name, (ours, peer) in cases(given.rows).items():
        ours()
        times = least(ours, 3), least(peer, 1)
        times = min(times[0], least(ours, 3)), min(times[1], least(peer, 1))
        results[name] = {"numbaloss": times[0], "scikit-learn": times[1]}
        print(f"{name:26} {times[0]:9.1f} {times[1]:18.1f} {times[1] / times[0]:7.1f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"rows": given.rows, "ms": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
