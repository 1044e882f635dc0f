"""Machine code is taken from nobody but the user and root, and only ours is ever deleted."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from numbaloss import sources
from numbaloss.disk import cache as disk_cache
from numbaloss.disk import trust
from numbaloss.disk.cache import MARK, MARKER, Entry
from numbaloss.disk.trust import CacheWarning

pytestmark = pytest.mark.skipif(not trust.CHECKED, reason="owners are not checked here")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)

NOBODY = 65534
NAME = "ab" * 20
DIGEST = "0123456789abcdef" * 2
ENTRY = Entry("symbol", bytes(range(256)), ("malloc", "free"), ("environment",), True)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder two levels deep, with the code of sources that never change."""
    folder = tmp_path / "above" / "base"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent):
        path.chmod(0o755)
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(folder))
    monkeypatch.setattr(disk_cache, "digest", lambda: DIGEST)
    monkeypatch.setattr(disk_cache, "unchanged", lambda: True)
    monkeypatch.setattr(trust, "_said", set())
    return folder


@pytest.fixture
def places(base: Path) -> dict[str, Path]:
    """A file with code, its folder, and the two above it."""
    disk_cache.write(NAME, ENTRY)
    folder = base / f"numbaloss-{DIGEST}"
    assert sorted(os.listdir(folder)) == [MARKER, NAME]
    assert disk_cache.read(NAME) == ENTRY
    return {"file": folder / NAME, "folder": folder, "base": base, "above": base.parent}


