"""Machine code on disk: where it lies, what a file holds, and who may have written it.

Numba's own disk cache would be wrong here in four ways. It checks the time stamp of the
kernel's file alone, so that an edited loss or vmath function would run its old code. It
numbers its files from an index that several processes rewrite without a lock; with one
kernel shared by all losses, that served one loss the code of another. It would keep code of
losses that are defined elsewhere. And it unpickles what it finds. So the cache here has no index
at all. A file is named by a digest of everything its content depends on, the package's own
sources included, and is written whole under a temporary name and then renamed: it is right or it
is absent. It is a list of plain strings, under a digest that covers its name too, and is taken
from folders alone that only the user and root can write to (see ``trust.py``).
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ..sources import PACKAGE, digest, unchanged
from .trust import CHECKED, Distrusted, Folder, opened, say

# Old digests that are kept beside the present one: going back and forth between versions
# or commits stays fast, and the folder stays small.
KEPT_DIGESTS = 8

# A folder is ours if it has such a name and this file in it, word for word. The first line is that
# of https://bford.info/cachedir: programs that back up or count files know it.
_NAMES = re.compile(r"numbaloss-[0-9a-f]{32}")
MARKER = "CACHEDIR.TAG"
MARK = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# Machine code that numbaloss compiled. It may be deleted: `numbaloss warmup --clear`.\n"
)


class Entry(NamedTuple):
    """The machine code of one function, and what it takes to link it."""

    symbol: str  # the function's name in the code
    code: bytes  # an object file, such as ELF
    externals: tuple[str, ...] = ()  # names that it expects to find
    environments: tuple[str, ...] = ()  # variables that want the address of an environment
    parallel: bool = False  # whether it needs Numba's threads


_MAGIC = b"numbaloss code 1"
_DIGEST = 32
_FIELDS = struct.Struct("<5Q")


def encoded(name: str, entry: Entry) -> bytes:
    """The content of the file ``name`` that holds an entry."""
    fields = (
        entry.symbol.encode(),
        "\n".join(entry.externals).encode(),
        "\n".join(entry.environments).encode(),
        b"parallel" if entry.parallel else b"",
        entry.code,
    )
    body = _FIELDS.pack(*map(len, fields)) + b"".join(fields)
    return _MAGIC + _digest(name, body) + body


def decoded(name: str, content: bytes) -> Entry | None:
    """The entry that the file ``name`` holds, or None if it is not what we wrote there."""
    start = len(_MAGIC) + _DIGEST
    if content[: len(_MAGIC)] != _MAGIC or len(content) < start + _FIELDS.size:
        return None
    body = content[start:]
    if content[len(_MAGIC) : start] != _digest(name, body):
        return None
    sizes = _FIELDS.unpack_from(body)
    if _FIELDS.size + sum(sizes) != len(body):
        return None
    fields, place = [], _FIELDS.size
    for size in sizes:
        fields.append(body[place : place + size])
        place += size
    symbol, externals, environments, parallel, code = fields
    return Entry(
        symbol.decode(),
        code,
        tuple(externals.decode().split()),
        tuple(environments.decode().split()),
        parallel == b"parallel",
    )


def _digest(name: str, body: bytes) -> bytes:
    # With the name: of two files that change places, neither is taken for the other.
    named = hashlib.blake2b(name.encode() + b"\0", digest_size=_DIGEST)
    named.update(body)
    return named.digest()


def cache_folders() -> list[Path]:
    """Where machine code is looked up, and written: to the first that can be written to.

    ``NUMBALOSS_CACHE_DIR`` names the only one. Otherwise code is found beside the package,
    which is where a container image keeps it, and in the user's own cache folder, for users that
    have one.
    """
    chosen = os.environ.get("NUMBALOSS_CACHE_DIR")
    if chosen:
        return [Path(chosen)]
    beside = Path(PACKAGE) / "__pycache__" / "machine_code"
    home = _home()
    return [beside] if home is None else [beside, home / "numbaloss"]


def _home() -> Path | None:
    """The folder for what programs keep for the user, or None."""
    # As it is where there is neither HOME nor such a user; "/" where HOME is empty.
    home = os.path.expanduser("~") if os.environ.get("HOME") != "" else ""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # which its specification says to ignore
            base = os.path.join(home, ".cache")
    return Path(base) if os.path.isabs(base) else None


def folder_name() -> str:
    """Name of the folder with the machine code of the present sources."""
    return f"numbaloss-{digest()}"


def _modes(base: Path) -> tuple[int, int]:
    """Modes of folders and files: what root installs is for all users, as the package is."""
    home = _home()
    if CHECKED and os.geteuid() == 0 and (home is None or base != home / "numbaloss"):
        return 0o755, 0o644
    return 0o700, 0o600


def read(name: str) -> Entry | None:
    """What is kept under a name."""
    for base in cache_folders():
        path = base / folder_name()
        try:
            with opened(base) as parent, parent.folder(path.name) as folder:
                content = folder.read(name)
        except Distrusted as reason:
            if os.path.lexists(path / name):
                say(base, reason)
        except OSError:  # not there, not readable, no plain file
            continue
        else:
            entry = decoded(name, content)
            if entry is not None:
                return entry
    return None


def write(name: str, entry: Entry) -> None:
    """Keep an entry, in the first folder that takes it; in none where none does."""
    if not unchanged():
        return
    content = encoded(name, entry)
    refused: list[tuple[Path, Distrusted]] = []
    for base in cache_folders():
        try:
            with _own_folder(base) as folder:
                temporary = f".{os.urandom(8).hex()}"
                folder.write(temporary, content, _modes(base)[1])
                try:
                    folder.rename(temporary, name)
                except BaseException:
                    with suppress(OSError):
                        folder.remove(temporary)
                    raise
                return
        except Distrusted as reason:
            refused.append((base, reason))
        except OSError:  # read-only, full, not ours: try the next folder, or go without
            continue
    for base, why in refused:
        say(base, why)


@contextmanager
def _own_folder(base: Path) -> Iterator[Folder]:
    """The folder of the present sources; made, with its marker, if it is not there."""
    mode, file_mode = _modes(base)
    with opened(base, make=mode) as parent:
        name = folder_name()
        fresh = False
        try:
            parent.status(name)
        except FileNotFoundError:
            fresh = _make(parent, name, mode, file_mode)
        if fresh:
            _forget_old_digests(parent)
        with parent.folder(name) as folder:
            if not _is_marked(folder):
                raise OSError(f"{folder.path} is not of numbaloss's making")
            yield folder


def _make(parent: Folder, name: str, mode: int, file_mode: int) -> bool:
    """Make a folder that has its marker from the start; False if there is one by now."""
    temporary = f".numbaloss-{os.urandom(8).hex()}"
    parent.make(temporary, mode)
    try:
        with parent.folder(temporary) as folder:
            folder.set_mode(mode)
            folder.write(MARKER, MARK, file_mode)
        parent.rename(temporary, name)
    except OSError:
        parent.remove_tree(temporary)
        parent.status(name)  # unless another process was faster, an error
        return False
    except Distrusted:  # where a list of access rights opens whatever is made
        parent.remove_tree(temporary)
        raise
    return True


def _is_marked(folder: Folder) -> bool:
    try:
        return folder.read(MARKER) == MARK
    except (OSError, Distrusted):
        return False


def _ours(parent: Folder) -> Iterator[str]:
    """Names of the folders in ``parent`` that numbaloss made for this user."""
    for name in parent.names():
        if _NAMES.fullmatch(name):
            with suppress(OSError, Distrusted), parent.folder(name) as folder:
                mine = not CHECKED or parent.status(name).st_uid == os.geteuid()
                if mine and _is_marked(folder):
                    yield name


def _forget_old_digests(parent: Folder) -> None:
    with suppress(OSError):
        names = sorted(_ours(parent), key=lambda name: parent.status(name).st_mtime, reverse=True)
        for name in names[KEPT_DIGESTS:]:
            with suppress(OSError):
                parent.remove_tree(name)


def place() -> list[str]:
    """Why machine code can be kept nowhere, a reason for each folder; empty where it can."""
    if not digest():
        return ["any folder: the package's sources cannot be read, or have just been changed"]
    reasons = []
    for base in cache_folders():
        try:
            with _own_folder(base):
                return []
        except Distrusted as reason:
            reasons.append(f"{base}: {reason}")
        except OSError as error:
            reasons.append(f"{base}: {error.strerror or error}")
    return reasons


def kept() -> list[tuple[Path, int, int]]:
    """The folders with code of the present sources, their files and the bytes of these."""
    found = []
    for base in cache_folders():
        name = folder_name()
        with suppress(OSError, Distrusted), opened(base) as parent, parent.folder(name) as folder:
            found.append((base / name, *_size(folder)))
    return found


def _size(folder: Folder) -> tuple[int, int]:
    sizes = [folder.status(name).st_size for name in folder.names() if name != MARKER]
    return len(sizes), sum(sizes)


def clear() -> int:
    """Delete the machine code of all versions, and nothing else; the bytes that it took.

    Raises Distrusted and OSError where there is some that cannot be deleted.
    """
    total = 0
    for base in cache_folders():
        try:
            with opened(base) as parent:
                for name in list(_ours(parent)):
                    with parent.folder(name) as folder:
                        size = _size(folder)[1]
                    parent.remove_tree(name)
                    total += size
        except (FileNotFoundError, NotADirectoryError):
            continue
    return total


__all__ = [
    "KEPT_DIGESTS",
    "MARKER",
    "Entry",
    "cache_folders",
    "clear",
    "decoded",
    "encoded",
    "folder_name",
    "kept",
    "place",
    "read",
    "write",
]
