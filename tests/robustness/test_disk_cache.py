"""Machine code on disk is that of the present sources, whole, of the right loss, or unused."""

import os
import shutil
import time
from pathlib import Path

import pytest

from numbaloss.disk.cache import KEPT_DIGESTS, MARKER
from tests.support.processes import Processes

# Prints results of the losses named on the command line, and how much Numba compiled for
# them: a pass of its compiler is an event, whatever it compiles for; a load from disk is none.
MEASURE = """
import json, os, sys
import numpy as np
import numbaloss as nl
from numba.core import event

size = int(os.environ.get("TEST_SIZE", "6"))
prediction, target = np.arange(size, dtype=np.float32), np.ones(size, np.float32)
with event.install_recorder("numba:run_pass") as passes:
    results = {}
    for name in sys.argv[1:]:
        value, gradient = nl.get(name).value_and_grad(prediction, target, reduction="sum")
        results[name] = [value, gradient[:6].tolist()]
print(json.dumps({"results": results, "passes": len(passes.buffer)}))
"""
RIGHT = {
    "squared_error": [31.0, [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0]],
    "absolute_error": [11.0, [-1.0, 0.0, 1.0, 1.0, 1.0, 1.0]],
    "huber": [8.5, [-1.0, 0.0, 1.0, 1.0, 1.0, 1.0]],
    "quantile": [5.5, [-0.5, 0.0, 0.5, 0.5, 0.5, 0.5]],
}

# A loss of the package itself that tests can edit, with a part of its maths in another room.
LOSS = """
from ..registry import register
from ..structures.elementwise import Elementwise
from ..vmath.planted import helper


@register
class Planted(Elementwise):
    def point(self, prediction, target):
        return 2.0 * helper(prediction - target), 4.0, 0.0
"""
HELPER = """
def helper(x):
    return 5.0 * x
"""
FILLED = "huber", "squared_error", "absolute_error"
MEASURE_PLANTED = "import numbaloss.losses.planted" + MEASURE


@pytest.fixture
def planted(package_copy: Path) -> Path:
    (package_copy / "losses" / "planted.py").write_text(LOSS)
    (package_copy / "vmath" / "planted.py").write_text(HELPER)
    return package_copy


def edit(file: Path, old: str, new: str) -> None:
    """Replace text in a way that neither the size nor the time stamp of the file tells."""
    before = file.stat()
    text = file.read_text()
    assert text.count(old) == 1
    assert len(old) == len(new)
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def code_files(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file() and file.name != MARKER}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that one process has filled, and what that process found."""
    folder = tmp_path_factory.mktemp("filled")
    # So many elements that the parallel launcher comes along.
    options = {"NUMBALOSS_CACHE_DIR": folder / "cache", "TEST_SIZE": 40_000}
    found = Processes(folder)(MEASURE, *FILLED, **options)
    assert found["passes"] > 0
    return folder / "cache", found["results"]


@pytest.fixture
def filled_copy(filled, tmp_path):
    """A copy of that folder, for a test to change."""
    return shutil.copytree(filled[0], tmp_path / "cache")


def test_a_second_process_compiles_nothing(run, filled):
    folder, results = filled
    options = {"NUMBALOSS_CACHE_DIR": folder, "TEST_SIZE": 40_000}
    assert run(MEASURE, *FILLED, **options) == {"results": results, "passes": 0}


@pytest.mark.exhaustive
def test_an_edited_source_means_new_results_and_new_code(run, planted, tmp_path):
    options = {"package": planted, "NUMBALOSS_CACHE_DIR": tmp_path / "cache"}

    def measure() -> tuple[float, float, bool]:
        measured = run(MEASURE_PLANTED, "planted", **options)
        value, gradient = measured["results"]["planted"]
        return value, gradient[0], measured["passes"] > 0

    original = 2.0 * 5.0 * 9.0
    assert measure() == (original, 4.0, True)
    edit(planted / "losses" / "planted.py", "4.0", "7.0")
    assert measure() == (original, 7.0, True)
    edit(planted / "vmath" / "planted.py", "5.0", "1.0")
    assert measure() == (2.0 * 9.0, 7.0, True)
    # Back again: the code of the first sources is still there, and is theirs.
    edit(planted / "losses" / "planted.py", "7.0", "4.0")
    edit(planted / "vmath" / "planted.py", "1.0", "5.0")
    assert measure() == (original, 4.0, False)


@pytest.mark.exhaustive
def test_sources_edited_while_a_process_runs_never_get_its_old_code(run, planted, tmp_path):
    """As when pip upgrades the package under a process that has imported it already."""
    options = {"package": planted, "NUMBALOSS_CACHE_DIR": tmp_path / "cache"}
    file = planted / "losses" / "planted.py"
    change = f"""
