"""The same scores from every engine that is there: Arrow, polars, DuckDB, Dask, Ray, Spark.

    python examples/score_everywhere.py [ROWS]

Makes ROWS (100,000) probabilities and labels with a key, and computes squared error, ROC AUC and R²
by the key, with each engine in turn; engines that are absent say so. All print the same numbers.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

import numbaloss as nl
from numbaloss.scale import arrow
from numbaloss.scale.workers import Partial, merged

COLUMNS = {"sample_weight": "weight", "by": "country"}


def scorer() -> nl.Scorer:
    """What is computed, without rows."""
    return nl.Scorer(losses=["mse"], metrics=["roc_auc", "r2"], by=True)


def arrays(table: pa.Table) -> nl.Scorer:
    """Columns in memory."""
    p, t, w, key = [table[name].to_numpy() for name in table.column_names]
    return scorer().update(p, t, w, by=key.astype(str))


def record_batches(table: pa.Table) -> nl.Scorer:
    """A stream of Arrow."""
    return arrow.score(table.to_reader(max_chunksize=10_000), scorer(), **COLUMNS)


def polars(table: pa.Table) -> nl.Scorer:
    """A lazy frame, in a stream; and a metric as an expression."""
    import polars as pl

    import numbaloss.scale.polars  # noqa: F401 - registers `.numbaloss`

    lazy = pl.from_arrow(table).lazy()
    auc = pl.col("prediction").numbaloss.metric("roc_auc", "target", "weight")
    print("   ", lazy.group_by("country").agg(auc=auc).sort("country").collect().rows())
    return arrow.score(lazy, scorer(), **COLUMNS)


def duckdb(table: pa.Table) -> nl.Scorer:
    """A relation; and a loss in SQL."""
    import duckdb

    from numbaloss.scale.duckdb import register

    connection = duckdb.connect()
    connection.register("rows", table)
    register(connection, "squared_error", nl.SquaredError())
    ask = "select avg(weight * squared_error(prediction, target)) from rows group by country"
    print("   ", connection.sql(f"{ask} order by country").fetchall())
    return arrow.score(connection.sql("select * from rows"), scorer(), **COLUMNS)


def dask(table: pa.Table) -> nl.Scorer:
    """Arrays in chunks."""
    import dask.array as da

    from numbaloss.scale.dask import score

    p, t, w, key = [table[name].to_numpy() for name in table.column_names]
    chunks = [da.from_array(one, chunks=9_999) for one in (p, t, w, key.astype(str))]
    return score(scorer(), *chunks).compute()


def ray(table: pa.Table) -> nl.Scorer:
    """Batches on actors; texts come back."""
    import ray.data

    data = ray.data.from_arrow(table)
    work = Partial(scorer(), **COLUMNS)
    parts = data.map_batches(work, batch_format="numpy").take_all()
    return merged(scorer(), [row["state"] for row in parts])


def spark(table: pa.Table) -> nl.Scorer:
    """Partitions as streams of Arrow; texts come back."""
    from pyspark.sql import SparkSession

    if shutil.which("java") is None:
        raise ImportError("Java is not installed", name="java")
    session = SparkSession.builder.master("local[2]").getOrCreate()
    frame = session.createDataFrame(table.to_pandas())
    work = Partial(scorer(), **COLUMNS)
    parts = frame.mapInArrow(work.over_arrow, "state string").collect()
    return merged(scorer(), [row.state for row in parts])


ENGINES: tuple[Callable[[pa.Table], Any], ...] = (
    arrays, record_batches, polars, duckdb, dask, ray, spark,
)  # fmt: skip


def main(rows: int = 100_000) -> None:
    """Score with one engine after the other."""
    rng = np.random.default_rng(0)
    chance = rng.random(rows)
    table = pa.table(
        {
            "prediction": chance,
            "target": (rng.random(rows) < chance).astype(np.int64),
            "weight": rng.random(rows),
            "country": rng.choice(["de", "fr"], rows),
        }
    )
    expected = arrays(table).compute()
    for engine in ENGINES:
        try:
            found = engine(table).compute()
        except ImportError as error:
            print(f"{engine.__name__}: {error.name or error} is absent")
            continue
        print(f"{engine.__name__}: {found['de']}")
        for key, results in expected.items():
            for name, value in results.items():
                assert abs(found[key][name] / value - 1) < 1e-14, (engine, key, name)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
