"""What only a process of its own can show: start-up, memory, signals, full disks."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
SIZE = 6_000_000

# Modules that would cost time or memory, and the command that must do without them.
HEAVY = [
    (["--help"], {"numba", "pyarrow", "pandas", "rich"}),
    (["score", "--help"], {"numba", "pyarrow", "pandas"}),
    (["--version"], {"numba", "pyarrow", "pandas", "rich"}),
    (["list"], {"numba", "pyarrow", "pandas"}),
    (["score", "x.npz", "--loss", "mae", "-o", "o.npy"], {"pyarrow", "pandas"}),
    (["score", "x.csv", "--loss", "mae"], {"pandas"}),
    (["score", "x.parquet", "--loss", "mae", "-o", "o.parquet"], {"pandas"}),
    (
        ["score", "x.parquet", "--loss", "ce", "-p", "list", "-t", "text", "--classes", "a,b"],
        {"pandas"},
    ),
    (
        ["score", "x.npz", "--loss", "ce", "-p", "list", "-t", "text", "--classes", "a,b"],
        {"pyarrow", "pandas"},
    ),
]


def python(code: str, folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    HEAVY,
    ids=lambda one: " ".join(sorted(one) if isinstance(one, set) else one),
)
def test_modules_that_are_not_imported(tmp_path, arguments, forbidden):
    columns = {
        "prediction": [1.0, None],
        "target": [1.0, 2.0],
        "list": [[0.0, 1.0], [2.0, None]],
        "text": ["a", "b"],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text("prediction,target\n1,\n2,2\n")
    np.savez(tmp_path / "x.npz", prediction=[1.0], target=[2.0], list=[[0.0, 1.0]], text=["a"])
    code = (
        "import sys\nfrom numbaloss.cli import main\n"
        f"code = main({arguments!r})\n"
        f"loaded = {forbidden!r} & set(sys.modules)\n"
        "sys.exit(f'{code} {loaded}' if code or loaded else 0)"
    )
    done = python(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_extra_is_named_in_one_line(tmp_path):
    for missing, arguments in [("typer", ["list"]), ("pyarrow", ["score", "x.csv", "-l", "mae"])]:
        (tmp_path / "x.csv").write_text("prediction,target\n1,2\n")
        code = (
            f"import sys\nsys.modules[{missing!r}] = None\nfrom numbaloss.cli import main\n"
            f"sys.exit(main({arguments!r}))"
        )
        done = python(code, tmp_path)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert 'python -m pip install "numbaloss[cli]"' in done.stderr


def peak_megabytes(*arguments: object) -> float:
    """Peak memory of a command. A process starts with the peak of the one that it was forked
    from, which here is pytest: a small one goes in between."""
    measure = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
        "_, status, usage = os.wait4(process.pid, 0)\n"
        "print(usage.ru_maxrss)\n"
        "os._exit(os.waitstatus_to_exitcode(status) or sys.stdout.flush() or 0)\n"
    )
    command = [sys.executable, "-c", measure, sys.executable, "-m", "numbaloss"]
    command += map(str, arguments)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout) / 1024


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of files with many rows, each in one piece, and one of a quarter as many."""
    found = [make_files(tmp_path_factory.mktemp("rows"), size) for size in (SIZE, SIZE // 4)]
    # Compilers take memory too: what is measured later finds its code on disk.
    for ending in ("parquet", "csv"):
        peak_megabytes(
            "score",
            found[1] / f"x.{ending}",
            "--loss",
            "mae",
            "--gradient",
            "-o",
            found[1] / "o.npy",
        )
    return found


@pytest.fixture(scope="module")
def large(folders):
    return folders[0]


def make_files(folder: Path, size: int) -> Path:
    random = np.random.default_rng(1)
    prediction, target = random.standard_normal((2, size), np.float32)
    table = pa.table({"prediction": prediction, "target": target})
    pq.write_table(table, folder / "x.parquet", row_group_size=size)
    np.savez(folder / "x.npz", prediction=prediction, target=target)
    np.save(folder / "x.npy", np.stack([prediction, target], axis=1))
    (folder / "x.csv").write_text("prediction,target\n" + "1.2345678901234,0.1\n" * (size // 2))
    return folder


@pytest.mark.every(4)
@pytest.mark.parametrize("ending", ["parquet", "npz", "npy", "csv"])
def test_memory_does_not_grow_with_the_file(folders, tmp_path, ending):
    names = ("-p", "0", "-t", "1") if ending == "npy" else ()
    # Parquet's writer keeps a row group of a million rows; plain results are not kept at all.
    options = ("--loss", "mae", *names, "--gradient", "--output", tmp_path / "o.npy")
    # Whole columns would be 36 MB more, their gradient another 18. What allocators keep varies with
    # the load of the machine: the best of three.
    for _ in range(3):
        large, small = (peak_megabytes("score", one / f"x.{ending}", *options) for one in folders)
        if large < small + 40:
            break
    assert large < small + 40
    assert large < 400


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_a_full_disk_leaves_nothing_behind(start, large, tmp_path, ending):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    process = start(
        "score", large / "x.parquet", "--loss", "mse", "-o", tmp_path / f"o.{ending}",
        preexec_fn=limit,
    )  # fmt: skip
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == f"numbaloss: cannot write {tmp_path}/o.{ending}: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGHUP, 129)],
)
def test_being_stopped_leaves_nothing_behind(start, large, tmp_path, number, code):
    # Text is slow to read: there is time between the temporary file and the end.
    out = tmp_path / "o.parquet"
    process = start(
        "score", large / "x.csv", "--loss", "mse", "--threads", 1, "-o", out,
        # Whoever runs the tests may ignore hang-ups.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, "")
    assert list(tmp_path.iterdir()) == []


def test_hang_ups_that_are_ignored_stay_so(start, large, tmp_path):
    process = start(
        "score", large / "x.csv", "--loss", "mse", "--json", "-o", tmp_path / "o.npy",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["list", "--json"]])
def test_stdout_that_cannot_be_written_to(start, arguments):
    with open("/dev/full", "w") as full:
        process = start(*arguments, stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "numbaloss: cannot write to stdout: No space left on device\n"


def test_a_reader_that_has_seen_enough(start):
    process = start("list")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=30)
    assert err == ""


def test_progress_is_shown_on_stderr_where_it_is_a_terminal(large):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "numbaloss", "score", large / "x.npz", "--loss", "mae"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT)
    os.close(theirs)
    shown = os.read(ours, 100_000)
    os.close(ours)
    assert done.returncode == 0
    assert b"Scoring x.npz" in shown
    assert b"Scoring" not in done.stdout
