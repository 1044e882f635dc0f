"""Every format gives what the library gives for the whole arrays."""

import gzip
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import numbaloss as nl

LOSSES = {"huber:delta=1.5": nl.Huber(delta=1.5), "mae": nl.AbsoluteError()}


def write_parquet(folder, rows):
    path = folder / "rows.parquet"
    pq.write_table(pa.table(rows.columns()), path, row_group_size=70_000)
    return path


def write_folder(folder, rows):
    path = folder / "parts"
    for part, (start, stop) in enumerate([(0, 1000), (1000, 150_000), (150_000, None)]):
        inner = path / f"part={part}"
        inner.mkdir(parents=True)
        pq.write_table(pa.table(rows.columns()).slice(start, stop and stop - start), inner / "x.pq")
    (path / "_SUCCESS").touch()
    (path / ".hidden.parquet").write_text("not for readers")
    return path


def wide(rows):
    """Text is read as float64: the shortest text of a float32 would be another number there."""
    return pa.table({name: column.astype(float) for name, column in rows.columns().items()})


def write_csv(folder, rows):
    path = folder / "rows.csv"
    pyarrow.csv.write_csv(wide(rows), path)
    return path


def write_gzipped_tsv(folder, rows):
    path = folder / "rows.tsv.gz"
    options = pyarrow.csv.WriteOptions(delimiter="\t")
    with gzip.open(path, "wb", compresslevel=1) as file:
        pyarrow.csv.write_csv(wide(rows), file, options)
    return path


def write_records(folder, rows):
    path = folder / "records.npy"
    records = np.empty(len(rows.prediction), [("note", "U3"), *((n, "f4") for n in rows._fields)])
    for name, column in rows.columns().items():
        records[name] = column
    np.save(path, records)
    return path


def write_npz(folder, rows):
    path = folder / "rows.npz"
    np.savez(path, **rows.columns(), other=np.zeros((2, 2)))
    return path


def write_compressed_npz(folder, rows):
    path = folder / "rows.npz"
    np.savez_compressed(path, **rows.columns())
    return path


WRITERS = [value for name, value in list(globals().items()) if name.startswith("write_")]


def expected(rows, dtype, weighted=False, reduction="mean"):
    given = [column.astype(dtype) for column in (rows.prediction, rows.target)]
    weight = rows.weight.astype(dtype) if weighted else None
    for loss in LOSSES.values():
        value, gradient = loss.value_and_grad(*given, sample_weight=weight, reduction=reduction)
        yield value, float(np.linalg.norm(gradient.astype(np.float64)))


def check(found, rows, **options):
    tolerance = 2e-6 if found["dtype"] == "float32" else 1e-13
    assert found["rows"] == len(rows.prediction)
    for one, (value, norm) in zip(
        found["losses"], expected(rows, found["dtype"], **options), strict=True
    ):
        assert one["value"] == pytest.approx(value, rel=tolerance)
        assert one["gradient_norm"] == pytest.approx(norm, rel=tolerance)
        assert one["not_finite"] == 0
        assert one["first_not_finite_row"] is None


ARGUMENTS = [part for text in LOSSES for part in ("--loss", text)]


@pytest.mark.parametrize("write", WRITERS, ids=lambda function: function.__name__[6:])
def test_value_and_gradient_norm_are_those_of_the_whole_arrays(command, tmp_path, rows, write):
    found = command("score", write(tmp_path, rows), *ARGUMENTS, "--json").json
    text = write in (write_csv, write_gzipped_tsv)
    assert found["dtype"] == ("float64" if text else "float32")
    check(found, rows)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_columns_of_a_plain_array_have_numbers(command, tmp_path, rows, order, dtype):
    table = np.stack([rows.weight, rows.target, rows.prediction], axis=1)
    np.save(tmp_path / "rows.npy", np.asarray(table, dtype, order=order))
    arguments = ("-p", "-1", "-t", "1", "-w", "0", "--json")
    found = command("score", tmp_path / "rows.npy", *ARGUMENTS, *arguments).json
    assert found["dtype"] == f"float{8 * np.dtype(dtype).itemsize}"
    check(found, rows, weighted=True)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum"])
@pytest.mark.parametrize("threads", [1, 3])
def test_weights_reductions_and_threads(command, tmp_path, rows, reduction, threads):
    path = write_parquet(tmp_path, rows)
    arguments = ("--weight", "weight", "--reduction", reduction, "--threads", threads, "--json")
    found = command("score", path, *ARGUMENTS, *arguments).json
    check(found, rows, weighted=True, reduction=reduction)