from pathlib import Path
import numbaloss.losses.planted, time
file = Path({str(file)!r})
file.write_text(file.read_text().replace("4.0", "7.0"))
"""
    before = run(change + MEASURE_PLANTED, "planted", **options)
    assert before["results"]["planted"][1][0] == 4.0
    after = run(MEASURE_PLANTED, "planted", **options)
    assert after["results"]["planted"][1][0] == 7.0


@pytest.mark.exhaustive
def test_a_patched_loss_leaves_no_code_for_others(run, filled_copy):
    """A notebook that tries another formula on a loss of ours must not change it for all."""
    assert "quantile" not in FILLED  # of which there is only the code that knows no loss
    cache = {"NUMBALOSS_CACHE_DIR": filled_copy}
    patch = """
import numbaloss
def point(self, prediction, target):
    return 0.0 * prediction, 9.0, 9.0
numbaloss.Quantile.point = point
"""
    patched = run(patch + MEASURE, "quantile", **cache)["results"]
    assert patched == {"quantile": [0.0, [9.0] * 6]}
    unpatched = run(MEASURE, "quantile", **cache)["results"]
    assert unpatched == {"quantile": RIGHT["quantile"]}


@pytest.mark.exhaustive
def test_a_source_from_the_future_does_not_keep_code_from_the_disk(run, package_copy, tmp_path):
    """As of a wrong clock, or an archive of one."""
    options = {"package": package_copy, "NUMBALOSS_CACHE_DIR": tmp_path / "cache"}
    tomorrow = time.time() + 86_400
    for name in ("registry.py", "cpu/blocks.py"):  # one that the import loads, and another
        os.utime(package_copy / name, (tomorrow, tomorrow))
    assert run(MEASURE, "huber", **options)["passes"] > 0
    assert run(MEASURE, "huber", **options) == {"results": {"huber": RIGHT["huber"]}, "passes": 0}


@pytest.mark.exhaustive
def test_code_with_debugging_information_comes_from_disk_too(run, tmp_path):
    """It calls functions of Numba's runtime, which nothing else has made known by then."""
    options = {
        "NUMBALOSS_CACHE_DIR": tmp_path / "cache",
        "NUMBA_DEBUGINFO": 1,
        "TEST_SIZE": 40_000,
    }
    first = run(MEASURE, "squared_error", **options)
    second = run(MEASURE, "squared_error", **options)
    assert first["passes"] > 0
    assert second == {"results": first["results"], "passes": 0}


def test_code_that_another_user_planted_does_not_run(run, filled, filled_copy):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    cache = {"NUMBALOSS_CACHE_DIR": filled_copy, "TEST_SIZE": 40_000}
    (planted,) = filled_copy.iterdir()
    nobody = 65534
    os.chown(planted, nobody, nobody)
    # Warnings of the kind are errors in these processes, and the first call raises it.
    script = f"""
import numpy as np
import numbaloss as nl
try:
    nl.AbsoluteError()(np.ones(3, np.float32), np.zeros(3, np.float32))
except RuntimeWarning as warning:
    assert {str(planted)!r} in str(warning) and "another user" in str(warning)
else:
    raise AssertionError("no warning")
"""
    right = {"absolute_error": filled[1]["absolute_error"]}
    measured = run(script + MEASURE, "absolute_error", **cache)
    assert measured["results"] == right
    assert measured["passes"] > 0
    os.chown(planted, 0, 0)
    assert run(MEASURE, "absolute_error", **cache) == {"results": right, "passes": 0}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "obstacle", ["cannot exist", pytest.param("is a file", marks=pytest.mark.exhaustive)]
)
def test_a_cache_folder_that_cannot_be_written_to_changes_no_result(run, tmp_path, obstacle):
    folder = Path("/proc/nope") if obstacle == "cannot exist" else tmp_path / "file"
    if obstacle == "is a file":
        folder.write_text("in the way")
    measured = run(MEASURE, "huber", NUMBALOSS_CACHE_DIR=folder)
    assert measured["results"]["huber"] == RIGHT["huber"]
    assert not folder.is_dir()


