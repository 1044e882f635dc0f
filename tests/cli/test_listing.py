"""`numbaloss list`, `--help`, `--version`."""

import pytest

import numbaloss as nl


def test_json_has_every_loss_with_its_parameters(command):
    found = {one["name"]: one for one in command("list", "--json").json}
    assert list(found) == list(nl.losses())
    assert found["huber"]["parameters"] == [
        {"name": "delta", "required": False, "default": 1.0, "bounds": "(0, inf]"}
    ]
    assert "mse" in found["squared_error"]["aliases"]
    assert all(one["use"] for one in found.values())


def test_every_name_and_use_is_in_the_table_of_eighty_columns(command):
    shown = command("list")
    assert max(map(len, shown.out.splitlines())) <= 80
    assert "…" not in shown.out
    words = " ".join(shown.out.split())
    for one in command("list", "--json").json:
        assert one["name"] in words
        for word in one["use"].split():
            assert word in words


def test_version(command):
    assert command("--version").out == f"numbaloss {nl.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["score", "-h"], ["warmup", "--help"]])
def test_help_fits_into_eighty_columns(command, arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = command(*arguments)
    assert shown.code == 0
    assert "Usage: numbaloss" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80


def test_unknown_commands(command):
    found = command("scroe")
    assert (found.code, found.out) == (2, "")
    assert found.err.count("\n") == 1
    assert "scroe" in found.err
