"""Histories: columns, files, a picture; when runs stop."""

import csv
import math

import numpy as np
import pytest

from numbaloss import train
from numbaloss.train.checkpoint import CheckpointError, load, save
from numbaloss.train.stopping import Best


def example():
    history = train.History()
    for epoch in range(1, 4):
        history.add({"epoch": epoch, "loss": 1 / epoch, "validation_loss": math.nan,
                     "validation_r2": 0.1 * epoch, "learning_rate": 0.1, "gradient_norm": 1e-3,
                     "skipped": 0, "seconds": 0.1})  # fmt: skip
    history.best_epoch, history.stopped = 3, "epochs"
    return history


def test_files_hold_everything(tmp_path):
    history = example()
    other = train.History({"epoch": [1], "loss": [5.0]})
    history.restarts = [other, history]
    history.to_json(tmp_path / "h.json")
    found = train.History.from_json(tmp_path / "h.json")
    assert repr(dict(found)) == repr(dict(history))
    assert (found.best_epoch, found.stopped) == (3, "epochs")
    assert found.restarts[1] is found
    assert found.restarts[0] == other
    assert found.best["loss"] == 1 / 3
    history.to_csv(tmp_path / "h.csv")
    rows = list(csv.DictReader((tmp_path / "h.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.csv", "h.json"]


def test_plot_is_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    history = example()
    figure = history.plot(tmp_path / "h.png", "three epochs")
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "loss", "r2, validation", "learning rate", "length of the gradient",
    ]  # fmt: skip
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")
    train.History({k: v[:1] for k, v in history.items()}).plot(tmp_path / "one.svg")
    assert "<svg" in (tmp_path / "one.svg").read_text()


def test_the_best_is_the_first_of_equals_and_nan_never_is():
    best = Best("validation_loss", True, min_delta=0.1)
    took = [best.update(one, place) for place, one in enumerate([math.nan, 2.0, 1.95, 1.8, 1.8])]
    assert took == [False, True, False, True, False]
    assert (best.epoch, best.waited) == (3, 1)
    again = Best("validation_loss", True)
    again.load_state(best.state())
    assert again.state() == best.state()
    more = Best("roc_auc", False)
    assert [more.update(one, 0) for one in (0.5, 0.4, 0.6)] == [True, False, True]


@pytest.mark.parametrize(
    "wrong", [{"patience": 0}, {"min_delta": -1.0}, {"min_delta": math.nan}, {"mode": "best"}]
)
def test_options_of_early_stopping_are_tested(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        train.EarlyStopping(**wrong)


def test_checkpoints_keep_all_bits(tmp_path):
    content = {
        "a": [np.arange(3.0), {"b": np.float32([np.nan, 1])}],
        "numbers": [0.1, math.inf, 2**100, True, None, "text"],
        "state": np.random.PCG64(1).state,
    }
    save(tmp_path / "c.npz", content)
    found = load(tmp_path / "c.npz")
    assert found["numbers"] == content["numbers"]
    assert found["state"] == content["state"]
    np.testing.assert_array_equal(found["a"][0], content["a"][0])
    assert found["a"][1]["b"].tobytes() == content["a"][1]["b"].tobytes()
    with pytest.raises(TypeError, match="plain numbers"):
        save(tmp_path / "c.npz", {"a": object()})
    assert load(tmp_path / "c.npz")["numbers"] == content["numbers"]
    (tmp_path / "d.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:-30])
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load(tmp_path / "d.npz")
