"""Expressions of polars, streams of lazy frames, functions of DuckDB."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import numbaloss as nl
from numbaloss import metrics as m
from numbaloss.scale import arrow

RNG = np.random.default_rng(0)
ROWS = 2000
PREDICTION = RNG.random(ROWS)
TARGET = (RNG.random(ROWS) < PREDICTION).astype(np.int64)
WEIGHT = RNG.random(ROWS)
KEY = RNG.choice(["de", "fr"], ROWS)
LOSS = nl.Huber(delta=0.3)
COLUMNS = {"prediction": PREDICTION, "target": TARGET, "weight": WEIGHT, "key": KEY}


@pytest.fixture
def frame():
    polars = pytest.importorskip("polars")
    return polars.DataFrame(COLUMNS)


@pytest.fixture
def column(frame):
    import polars as pl

    import numbaloss.scale.polars  # noqa: F401 - registers the namespace

    return pl.col("prediction").numbaloss


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_of_polars(frame, column, streaming):
    asked = {
        "value": column.values(LOSS, "target"),
        "weighted": column.values(LOSS, "target", "weight"),
        "gradient": column.gradient(LOSS, "target"),
    }
    lazy = frame.lazy().select(**asked)
    found = lazy.collect(engine="streaming" if streaming else "in-memory")
    t = TARGET.astype(np.float64)
    np.testing.assert_array_equal(found["value"], LOSS(PREDICTION, t, reduction="none"))
    np.testing.assert_array_equal(
        found["weighted"], LOSS(PREDICTION, t, sample_weight=WEIGHT, reduction="none")
    )
    slopes = LOSS.value_and_grad(PREDICTION, t, reduction="none")[1]
    np.testing.assert_array_equal(found["gradient"], slopes)


def test_numbers_of_polars(frame, column):
    import polars as pl

    asked = {
        "mean": column.mean(LOSS, "target", "weight"),
        "auc": column.metric("roc_auc", "target", "weight"),
        "f": column.metric(m.FBeta(beta=2.0), pl.col("target")),
    }

    def expected(rows):
        p, t, w = PREDICTION[rows], TARGET[rows], WEIGHT[rows]
        return {
            "mean": nl.Mean(LOSS).update(p, t.astype(float), sample_weight=w).compute(),
            "auc": m.roc_auc(p, t, sample_weight=w),
            "f": m.f_beta(p, t, beta=2.0),
        }

    assert frame.select(**asked).row(0, named=True) == expected(slice(None))
    for row in frame.group_by("key").agg(**asked).iter_rows(named=True):
        assert row == {"key": row["key"], **expected(row["key"] == KEY)}
    texts = frame.select(one=pl.col("key"), other=pl.lit("de"))
    import numbaloss.scale.polars  # noqa: F401

    share = texts.select(pl.col("other").numbaloss.metric("accuracy", "one")).item()
    assert share == (KEY == "de").mean()
    with pytest.raises(TypeError, match="a number a row"):
        column.values(nl.CrossEntropy(), "target")


def test_lazy_frames_are_streams(frame):
    scorer = nl.Scorer(losses=["mse"], metrics=["roc_auc"], by=True)
    found = arrow.score(frame.lazy(), scorer, sample_weight="weight", by="key").compute()
    again = nl.Scorer(losses=["mse"], metrics=["roc_auc"], by=True)
    assert found == again.update(PREDICTION, TARGET, WEIGHT, by=KEY).compute()


@pytest.mark.parametrize("gradient", [False, True])
def test_functions_of_duckdb(gradient):
    duckdb = pytest.importorskip("duckdb")
    from numbaloss.scale.duckdb import register

    connection = duckdb.connect()
    register(connection, "huber", LOSS, gradient)
    connection.register("rows", pa.table(COLUMNS))
    found = connection.sql("select huber(prediction, target) as x from rows").fetchnumpy()["x"]
    t = TARGET.astype(np.float64)
    slopes = LOSS.value_and_grad(PREDICTION, t, reduction="none")[1]
    expected = slopes if gradient else LOSS(PREDICTION, t, reduction="none")
    np.testing.assert_array_equal(found, expected)
    assert connection.sql("select huber(NULL, 1.0)").fetchall() == [(None,)]
    with pytest.raises(TypeError, match="a number a row"):
        register(connection, "ce", nl.CrossEntropy())


def test_the_example_of_all_engines():
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, root / "examples" / "score_everywhere.py", "3000"],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # What is not installed is told, all others agree: the script compares them.
    for name in ("arrays", "record_batches", "polars", "duckdb", "dask", "ray", "spark"):
        assert f"{name}: " in done.stdout
