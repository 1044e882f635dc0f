"""`numbaloss warmup` fills a cache that later processes use."""

import pytest

from numbaloss.cpu.compile import FOLDER_PREFIX


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_code_is_compiled_once_and_then_found(cache, start, tmp_path):
    arguments = ("warmup", "mae", "--dtype", "float64")
    out, err = start(*arguments).communicate(timeout=120)
    assert err == ""
    assert "1 loss ready" in out
    assert "12 kernels compiled" in out
    assert str(cache) in out
    out, _ = start(*arguments).communicate(timeout=120)
    assert "nothing had to be compiled" in out

    before = sorted(cache.rglob("*"))
    (tmp_path / "x.csv").write_text("prediction,target,w\n1,2,1\n2,nan,1\n")
    options = ("--hessian", "--gradient", "-w", "w", "-o", tmp_path / "o.npy")
    for given in ((), options):
        _, err = start("score", tmp_path / "x.csv", "--loss", "mae", *given).communicate()
        assert err == ""
    assert sorted(cache.rglob("*")) == before


def test_clear_empties_the_cache_and_leaves_what_is_not_ours(cache, command):
    code = cache / f"{FOLDER_PREFIX}0123456789abcdef"
    code.mkdir(parents=True)
    (cache / ("0123456789abcdef" * 2)).mkdir()  # named by a digest, and somebody else's
    (code / "kernel").write_bytes(bytes(2_000_000))
    (cache / "notes.txt").write_text("mine")
    assert command("warmup", "--clear").out == "deleted 2.0 MB of machine code\n"
    assert sorted(path.name for path in cache.iterdir()) == ["0123456789abcdef" * 2, "notes.txt"]
    assert command("warmup", "--clear").code == 0


def test_code_of_ones_own_losses_is_not_kept(command, tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "import numbaloss as nl\nclass Mine(nl.Elementwise):\n"
        "    def point(self, prediction, target):\n        return prediction, 1.0, 0.0\n"
    )
    found = command("warmup", f"{path}:Mine")
    assert found.code == 2
    assert "only the code of registered losses is kept" in found.err


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path, start, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path / "file" / "cache"))
    process = start("warmup", "mae", "--dtype", "float32")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "cannot be kept" in err
