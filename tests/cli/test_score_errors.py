"""What is wrong is said in one line on stderr; 1 for the data, 2 for the command."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.csv"
    path.write_text("prediction,target,label,name\n1.0,2.0,0,a\n3.0,0.5,1,b\n")
    return path


@pytest.fixture
def fails(command, tmp_path):
    """Assert that a command fails with one line that holds all the given words."""

    def check(code, *arguments, words, **options):
        before = sorted(path.name for path in tmp_path.rglob("*"))
        found = command("score", *arguments, **options)
        assert found.code == code, found
        assert found.out == ""
        assert found.err.startswith("numbaloss: ")
        assert found.err.count("\n") == 1
        for word in words:
            assert word in found.err
        assert sorted(path.name for path in tmp_path.rglob("*")) == before

    return check


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("hubr", ["'hubr'", "did you mean huber"]),
        ("zzzzzz", ["`numbaloss list`"]),
        ("huber:delta=-1", ["delta must be in (0, inf), not -1.0"]),
        ("huber:delta=big", ["delta must be a number, not 'big'"]),
        ("huber:dleta=1", ["no parameter 'dleta'", "delta"]),
        ("huber:delta", ["'delta' should read parameter=value"]),
        ("huber:delta=1,delta=2", ["'delta' is given twice"]),
        ("huber:delta=1:x=2", ["too many colons"]),
        ("mse + ", ["name:parameter=value"]),
        ("inf*mse", ["'inf*mse'"]),
        ("missing.py:Mine", ["missing.py does not exist"]),
        ("missing_module:Mine", ["No module named 'missing_module'"]),
    ],
)
def test_losses_that_do_not_exist(fails, good, loss, words):
    fails(2, good, "--loss", loss, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--loss"]),
        (["--loss", "mae", "--loss", "l1"], ["'l1' is the same as --loss 'mae'"]),
        (["--loss", "mae", "--reduction", "median"], ["weighted_mean"]),
        (["--loss", "mae", "--threads", "0"], ["--threads"]),
        (["--loss", "mae", "--delimiter", "||"], ["one character"]),
        (["--loss", "mae", "--gradient"], ["need an --output"]),
        (["--loss", "mae", "--no-such-option"], ["--no-such-option"]),
        (["--loss", "mae", "--output", "out.csv"], [".parquet or .npy"]),
    ],
)
def test_options_that_make_no_sense(fails, good, arguments, words):
    fails(2, good, *arguments, words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "targte"], ["no column 'targte'", "did you mean 'target'?"]),
        (["--target", "TARGET"], ["did you mean 'target'?"]),
        (["--target", "zzz"], ["it has prediction, target, label, name"]),
        (["--weight", "wieght"], ["no column 'wieght'"]),
        (["--target", "name"], ["column 'name' holds 'a' in row 0, not numbers"]),
        (["--output", "no_folder/out.npy"], ["the folder no_folder does not exist"]),
    ],
)
def test_columns_and_places_that_do_not_exist(fails, good, arguments, words):
    fails(1, good, "--loss", "mae", *arguments, words=words)


def test_files_that_are_not_there_or_not_tables(fails, tmp_path):
    (tmp_path / "table.xlsx").touch()
    (tmp_path / "picture.png").write_text("x")
    (tmp_path / "folder").mkdir()
    loss = ("--loss", "mae")
    fails(1, tmp_path / "nothing.csv", *loss, words=["nothing.csv does not exist"])
    fails(1, tmp_path / "table.xlsx", *loss, words=["table.xlsx is empty"])
    fails(2, tmp_path / "picture.png", *loss, words=[".csv", ".parquet", ".npz"])
    fails(1, tmp_path / "folder", *loss, words=["without Parquet files"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy", "npz", "csv.gz"])
def test_files_that_are_something_else(fails, tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    path.write_bytes(b"\x00\x01\x02garbage" * 99)
    fails(1, path, "--loss", "mae", words=[f"x.{ending}"])


@pytest.mark.parametrize("ending", ["csv", "parquet", "npy", "npz"])
def test_tables_without_rows(fails, tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    nothing = {"prediction": np.zeros(0), "target": np.zeros(0)}
    if ending == "csv":
        path.write_text("prediction,target\n")
    elif ending == "parquet":
        pq.write_table(pa.table(nothing), path)
    elif ending == "npz":
        np.savez(path, **nothing)
    else:
        np.save(path, np.zeros(0, [("prediction", "f8"), ("target", "f8")]))
    fails(1, path, "--loss", "mae", "-o", tmp_path / "o.npy", words=["has no rows"])


@pytest.mark.parametrize("ending", ["parquet", "npy", "npz"])
@pytest.mark.parametrize("share", [0.02, 0.7, 0.999])
def test_files_that_were_cut_off(fails, tmp_path, rows, ending, share):
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(rows.columns()), path)
    elif ending == "npz":
        np.savez(path, **rows.columns())
    else:
        np.save(path, np.stack(rows, axis=1))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    names = ("-p", "0", "-t", "1") if ending == "npy" else ()
    out = ("-o", tmp_path / "o.npy")
    fails(1, path, "--loss", "mae", *names, *out, words=["cannot read", f"x.{ending}"])


@pytest.mark.parametrize("ending", ["parquet", "npz"])
def test_files_with_a_damaged_middle(fails, tmp_path, rows, ending):
    path = tmp_path / f"x.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(rows.columns()), path, compression="gzip")
    else:
        np.savez_compressed(path, **rows.columns())
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    fails(1, path, "--loss", "mae", "-o", tmp_path / "o.npy", words=["cannot read"])


def test_text_with_a_row_too_short_and_a_word_among_numbers(fails, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prediction,target\n" + "1,2\n" * 400_000 + "3\n")
    fails(1, path, "--loss", "mae", words=["Expected 2 columns, got 1"])
    path.write_text("a,prediction,target\n" + "0,1,2\n" * 400_000 + "0,1,oops\n")
    fails(1, path, "--loss", "mae", words=["column 'target' holds 'oops' in row 400000"])


def test_columns_that_hold_no_numbers(fails, tmp_path):
    path = tmp_path / "x.parquet"
    columns = {
        "prediction": [1.0],
        "text": ["a"],
        "list": [[1.0]],
        "day": pa.array([0], pa.date32()),
    }
    pq.write_table(pa.table(columns), path)
    for name in ("text", "list", "day"):
        fails(1, path, "--loss", "mae", "-t", name, words=[f"column '{name}' holds"])
    np.savez(tmp_path / "x.npz", prediction=[1.0], complex=[1j], object=np.array([None]))
    for name in ("complex", "object"):
        fails(1, tmp_path / "x.npz", "--loss", "mae", "-t", name, words=[name, "holds"])


def test_names_that_occur_twice(fails, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("prediction,target,target\n1,2,3\n")
    fails(1, path, "--loss", "mae", words=["2 columns that are called 'target'"])


def test_arrays_of_the_wrong_shape(fails, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    fails(1, tmp_path / "x.npy", "--loss", "mae", words=["(3,)", "two dimensions"])
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    names = ("-p", "0", "-t", "2")
    fails(1, tmp_path / "x.npy", "--loss", "mae", *names, words=["'2'", "0 to 1"])
    np.savez(tmp_path / "x.npz", prediction=np.zeros(3), target=np.zeros(4))
    fails(1, tmp_path / "x.npz", "--loss", "mae", words=["prediction has 3, target has 4"])
    np.savez(tmp_path / "x.npz", prediction=np.zeros((3, 2)), target=np.zeros(3))
    words = ["lists of 2 numbers", "mae takes a number a row"]
    fails(1, tmp_path / "x.npz", "--loss", "mae", words=words)
    np.savez(tmp_path / "x.npz", prediction=np.zeros((3, 2, 1)), target=np.zeros(3))
    fails(1, tmp_path / "x.npz", "--loss", "mae", words=["(3, 2, 1)", "or two"])


@pytest.mark.parametrize("skip", [[], ["--skip-nan"]])
def test_rows_outside_the_domain_are_counted_over_the_whole_file(fails, tmp_path, rows, skip):
    rows.target.fill(1.0)
    rows.prediction[[5, 200_000]] = np.nan
    rows.target[250_000] = 1.5
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(rows.columns()), path)
    words = ["the target of row 250000 is 1.5", "[0, 1]"]
    fails(1, path, "--loss", "bce", *skip, words=words)


def test_no_check_lets_them_pass(command, tmp_path):
    np.savez(tmp_path / "x.npz", prediction=[0.0], target=[1.5])
    assert command("score", tmp_path / "x.npz", "--loss", "bce", "--no-check").code == 0


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_weights_that_are_none(fails, tmp_path, weight):
    np.savez(tmp_path / "x.npz", prediction=[0.0, 1.0], target=[1.0, 1.0], w=[1.0, weight])
    words = ["the weight of row 1 is"]
    fails(1, tmp_path / "x.npz", "--loss", "mae", "-w", "w", words=words)


def test_output_that_cannot_be(fails, good, tmp_path):
    (tmp_path / "folder.npy").mkdir()
    words = ["folder.npy is a folder"]
    fails(1, good, "--loss", "mae", "-o", tmp_path / "folder.npy", words=words)
    np.savez(tmp_path / "x.npz", prediction=[0.0], target=[1.0])
    np.save(tmp_path / "x.npy", np.zeros((2, 2)))
    words = ["would replace the file that is read"]
    names = ("-p", "0", "-t", "1")
    fails(2, tmp_path / "x.npy", *names, "--loss", "mae", "-o", tmp_path / "x.npy", words=words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return prediction.shape, 1.0, 1.0", ["Mine.point does not compile", "mine.py, line"]),
        ("return prediction - target", ["Mine.point does not compile"]),
    ],
)
def test_losses_of_ones_own_that_do_not_compile(fails, good, tmp_path, body, words):
    path = tmp_path / "mine.py"
    path.write_text(
        "import numbaloss as nl\n"
        "class Mine(nl.Elementwise):\n"
        f"    def point(self, prediction, target):\n        {body}\n"
    )
    fails(1, good, "--loss", f"{path}:Mine", words=words)


def test_files_of_ones_own_that_fail(fails, good, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("1 / 0\n")
    fails(2, good, "--loss", f"{path}:Mine", words=["mine.py", "ZeroDivisionError"])
    path.write_text("class Mine: pass\n")
    fails(2, good, "--loss", f"{path}:Mine", words=["no loss 'Mine'"])


def test_an_exception_of_a_formula_is_told_with_its_row(fails, good, tmp_path):
    (tmp_path / "own.py").write_text(
        "import numbaloss as nl\n"
        "class Strict(nl.Elementwise):\n"
        "    def value(self, prediction, target):\n"
        "        if target < 1.0:\n"
        "            raise LookupError('a small target')\n"
        "        return (prediction - target) ** 2\n"
    )
    words = ["row 1", "LookupError: a small target", "prediction = 3, target = 0.5", "Strict()"]
    fails(1, good, "--loss", f"{tmp_path / 'own.py'}:Strict", words=words)
