"""The examples of training come to what their texts say, with small sizes."""

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    pytest.importorskip("sklearn")

    def load(name):
        monkeypatch.syspath_prepend(str(EXAMPLES))
        # Not under its plain name, which a module elsewhere may have.
        for one in (name, "drawing"):
            monkeypatch.delitem(sys.modules, one, raising=False)
        return importlib.import_module(name)

    return load


def outliers(found):
    assert found["squared error, wrong"] > 1.5 * found["Huber, delta 30, wrong"]
    assert found["Huber, delta 30, wrong"] < 1.1 * found["squared error, right"]


def spam(found):
    assert found["roc_auc"] > 0.9
    assert found["spam caught"] > 20 * found["mail lost"]


def digits(found):
    assert found["accuracy"] > 0.95


def rare(found):
    assert min(found.values()) > 0.1  # by chance 0.005


def topics(found):
    assert found["weighted labels"] > found["cross-entropy"]


def noisy(found):
    assert found["generalized"] > found["cross-entropy"] + 0.03
    assert found["symmetric"] > found["cross-entropy"] + 0.03


def films(found):
    assert found["levels and tastes"] < found["levels alone"] < found["mean of all"]
    assert found["the truth itself"] < min(found["levels and tastes"], found["mean of all"])


def clicks(found):
    assert found["the truth itself"] < found["logistic regression"] < 1.0
    assert found["embeddings"] < 1.0


def characters(found):
    assert found["network"] < found["characters"]
    assert found["triples"] < found["pairs"] < found["characters"]


CASES = {
    "learn_with_outliers": outliers,
    "filter_spam": spam,
    "read_digits": digits,
    "detect_rare": rare,
    "tag_topics": topics,
    "learn_from_noisy_labels": noisy,
    "rate_films": films,
    "predict_clicks": clicks,
    "write_characters": characters,
}


# Their kernels are nobody else's, and have to be compiled.
COSTLY = ("detect_rare", "read_digits", "tag_topics")


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=pytest.mark.exhaustive) if one in COSTLY else one for one in CASES],
)
def test_small_sizes_come_to_what_is_said(example, capsys, name):
    CASES[name](example(name).main(["--fast"]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_full_sizes_come_to_what_is_said_with_a_picture(example, tmp_path, name):
    pytest.importorskip("matplotlib")
    CASES[name](example(name).main(["--plot", str(tmp_path / "plot.png")]))
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_are_drawn(example, tmp_path):
    pytest.importorskip("matplotlib")
    example("learn_with_outliers").main(["--fast", "--plot", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
