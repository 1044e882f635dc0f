"""The example that trains embeddings does what its text says."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "embed_digits.py"


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("sklearn")
    specification = importlib.util.spec_from_file_location(EXAMPLE.stem, EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compared(example):
    tasks = example.make_tasks()
    return tasks, *example.compare(tasks, steps=100)


def test_few_steps_raise_retrieval_and_lower_the_loss(example, compared):
    _, trainings, retrievals = compared
    for trained, found in zip(trainings[:2], retrievals[:2]):
        for name in example.LOSSES:
            assert found[name].recall > found["untrained network"].recall + 0.2
            assert found[name].precision > found["principal components"].precision + 0.1
            before, after = trained[name].values
            assert after < 0.8 * before
    before, after = trainings[1]["BatchTriplet"].diagnoses
    assert after.active < 0.5 * before.active


def test_tables_fit_a_terminal(example, compared, capsys):
    example.report(*compared)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("SupervisedContrastive") for line in lines)


def test_plot_is_drawn(example, compared, tmp_path):
    pytest.importorskip("matplotlib")
    tasks, trainings, _ = compared
    example.plot(tmp_path / "plot.png", tasks[0], trainings[0])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
