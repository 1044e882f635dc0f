"""Results by row: every row of the input gets one, in its order."""

import os
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import numbaloss as nl


@pytest.fixture
def source(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(rows.columns()), path)
    return path


def test_parquet_has_a_column_a_loss_and_kind(command, tmp_path, source, rows):
    out = tmp_path / "out.parquet"
    arguments = ("--loss", "huber:delta=0.5", "--loss", "mae", "--weight", "weight")
    kinds = ("--per-sample", "--gradient", "--hessian")
    shown = command("score", source, *arguments, *kinds, "--output", out)
    assert f"wrote {out}" in shown.out
    table = pq.read_table(out)
    names = ("huber", "absolute_error")
    assert table.column_names == [
        f"{name}_{kind}" for name in names for kind in ("value", "gradient", "hessian")
    ]
    for name, loss in zip(names, (nl.Huber(delta=0.5), nl.AbsoluteError()), strict=True):
        found = loss.value_grad_hess(*rows[:2], sample_weight=rows.weight, reduction="none")
        for kind, array in zip(("value", "gradient", "hessian"), found, strict=True):
            column = table[f"{name}_{kind}"]
            assert column.type == pa.float32()
            np.testing.assert_array_equal(column.to_numpy(), array)


def test_a_single_column_of_npy_is_a_plain_array(command, tmp_path, source, rows):
    out = tmp_path / "out.npy"
    command("score", source, "--loss", "mae", "--gradient", "--output", out)
    _, gradient = nl.AbsoluteError().value_and_grad(*rows[:2], reduction="sum")
    np.testing.assert_array_equal(np.load(out), gradient)


def test_several_columns_of_npy_are_named_fields(command, tmp_path, source, rows):
    out = tmp_path / "out.npy"
    losses = ("--loss", "mae", "--loss", "mse")
    command("score", source, *losses, "--per-sample", "--gradient", "--output", out)
    found = np.load(out)
    assert found.shape == rows.prediction.shape
    assert found.dtype.names == (
        "absolute_error_value",
        "absolute_error_gradient",
        "squared_error_value",
        "squared_error_gradient",
    )
    values = nl.SquaredError()(*rows[:2], reduction="none")
    np.testing.assert_array_equal(found["squared_error_value"], values)


def test_output_alone_means_values(command, tmp_path, source, rows):
    out = tmp_path / "out.npy"
    command("score", source, "--loss", "mae", "-o", out)
    values = nl.AbsoluteError()(*rows[:2], reduction="none")
    np.testing.assert_array_equal(np.load(out), values)


@pytest.mark.parametrize("kinds", [["--gradient"], ["--hessian"], ["--per-sample", "--hessian"]])
def test_scores_are_the_same_with_and_without_output(command, tmp_path, source, kinds):
    plain = command("score", source, "--loss", "log_cosh", "--json").json
    more = command(
        "score", source, "--loss", "log_cosh", "--json", *kinds, "-o", tmp_path / "o.npy"
    ).json
    for key in ("value", "gradient_norm"):
        assert more["losses"][0][key] == pytest.approx(plain["losses"][0][key], rel=1e-6)
    assert more["output"] == str(tmp_path / "o.npy")


def test_skipped_rows_are_nan_in_the_results(command, tmp_path):
    np.savez(tmp_path / "x.npz", prediction=[1.0, np.nan, 3.0], target=[2.0, 2.0, 0.0])
    out = tmp_path / "o.npy"
    command("score", tmp_path / "x.npz", "--loss", "mae", "--skip-nan", "-o", out)
    np.testing.assert_array_equal(np.load(out), [1.0, np.nan, 3.0])


def test_losses_of_one_name_are_called_as_they_are_written(command, tmp_path, source):
    texts = ["huber:delta=1.5", "huber", "mae", "mse + 0.1*mae"]
    out = tmp_path / "o.parquet"
    losses = [part for text in texts for part in ("--loss", text)]
    assert command("score", source, *losses, "-o", out).code == 0
    assert pq.read_schema(out).names == [
        "huber_delta_1.5_value",
        "huber_value",
        "absolute_error_value",
        "mse_0.1_mae_value",
    ]


def test_output_replaces_a_file_and_has_the_usual_permissions(command, tmp_path, source):
    out = tmp_path / "o.npy"
    out.write_text("old")
    assert command("score", source, "--loss", "mae", "-o", out).code == 0
    assert len(np.load(out)) == 300_001
    before = os.umask(0o022)
    os.umask(before)
    assert stat.S_IMODE(out.stat().st_mode) == 0o666 & ~before
    assert {path.name for path in tmp_path.iterdir()} == {"o.npy", "rows.parquet"}


def test_an_error_leaves_the_old_output_alone(command, tmp_path, rows):
    rows.target[-1] = 2.0
    np.savez(tmp_path / "x.npz", prediction=rows.prediction, target=rows.target.clip(0, 2))
    for name in ("o.npy", "o.parquet"):
        out = tmp_path / name
        out.write_text("old")
        assert command("score", tmp_path / "x.npz", "--loss", "bce", "-o", out).code == 1
        assert out.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"o.npy", "o.parquet", "x.npz"}


def test_table_fits_into_eighty_columns(command, source):
    shown = command("score", source, "--loss", "huber:delta=1.5", "--loss", "mse + 0.1*log_cosh")
    lines = shown.out.splitlines()
    assert max(len(line) for line in lines[:6]) <= 80
    assert "huber:delta=1.5" in shown.out
    assert "300,001 rows" in shown.out
    assert shown.err == ""
