"""The example of a loss of one's own does what its text says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import numbaloss as nl

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_loss.py"


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("sklearn")
    specification = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_its_slopes_are_the_prices(example):
    loss = example.Shortage(short=4.0)
    far = np.array([-1e4, 1e4])
    _, slopes, _ = loss.value_grad_hess(far, np.zeros(2), reduction="none")
    np.testing.assert_allclose(slopes, [-4.0, 1.0], rtol=1e-12)
    rng = np.random.default_rng(0)
    assert nl.check_gradient(loss, *rng.normal(0.0, 30.0, (2, 100))) < 1e-8


def test_boosting_with_it_costs_less(example):
    pytest.importorskip("lightgbm")
    costs = {}
    for loss in (None, example.Shortage()):
        truth, prediction = example.boosted(loss)
        costs[loss] = (np.where(truth > prediction, 4.0, 1.0) * abs(truth - prediction)).mean()
    assert costs[example.Shortage()] < 0.95 * costs[None]


def test_the_plot_is_a_file(example, tmp_path):
    pytest.importorskip("matplotlib")
    example.plot(example.Shortage(), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 10_000
