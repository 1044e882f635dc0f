"""`numbaloss train` and `numbaloss predict`: from a table to a model, and back to a table."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import numbaloss as nl

RANDOM = np.random.default_rng(0)
ROWS = 120
AGE, SIZE = RANDOM.normal(40, 10, ROWS), RANDOM.gamma(2.0, 100.0, ROWS)
PRICE = 3.0 * AGE + 0.5 * SIZE + RANDOM.normal(0, 5, ROWS)
SOLD = np.where(np.median(PRICE) < PRICE, "yes", "no")
CITY = RANDOM.choice(["Oslo", "Rome", "Ulm"], ROWS)


@pytest.fixture
def houses(tmp_path):
    """A table of numbers, a column of text, two and three classes."""
    path = tmp_path / "houses.csv"
    columns = {"age": AGE, "size": SIZE, "price": PRICE, "sold": SOLD.tolist(),
               "city": CITY.tolist()}  # fmt: skip
    pa.csv.write_csv(pa.table(columns), path)
    return path


def arrays_of(folder):
    """The arrays of a model."""
    with np.load(folder / "model.npz") as file:
        return dict(file)


def test_a_linear_model_of_numbers(command, houses, tmp_path):
    folder, output = tmp_path / "model", tmp_path / "p.parquet"
    options = ("--target", "price", "--loss", "mse", "--drop", "sold,city", "--epochs", "60")
    found = command("train", houses, *options, "--output", folder, "--metric", "r2")
    assert found.code == 0, found.err
    lines = found.out.splitlines()
    # Paths and commands are not cut.
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    assert lines[0].split() == ["epoch", "training", "validation", "r2"]
    assert any(line.startswith("a constant has validation loss") for line in lines)
    content = json.loads((folder / "model.json").read_text())
    assert content["features"] == ["age", "size"]
    assert content["results"]["validation_r2"] > 0.95
    assert content["results"]["validation_loss"] < 100
    assert content["results"]["constant_validation_loss"] > 3000
    # The formula and the arrays are all that a prediction needs.
    arrays = arrays_of(folder)
    x = (np.column_stack([AGE, SIZE]) - arrays["mean"]) / arrays["deviation"]
    h = x @ arrays["layers.0.weight"] + arrays["layers.0.bias"]
    by_hand = arrays["centre"] + content["scale"] * h[:, 0]
    found = command("predict", folder, houses, "--output", output)
    assert found.code == 0, found.err
    table = pq.read_table(output)
    assert table.column_names == ["prediction", "price"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), by_hand, rtol=1e-12)
    np.testing.assert_array_equal(table["price"].to_numpy(), PRICE)
    scored = command("score", output, "--target", "price", "--loss", "mse", "--json").json
    assert scored["losses"][0]["value"] == pytest.approx(np.mean((by_hand - PRICE) ** 2))


def test_a_network_of_two_classes_in_text(command, houses, tmp_path):
    folder, output = tmp_path / "model", tmp_path / "p.csv"
    options = ("--target", "sold", "--loss", "bce", "--features", "age,size", "--epochs", "30")
    found = command(
        "train", houses, *options, "--model", "mlp:8:tanh", "--metric", "accuracy",
        "--output", folder, "--json", "--restarts", "2",
    ).json  # fmt: skip
    assert found["classes"] == ["no", "yes"]
    assert found["validation_accuracy"] > 0.9
    assert found["parameters"] == 8 * 2 + 8 + 8 + 1
    assert found["rows_training"] + found["rows_validation"] == ROWS
    assert {"history.csv", "history.json"} < {one.name for one in folder.iterdir()}
    told = command("predict", folder, houses, "--output", output)
    assert "--classes no,yes" in told.out
    table = pa.csv.read_csv(output)
    assert table.column_names == ["prediction", "probability", "label", "sold"]
    np.testing.assert_allclose(
        table["probability"].to_numpy(), 1 / (1 + np.exp(-table["prediction"].to_numpy()))
    )
    right = [a == b for a, b in zip(table["label"].to_pylist(), table["sold"].to_pylist())]
    assert np.mean(right) > 0.9
    scored = command(
        "score", output, "--target", "sold", "--loss", "bce", "--classes", "no,yes", "--json"
    ).json
    assert scored["losses"][0]["value"] < 0.4


def test_many_classes(command, houses, tmp_path):
    folder, output = tmp_path / "model", tmp_path / "p.parquet"
    options = ("--target", "city", "--loss", "cross_entropy", "--drop", "sold", "--epochs", "2")
    assert command("train", houses, *options, "--output", folder).code == 0
    assert command("predict", folder, houses, "--output", output).code == 0
    table = pq.read_table(output)
    names = ["logit_Oslo", "logit_Rome", "logit_Ulm"]
    assert table.column_names == [*names, "label", "city"]
    logits = np.column_stack([table[name].to_numpy() for name in names])
    labels = np.searchsorted(["Oslo", "Rome", "Ulm"], CITY)
    scored = command(
        "score", output, "--target", "city", "--loss", "ce", "--prediction", "logit_*", "--json"
    ).json
    assert scored["losses"][0]["value"] == pytest.approx(nl.CrossEntropy()(logits, labels))


def test_the_same_seed_gives_the_same_model(command, houses, tmp_path):
    options = ("--target", "price", "--loss", "mse", "--drop", "sold,city", "--epochs", "3")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        found = command("train", houses, *options, "--output", tmp_path / name, "--seed", seed)
        assert found.code == 0, found.err
    a, b, c = ((tmp_path / name / "model.npz").read_bytes() for name in "abc")
    first, second = (arrays_of(tmp_path / name) for name in "ab")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert a != c
    assert len(b) == len(a)


def test_rows_that_miss_something_are_left_out_when_asked(command, tmp_path):
    path = tmp_path / "t.parquet"
    age = np.where(np.arange(ROWS) % 10 == 3, np.nan, AGE)
    pq.write_table(pa.table({"age": age, "price": PRICE, "weight": np.ones(ROWS)}), path)
    options = ("train", path, "--target", "price", "--loss", "mse", "--epochs", "2")
    found = command(*options)
    assert found.code == 1
    assert "'age' has 12 missing of 120 values, the first in row 3: fill them in" in found.err
    found = command(*options, "--skip-nan", "--weight", "weight", "--json").json
    assert found["rows_skipped"] == 12
    assert found["features"] == ["age"]


def test_a_folder_is_replaced_only_when_asked(command, houses, tmp_path):
    options = ("--target", "price", "--loss", "mse", "--drop", "sold,city", "--epochs", "1")
    folder = tmp_path / "model"
    assert command("train", houses, *options, "--output", folder).code == 0
    before = (folder / "model.npz").read_bytes()
    found = command("train", houses, *options, "--output", folder, "--seed", 5)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert "--force" in found.err
    assert (folder / "model.npz").read_bytes() == before
    assert command("train", houses, *options, "--output", folder, "--seed", 5, "--force").code == 0
    assert (folder / "model.npz").read_bytes() != before
    (folder / "notes.txt").write_text("mine")
    found = command("train", houses, *options, "--output", folder, "--force")
    assert found.code == 2
    assert "notes.txt" in found.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["houses.csv", "model"]


def csv(tmp_path, **columns):
    path = tmp_path / "t.csv"
    pa.csv.write_csv(pa.table({name: list(one) for name, one in columns.items()}), path)
    return path


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ("--target price --loss mse", 1, "'sold' holds 'yes' in row"),
        ("--target price --loss mse --drop sold", 1, "leave it out: --drop city"),
        ("--target cost --loss mse", 1, "no column 'cost'"),
        ("--target city --loss mse --features age", 1, "take a loss of classes"),
        ("--target city --loss bce --features age", 1, "3 classes, and bce tells two apart"),
        ("--target price --loss ce --features age", 1, "which is no class: take a loss of numbers"),
        ("--target price --loss mse --features price", 2, "which another option names too"),
        ("--target price --loss mse --model mlp", 2, "write linear, mlp:64,64"),
        ("--target price --loss mse --model mlp:0", 2, "at least 1"),
        ("--target price --loss mse --validation 1", 2, "--validation must be a share"),
        ("--target price --loss mse --learning-rate 0", 2, "--learning-rate must be above 0"),
        ("--target price --loss mse --clip 0", 2, "--clip must be above 0"),
        ("--target price --loss mse --epochs 0", 2, "epochs"),
        ("--target price --loss mse --metric acuracy", 2, "did you mean"),
        ("--target price --loss info_nce", 2, "no columns of a table"),
        ("--target sold --loss bce:from_logits=false", 2, "leave from_logits at its default"),
        ("--target city --loss ce:from_logits=false", 2, "leave from_logits at its default"),
        ("--target price --loss mse --output nowhere/model", 1, "does not exist"),
        ("--target age --loss tweedie:power=1.5 --features size --learning-rate 1e300", 1,
         "training stopped"),
        ("--loss mse", 1, "no column 'target'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(command, houses, tmp_path, options, code, words):
    found = command("train", houses, *options.split())
    assert (found.code, found.err.count("\n")) == (code, 1), found
    assert words in found.err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["houses.csv"]


@pytest.mark.parametrize(
    ("columns", "loss", "words"),
    [
        ({"a": np.arange(5), "b": [1, 1, 1, 1, 1], "y": np.arange(5)}, "mse", "has 5 rows"),
        ({"a": np.arange(12), "b": [7] * 12, "y": np.arange(12)}, "mse",
         "'b' is 7 in every row, and tells nothing: --drop b"),
        ({"a": np.arange(12), "y": ["no"] * 12}, "bce", "'y' has one class alone, no"),
        ({"a": np.arange(12), "y": [3] * 12}, "ce", "'y' has one class alone, 3"),
        ({"a": np.arange(12), "y": [3.5] * 12}, "mse", "'y' is 3.5 in every row"),
        ({"a": np.arange(12), "y": np.arange(-3.0, 9)}, "poisson", "does not take this target"),
        ({"a": [np.inf, *range(11)], "y": np.arange(12)}, "mse", "'a' holds an infinity in row 0"),
        ({"y": np.arange(12)}, "mse", "no column but the target"),
    ],
)  # fmt: skip
def test_data_that_teach_nothing_are_told(command, tmp_path, columns, loss, words):
    found = command("train", csv(tmp_path, **columns), "--target", "y", "--loss", loss)
    assert (found.code, found.err.count("\n")) == (1, 1), found
    assert words in found.err


def test_what_predict_cannot_do_is_told(command, houses, tmp_path):
    folder = tmp_path / "model"
    options = ("--target", "price", "--loss", "mse", "--drop", "sold,city", "--epochs", "1")
    assert command("train", houses, *options, "--output", folder).code == 0
    other = csv(tmp_path, age=[1.0, 2.0], size=[1.0, None])
    lacking = tmp_path / "lacking.csv"
    lacking.write_text("age\n1\n")
    output = tmp_path / "p.parquet"
    for arguments, code, words in (
        ((tmp_path, houses, "--output", output), 1, "it has no model.json"),
        ((folder, lacking, "--output", output), 1, "no column 'size'"),
        ((folder, other, "--output", output), 1, "'size' is missing in row 1: fill it in"),
        ((folder, houses, "--output", tmp_path / "p.npy"), 2, "must end in .parquet or .csv"),
        ((folder, houses, "--output", houses), 2, "would replace the file that is read"),
        ((folder, houses, "--output", tmp_path / "no" / "p.csv"), 1, "does not exist"),
    ):
        found = command("predict", *arguments)
        assert (found.code, found.err.count("\n")) == (code, 1), found
        assert words in found.err
    (folder / "model.npz").write_bytes(b"nothing")
    found = command("predict", folder, houses, "--output", output)
    assert found.code == 1
    assert not output.exists()
    assert not list(tmp_path.glob(".numbaloss*"))


def test_shares_and_counts_are_learned_too(command, tmp_path):
    x = RANDOM.normal(size=60)
    share, count = 1 / (1 + np.exp(-x)), RANDOM.poisson(np.exp(x))
    path = csv(tmp_path, x=x, share=share, count=count)
    for target, loss, column in (("share", "bce", "probability"), ("count", "poisson", "mean")):
        folder, output = tmp_path / target, tmp_path / f"{target}.parquet"
        options = ("--target", target, "--loss", loss, "--features", "x", "--epochs", "100")
        found = command("train", path, *options, "--output", folder)
        assert found.code == 0, found.err
        assert command("predict", folder, path, "--output", output).code == 0
        table = pq.read_table(output)
        assert table.column_names == ["prediction", column, target]
        truth = share if target == "share" else np.exp(x)
        assert np.corrcoef(table[column].to_numpy(), truth)[0, 1] > 0.95


def test_without_matplotlib_there_is_no_picture(command, houses, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    options = ("--target", "price", "--loss", "mse", "--drop", "sold,city", "--epochs", "1")
    found = command("train", houses, *options, "--output", tmp_path / "model")
    assert found.code == 0, found.err
    assert 'no picture: that takes python -m pip install "numbaloss[plot]"' in found.out
    assert not (tmp_path / "model" / "curve.png").exists()
    assert (tmp_path / "model" / "model.npz").exists()
