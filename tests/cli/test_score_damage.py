"""Files that are damaged, odd names, outputs that would replace inputs: never a traceback."""

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]


def make(folder):
    """A few rows in every format; ``wide`` is a matrix of three columns."""
    random = np.random.default_rng(0)
    prediction, target = random.standard_normal((2, 30))
    wide = random.standard_normal((30, 3))
    label = random.integers(0, 3, 30)
    columns = {"prediction": prediction, "target": target, "wide": list(wide), "label": label}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    pq.write_table(pa.table(columns), folder / "b.parquet", compression="gzip")
    columns["wide"] = wide
    np.savez(folder / "c.npz", **columns)
    np.savez_compressed(folder / "d.npz", **columns | {"wide": np.asfortranarray(wide)})
    np.save(folder / "e.npy", np.column_stack([prediction, target, wide, label]))
    np.save(folder / "f.npy", np.asfortranarray(np.load(folder / "e.npy")))
    records = np.empty(
        30, [("prediction", "f8"), ("target", "f4"), ("wide", "f4", (3,)), ("label", "i4")]
    )
    for name in records.dtype.names:
        records[name] = columns[name]
    np.save(folder / "g.npy", records)
    text = "".join(f"{p},{t},{k}\n" for p, t, k in zip(prediction, target, label))
    (folder / "h.csv").write_text("prediction,target,label\n" + text)
    (folder / "i.tsv").write_text("prediction\ttarget\tlabel\n" + text.replace(",", "\t"))
    return sorted(folder.iterdir())


def damaged(content, random):
    """The bytes with one fault of a few kinds; many of them in the headers."""
    found = bytearray(content)
    place = int(random.integers(len(found)))
    kind = random.integers(5)
    if kind == 0:
        del found[place:]
    elif kind == 1:
        found[place] ^= 1 << random.integers(8)
    elif kind == 2:
        found[place : place + 8] = random.bytes(8)
    elif kind == 3:
        del found[place : place + 20]
    else:
        found[int(random.integers(min(len(found), 200)))] = int(random.integers(256))
    return found


def arguments(path, random):
    plain = path.name in ("e.npy", "f.npy")
    if random.integers(2):
        return ["-l", "mae", "-p", "0", "-t", "1"] if plain else ["-l", "mae"]
    return ["-l", "ce", "-p", "2:5" if plain else "wide", "-t", "5" if plain else "label"]


def test_damaged_files_give_a_result_or_one_line(command, tmp_path):
    (tmp_path / "valid").mkdir()
    random = np.random.default_rng(7)
    for path in make(tmp_path / "valid"):
        content = path.read_bytes()
        for _ in range(15):
            broken = tmp_path / path.name
            broken.write_bytes(damaged(content, random))
            found = command("score", broken, *arguments(path, random))
            if found.code == 0:
                assert found.err == ""
            else:
                assert found.code in (1, 2)
                assert found.out == ""
                assert found.err.startswith("numbaloss: ")
                assert found.err.count("\n") == 1


def test_an_archive_with_a_password_is_called_so(command, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, prediction=[1.0], target=[2.0])
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(mark, place + 1)
    path.write_bytes(content)
    found = command("score", path, "-l", "mae")
    assert (found.code, found.err) == (1, f"numbaloss: cannot read {path}: it is encrypted\n")


def test_an_archive_with_other_things_and_longer_arrays(command, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, prediction=[1.0, 2.0], target=[2.0, 2.0])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "not an array")
    assert command("score", path, "-l", "mae", "--json").json["losses"][0]["value"] == 0.5
    found = command("score", path, "-l", "mae", "-t", "notes.txt")
    assert (found.code, "no column 'notes.txt'" in found.err) == (1, True)
    with zipfile.ZipFile(path) as archive:
        content = archive.read("target.npy")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("prediction.npy", content)
        archive.writestr("target.npy", content + b"more")
    found = command("score", tmp_path / "y.npz", "-l", "mae")
    assert (found.code, "longer than its header says" in found.err) == (1, True)