def test_outcome_is_the_same_to_the_last_bit_for_any_number_of_threads(command, tmp_path, rows):
    path = write_parquet(tmp_path, rows)
    found = [
        command("score", path, *ARGUMENTS, "--json", "--threads", count).json["losses"]
        for count in (1, 2, 5)
    ]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("kind", ["int32", "int64", "uint8", "bool", "float16"])
def test_numbers_of_every_kind_are_taken(command, tmp_path, kind):
    prediction, target = np.array([0, 1, 1, 0]).astype(kind), np.array([1, 1, 0, 1]).astype(kind)
    columns = {"prediction": prediction, "target": target}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    np.savez(tmp_path / "x.npz", **columns)
    np.save(tmp_path / "x.npy", np.stack([prediction, target], axis=1))
    for name, arguments in [("x.parquet", ()), ("x.npz", ()), ("x.npy", ("-p", "0", "-t", "1"))]:
        found = command("score", tmp_path / name, "--loss", "mse", "--json", *arguments).json
        assert found["losses"][0]["value"] == 0.75
        assert found["dtype"] == ("float32" if kind == "float16" else "float64")


def test_text_with_quotes_flags_blanks_and_numbers_that_begin_as_integers(command, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text('note,prediction,target\n"a ""b"",\nc",1,true\nd, 2.5 ,False\n,1e1,true\n')
    found = command("score", path, "--loss", "mae", "--json").json
    assert found["losses"][0]["value"] == pytest.approx((0 + 2.5 + 9) / 3)


def test_a_column_may_turn_from_integers_to_floats_late(command, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prediction,target\n" + "1,1\n" * 400_000 + "1.5,1\n")
    found = command("score", path, "--loss", "mae", "--reduction", "sum", "--json").json
    assert found["rows"] == 400_001
    assert found["losses"][0]["value"] == 0.5


def test_semicolons(command, tmp_path):
    path = tmp_path / "rows.txt"
    path.write_text("prediction;target\n1;3\n")
    found = command("score", path, "--loss", "mae", "--delimiter", ";", "--json").json
    assert found["losses"][0]["value"] == 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_null_counts_as_nan(command, tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    table = pa.table({"prediction": [1.0, 2.0, None, 4.0], "target": [1, None, 3, 6]})
    pyarrow.csv.write_csv(table, path) if ending == "csv" else pq.write_table(table, path)
    (one,) = command("score", path, "--loss", "mae", "--json").json["losses"]
    assert (one["value"], one["not_finite"], one["first_not_finite_row"]) == ("nan", 2, 1)
    assert one["share_not_finite"] == 0.5
    found = command("score", path, "--loss", "mae", "--json", "--skip-nan").json
    assert (found["rows"], found["rows_skipped"]) == (2, 2)
    assert found["losses"][0]["value"] == 1.0
    assert found["losses"][0]["gradient_norm"] == 0.5


def test_first_row_that_is_not_finite_is_counted_over_all_batches(command, tmp_path, rows):
    rows.prediction[[200_000, 250_000]] = np.nan
    rows.target[299_999] = np.inf
    found = command("score", write_parquet(tmp_path, rows), *ARGUMENTS, "--json").json
    for one in found["losses"]:
        assert (one["not_finite"], one["first_not_finite_row"]) == (3, 200_000)
    shown = command("score", write_folder(tmp_path, rows), "--loss", "mae")
    place = f"row 200000 (row 50000 of {Path('part=2', 'x.pq')})"
    words = " ".join(shown.out.split())
    assert f"3 values are not finite, the first in {place}" in words


def test_rows_of_weight_zero_count_as_finite(command, tmp_path):
    np.savez(tmp_path / "x.npz", prediction=[np.nan, 2.0], target=[0.0, 0.0], weight=[0.0, 1.0])
    found = command("score", tmp_path / "x.npz", "-w", "weight", "--loss", "mae", "--json").json
    assert found["losses"][0]["value"] == 1.0
    assert found["losses"][0]["not_finite"] == 0


def test_gradient_norm_does_not_overflow_in_float32(command, tmp_path):
    np.savez(tmp_path / "x.npz", prediction=np.float32([3e25]), target=np.float32([0.0]))
    found = command("score", tmp_path / "x.npz", "--loss", "mse", "--json").json
    (one,) = found["losses"]
    assert one["value"] == "inf"
    assert one["gradient_norm"] == pytest.approx(6e25, rel=1e-6)


def test_all_rows_skipped(command, tmp_path):
    np.savez(tmp_path / "x.npz", prediction=[math.nan], target=[1.0])
    found = command("score", tmp_path / "x.npz", "--loss", "mse", "--json", "--skip-nan").json
    assert (found["rows"], found["losses"][0]["value"]) == (0, "nan")
    assert command("score", tmp_path / "x.npz", "--loss", "mse", "--skip-nan").code == 0
