"""Text as programs write it: delimiters, decimal commas, encodings, long rows, culprits."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import numbaloss as nl
from numbaloss.cli.tables.text import find_delimiter

ROWS = "prediction,target,größe\n1.5,2.5,a\n3,1,b\n"


@pytest.fixture
def value(command, tmp_path):
    """The value of the absolute error of a text."""

    def score(content, *arguments, name="x.csv"):
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return command("score", path, "-l", "mae", "--json", *arguments).json["losses"][0]["value"]

    return score


@pytest.fixture
def told(command, tmp_path):
    """What is said of a text that cannot be read."""

    def score(content, *arguments, code=1, loss="mae"):
        path = tmp_path / "x.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        found = command("score", path, "-l", loss, *arguments)
        assert (found.code, found.out, found.err.count("\n")) == (code, "", 1), found
        return found.err

    return score


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.txt", "x.csv.gz"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(value, name, delimiter):
    assert value(ROWS.replace(",", delimiter), name=name) == 1.5


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a\n1\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("price, EUR;b;c\n1,5;2;3\n", ";"),
        ('"a;b;c",d\n1,2\n', ","),
        ("a,b\nx;y;z,2\nx,2\n", ","),
        ("a,b\n1,2,3\n1\n", ","),
        ("a|b\n1|2", "|"),
        ("a\tb,c\td\n1\t2,3\t4\n", "\t"),
        ('a;b\n"x\ny;z";2\n', ";"),
    ],
)
def test_the_delimiter_gives_every_line_as_many_fields(text, delimiter):
    assert find_delimiter(text.encode(), "utf-8", ",", ".") == delimiter


def test_decimal_commas(value, told):
    text = "prediction;target\n1,5;2,5\n-3,25e1;1\n"
    assert value(text, "--decimal", ",") == (1.0 + 33.5) / 2
    assert "holds '1,5' in row 0, not numbers; --decimal , reads decimal commas" in told(text)
    late = "prediction;target\n" + "1;2\n" * 200_000 + "1;2,5\n"
    assert "holds '2,5' in row 200000, not numbers; --decimal , reads" in told(late)
    assert "has a decimal point" in told(text.replace("1,5", "1.5"), "--decimal", ",")
    # A comma cannot be both.
    assert value("prediction\ttarget\n1,5\t2,5\n", "--decimal", ",") == 1.0
    wrong = told(text, "--decimal", ",", "--delimiter", ",", code=2)
    assert "--decimal and --delimiter are both ','" in wrong
    for mark in ("..", "5", "-", "é"):
        assert "--decimal must be" in told(text, "--decimal", mark, code=2)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark_are_found(value, encoding):
    assert value(ROWS.encode(encoding)) == 1.5
    assert value(ROWS.replace(",", ";").encode(encoding)) == 1.5


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "utf-16-be", "utf-8"])
def test_encodings_that_are_named(value, encoding):
    assert value(ROWS.encode(encoding), "--encoding", encoding) == 1.5


def test_encodings_that_are_not_named(told, value):
    words = told(ROWS.encode("cp1252"))
    assert "the header is not UTF-8, for its byte 0xf6" in words
    assert "with --encoding cp1252 it reads 'on,target,größe'" in words
    for name in ("utf-16-le", "utf-16-be"):
        assert f"is UTF-16 text without a mark: --encoding {name}" in told(ROWS.encode(name))
    assert "no such encoding" in told(ROWS, "--encoding", "klingon", code=2)
    assert "no such encoding" in told(ROWS, "--encoding", "base64", code=2)
    # In columns that are not asked for, other letters do no harm.
    content = "prediction,target,name\n1.5,2.5,ä\n3,1,b\n".encode("cp1252")
    assert value(content) == 1.5
    words = told(content, "-t", "name")
    assert "text in row 0 that is not UTF-8" in words
    assert "--encoding names another" in words


def test_labels_that_are_not_utf_8(command, tmp_path):
    path = tmp_path / "x.csv"
    text = "a,b,target\n0,1,grün\n" + "1,0,rot\n" * 100_000 + "1,0,weiß\n"
    path.write_bytes(text.encode("latin-1"))
    arguments = ("score", path, "-l", "ce", "-p", "a,b", "--classes", "grün,rot")
    found = command(*arguments)
    assert (found.code, "in row 0 that is not UTF-8" in found.err) == (1, True)
    found = command(*arguments, "--encoding", "latin-1")
    assert (found.code, "row 100001 is 'weiß'" in found.err) == (1, True)


def test_rows_beyond_a_block(value, told):
    long = "x" * 3_000_000
    assert value(f"prediction,target,note\n1,2,{long}\n2,4,a\n") == 1.5
    # In the middle of others, which are counted once.
    few = "1,2,a\n" * 250_000
    text = f'prediction,target,note\n{few}5,2,"{long}"\n{few}oops,2,\n'
    assert "holds 'oops' in row 500001" in told(text)
    assert value(text.replace("oops", "5")) == (500_000 + 3 + 3) / 500_002
    names = ",".join(f"column_{k}" for k in range(100_000))
    assert value(f"{names},prediction,target\n{'0,' * 100_000}1,2\n") == 1


def test_a_quote_without_an_end(told, monkeypatch):
    from numbaloss.cli.tables import delimited

    monkeypatch.setattr(delimited, "MOST", 1 << 20)
    text = 'prediction,target\n1,"2\n' + "1,2\n" * 2_000_000
    assert "is a quote without its end?" in told(text)


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (["", "NA", " nan ", "-1.5e3", ".5", "oops", "x"], "'oops' in row 5"),
        (["1_000", "2"], "'1_000' in row 0"),
        (["1", "12:30"], "'12:30' in row 1"),
        (["2024-01-31"], "'2024-01-31' in row 0"),
        (["true", "3"], "'true' in row 0"),
        (["1", "\x1b[31m"], "'\\x1b[31m' in row 1"),
    ],
)
def test_the_culprit_is_named(told, cells, shown):
    text = "prediction,target\n" + "".join(f'1,"{cell}"\n' for cell in cells)
    assert f"column 'target' holds {shown}, not numbers" in told(text)


def test_numbers_after_flags(told):
    text = "prediction,target\n" + "1,true\n" * 200_000 + "1,7\n"
    assert "'7' in row 200000, among true and false" in told(text)


@pytest.mark.parametrize("text", [" ", "\n\n", "\0\0"])
def test_texts_without_names(told, text):
    assert "has no line with the names of columns" in told(text)


def test_a_column_alone_hints_at_the_delimiter(told):
    assert "--delimiter says what is between" in told("prediction:target\n1:2\n")


def test_string_views_and_empty_lists(command, tmp_path):
    path = tmp_path / "x.parquet"
    columns = {
        "a": [0.0, 1.0],
        "b": [2.0, 1.0],
        "view": pa.array(["no", "yes"], pa.string_view()),
        "empty": [[], []],
        "partly": [[], [1.0]],
        "fixed": pa.array([[], []], pa.list_(pa.float32(), 0)),
    }
    pq.write_table(pa.table(columns), path)
    arguments = ("score", path, "-l", "ce", "-t", "view", "--classes", "no,yes")
    found = command(*arguments, "-p", "a,b", "--json").json["losses"][0]["value"]
    assert found == pytest.approx(nl.CrossEntropy()([[0.0, 2.0], [1.0, 1.0]], [0, 1]), rel=1e-14)
    np.savez(tmp_path / "x.npz", prediction=np.zeros((2, 0)), target=np.zeros(2, int))
    for names in (("-p", "empty"), ("-p", "partly"), ("-p", "fixed")):
        found = command(*arguments, *names)
        assert (found.code, "holds empty lists" in found.err) == (1, True)
    found = command("score", tmp_path / "x.npz", "-l", "ce")
    assert (found.code, "holds empty lists" in found.err) == (1, True)


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz", "npy"])
@pytest.mark.parametrize(
    ("classes", "targets"),
    [
        ("no,yes", ["yes", "no", "yes"]),
        ("0,x", ["x", "0", "x"]),
        ("-1,1", [1, -1, 1]),
        ("2,1", [1.0, 2.0, 1.0]),
    ],
)
def test_what_binary_losses_call_their_classes(command, tmp_path, ending, classes, targets):
    path = tmp_path / f"x.{ending}"
    columns = {"prediction": np.array([0.5, -1.0, 2.0]), "target": np.array(targets)}
    if ending == "csv":
        rows = zip(columns["prediction"], targets)
        path.write_text("prediction,target\n" + "".join(f"{p},{t}\n" for p, t in rows))
    elif ending == "parquet":
        pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), path)
    elif ending == "npz":
        np.savez(path, **columns)
    else:
        np.save(path, np.rec.fromarrays(list(columns.values()), names=list(columns)))
    arguments = ("-l", "bce", f"--classes={classes}", "--json")
    found = command("score", path, *arguments).json["losses"][0]["value"]
    expected = nl.BinaryCrossEntropy()(columns["prediction"], [1.0, 0.0, 1.0])
    assert found == pytest.approx(expected, rel=1e-14)
    other = command("score", path, "-l", "bce", "--classes=7,8")
    assert (other.code, "the classes are 7, 8" in other.err) == (1, True)


def test_classes_of_binary_losses_that_do_not_fit(told, value, command, tmp_path):
    text = "prediction,target\n1,yes\n2,no\n3,\n"
    hint = "--classes no,yes says which text is 0 and which is 1"
    assert hint in told(text, loss="bce")
    assert hint not in told(text)
    assert "names 3 classes; bce has two" in told(text, "--classes", "a,b,c", loss="bce", code=2)
    assert "row 1 is 'no'" in told(text, "--classes", "yes,maybe", loss="bce")
    path = tmp_path / "x.csv"
    arguments = ("score", path, "-l", "bce", "--classes", "no,yes", "--skip-nan", "--json")
    assert command(*arguments).json["rows_skipped"] == 1