@pytest.mark.parametrize("packed", [False, True])
def test_many_columns_in_fortran_order_are_unpacked_once(command, tmp_path, packed, monkeypatch):
    from numbaloss.cli.tables import npz

    monkeypatch.setattr(npz, "IN_MEMORY", 1000)  # so that it goes by way of the disk
    wide = np.random.default_rng(1).standard_normal((200, 2000))
    columns = {"prediction": np.asfortranarray(wide), "target": np.arange(200)}
    (np.savez_compressed if packed else np.savez)(tmp_path / "f.npz", **columns)
    np.savez(tmp_path / "c.npz", prediction=wide, target=np.arange(200))
    found = [command("score", tmp_path / f"{k}.npz", "-l", "ce", "--json").json for k in "cf"]
    assert found[0]["losses"] == found[1]["losses"]
    # One stream a column took 18 s.
    assert found[1]["seconds"] < 3


def test_thousands_of_columns_take_linear_time(tmp_path):
    from numbaloss.cli.selection import select
    from numbaloss.cli.tables import open_table

    count = 30_000
    names = ",".join(f"p_{k}" for k in range(count))
    (tmp_path / "x.csv").write_text(f"{names},t\n")
    table = open_table(tmp_path / "x.csv")
    started = time.perf_counter()
    for text in (names, "p_*"):
        found = select(table, {"prediction": (text,), "target": ("t",)})
        assert len(found[0].columns) == count
    # Looking each name up in a list would take a minute.
    assert time.perf_counter() - started < 5


