"""Two predictions, bins, labels as predictions, tables of results."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import numbaloss as nl
from numbaloss import metrics as m

RNG = np.random.default_rng(2)
ROWS = 4000


@pytest.fixture
def source(tmp_path):
    """Two predicted probabilities, of which the first is better."""
    chance = RNG.uniform(0.01, 0.99, ROWS)
    worse = np.clip(chance + 0.2 * RNG.normal(size=ROWS), 0.01, 0.99)
    label = (RNG.random(ROWS) < chance).astype(np.int64)
    path = tmp_path / "rows.parquet"
    columns = {"a": chance, "b": worse, "target": label, "w": RNG.random(ROWS)}
    pq.write_table(pa.table(columns), path, row_group_size=300)
    return path, columns


def test_two_predictions(command, source):
    path, columns = source
    a, b, target, w = columns.values()
    arguments = ("--prediction", "a", "--compare", "b", "--weight", "w", "--loss", "mae")
    arguments += ("--metric", "log_loss", "--metric", "accuracy", "--metric", "roc_auc")
    found = command("score", path, *arguments, "--json").json
    of_loss, log_loss, accuracy, roc_auc = found["comparisons"]
    expected = m.Difference(nl.AbsoluteError()).update(a, b, target.astype(float), w)
    assert of_loss["difference"] == expected.compute()
    assert of_loss["standard_error"] == expected.standard_error()
    assert [one["better"] for one in found["comparisons"]] == ["prediction"] * 3 + [None]
    expected = m.Difference(m.LogLoss()).update(a, b, target, w)
    assert log_loss["difference"] == expected.compute()
    assert log_loss["value"] == m.log_loss(a, target, sample_weight=w)
    assert log_loss["other"] == m.log_loss(b, target, sample_weight=w)
    assert accuracy["difference"] < 0
    assert roc_auc["difference"] == m.roc_auc(b, target, sample_weight=w) - roc_auc["value"]
    assert roc_auc["standard_error"] is None
    shown = command("score", path, *arguments).out
    assert "better" in shown
    same = command("score", path, "-p", "a", "--compare", "a", "--loss", "mae").out
    assert "neither" in same


def test_two_predictions_of_classes(command, tmp_path):
    target = RNG.integers(0, 3, 900)
    good = np.eye(3)[target] + RNG.normal(size=(900, 3))
    bad = RNG.normal(size=(900, 3))
    path = tmp_path / "rows.parquet"
    columns = {f"a_{k}": good[:, k] for k in range(3)} | {f"b_{k}": bad[:, k] for k in range(3)}
    pq.write_table(pa.table(columns | {"target": target}), path, row_group_size=200)
    arguments = ("-p", "a_*", "--compare", "b_*", "--loss", "ce", "--metric", "accuracy")
    found = command("score", path, *arguments, "--json").json["comparisons"]
    assert [one["better"] for one in found] == ["prediction", "prediction"]
    assert found[0]["other"] == pytest.approx(nl.CrossEntropy()(bad, target), rel=1e-12)
    assert found[1]["difference"] == m.accuracy(bad, target) - m.accuracy(good, target)
    found = command("score", path, "-p", "a_*", "--compare", "b_0,b_1", "--loss", "ce")
    assert (found.code, "--compare 2" in found.err) == (1, True)


def test_bins(command, source):
    path, columns = source
    found = command("score", path, "--prediction", "a", "--bins", "5", "--json").json
    expected = m.CalibrationError(bins=5).update(columns["a"], columns["target"]).table()
    for name, column in expected.items():
        assert found["reliability"][name] == column.tolist()
    assert found["reliability"]["from"][1] == 0.2
    assert "came true" in command("score", path, "--prediction", "a", "--bins", "5").out
    found = command("score", path, "--prediction", "w", "--target", "a", "--bins", "0")
    assert found.code == 2


@pytest.mark.parametrize("ending", ["parquet", "csv", "npz"])
def test_predicted_labels(command, tmp_path, ending):
    target = RNG.integers(0, 7, 1500)
    guess = np.where(RNG.random(1500) < 0.6, target, RNG.integers(0, 7, 1500))
    path = tmp_path / f"rows.{ending}"
    if ending == "npz":
        np.savez(path, prediction=guess, target=target)
    else:
        table = pa.table({"prediction": guess, "target": target})
        (pq.write_table if ending == "parquet" else pyarrow.csv.write_csv)(table, path)
    arguments = ("-m", "accuracy", "-m", "f_beta:average=macro", "-m", "mae")
    for more in ((), ("--loss", "mse"), ("--classes", "0,1,2,3,4,5,6")):
        if more[:1] == ("--classes",) or not more or ending != "csv":
            found = command("score", path, *arguments, *more, "--json").json["metrics"]
            assert found[0]["value"] == m.accuracy(guess, target)
            assert found[1]["value"] == m.f_beta(guess, target, average="macro")
            assert found[2]["value"] == m.mae(guess, target)


@pytest.mark.parametrize("ending", ["parquet", "csv", "npz"])
def test_labels_that_are_texts(command, tmp_path, ending):
    names = np.array(["cat", "dog", "eel"])
    target = RNG.integers(0, 3, 800)
    guess = np.where(RNG.random(800) < 0.6, target, RNG.integers(0, 3, 800))
    path = tmp_path / f"rows.{ending}"
    columns = {"prediction": names[guess], "target": names[target], "w": RNG.random(800)}
    if ending == "npz":
        np.savez(path, **columns)
    else:
        (pq.write_table if ending == "parquet" else pyarrow.csv.write_csv)(pa.table(columns), path)
    arguments = ("-m", "accuracy", "-m", "f_beta:average=macro", "--weight", "w")
    for more in ((), ("--classes", "eel,dog,cat")):
        found = command("score", path, *arguments, *more, "--json").json["metrics"]
        # Weights of classes are added in the order of the classes.
        expected = m.accuracy(guess, target, sample_weight=columns["w"])
        assert found[0]["value"] == pytest.approx(expected, rel=1e-14)
        expected = m.f_beta(guess, target, sample_weight=columns["w"], average="macro")
        assert found[1]["value"] == pytest.approx(expected, rel=1e-12)
    found = command("score", path, *arguments, "--classes", "cat,dog")
    assert (found.code, "'eel'" in found.err) == (1, True)


def test_classes_name_targets_of_metrics_alone(command, tmp_path):
    chance, label = RNG.random(500), RNG.integers(0, 2, 500)
    path = tmp_path / "rows.parquet"
    columns = {"prediction": chance, "target": np.array(["no", "yes"])[label], "place": label}
    pq.write_table(pa.table(columns), path)
    found = command("score", path, "--classes", "no,yes", "-m", "roc_auc", "--json").json
    assert found["metrics"][0]["value"] == m.roc_auc(chance, label)
    found = command("score", path, "-m", "roc_auc")
    assert (found.code, "--classes no,yes" in found.err) == (1, True)
    arguments = ("--prediction", "place", "-m", "accuracy")
    found = command("score", path, *arguments, "--classes", "no,yes", "--json").json
    assert found["metrics"][0]["value"] == 1.0
    found = command("score", path, *arguments)
    assert (found.code, "--classes a,b,c" in found.err) == (2, True)


@pytest.mark.parametrize("kind", ["texts", "integers", "targets"])
def test_labels_that_are_missing(command, tmp_path, kind):
    target = [0, 1, 1, 0]
    prediction = {"texts": ["a", None, "b", "b"], "integers": [0, None, 1, 0]}.get(kind, target)
    target = [0, None, 1, 0] if kind == "targets" else target
    target = ["a", "b", "b", "a"] if kind == "texts" else target
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prediction": prediction, "target": target}), path)
    found = command("score", path, "-m", "accuracy")
    name = "target" if kind == "targets" else "prediction"
    assert found.code == 1
    assert f"the {name} of row 1 is missing; --skip-nan leaves such rows out" in found.err
    found = command("score", path, "-m", "accuracy", "--skip-nan", "--json").json
    assert found["rows_skipped"] == 1
    assert found["metrics"][0]["value"] == pytest.approx(2 / 3 if kind == "texts" else 1.0)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_results_as_a_table(command, source, tmp_path, ending):
    path, _ = source
    out = tmp_path / f"results{ending}"
    arguments = ("-p", "a", "--loss", "mae", "-m", "roc_auc", "-m", "confusion_matrix")
    shown = command("score", path, *arguments, "--by", "target", "-t", "a", "--results", out)
    assert shown.code == 1
    assert not out.exists()
    found = command("score", path, *arguments, "--json", "--results", out).json
    if ending == ".json":
        written = json.loads(out.read_text())
        assert written["metrics"] == found["metrics"]
        assert written["losses"] == found["losses"]
        return
    read = pq.read_table(out) if ending == ".parquet" else pyarrow.csv.read_csv(out)
    of_name = dict(zip(read["name"].to_pylist(), read["value"].to_pylist(), strict=True))
    assert of_name["absolute_error"] == found["losses"][0]["value"]
    assert of_name["roc_auc"] == found["metrics"][0]["value"]
    assert of_name["confusion_matrix_1_0"] == found["metrics"][1]["value"][1][0]
    assert sorted(one.name for one in tmp_path.iterdir()) == [out.name, "rows.parquet"]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".json"])
def test_groups_as_a_table(command, tmp_path, ending):
    path, out = tmp_path / "rows.parquet", tmp_path / f"groups{ending}"
    columns = {"prediction": RNG.random(300), "target": RNG.random(300)}
    key = RNG.choice(["de", "fr"], 300)
    pq.write_table(pa.table(columns | {"land": key}), path)
    arguments = ("--loss", "mse", "-m", "mae", "-m", "r2", "--by", "land", "--results", out)
    found = command("score", path, *arguments, "--json").json["groups"]
    if ending == ".json":
        assert json.loads(out.read_text())["groups"] == found
        return
    read = pq.read_table(out) if ending == ".parquet" else pyarrow.csv.read_csv(out)
    assert read.column_names == ["land", "mse", "mae", "r2"]
    for row in read.to_pylist():
        assert row == {"land": row["land"], **found[row["land"]]}
    assert command("score", path, *arguments[:-1], tmp_path / "x.xlsx").code == 2
    assert command("score", path, *arguments[:-1], path).code == 2