@pytest.mark.exhaustive
def test_a_read_only_package_and_home_change_no_result(run, package_copy, tmp_path):
    # Root may write anywhere but where a file is in the way.
    (package_copy / "__pycache__").write_text("in the way")
    (tmp_path / "home").write_text("in the way")
    options = {"package": package_copy, "XDG_CACHE_HOME": tmp_path / "home"}
    assert run(MEASURE, "huber", **options)["results"]["huber"] == RIGHT["huber"]


@pytest.mark.exhaustive
def test_a_read_only_package_keeps_its_code_in_the_users_folder(run, package_copy, tmp_path):
    (package_copy / "__pycache__").write_text("in the way")
    options = {"package": package_copy, "XDG_CACHE_HOME": tmp_path / "home"}
    assert run(MEASURE, "huber", **options)["passes"] > 0
    assert code_files(tmp_path / "home" / "numbaloss")
    assert run(MEASURE, "huber", **options) == {"results": {"huber": RIGHT["huber"]}, "passes": 0}


def test_damaged_files_are_ignored_and_replaced(run, filled, filled_copy):
    folder, right = filled_copy, filled[1]
    cache = {"NUMBALOSS_CACHE_DIR": folder, "TEST_SIZE": 40_000}

    def flip_a_bit(content: bytes) -> bytes:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    damages = [
        flip_a_bit,
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content[:7],
        lambda content: b"no code at all" * 100,
    ]
    files = sorted(code_files(folder))
    assert len(files) >= len(damages)
    sizes = {file: file.stat().st_size for file in files}
    for number, file in enumerate(files):
        file.write_bytes(damages[number % len(damages)](file.read_bytes()))
    measured = run(MEASURE, *FILLED, **cache)
    assert measured["results"] == right
    assert measured["passes"] > 0
    assert code_files(folder) == set(files)
    for file in files:
        assert file.stat().st_size == pytest.approx(sizes[file], rel=0.01)
    assert run(MEASURE, *FILLED, **cache) == {"results": right, "passes": 0}


@pytest.mark.exhaustive
def test_processes_that_fill_one_cache_at_once_leave_each_loss_its_own_code(run, tmp_path):
    wait = """
import numbaloss.cpu.elementwise, os, time
time.sleep(max(0.0, float(os.environ["TEST_START"]) - time.time()))
"""
    for trial in range(2):
        folder = tmp_path / f"cache_{trial}"
        options = {"NUMBALOSS_CACHE_DIR": folder, "TEST_START": time.time() + 1.5}
        racing = {name: run.start(wait + MEASURE, name, **options) for name in RIGHT}
        for name, process in racing.items():
            assert run.finish(process)["results"][name] == RIGHT[name]
        # All files were written whole: nothing temporary is left, nothing is compiled again.
        assert not [file for file in code_files(folder) if file.name.startswith(".")]
        measured = run(MEASURE, *RIGHT, NUMBALOSS_CACHE_DIR=folder)
        assert measured == {"results": RIGHT, "passes": 0}