def test_results_never_replace_what_is_read(command, tmp_path):
    folder = tmp_path / "parts"
    (folder / "deep").mkdir(parents=True)
    outside = tmp_path / "outside.parquet"
    for path in (folder / "a.parquet", folder / "deep" / "b.parquet", outside):
        pq.write_table(pa.table({"prediction": [1.0], "target": [2.0]}), path)
    (folder / "c.parquet").symlink_to(outside)
    (tmp_path / "link.parquet").symlink_to(folder / "a.parquet")
    (tmp_path / "hard.parquet").hardlink_to(folder / "deep" / "b.parquet")
    (tmp_path / "same").symlink_to(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    for source in (folder, tmp_path / "same", folder / ".." / "parts"):
        for out in (
            folder / "a.parquet",
            folder / "new.parquet",
            folder / "new.npy",
            folder / "deep" / "new.parquet",
            tmp_path / "same" / "deep" / "b.parquet",
            tmp_path / "link.parquet",
            tmp_path / "hard.parquet",
            outside,
        ):
            found = command("score", source, "-l", "mae", "-o", out)
            assert (found.code, found.out) == (2, "")
            assert "lies in the folder that is read" in found.err or "would replace" in found.err
    found = command("score", folder / "a.parquet", "-l", "mae", "-o", tmp_path / "link.parquet")
    assert (found.code, "would replace" in found.err) == (2, True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    assert command("score", folder, "-l", "mae", "-o", tmp_path / "o.parquet").code == 0
    assert pq.read_table(tmp_path / "o.parquet").num_rows == 3


def test_names_of_files_cannot_steer_the_terminal(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a\x1b[31mb", "a[red]b", os.fsdecode(b"a\xff"), "a\u202eb"):
        for ending in ("csv", "parquet", "npz"):
            path = Path(f"{name}.{ending}")
            columns = {"prediction": np.array([1.0]), "target": np.array([2.0])}
            if ending == "csv":
                path.write_text("prediction,target\n1,2\n")
            elif ending == "npz":
                with open(path, "wb") as file:
                    np.savez(file, **columns)
            else:
                with open(path, "wb") as file:
                    pq.write_table(pa.table(columns), file)
            found = command("score", path, "-l", "mae")
            assert found.code == 0, found.err
            wrong = command("score", path, "-l", "mae", "-t", "x")
            assert wrong.code == 1
            for text in (found.out, wrong.err):
                assert text.replace("\n", "").isprintable()
    assert "a\\x1b[31mb.csv" in command("score", "a\x1b[31mb.csv", "-l", "mae").out
    assert "a[red]b.csv" in command("score", "a[red]b.csv", "-l", "mae").out


def test_paths_that_cannot_be_opened(command, tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    found = command("score", tmp_path / "x.csv", "-l", "mae")
    assert (found.code, "neither a file nor a folder" in found.err) == (1, True)
    name = "x" * 5000 + ".csv"
    found = command("score", name, "-l", "mae")
    assert (found.code, "cannot read" in found.err, "name too long" in found.err) == (1, True, True)
    np.savez(tmp_path / "x.npz", prediction=[1.0], target=[2.0])
    found = command("score", tmp_path / "x.npz", "-l", "mae", "-o", "x" * 5000 + ".npy")
    assert (found.code, "cannot write" in found.err) == (1, True)


@pytest.mark.parametrize("text", ["é", "||", "", '"', "\n", "\0"])
def test_delimiters_that_are_none(command, tmp_path, text):
    (tmp_path / "x.csv").write_text("prediction,target\n1,2\n")
    found = command("score", tmp_path / "x.csv", "-l", "mae", "--delimiter", text)
    assert (found.code, "one character" in found.err) == (2, True)


@pytest.mark.parametrize("text", ["\t", "\\t", "tab"])
def test_tabs_as_they_are_written(command, tmp_path, text):
    (tmp_path / "x.csv").write_text("prediction\ttarget\n1\t2\n")
    found = command("score", tmp_path / "x.csv", "-l", "mae", "--delimiter", text, "--json")
    assert found.json["losses"][0]["value"] == 1


@pytest.mark.parametrize("columns", ["0", "1", "40"])
def test_narrow_terminals_are_shown_whole_names(command, tmp_path, monkeypatch, columns):
    (tmp_path / "x.csv").write_text("prediction,target\n1,2\n")
    losses = command("list", "--json").json
    monkeypatch.setenv("COLUMNS", columns)
    shown = command("list").out
    for one in losses:
        for name in (one["name"], *one["aliases"]):
            assert name in shown
    assert "…" not in shown
    shown = command("score", tmp_path / "x.csv", "-l", "huber:delta=1.5").out
    assert "huber:delta=1.5" in shown
    assert "gradient norm" in shown


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_streams_without_all_letters(tmp_path, encoding):
    name = "größe\x1b" + os.fsdecode(b"\xff") + ".npz"
    with open(tmp_path / name, "wb") as file:
        np.savez(file, prediction=[1.0], target=[2.0])
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    code = (
        "import sys\nfrom numbaloss.cli import main\n"
        "main(['score', sys.argv[1], '-l', 'mae', '--json'])\nprint('---')\n"
        "main(['score', sys.argv[1], '-l', 'mae'])"
    )
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    found, shown = done.stdout.decode(encoding).split("---\n", 1)
    assert json.loads(found)["file"] == name
    assert ("größe" if encoding == "utf-8" else "gr\\xf6\\xdfe") + "\\x1b\\udcff.npz" in shown


@pytest.mark.skipif(not shutil.which("sh"), reason="needs a shell")
def test_streams_that_are_closed(tmp_path):
    np.savez(tmp_path / "x.npz", prediction=[1.0], target=[2.0])
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def shell(text):
        command = ["sh", "-c", f'"$0" -m numbaloss {text}', sys.executable]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    done = shell("list >&-")
    assert (done.returncode, done.stderr) == (
        1,
        "numbaloss: cannot write to stdout: it is closed\n",
    )
    done = shell("score x.npz -l mae -t nothing 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    done = shell("score x.npz -l mae -o o.npy <&- 2>&-")
    assert done.returncode == 0
    assert np.load(tmp_path / "o.npy").tolist() == [1.0]
