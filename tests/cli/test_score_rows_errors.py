"""What is wrong with many classes is said in one line: 1 for the data, 2 for the command."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def path(tmp_path):
    """Three classes, two rows."""
    columns = {
        "p_a": [0.0, 1.0],
        "p_b": [1.0, 0.0],
        "p_c": [0.5, 0.5],
        "target": [0, 2],
        "huge": np.array([2**63, 0], np.uint64),
        "text": ["a", "c"],
        "late": ["a", "unknown"],
        "list": [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]],
        "ragged": [[0.0, 1.0, 2.0], [1.0, 2.0]],
        "texts": [["a"], ["b"]],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    return tmp_path / "x.parquet"


@pytest.fixture
def fails(command):
    """Assert that a command fails with one line that holds all the given words."""

    def check(code, *arguments, words):
        found = command("score", *arguments)
        assert (found.code, found.out) == (code, ""), found
        assert found.err.startswith("numbaloss: ")
        assert found.err.count("\n") == 1
        for word in words:
            assert word in found.err

    return check


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-l", "mae", "-p", "p_*"], ["--prediction names 3 columns", "mae takes a number a row"]),
        (["-l", "mae", "-p", "p_a,p_b"], ["--prediction names 2 columns"]),
        (["-l", "mae", "-p", "p_a", "-t", "p_b,p_c"], ["--target names 2 columns"]),
        (
            ["-l", "mae", "-p", "p_a", "--classes", "a,b"],
            ["--classes is for losses of rows", "mae is neither"],
        ),
        (["-l", "ce", "-p", "p_a"], ["--prediction p_a is one number a row", "ce takes one a"]),
        (["-l", "ce", "-l", "mae", "-p", "p_*"], ["'ce' takes a row of", "'mae' a single one"]),
        (["-l", "mae + ce", "-p", "p_*"], ["a sum needs losses of one structure"]),
        (["-l", "ce", "-p", "list", "-t", "text"], ["--target text holds text: --classes"]),
        (["-l", "ce", "-p", "p_a,p_b,p_c", "-t", "text"], ["--classes a,b,c says in which order"]),
        (["-l", "ce", "-p", "p_a,p_b,p_a"], ["names the column 'p_a' twice"]),
        (["-l", "ce", "-p", "p_*", "--classes", "a,b,a"], ["--classes a,b,a names 'a' twice"]),
        (["-l", "ce", "-p", "p_*", "--classes", "a,,b"], ["has an empty name"]),
        (["-l", "distillation", "-p", "p_*"], ["takes a target for every class, not labels"]),
        (["-l", "multi_margin", "-p", "p_*", "-t", "list"], ["takes labels: name one"]),
        (["-l", "ce:class_weight=1/x", "-p", "p_*"], ["class_weight must be an array"]),
        (["-l", "huber:delta=1/2", "-p", "p_a"], ["delta must be a number"]),
        (["-l", "ce", "-p", "p_*", "-w", "p_a,p_b"], ["--weight names 2 columns"]),
    ],
)
def test_commands_that_no_file_could_serve(fails, path, arguments, words):
    fails(2, path, *arguments, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-l", "mae", "-p", "list"], ["column 'list' holds lists of 3 numbers"]),
        (["-l", "ce", "-p", "q_*"], ["no column that matches 'q_*'"]),
        (["-l", "ce", "-p", "p_a,p_x"], ["no column 'p_x'", "did you mean"]),
        (["-l", "ce", "-p", "p_a,text"], ["column 'text' holds text, not numbers"]),
        (["-l", "ce", "-p", "texts"], ["column 'texts' holds list"]),
        (["-l", "ce", "-p", "p_a,list"], ["column 'list' holds lists; --prediction takes one"]),
        (["-l", "ce", "-p", "ragged"], ["row 1 has 2 numbers in column 'ragged'", "has 3"]),
        (["-l", "kl", "-p", "list", "-t", "p_a,p_b"], ["--target has 2 numbers a row, --pred"]),
        (["-l", "ce", "-p", "p_*", "--classes", "a,b"], ["--classes names 2 classes", "3 columns"]),
        (["-l", "ce", "-p", "p_*", "-t", "late"], ["target of row 1 is 'unknown'", "a, b, c"]),
        (["-l", "ce", "-p", "p_a,p_b"], ["the target of row 1 is 2; labels of 2 classes are 0"]),
        (["-l", "ce", "-p", "p_*", "-t", "p_c"], ["target of row 0 is 0.5; labels are whole"]),
        (
            ["-l", "ce", "-p", "p_*", "-t", "huge"],
            ["is 9.2233720368547758e+18; labels are whole numbers below 2**62"],
        ),
        (
            ["-l", "ce", "-p", "p_*", "--classes", "0,1,5"],
            ["row 1 is '2'; the classes are 0, 1, 5"],
        ),
        (["-l", "ce", "-p", "p_*", "-w", "list"], ["column 'list' holds lists of 3 numbers"]),
        (["-l", "ce:class_weight=1/2", "-p", "p_*"], ["class_weight has 2 numbers"]),
        (["-l", "brier", "-p", "p_*", "-t", "list"], ["target of row 0, class 2, is 2; "]),
        (
            ["-l", "ce:from_logits=false", "-p", "list"],
            ["prediction of row 0, class 2, is 2; ", "takes predictions in [0, 1]"],
        ),
    ],
)
def test_files_that_do_not_fit(fails, path, arguments, words):
    fails(1, path, *arguments, words=words)


def test_rows_are_counted_over_the_whole_file(fails, tmp_path):
    label = np.zeros(400_000, np.int64)
    label[[290_000, 300_000]] = 7
    table = pa.table({"prediction": pa.array([[0.0, 1.0]] * 400_000), "target": label})
    pq.write_table(table.slice(0, 250_000), tmp_path / "a.parquet")
    pq.write_table(table.slice(250_000), tmp_path / "b.parquet")
    place = "the target of row 290000 (row 40000 of b.parquet) is 7; labels of 2 classes"
    fails(1, tmp_path, "-l", "ce", words=[place])


def test_a_label_that_is_missing_is_named(fails, tmp_path):
    path = tmp_path / "x.csv"
    for first, arguments in [("0", ()), ("cat", ("--classes", "cat,dog"))]:
        path.write_text(f"p_0,p_1,target\n1,2,{first}\n1,2,\n1,2,NA\n")
        words = ["the target of row 1 is missing; --skip-nan leaves such rows out"]
        fails(1, path, "-l", "ce", "-p", "p_*", *arguments, words=words)


def test_lists_of_other_lengths_in_other_files(fails, tmp_path):
    for name, row in [("a", [0.0, 1.0]), ("b", [0.0, 1.0, 2.0])]:
        pq.write_table(pa.table({"prediction": [row], "target": [0]}), tmp_path / f"{name}.parquet")
    words = ["row 1 (row 0 of b.parquet) has 3 numbers in column 'prediction'"]
    fails(1, tmp_path, "-l", "ce", words=words)
    column = {"prediction": [1.0], "target": [0]}
    pq.write_table(pa.table(column), tmp_path / "b.parquet")
    fails(1, tmp_path, "-l", "ce", words=["b.parquet: column 'prediction' is of another type"])


@pytest.mark.parametrize("rows", [[], [None, None]])
def test_lists_that_are_not_there(fails, tmp_path, rows):
    prediction = pa.array(rows, pa.list_(pa.float32()))
    table = pa.table({"prediction": prediction, "target": pa.array([0] * len(rows), pa.int64())})
    pq.write_table(table, tmp_path / "x.parquet")
    fails(1, tmp_path / "x.parquet", "-l", "ce", words=["has no rows"])


def test_columns_of_plain_arrays(fails, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 3)))
    for name in ("0:4", "2:1", "1:1", "a:b", "-4:"):
        words = [f"no column '{name}'", "0 to 2"]
        fails(1, path, "-l", "ce", "-p", name, "-t", "2", words=words)
    fails(2, path, "-l", "ce", "-p", "0,-3", "-t", "2", words=["names the column '0' twice"])


def test_text_in_arrays(fails, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, prediction=np.zeros((3, 2)), target=np.array(["a", "b", "x"]))
    fails(1, path, "-l", "ce", "--classes", "a,b", words=["row 2 is 'x'; the classes are a, b"])
    fails(1, path, "-l", "mae", "-p", "target", words=["column 'target' holds text, not numbers"])
