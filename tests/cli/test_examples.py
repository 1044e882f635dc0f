"""The examples do what their texts say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.exhaustive
def test_data_can_be_made_anew(tmp_path):
    pytest.importorskip("sklearn")
    subprocess.run([sys.executable, EXAMPLES / "make_predictions.py", tmp_path], check=True)
    for name, read in [
        ("diabetes_predictions.csv", pyarrow.csv.read_csv),
        ("breast_cancer_predictions.parquet", pyarrow.parquet.read_table),
        ("digits_predictions.parquet", pyarrow.parquet.read_table),
    ]:
        made, kept = read(tmp_path / name), read(EXAMPLES / "data" / name)
        assert made.schema.equals(kept.schema)
        for column in kept.column_names:
            # Solvers of other versions stop elsewhere.
            np.testing.assert_allclose(made[column], kept[column], rtol=1e-3, atol=1e-2)


def test_scores_of_the_data(command):
    metrics = pytest.importorskip("sklearn.metrics")
    path = EXAMPLES / "data" / "diabetes_predictions.csv"
    found = command("score", path, "-p", "ridge", "-l", "mse", "-l", "mae", "--json").json
    table = pyarrow.csv.read_csv(path)
    given = table["target"].to_numpy(), table["ridge"].to_numpy()
    assert found["losses"][0]["value"] == pytest.approx(metrics.mean_squared_error(*given))
    assert found["losses"][1]["value"] == pytest.approx(metrics.mean_absolute_error(*given))

    path = EXAMPLES / "data" / "breast_cancer_predictions.parquet"
    table = pyarrow.parquet.read_table(path)
    expected = metrics.log_loss(table["target"].to_numpy(), table["probability"].to_numpy())
    for name, text in [("logit", "bce"), ("probability", "bce:from_logits=false")]:
        found = command("score", path, "-p", name, "--loss", text, "--json").json
        assert found["losses"][0]["value"] == pytest.approx(expected, rel=1e-9)

    path = EXAMPLES / "data" / "digits_predictions.parquet"
    table = pyarrow.parquet.read_table(path)
    logits = np.stack([table[f"logit_{digit}"].to_numpy() for digit in range(10)], axis=1)
    exponentials = np.exp(logits.astype(float))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    expected = metrics.log_loss(table["target"].to_numpy(), probabilities)
    found = command("score", path, "-p", "logit_*", "--loss", "ce", "--json").json
    assert found["losses"][0]["value"] == pytest.approx(expected, rel=1e-6)


def test_the_comparison_runs_on_few_rows(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    script = EXAMPLES / "score_20m_rows.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, "50_000", "1"],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "50,000 rows" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[2:5]] == [
        "pyarrow,",
        "numbaloss",
        "pandas",
    ]


def test_commands_of_the_readme_run(command, tmp_path, monkeypatch):
    import shlex

    text = (EXAMPLES / "README.md").read_text().replace("\\\n", " ")
    commands = [
        shlex.split(line) for line in text.splitlines() if line.startswith("numbaloss score")
    ]
    assert len(commands) == 3
    for words in commands:
        words = [str(tmp_path / word) if word == "rows.parquet" else word for word in words]
        monkeypatch.chdir(EXAMPLES.parent)
        assert command(*words[1:]).code == 0
