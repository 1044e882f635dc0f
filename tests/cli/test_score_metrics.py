"""Metrics of files, with losses and without, in one pass."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from numbaloss import metrics as m

RNG = np.random.default_rng(0)
ROWS = 5000


@pytest.fixture
def source(tmp_path):
    """Probabilities, labels and weights, in row groups of a few hundred."""
    chance, weight = RNG.random(ROWS), RNG.random(ROWS)
    label = (RNG.random(ROWS) < chance).astype(np.int64)
    columns = {"prediction": chance, "target": label, "weight": weight}
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=300)
    return path, chance, label, weight


def test_metrics_are_those_of_all_rows_at_once(command, source):
    path, chance, label, weight = source
    asked = ("roc_auc", "log_loss", "r2", "f_beta:beta=2")
    arguments = [word for one in asked for word in ("--metric", one)]
    for more, w in (((), None), (("--weight", "weight"), weight)):
        found = command("score", path, "--loss", "mse", *arguments, *more, "--json").json
        values = {one["name"]: one["value"] for one in found["metrics"]}
        target = label.astype(float)
        assert values["roc_auc"] == m.roc_auc(chance, label, sample_weight=w)
        assert values["log_loss"] == m.log_loss(chance, target, sample_weight=w)
        assert values["r2"] == m.r2(chance, target, sample_weight=w)
        assert values["f_beta_beta_2"] == m.f_beta(chance, label, sample_weight=w, beta=2)
        assert len(found["losses"]) == 1


def test_metrics_need_no_loss(command, source, tmp_path):
    path, chance, label, _ = source
    shown = command("score", path, "--metric", "accuracy", "--metric", "confusion_matrix")
    assert shown.code == 0, shown.err
    assert "Loss" not in shown.out
    assert f"{m.accuracy(chance, label):.8g}" in shown.out
    for row in m.confusion_matrix(chance, label):
        assert "  ".join(str(one) for one in row) in shown.out


def test_rows_of_classes(command, tmp_path):
    logits, label = RNG.normal(size=(900, 3)), RNG.integers(0, 3, 900)
    path = tmp_path / "rows.parquet"
    columns = {f"logit_{k}": logits[:, k] for k in range(3)} | {"target": label}
    pq.write_table(pa.table(columns), path, row_group_size=100)
    arguments = ("--prediction", "logit_*", "--metric", "top_k:k=2", "--metric", "roc_auc")
    found = command("score", path, *arguments, "--json").json
    assert found["losses"] == []
    assert found["metrics"][0]["value"] == m.top_k(logits, label, k=2)
    assert found["metrics"][1]["value"] == m.roc_auc(logits, label)


@pytest.mark.parametrize("ending", ["parquet", "csv", "npz"])
def test_groups(command, tmp_path, ending):
    rows = 4000
    key = RNG.choice(["de", "fr", "it"], rows)
    chance = RNG.random(rows)
    target = (RNG.random(rows) < chance).astype(float)
    weight = RNG.random(rows)
    columns = {"prediction": chance, "target": target, "weight": weight, "land": key}
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(columns), path, row_group_size=300)
    elif ending == "csv":
        pa.csv.write_csv(pa.table(columns), path)
    else:
        np.savez(path, **columns)
    arguments = ("--by", "land", "--weight", "weight", "--loss", "mse", "--metric", "roc_auc")
    found = command("score", path, *arguments, "--json").json
    assert list(found["groups"]) == ["de", "fr", "it"]
    for name, results in found["groups"].items():
        of = key == name
        assert results["roc_auc"] == m.roc_auc(chance[of], target[of], sample_weight=weight[of])
        expected = (weight * (chance - target) ** 2)[of].mean()
        assert results["mse"] == pytest.approx(expected, rel=1e-12)
    assert found["metrics"][0]["value"] == m.roc_auc(chance, target, sample_weight=weight)
    shown = command("score", path, *arguments)
    assert "Group" in shown.out
    assert command("score", path, "--by", "target", "--metric", "mae").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "give --loss, --metric"),
        (("--metric", "roc_uac"), 2, "did you mean roc_auc"),
        (("--metric", "f_beta:beta=-1"), 2, "beta must be >= 0"),
        (("--metric", "f_beta:depth=1"), 2, "depth"),
        (("--metric", "mae", "--metric", "mae"), 2, "given twice"),
        (("--metric", "poisson_deviance", "--prediction", "target"), 1, "in rows 0 to"),
    ],
)
def test_errors(command, source, arguments, code, words):
    found = command("score", source[0], *arguments)
    assert found.code == code
    assert words in found.err