@pytest.fixture
def in_time() -> Iterator[None]:
    """An error in the place of a hang."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refused(reason: str) -> None:
    """Assert that the code is not loaded, with one warning that gives the reason."""
    with pytest.warns(CacheWarning, match=reason) as caught:
        assert disk_cache.read(NAME) is None
    assert len(caught) == 1
    assert disk_cache.read(NAME) is None  # and that is said once: a warning would be an error


def test_a_damaged_file_holds_nothing():
    content = disk_cache.encoded(NAME, ENTRY)
    assert disk_cache.decoded(NAME, content) == ENTRY
    for place in range(len(content)):
        changed = bytes([content[place] ^ 1])
        assert disk_cache.decoded(NAME, content[:place] + changed + content[place + 1 :]) is None
        assert disk_cache.decoded(NAME, content[:place]) is None
    assert disk_cache.decoded(NAME, content + b"\0") is None


def test_files_that_change_names_are_not_taken_for_each_other(places):
    other = "cd" * 20
    disk_cache.write(other, ENTRY._replace(symbol="other"))
    one, two = places["file"], places["folder"] / other
    one.rename(places["folder"] / "third")
    two.rename(one)
    (places["folder"] / "third").rename(two)
    assert disk_cache.read(NAME) is None
    assert disk_cache.read(other) is None


@pytest.mark.parametrize("place", ["file", "folder", "base", "above"])
@pytest.mark.parametrize("mode", [0o757, 0o777])
def test_what_all_can_write_to_is_refused(places, place, mode):
    places[place].chmod(mode)
    refused(f"all users can write to {places[place]}")


@pytest.mark.parametrize("place", ["file", "folder", "base", "above"])
def test_what_a_group_can_write_to_is_refused(places, place, monkeypatch):
    monkeypatch.setattr(trust, "_is_private", lambda *_: False)
    places[place].chmod(0o775)
    refused(f"a group of users can write to {places[place]}")


@needs_root
@pytest.mark.parametrize("place", ["file", "folder", "base", "above"])
def test_what_belongs_to_another_user_is_refused(places, place):
    os.chown(places[place], NOBODY, NOBODY)
    refused(f"{places[place]} belongs to another user")


@needs_root
def test_a_group_of_ones_own_can_write(places, monkeypatch):
    """As where the first thing that an account gets is a group of its name."""
    import grp
    import pwd

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: pwd.struct_passwd(("me", "", 1, 1, "", "", "")))
    os.chown(places["folder"], 0, 1000)
    places["folder"].chmod(0o775)
    for members, ours in ((["me"], True), ([], True), (["me", "you"], False)):
        group = grp.struct_group(("me", "", 1000, members))
        monkeypatch.setattr(grp, "getgrgid", lambda _, group=group: group)
        if ours:
            assert disk_cache.read(NAME) == ENTRY
        else:
            refused("a group of users")


def test_a_folder_like_tmp_may_be_above(places):
    for place in ("base", "above"):
        places[place].chmod(0o1777)
    assert disk_cache.read(NAME) == ENTRY
    places["folder"].chmod(0o1777)  # where others would add files of their own
    refused("all users")


@needs_root
def test_what_others_made_in_a_folder_like_tmp_is_neither_read_nor_filled(base):
    base.chmod(0o1777)
    trap = base / f"numbaloss-{DIGEST}"
    trap.mkdir(mode=0o755)
    (trap / NAME).write_bytes(disk_cache.encoded(NAME, ENTRY))
    (trap / MARKER).write_bytes(MARK)
    for path in (trap, trap / NAME):
        os.chown(path, NOBODY, NOBODY)
    refused("another user")
    disk_cache.write("cd" * 20, ENTRY)
    assert sorted(os.listdir(trap)) == [MARKER, NAME]
    assert "another user" in " ".join(disk_cache.place())
    assert disk_cache.clear() == 0
    assert trap.exists()


def test_a_write_that_is_refused_is_told_of_once(base):
    base.chmod(0o777)
    with pytest.warns(CacheWarning, match="all users can write"):
        disk_cache.write(NAME, ENTRY)
    disk_cache.write(NAME, ENTRY)
    assert not os.listdir(base)


def test_links_lead_nowhere_but_where_the_user_made_them_lead(places, tmp_path):
    real = tmp_path / "real"
    places["base"].rename(real)
    places["base"].symlink_to(real)
    assert disk_cache.read(NAME) == ENTRY
    places["base"].unlink()
    places["base"].symlink_to(os.path.join("..", "real"))
    assert disk_cache.read(NAME) == ENTRY
    if os.geteuid() == 0:
        os.lchown(places["base"], NOBODY, NOBODY)
        refused(f"the link {places['base']} belongs to another user")
        os.lchown(places["base"], 0, 0)
    # Nothing is gained by a link in the place of the folder or of the file.
    folder = real / places["folder"].name
    (folder / NAME).rename(tmp_path / "code")
    (folder / NAME).symlink_to(tmp_path / "code")
    assert disk_cache.read(NAME) is None
    (folder / NAME).unlink()
    (tmp_path / "code").rename(folder / NAME)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert os.path.exists(folder / NAME)
    places["base"].unlink()
    places["base"].symlink_to(places["base"])  # a circle
    assert disk_cache.read(NAME) is None


@pytest.mark.usefixtures("in_time")
def test_a_fifo_holds_nothing_up(places):
    places["file"].unlink()
    os.mkfifo(places["file"])
    assert disk_cache.read(NAME) is None
    disk_cache.write(NAME, ENTRY)
    assert disk_cache.read(NAME) == ENTRY


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home_has_the_cache_beside_the_package(monkeypatch, home):
    import pwd

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "NUMBALOSS_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if home is not None:
        monkeypatch.setenv("HOME", home)
    beside = Path(sources.PACKAGE) / "__pycache__" / "machine_code"
    assert disk_cache.cache_folders() == [beside]
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if os.uname().sysname == "Linux":
        assert disk_cache.cache_folders() == [beside, Path("/somewhere/numbaloss")]


@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_all_can_read_what_root_installs_and_nobody_what_a_user_keeps(base, monkeypatch, umask):
    def modes(folder: Path) -> set[int]:
        disk_cache.write(NAME, ENTRY)
        inside = folder / f"numbaloss-{DIGEST}"
        return {path.stat().st_mode & 0o7777 for path in (folder, inside)} | {
            path.stat().st_mode & 0o777 | 0o111 for path in inside.iterdir()
        }

    before = os.umask(umask)
    try:
        monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(base / "installed"))
        assert modes(base / "installed") == {0o755}
        # Root's own, at home.
        monkeypatch.delenv("NUMBALOSS_CACHE_DIR")
        monkeypatch.setattr(disk_cache, "PACKAGE", "/proc/nowhere")
        monkeypatch.setenv("XDG_CACHE_HOME", str(base))
        assert modes(base / "numbaloss") == {0o700, 0o711}
        monkeypatch.setattr(os, "geteuid", lambda: 1000)  # who trusts root's folders
        monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(base / "kept"))
        assert modes(base / "kept") == {0o700, 0o711}
    finally:
        os.umask(before)


def test_nothing_but_what_we_made_is_forgotten_or_cleared(base, monkeypatch):
    ours = [f"numbaloss-{number:032x}" for number in range(disk_cache.KEPT_DIGESTS + 3)]
    for age, name in enumerate(ours):
        (base / name).mkdir(mode=0o755)
        (base / name / MARKER).write_bytes(MARK)
        os.utime(base / name, (1e9 - age, 1e9 - age))
    foreign = [
        "numbaloss-results",
        f"numbaloss-{'f' * 31}",
        f"numbaloss-{'f' * 33}",
        f"numbaloss-{'F' * 32}",
        f"Numbaloss-{'f' * 32}",
        f"numbaloss-{'a' * 32}",  # no marker
        f"numbaloss-{'b' * 32}",  # a cache of another program
        f"numbaloss-{'c' * 32}",  # a link to one of ours
        f"numbaloss-{'d' * 32}",  # a file
    ]
    for name in foreign[:7]:
        (base / name).mkdir()
        (base / name / "treasure").write_text("somebody else's")
        (base / name).chmod(0o755)
        os.utime(base / name, (0, 0))
        if "a" * 32 not in name:
            (base / name / MARKER).write_bytes(MARK if "b" * 32 not in name else MARK[:45])
    (base / foreign[7]).symlink_to(base / ours[0])
    (base / foreign[8]).write_text("somebody else's")
    disk_cache.write(NAME, ENTRY)
    kept = {f"numbaloss-{DIGEST}", *ours[: disk_cache.KEPT_DIGESTS - 1]}
    assert set(os.listdir(base)) == {*foreign, *kept}
    assert disk_cache.clear() > 0
    assert set(os.listdir(base)) == set(foreign)
    assert all((base / name / "treasure").exists() for name in foreign[:7])


def test_a_folder_of_our_name_that_we_did_not_make_is_not_filled(base):
    foreign = base / f"numbaloss-{DIGEST}"
    foreign.mkdir()
    (foreign / "treasure").write_text("somebody else's")
    foreign.chmod(0o755)
    disk_cache.write(NAME, ENTRY)
    assert os.listdir(foreign) == ["treasure"]
    assert "not of numbaloss's making" in " ".join(disk_cache.place())


def test_sources_that_change_after_the_first_compilation_leave_no_code(monkeypatch, tmp_path):
    """A module that is loaded late may be of another version than those before it."""
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(disk_cache, "digest", lambda: DIGEST)
    stamps = sources._stamps()
    monkeypatch.setattr(sources, "digest", lambda: DIGEST)
    monkeypatch.setattr(sources, "_at_digest", stamps)
    path, stamp = next(iter(stamps.items()))
    later = (stamp[0], stamp[1] + 1, *stamp[2:])
    monkeypatch.setattr(sources, "_stamps", lambda: stamps | {path: later})
    disk_cache.write(NAME, ENTRY)
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(sources, "_stamps", lambda: stamps)
    disk_cache.write(NAME, ENTRY)
    assert os.listdir(tmp_path) == [f"numbaloss-{DIGEST}"]
