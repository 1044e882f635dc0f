"""The benchmark of training: three libraries teach the same network as well."""

import statistics

import pytest

from benchmarks import training


@pytest.mark.exhaustive
def test_accuracies_are_the_same_within_seeds():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    found = training.run(epochs=20, seeds=3)
    means = [statistics.mean(one["accuracy"]) for one in found.values()]
    assert min(means) > 0.93
    assert max(means) - min(means) < 0.02
