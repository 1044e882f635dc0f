"""A run that is stopped goes on to the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from numbaloss import train
from numbaloss.train import files
from tests.train.resumed import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed():
    return json.loads(json.dumps(main(None)))


def test_stopped_after_any_save_it_ends_in_the_same_bits(tmp_path, monkeypatch, undisturbed):
    # As killed right after the n-th save: a run has 2 restarts of up to 12 epochs of 15 steps.
    place = tmp_path / "c.npz"
    counter = 0

    class Killed(BaseException):
        pass

    real, limit = files.os.replace, 0

    def replace(old, new):
        nonlocal counter
        real(old, new)
        counter += 1
        if counter == limit:
            raise Killed

    monkeypatch.setattr(files.os, "replace", replace)
    for saves in (1, 5, 21, 38):
        counter, limit = 0, saves
        with pytest.raises(Killed):
            main(str(place))
    counter, limit = 0, -1
    assert json.loads(json.dumps(main(str(place)))) == undisturbed
    # Once more: it is at its end already, and says the same.
    assert json.loads(json.dumps(main(str(place)))) == undisturbed


def killed(folder, moments):
    """Kill a run with SIGKILL some seconds after its first save, again and again."""
    checkpoint, result = folder / "c.npz", folder / "result.json"
    command = [sys.executable, "-m", "tests.train.resumed", str(checkpoint), str(result)]
    kills = 0
    for moment in [*moments, None]:
        if result.exists():
            break
        changed = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen(command, cwd=ROOT) as process:
            if moment is None:
                assert process.wait(120) == 0
                break
            limit = time.monotonic() + 100
            while process.poll() is None and time.monotonic() < limit:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != changed:
                    break
                time.sleep(0.001)
            time.sleep(moment)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            assert process.wait(20) in (0, -signal.SIGKILL)
    return json.loads(result.read_text()), kills


def moments(count):
    draw = random.Random(count)
    return [draw.uniform(0.0, 0.05) for _ in range(count)]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path, undisturbed, count):
    kills, round_ = 0, 0
    while kills < count:
        folder = tmp_path / str(round_)
        folder.mkdir()
        found, more = killed(folder, moments(count + round_)[: count - kills])
        assert found == undisturbed
        kills, round_ = kills + more, round_ + 1
        assert round_ < 20


def test_it_says_where_the_run_came_to(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    path = tmp_path / "c.npz"

    def run(epochs, **options):
        model = train.Linear(2, dtype=np.float64, seed=1)
        data = (x, x[:, 0])
        return train.fit(model, "mse", data, epochs=epochs, checkpoint=path, **options), model

    first, _ = run(3)
    second, model = run(5)  # two epochs more
    assert second["loss"][:3] == first["loss"]
    assert len(second["loss"]) == 5
    path.unlink()
    whole, other = run(5)
    assert whole["loss"] == second["loss"]
    np.testing.assert_array_equal(model.parameters["weight"], other.parameters["weight"])
    for options, what in (({"seed": 1}, "seed"), ({"batch_size": 8}, "data")):
        with pytest.raises(train.CheckpointError, match=f"another run: its {what} is"):
            run(6, **options)
    path.write_bytes(b"nothing")
    with pytest.raises(train.CheckpointError, match="no checkpoint"):
        run(6)


def test_an_interrupted_run_goes_on(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 2))
    path = tmp_path / "c.npz"
    # Shells let what they run in the background ignore it.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)

    def run(stop, **options):
        model = train.Linear(2, dtype=np.float64, seed=1)

        def interrupt(event):
            if event.number == stop:
                signal.raise_signal(signal.SIGINT)

        history = train.fit(model, "mse", (x, x[:, 0]), epochs=6, callbacks=[interrupt], **options)
        return history, model

    try:
        first, _ = run(2, checkpoint=path)
    finally:
        signal.signal(signal.SIGINT, former)
    assert (first.stopped, len(first["loss"])) == ("interrupted", 2)
    second, model = run(0, checkpoint=path)
    whole, other = run(0)
    assert second["loss"] == whole["loss"]
    assert second.stopped == whole.stopped == "epochs"
    np.testing.assert_array_equal(model.parameters["weight"], other.parameters["weight"])
