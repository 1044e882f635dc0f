"""Several files, patterns, folders of partitions, formats, standard input, processes."""

import gzip
import io
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from numbaloss import metrics as m

RNG = np.random.default_rng(1)
ROWS = 6000
COLUMNS = {
    "prediction": RNG.normal(size=ROWS),
    "target": RNG.normal(size=ROWS),
    "weight": RNG.random(ROWS),
    "land": RNG.choice(["de", "fr", "it"], ROWS),
}
TABLE = pa.table(COLUMNS)
ASKED = ("--loss", "huber", "--metric", "mae", "--metric", "r2", "--weight", "weight", "--json")


def without_times(found):
    return {
        name: value
        for name, value in found.items()
        if "second" not in name and name not in ("file", "output")
    }


def write(table, path, ending):
    """A file of a format."""
    path = path.with_suffix(ending)
    if ending == ".parquet":
        pq.write_table(table, path, row_group_size=500)
    elif ending == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif ending == ".feather":
        pyarrow.feather.write_feather(table, path, chunksize=700)
    elif ending == ".arrows":
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=900)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


@pytest.fixture
def whole(command, tmp_path):
    """What one Parquet file of all rows comes to."""
    path = write(TABLE, tmp_path / "whole", ".parquet")
    found = command("score", path, *ASKED).json
    assert found["metrics"][0]["value"] == m.mae(
        COLUMNS["prediction"], COLUMNS["target"], sample_weight=COLUMNS["weight"]
    )
    return without_times(found)


@pytest.mark.parametrize("ending", [".feather", ".arrows", ".jsonl", ".csv"])
def test_formats(command, tmp_path, whole, ending):
    path = write(TABLE, tmp_path / "rows", ending)
    found = without_times(command("score", path, *ASKED).json)
    assert found["metrics"] == whole["metrics"]
    assert found["losses"][0]["value"] == pytest.approx(whole["losses"][0]["value"], rel=1e-14)
    other = path.rename(tmp_path / "rows.data")
    assert command("score", other, *ASKED).code == 2
    form = {".feather": "arrow", ".arrows": "arrow"}.get(ending, ending[1:])
    found = without_times(command("score", other, "--format", form, *ASKED).json)
    assert found["metrics"] == whole["metrics"]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".feather"])
def test_several_files_are_one_table(command, tmp_path, whole, ending):
    folder = tmp_path / "parts"
    folder.mkdir()
    for place, start in enumerate(range(0, ROWS, 2500)):
        write(TABLE.slice(start, 2500), folder / f"part-{place}", ending)
    names = sorted(map(str, folder.iterdir()))
    for given in (names, [folder], [folder / "part-*"], [f"{folder}/part-[01]{ending}", names[2]]):
        found = without_times(command("score", *given, *ASKED).json)
        assert found["metrics"] == whole["metrics"]
        assert found["rows"] == ROWS
    found = command("score", folder / "part-7*", *ASKED)
    assert (found.code, "no file matches" in found.err) == (1, True)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_partitions_are_columns(command, tmp_path, whole, ending):
    for key in ("de", "fr", "it"):
        folder = tmp_path / "data" / f"land={key}"
        folder.mkdir(parents=True)
        rows = TABLE.filter(pa.array(COLUMNS["land"] == key)).drop_columns(["land"])
        write(rows, folder / "rows", ending)
    plain = command("score", write(TABLE, tmp_path / "x", ".parquet"), "--by", "land", *ASKED).json
    for given in ([tmp_path / "data"], [tmp_path / "data" / "*" / f"*{ending}"]):
        found = command("score", *given, "--by", "land", *ASKED).json
        assert found["groups"] == plain["groups"]
        assert found["metrics"] == plain["metrics"]


