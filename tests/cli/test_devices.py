"""`numbaloss devices`, and `numbaloss score --device cuda`, the latter in Numba's simulator."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from numbaloss.cuda import availability

needs_simulator = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
needs_no_gpu = pytest.mark.skipif(availability.problem() is None, reason="a GPU can be used here")


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(availability, "diagnosis", lambda: availability.NO_PACKAGE)


@pytest.mark.usefixtures("without_gpu")
def test_what_is_missing_is_said_with_the_command_that_mends_it(command):
    shown = command("devices")
    assert (shown.code, shown.err) == (0, "")
    lines = [line.rstrip() for line in shown.out.splitlines()]
    assert "no GPU can be used: the package numba-cuda is missing" in lines
    assert '  python -m pip install "numbaloss[cuda13]"' in lines
    assert max(map(len, lines)) <= 80
    found = command("devices", "--json").json
    assert found["gpus"] == []
    assert found["problem"] == "the package numba-cuda is missing"
    assert found["cpu"]["threads"] >= 1


def test_gpus_are_shown_in_eighty_columns(command, monkeypatch):
    one = availability.Gpu(0, "NVIDIA RTX 6000 Ada Generation", (8, 9), 142, 48 << 30)
    monkeypatch.setattr(availability, "diagnosis", lambda: None)
    monkeypatch.setattr(availability, "gpus", lambda: [one, one._replace(number=1)])
    monkeypatch.setattr(availability, "driver_version", lambda: "13.0")
    shown = command("devices")
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 80
    words = " ".join(shown.out.split())
    for text in ("cuda:1", "142 multiprocessors", "48.0 GiB", "8.9", "CUDA driver 13.0"):
        assert text in words
    assert "no GPU" not in shown.out
    assert command("devices", "--json").json["gpus"][1] == {
        "device": "cuda:1",
        "name": one.name,
        "compute_capability": "8.9",
        "multiprocessors": 142,
        "memory_bytes": 48 << 30,
    }


def test_this_machine_is_shown(command):
    assert command("devices").code == 0
    assert command("devices", "--jsn").code == 2


@pytest.mark.usefixtures("without_gpu")
def test_score_on_a_gpu_that_is_not_there(command, tmp_path):
    found = command("score", tmp_path / "missing.npz", "--loss", "mse", "--device", "cuda")
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("numbaloss: --device cuda: no GPU can be used: the package")
    assert found.err.endswith("see `numbaloss devices`\n")
    assert found.err.count("\n") == 1
    assert command("score", "x.npz", "--loss", "mse", "--device", "tpu").code == 2


BATCHES = """
import json, sys
sys.setswitchinterval(2e-5)
from numbaloss.cli import main, tables
tables.BATCH_ROWS = 96
for arguments in json.load(sys.stdin):
    print(main(arguments), end="\\n---\\n", flush=True)
"""
END = "\n---\n"


@pytest.mark.exhaustive
@needs_simulator
def test_score_on_a_gpu_is_that_of_the_cpu(command, tmp_path):
    random = np.random.default_rng(3)
    prediction, weight = random.normal(size=250), random.random(250)
    target = prediction + random.normal(size=250)
    prediction[7] = np.nan
    np.savez(tmp_path / "x.npz", prediction=prediction, target=target, weight=weight)
    bad = np.where(np.arange(250) == 201, 2.0, target > 0)
    np.savez(tmp_path / "bad.npz", prediction=prediction, target=bad)
    logits = random.normal(size=(130, 3)).astype("f4")
    np.savez(tmp_path / "rows.npz", logits=logits, label=random.integers(0, 3, 130))
    plain = ["score", str(tmp_path / "x.npz"), "-l", "huber", "-l", "mse", "-w", "weight"]
    calls = [
        [*plain, "--reduction", "weighted_mean", "--skip-nan", "--json"],
        [*plain, "--gradient", "--hessian", "--per-sample", "-o", str(tmp_path / "o.npy")],
        ["score", str(tmp_path / "bad.npz"), "-l", "bce"],
        ["score", str(tmp_path / "rows.npz"), "-l", "ce", "-p", "logits", "-t", "label", "--json"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", BATCHES],
        input=json.dumps([[*call, "--device", "cuda"] for call in calls]),
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outputs = done.stdout.split(END)
    assert [output.split("\n")[-1] for output in outputs[:-1]] == ["0", "0", "1", "0"]
    found, by_rows = (json.loads(outputs[place].rpartition("\n")[0]) for place in (0, 3))
    assert found["device"] == "cuda"
    expected = command(*calls[0]).json
    assert (found["rows"], found["rows_skipped"]) == (249, 1)
    for one, other in zip(found["losses"], expected["losses"], strict=True):
        assert one["value"] == pytest.approx(other["value"], rel=1e-12)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-12)
    [one], [other] = by_rows["losses"], command(*calls[3]).json["losses"]
    assert one["value"] == pytest.approx(other["value"], rel=1e-6)
    on_gpu = np.load(tmp_path / "o.npy")
    assert "1 value is not finite, in row 7" in outputs[1]
    assert command(*calls[1]).code == 0
    on_cpu = np.load(tmp_path / "o.npy")
    assert on_gpu.dtype == on_cpu.dtype
    for name in on_cpu.dtype.names:
        np.testing.assert_allclose(on_gpu[name], on_cpu[name], rtol=1e-12, atol=1e-12)
    assert done.stderr == command(*calls[2]).err
    assert "the target of row 201 is 2" in done.stderr