@pytest.mark.exhaustive
def test_code_from_many_processes_lives_together_in_one(run, tmp_path):
    """Each process numbers its functions from 1, so that the symbols in the files clash."""
    cache = {"NUMBALOSS_CACHE_DIR": tmp_path / "cache"}
    script = """
        import json, sys
        import numpy as np
        import numbaloss as nl
        from numba.core import event

        loss = nl.Huber()
        target = np.zeros(5, np.float32)
        with event.install_recorder("numba:run_pass") as passes:
            results = {}
            for what in sys.argv[1:]:
                prediction = np.array([0, 1, 2, 3, 4], np.float32)
                if what == "hessian":
                    result = loss.value_grad_hess(prediction, target, reduction="sum")[2].tolist()
                else:
                    result = loss(prediction.astype(what), target, reduction="sum")
                results[what] = result
        print(json.dumps([results, len(passes.buffer)]))
    """
    right = {
        "float16": 8.0,
        ">f4": 8.0,
        "float64": 8.0,
        "hessian": [1.0, 1.0, 0.0, 0.0, 0.0],
    }
    for what, result in right.items():
        results, passes = run(script, what, **cache)
        assert results == {what: pytest.approx(result)}
        assert passes > 0
    for order in (list(right), list(reversed(right))):
        results, passes = run(script, *order, **cache)
        assert results == {what: pytest.approx(result) for what, result in right.items()}
        assert passes == 0


@pytest.mark.exhaustive
def test_a_loss_from_elsewhere_leaves_no_file(run, filled_copy):
    # The code that knows no loss, and the launcher of calls of this size, are there.
    cache, files = {"NUMBALOSS_CACHE_DIR": filled_copy}, code_files(filled_copy)
    script = """
        import json
        import numpy as np
        import numbaloss as nl
        ones = np.ones(40_000, np.float32)

        class Quartic(nl.Elementwise):
            def point(self, prediction, target):
                square = (prediction - target) * (prediction - target)
                return FACTOR * square * square, square, square

        class Plain(nl.Huber):
            pass

        class Shadow(nl.Elementwise):
            def point(self, prediction, target):
                return prediction, target, target
        # A class that poses as one of ours.
        Shadow.__module__, Shadow.__qualname__, Shadow.__name__ = (
            nl.SquaredError.__module__, "SquaredError", "SquaredError"
        )
        both = Quartic() + nl.SquaredError()
        print(json.dumps([one(3.0 * ones, ones) for one in (Quartic(), Plain(), Shadow(), both)]))
    """
    first = run(script.replace("FACTOR", "1.0"), **cache)
    assert first == [16.0, 1.5, 3.0, 20.0]
    assert run(script.replace("FACTOR", "2.0"), **cache) == [32.0, 1.5, 3.0, 36.0]
    assert code_files(filled_copy) == files


@pytest.mark.exhaustive
def test_old_digests_are_forgotten_the_oldest_first(run, package_copy, filled_copy):
    folder = filled_copy
    options = {"package": package_copy, "NUMBALOSS_CACHE_DIR": folder}
    (present,) = folder.iterdir()
    # Folders such as an older version left, each a day older than the one before.
    prefix = present.name[:-32]
    for age in range(1, KEPT_DIGESTS + 5):
        copy = shutil.copytree(present, folder / f"{prefix}{age:032x}")
        then = time.time() - 86_400 * age
        os.utime(copy, (then, then))
    with (package_copy / "__init__.py").open("a") as file:
        file.write('\n__version__ = "99.0"\n')
    # An upgrade that changes nothing but the version shares no code with the former.
    assert run(MEASURE, "huber", **options)["passes"] > 0
    left = {entry.name for entry in folder.iterdir()}
    assert len(left) == KEPT_DIGESTS
    assert present.name in left
    ages = sorted(int(name[-32:], 16) for name in left if "0" * 20 in name)
    assert ages == list(range(1, KEPT_DIGESTS - 1))


@pytest.mark.exhaustive
def test_forgetting_touches_nothing_that_is_not_ours(run, tmp_path):
    """A cache folder shared with a tool that names its folders by MD5 sums, as many do."""
    folder = tmp_path / "cache"
    treasures = [folder / f"{number:032x}" / "treasure.bin" for number in range(KEPT_DIGESTS + 5)]
    for treasure in treasures:
        treasure.parent.mkdir(parents=True)
        treasure.write_text("somebody else's")
    run(MEASURE, "huber", NUMBALOSS_CACHE_DIR=folder)
    assert all(treasure.exists() for treasure in treasures)