def test_a_bad_row_of_a_part_is_named(command, tmp_path):
    good, bad = pa.table({"prediction": [1.0], "target": ["a"]}), None
    bad = pa.table({"prediction": [1.0, 2.0], "target": ["a", "q"]})
    for ending in (".csv", ".parquet"):
        folder = tmp_path / ending[1:]
        folder.mkdir()
        write(good, folder / "one", ending)
        write(bad, folder / "two", ending)
        for more in ((), ("--workers", "2")):
            if more and ending == ".parquet":
                continue  # processes cost a second each to start
            found = command("score", folder, "--classes", "a,b", "--loss", "bce", *more)
            assert found.code == 1
            assert "'q'" in found.err
            assert f"two{ending}" in found.err
            assert "row 1" in found.err


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".arrows", ".jsonl", ".csv.gz"])
def test_standard_input(command, tmp_path, whole, ending, monkeypatch):
    kind = ending.removesuffix(".gz")
    content = write(TABLE, tmp_path / "rows", kind).read_bytes()
    content = gzip.compress(content) if ending != kind else content
    stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)
    found = command("score", "-", *ASKED).json
    assert found["file"] == "standard input"
    assert found["metrics"] == whole["metrics"]
    stdin.buffer = io.BytesIO(content)
    found = command("score", "-", "--prediction", "gone", *ASKED)
    assert (found.code, "standard input has no column 'gone'" in found.err) == (1, True)
    stdin.buffer = io.BytesIO(b"")
    assert "is empty" in command("score", "-", *ASKED).err


def test_processes_give_the_same_bits(command, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for place, start in enumerate(range(0, ROWS, 2500)):
        write(TABLE.slice(start, 2500), folder / f"part-{place}", ".parquet")
    more = ("--by", "land", "--metric", "quantile_coverage")
    here = without_times(command("score", folder, *ASKED, *more).json)
    assert without_times(command("score", folder, *ASKED, *more, "--workers", "2").json) == here


@pytest.mark.exhaustive
def test_processes_share_row_groups(command, tmp_path):
    rows = 2_200_000  # of two pieces
    chance = RNG.random(rows)
    target = (RNG.random(rows) < chance).astype(np.int64)
    table = pa.table({"prediction": chance, "target": target, "k": target})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=rows // 4)
    arguments = (path, "--loss", "mse", "--metric", "roc_auc", "--metric", "accuracy")
    arguments += ("--by", "k", "--bins", "4", "--json")
    here = without_times(command("score", *arguments).json)
    there = without_times(command("score", *arguments, "--workers", "2").json)
    assert there == here
    assert here["metrics"][1]["value"] == m.accuracy(chance, target)


@pytest.mark.exhaustive
def test_a_worker_that_dies_is_told(tmp_path):
    from numbaloss.cli import jobs
    from numbaloss.cli.failures import Failure

    with pytest.raises(Failure, match="ended with code 3"):
        list(jobs.in_processes(_Fatal(), 2, 2))


class _Fatal:
    """Ends the process that asks for anything."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        os._exit(3)


@pytest.mark.exhaustive
def test_a_cluster_of_dask(command, tmp_path, whole):
    distributed = pytest.importorskip("dask.distributed")
    folder = tmp_path / "parts"
    folder.mkdir()
    for place, start in enumerate(range(0, ROWS, 2500)):
        write(TABLE.slice(start, 2500), folder / f"part-{place}", ".csv")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)
    ) as cluster:
        address = cluster.scheduler_address
        found = without_times(command("score", folder, "--dask", address, *ASKED).json)
    assert found["metrics"] == whole["metrics"]
    found = command("score", folder, "--dask", "tcp://127.0.0.1:9", *ASKED)
    assert (found.code, "no scheduler" in found.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-", "x.csv", "--loss", "mse"), "stands alone"),
        (("x.csv", "--loss", "mse", "--workers", "2", "--dask", "tcp://a:1"), "one of them"),
        (("x.csv", "--loss", "mse", "--workers", "2", "-o", "y.npy"), "results of rows"),
        (("x.csv", "--loss", "mse", "--compare", "b", "--by", "k"), "does not go with --by"),
        (("x.csv", "--loss", "mse", "--compare", "b", "--reduction", "sum"), "compares means"),
        (("x.csv", "--loss", "mse", "--format", "xls"), "xls"),
        (("x.csv",), "give --loss, --metric or --bins"),
    ],
)
def test_options_that_do_not_go_together(command, arguments, words):
    found = command("score", *arguments)
    assert (found.code, words in found.err) == (2, True), found.err
