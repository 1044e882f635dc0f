"""Rows in the hands of other engines: the result of one machine, to the bit."""

import json

import numpy as np
import pyarrow as pa
import pytest

import numbaloss as nl
from numbaloss.scale import arrow, workers

RNG = np.random.default_rng(0)
ROWS = 3000
PREDICTION = RNG.random(ROWS)
TARGET = (RNG.random(ROWS) < PREDICTION).astype(np.int64)
WEIGHT = RNG.random(ROWS)
KEY = RNG.choice(["de", "fr", "it"], ROWS)
TABLE = pa.table({"prediction": PREDICTION, "target": TARGET, "weight": WEIGHT, "key": KEY})


def scorer(by=False):
    return nl.Scorer(losses=["mse"], metrics=["r2", "roc_auc", "accuracy", "log_loss"], by=by)


PLAIN = scorer().update(PREDICTION, TARGET).compute()
GROUPS = scorer(True).update(PREDICTION, TARGET, WEIGHT, by=KEY).compute()
NAMES = {"sample_weight": "weight", "by": "key"}


def test_tables_and_batches_of_arrow():
    for source in (TABLE, TABLE.to_batches(max_chunksize=700), TABLE.to_reader(max_chunksize=99)):
        assert arrow.score(source, scorer()).compute() == PLAIN
    found = arrow.score(TABLE.to_batches(max_chunksize=501), scorer(True), **NAMES).compute()
    assert found == GROUPS
    texts = pa.table({"prediction": ["a", "b"], "target": ["a", None]})
    with pytest.raises(ValueError, match="'target' of texts holds nulls"):
        arrow.score(texts, nl.Scorer(metrics=["accuracy"]))
    with pytest.raises(ValueError, match="no column 'gone'"):
        arrow.score(TABLE, scorer(), target="gone")


def test_polars():
    polars = pytest.importorskip("polars")
    assert arrow.score(polars.from_arrow(TABLE), scorer(True), **NAMES).compute() == GROUPS


def test_duckdb():
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("rows", TABLE)
    relation = connection.sql("select prediction, target from rows")
    assert arrow.score(relation, scorer()).compute() == PLAIN


def test_pandas():
    pytest.importorskip("pandas")
    assert arrow.score(TABLE.to_pandas(), scorer()).compute() == PLAIN


def test_workers_hand_on_texts():
    partial = workers.Partial(scorer(True), sample_weight="weight", by="key")
    parts = [
        partial({name: batch.column(name).to_numpy(False) for name in TABLE.column_names})["state"]
        for batch in TABLE.to_batches(max_chunksize=800)
    ]
    states = [str(state) for part in parts for state in part]
    assert workers.merged(scorer(True), states).compute() == GROUPS
    over_arrow = list(partial.over_arrow(TABLE.to_batches(max_chunksize=800)))
    states = [state for batch in over_arrow for state in batch.column("state").to_pylist()]
    assert workers.merged(scorer(True), states).compute() == GROUPS
    assert json.loads(states[0])["by"]


def test_dask_is_the_same_for_any_chunks():
    array = pytest.importorskip("dask.array")
    from numbaloss.scale import dask

    loss = nl.Huber(delta=0.3)
    expected = nl.Mean(loss).update(PREDICTION, TARGET.astype(float)).compute()
    whole, slopes = loss.value_and_grad(PREDICTION, TARGET, sample_weight=WEIGHT)
    for chunk in (ROWS, 700, 61):
        p, t, w, k = (
            array.from_array(one, chunks=chunk) for one in (PREDICTION, TARGET, WEIGHT, KEY)
        )
        assert dask.score(scorer(), p, t).compute().compute() == PLAIN
        assert dask.score(scorer(True), p, t, w, k).compute().compute() == GROUPS
        assert dask.value(loss, p, t).compute() == expected
        value, gradient = dask.value_and_grad(loss, p, t, w)
        assert value.compute() == pytest.approx(whole, rel=1e-14)
        assert gradient.chunks == p.chunks
        np.testing.assert_allclose(gradient.compute(), slopes, rtol=1e-14)
        np.testing.assert_array_equal(
            dask.values(loss, p, t).compute(), loss(PREDICTION, TARGET, reduction="none")
        )


def test_frames_of_dask():
    frames = pytest.importorskip("dask.dataframe")
    from numbaloss.scale import dask

    frame = frames.from_pandas(TABLE.to_pandas(), npartitions=4)
    p, t = frame["prediction"], frame["target"]
    assert dask.score(scorer(), p, t).compute().compute() == PLAIN
    found = dask.score(scorer(True), p, t, frame["weight"], frame["key"]).compute().compute()
    assert found == GROUPS
    loss = nl.Huber(delta=0.3)
    np.testing.assert_array_equal(
        dask.values(loss, p, t).compute(), loss(PREDICTION, TARGET, reduction="none")
    )
    with pytest.raises(ValueError, match="number of rows must be known"):
        dask.value_and_grad(loss, p, t)
    value, gradient = dask.value_and_grad(loss, p, t, reduction="sum")
    whole, slopes = loss.value_and_grad(PREDICTION, TARGET, reduction="sum")
    assert value.compute() == pytest.approx(whole, rel=1e-13)
    np.testing.assert_allclose(gradient.compute(), slopes, rtol=1e-14)
    other = frames.from_pandas(TABLE.to_pandas(), npartitions=3)
    with pytest.raises(ValueError, match="rechunk one of them"):
        dask.score(scorer(), p, other["target"])


def test_dask_rows_of_classes():
    array = pytest.importorskip("dask.array")
    from numbaloss.scale import dask

    logits, labels = RNG.normal(size=(500, 7)).astype(np.float32), RNG.integers(0, 7, 500)
    x, y = array.from_array(logits, chunks=(90, 7)), array.from_array(labels, chunks=90)
    loss = nl.CrossEntropy()
    value, gradient = dask.value_and_grad(loss, x, y)
    whole, slopes = loss.value_and_grad(logits, labels)
    assert value.compute() == pytest.approx(whole, rel=1e-6)
    np.testing.assert_allclose(gradient.compute(), slopes, rtol=1e-6)
    assert dask.values(loss, x, y).compute().shape == (500,)
    with pytest.raises(ValueError, match=r"each row must be whole: prediction.rechunk"):
        dask.values(loss, x.rechunk((90, 3)), y)
    with pytest.raises(ValueError, match="rechunk one of them"):
        dask.score(scorer(), x, y.rechunk(100))
    ignored = array.from_array(np.where(labels == 2, -100, labels), chunks=90)
    with pytest.raises(ValueError, match="do not count"):
        dask.value_and_grad(loss, x, ignored)[1].compute()


@pytest.mark.exhaustive
def test_a_cluster_of_processes_survives_the_loss_of_one(tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    array = pytest.importorskip("dask.array")
    from numbaloss.scale import dask

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        flag = str(tmp_path / "killed")
        p = array.from_array(PREDICTION, chunks=300).map_blocks(_dies_once, flag, meta=np.empty(0))
        t = array.from_array(TARGET, chunks=300)
        assert client.compute(dask.score(scorer(), p, t)).result(timeout=120).compute() == PLAIN


def _dies_once(block, flag):
    """Ends the process of a worker, the first time that it is asked for a block."""
    import os

    try:
        os.close(os.open(flag, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return block
    os._exit(1)
