"""Rows that are made as they are scored, on a cluster of Dask of this machine: memory stays flat.

    python -m benchmarks.cluster [--rows 1000000000] [--workers 2] [--json FILE]

Each task draws its rows (probabilities and labels, by a seed of its own) and hands back a scorer
without rows: squared error, log loss, accuracy, R², ROC AUC in 4096 bins. Prints the rate and the
largest peak of memory of a worker, and checks results against what is known of the distribution.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

import numbaloss as nl
from numbaloss import metrics

ROWS = 1 << 21  # of a task
# A nanny has freed memory returned at once (MALLOC_TRIM_THRESHOLD_=65536), and arrays of more than
# 128 KiB are then mapped anew each time: that took 3.5 times the processor's time.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 27),
    "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
}  # fmt: skip


def scorer() -> nl.Scorer:
    """What is computed, without rows."""
    area = {"roc_auc": metrics.RocAuc(bins=4096)}
    named = {"log_loss": metrics.LogLoss(), "accuracy": metrics.Accuracy(), "r2": metrics.R2()}
    return nl.Scorer(losses=["mse"], metrics={**named, **area})


def part(seed: int, rows: int) -> tuple[nl.Scorer, int]:
    """The scores of some rows, and the peak of this process's memory in KB."""
    rng = np.random.default_rng(seed)
    found = scorer()
    for start in range(0, rows, 1 << 18):
        size = min(1 << 18, rows - start)
        chance = rng.random(size)
        found.update(chance, (rng.random(size) < chance).astype(np.float64))
    return found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str] | None = None) -> None:
    """Score, print, check."""
    import dask
    from distributed import Client, LocalCluster, as_completed

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    given = parser.parse_args(arguments)
    dask.config.set({"distributed.nanny.pre-spawn-environ": ENVIRONMENT})
    part(0, 1000)  # compiles
    total, peak, early = scorer(), 0, 0
    with (
        LocalCluster(
            n_workers=given.workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(part, range(given.workers), [1000] * given.workers, pure=False))
        start = time.perf_counter()
        sizes = [min(ROWS, given.rows - first) for first in range(0, given.rows, ROWS)]
        waiting = as_completed(client.map(part, range(1, len(sizes) + 1), sizes), with_results=True)
        for place, (future, (found, memory)) in enumerate(waiting):
            total.merge(found)
            peak = max(peak, memory)
            early = max(early, memory) if place < max(len(sizes) // 10, given.workers) else early
            future.release()
        seconds = time.perf_counter() - start
    rate = given.rows / seconds
    print(
        f"{given.rows:,} rows in {seconds:.1f} s on {given.workers} workers: {rate / 1e6:.1f} "
        f"million a second; peak of a worker {peak / 1024:.0f} MB, {early / 1024:.0f} MB after the "
        f"first tenth"
    )
    results = total.compute()
    # Of uniform probabilities p and labels that come true with them.
    known = {"mse": 1 / 6, "log_loss": 0.5, "accuracy": 0.75, "r2": 1 / 3, "roc_auc": 5 / 6}
    for name, value in known.items():
        print(f"{name:10} {results[name]:.9f}   expected {value:.9f}")
        assert abs(results[name] - value) < 10 / given.rows**0.5, name
    if given.json:
        figures = {"rows": given.rows, "seconds": seconds, "peak_kb": peak, "results": results}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
