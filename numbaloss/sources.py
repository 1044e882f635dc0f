"""What the package's sources are, and whether they are still those that this process runs.

Machine code on disk is named by a digest of the sources. A process that has imported the package
must not leave its code under the digest of sources that were edited, or upgraded, since. Time
stamps alone do not tell: those of a file can lie in the future, of a wrong clock or a restored
archive, and such a file has not changed. So the stamps at import are kept, and compared.
"""

from __future__ import annotations

import os
import sys
import time
from functools import cache

_began = time.time_ns()

PACKAGE = os.path.dirname(os.path.abspath(__file__))
_NAME = __name__.rpartition(".")[0]

# What a file system may round a time stamp by: two edits within it leave the same one.
_GRAIN = 10_000_000


# When it was changed, twice: as a program can set it, and as it cannot; the size, the inode.
_Stamp = tuple[int, int, int, int]


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


_at_import: dict[str, _Stamp] = {}
_imported = _began


def remember() -> None:
    """Keep the stamps of the modules that are loaded: the last act of importing the package.

    Of these alone, in 0.1 ms: the others are read when they are first needed.
    """
    global _imported
    start = _NAME + "."
    for name, module in list(sys.modules.items()):
        if name.startswith(start) or name == _NAME:
            try:
                path = module.__file__ or ""
                _at_import[path] = _stamp(os.stat(path))
            except (AttributeError, OSError):  # no file, as in an archive
                continue
    _imported = time.time_ns()


def _stamps(folder: str = PACKAGE) -> dict[str, _Stamp]:
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                found[entry.path] = _stamp(entry.stat())
            elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                found |= _stamps(entry.path)
    return found


def _may_have_changed(path: str, stamp: _Stamp) -> bool:
    """Whether a file may differ from what this process runs or will run of it."""
    known = _at_import.get(path)
    if known is None:  # not loaded by the end of the import: not to be edited since
        until = time.time_ns()
    elif known != stamp:
        return True
    else:  # edited while it was being imported, perhaps between the reading and the stamp
        until = _imported
    return any(_began - _GRAIN < one <= until + _GRAIN for one in stamp[:2])


_at_digest: dict[str, _Stamp] = {}


@cache
def digest() -> str:
    """Digest of all Python sources of the package.

    Empty where they cannot be read, and where this process may run others than those there now.
    """
    import hashlib

    total = hashlib.blake2b(digest_size=16)
    try:
        stamps = _stamps()
        for path in sorted(stamps):
            with open(path, "rb") as file:
                content = file.read()
            # As `os.path.relpath` has it, in a hundredth of the time.
            total.update(f"{path[len(PACKAGE) + 1 :]}\0{len(content)}\0".encode())
            total.update(content)
        if _stamps() != stamps or any(_may_have_changed(*one) for one in stamps.items()):
            return ""
    except OSError:
        return ""
    _at_digest.update(stamps)
    return total.hexdigest() if stamps else ""


def unchanged() -> bool:
    """Whether the sources are still those of the digest: to be asked before code is kept.

    Modules that are first needed after the digest may have been edited after it as well.
    """
    try:
        return bool(digest()) and _stamps() == _at_digest
    except OSError:
        return False


__all__ = ["PACKAGE", "digest", "remember", "unchanged"]
