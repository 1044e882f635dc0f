"""Losses as text."""

import pytest

import numbaloss as nl
from numbaloss.cli.failures import UsageFailure
from numbaloss.cli.specification import choose, slug

OWN = """
import numbaloss as nl

class Quartic(nl.Elementwise):
    scale: float = 1.0

    def point(self, prediction, target):
        residual = (prediction - target) / self.scale
        square = residual * residual
        return square * square, 4.0 * square * residual / self.scale, 12.0 * square
"""


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("huber", nl.Huber()),
        ("Huber", nl.Huber()),
        ("mse", nl.SquaredError()),
        ("log-cosh", nl.LogCosh()),
        ("huber:delta=2", nl.Huber(delta=2.0)),
        (" huber : delta = 2.5e+0 ", nl.Huber(delta=2.5)),
        ("huber:delta=1e-3", nl.Huber(delta=1e-3)),
        ("bce:from_logits=false", nl.BinaryCrossEntropy(from_logits=False)),
        ("focal:gamma=3,alpha=none", nl.Focal(gamma=3.0, alpha=None)),
        ("mse+mae", nl.SquaredError() + nl.AbsoluteError()),
        ("0.5*mse + .1*huber:delta=1e+5", 0.5 * nl.SquaredError() + 0.1 * nl.Huber(delta=1e5)),
        ("2 * mse - 1e-1*log-cosh", 2.0 * nl.SquaredError() - 0.1 * nl.LogCosh()),
        ("-1*mse", -1.0 * nl.SquaredError()),
        ("ce:class_weight=1/2/.5,label_smoothing=0.1", nl.CrossEntropy([1, 2, 0.5], -100, 0.1)),
        ("ce + 0.5*brier", nl.CrossEntropy() + 0.5 * nl.Brier()),
    ],
)
def test_text_and_loss(text, loss):
    assert choose([text])[0].loss == loss


def test_registered_names_and_texts_name_the_results():
    names = [one.name for one in choose(["mse", "huber:delta=2", "mae+mse", "huber"])]
    assert names == ["squared_error", "huber_delta_2", "mae_mse", "huber"]
    assert slug("a.py:B:c=1,d=2") == "a.py_B_c_1_d_2"


def test_sums_of_other_structures_are_refused():
    with pytest.raises(UsageFailure):
        choose(["mse + 3"])


def test_own_classes_from_files_and_modules(tmp_path, monkeypatch):
    (tmp_path / "my_own_losses.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from_file = choose([f"{tmp_path}/my_own_losses.py:Quartic:scale=2"])[0]
    assert repr(from_file.loss) == "Quartic(scale=2.0)"
    assert from_file.name == "quartic"
    from_module = choose(["my_own_losses:Quartic + mse"])[0]
    assert repr(from_module.loss) == "Quartic(scale=1.0) + SquaredError()"


def test_a_file_that_is_called_like_a_module_does_not_replace_it(tmp_path):
    import json

    (tmp_path / "json.py").write_text(OWN)
    assert choose([f"{tmp_path}/json.py:Quartic"])[0].loss([2.0], [0.0]) == 16.0
    import json as after

    assert after is json


def test_a_class_in_a_file_is_scored(command, tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "x.csv").write_text("prediction,target\n3,1\n1,1\n")
    found = command("score", tmp_path / "x.csv", "--loss", f"{tmp_path}/mine.py:Quartic", "--json")
    assert found.json["losses"][0]["value"] == 8.0
