"""Folders and files whose content nobody but the user and root can have made.

Machine code from disk runs with all rights of the user. So it is taken from a folder only if the
folder, all folders above it and the file belong to the user or to root, and nobody else can write
to them. Each is opened first and checked then, by its descriptor: what has been checked is
what is read, whoever renames things meanwhile. Above the folder, other users may add entries of
their own where the sticky bit keeps them from replacing ours, as in /tmp.

Windows has neither descriptors of folders nor these owners. There the folders of a profile are
its user's own by default, and nothing is checked.
"""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHECKED = (
    hasattr(os, "geteuid")
    and hasattr(os, "O_NOFOLLOW")
    and {os.open, os.stat, os.mkdir, os.chmod, os.rename, os.unlink} <= os.supports_dir_fd
    and os.listdir in os.supports_fd
)
# O_PATH: folders above may be such as can be passed, but not listed.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY)
_FOLDER |= getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
# A FIFO would otherwise hold up whoever opens it until somebody writes to it.
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_FILE |= getattr(os, "O_BINARY", 0)
_LINKS = 40  # as Linux: more are a circle


class CacheWarning(RuntimeWarning):
    """Machine code is not kept or not loaded where the user might expect it."""


class Distrusted(Exception):
    """Somebody else can write there; the message names who, or how."""


def _check(handle: int, path: str, sticky: bool = False) -> None:
    """Raise where others may change what a descriptor stands for."""
    status = os.fstat(handle)
    if status.st_uid not in (0, os.geteuid()):
        raise Distrusted(f"{path} belongs to another user (number {status.st_uid})")
    if sticky and status.st_mode & stat.S_ISVTX:
        return
    if status.st_mode & stat.S_IWOTH:
        raise Distrusted(f"all users can write to {path}")
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, handle):
        raise Distrusted(f"a group of users can write to {path}")


def _is_private(group: int, handle: int) -> bool:
    """Whether a group that can write is the user's own, as many systems have one a user.

    Such systems let the group write to whatever the user makes. Not to root's: it has no need.
    """
    if os.geteuid() == 0 or group != os.getegid():
        return False
    with suppress(OSError, AttributeError):
        # With a list of further users, the mode is what they may do, and not the group.
        os.getxattr(f"/proc/self/fd/{handle}", "system.posix_acl_access")
        return False
    try:
        import grp
        import pwd

        name, found = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}


class Folder:
    """An open folder, for the operations on what lies in it; its methods raise OSError."""

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    def _at(self, name: str) -> tuple[str, dict[str, int]]:
        if self.descriptor is None:
            return os.path.join(self.path, name), {}
        return name, {"dir_fd": self.descriptor}

    def names(self) -> list[str]:
        if self.descriptor is None:
            return os.listdir(self.path)
        handle = os.open(".", os.O_RDONLY, dir_fd=self.descriptor)
        try:
            return os.listdir(handle)
        finally:
            os.close(handle)

    def status(self, name: str) -> os.stat_result:
        path, where = self._at(name)
        return os.stat(path, follow_symlinks=False, **where)

    def make(self, name: str, mode: int) -> None:
        path, where = self._at(name)
        os.mkdir(path, mode, **where)

    def folder(self, name: str, sticky: bool = False) -> Folder:
        """A folder in this one, by its own name rather than a link."""
        path = os.path.join(self.path, name)
        if self.descriptor is None:
            if not os.path.isdir(path):
                raise FileNotFoundError(path)
            return Folder(path)
        found = Folder(path, os.open(name, _FOLDER, dir_fd=self.descriptor))
        try:
            _check(found.descriptor or 0, path, sticky)
        except BaseException:
            found.__exit__()
            raise
        return found

    def set_mode(self, mode: int) -> None:
        if self.descriptor is not None:
            os.chmod(".", mode, dir_fd=self.descriptor)

    def read(self, name: str) -> bytes:
        """The content of a plain file."""
        path, where = self._at(name)
        handle = os.open(path, _FILE, **where)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{path} is no plain file")
            if CHECKED:
                _check(handle, os.path.join(self.path, name))
            return file.read()

    def write(self, name: str, content: bytes, mode: int) -> None:
        """A new file; an error if there is one."""
        path, where = self._at(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(path, flags, mode, **where)
        try:
            with os.fdopen(handle, "wb") as file:
                if CHECKED:
                    os.fchmod(handle, mode)  # whatever the umask is
                file.write(content)
        except BaseException:
            with suppress(OSError):
                self.remove(name)
            raise

    def rename(self, old: str, new: str) -> None:
        """Give an entry a name, in the place of what may have it."""
        if self.descriptor is None:
            os.replace(os.path.join(self.path, old), os.path.join(self.path, new))
        else:
            os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        path, where = self._at(name)
        os.unlink(path, **where)

    def remove_tree(self, name: str) -> None:
        import shutil

        path, _ = self._at(name)
        shutil.rmtree(path, dir_fd=self.descriptor)


@contextmanager
def opened(path: str | os.PathLike[str], make: int = 0) -> Iterator[Folder]:
    """A folder below which other users have no influence; made with the mode ``make``, if any.

    Raises Distrusted where others can write to it or replace it, OSError where it cannot be
    had. Links on the way are followed if the user or root made them.
    """
    path = os.path.abspath(path)
    if CHECKED:
        with _walk(path, make) as folder:
            yield folder
        return
    if make:
        os.makedirs(path, exist_ok=True)
    if not os.path.isdir(path):
        raise FileNotFoundError(path)
    yield Folder(path)


def _walk(path: str, make: int) -> Folder:
    names = [name for name in reversed(path.split(os.sep)) if name]
    links = 0
    here = _root()
    try:
        while names:
            name = names.pop()
            made = False
            try:
                status = here.status(name)
            except FileNotFoundError:
                if not make:
                    raise
                with suppress(FileExistsError):  # another process was faster
                    here.make(name, make if not names else 0o755)
                    made = not names
                status = here.status(name)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                there = os.path.join(here.path, name)
                if links > _LINKS:
                    raise OSError(f"too many links at {there}")
                if status.st_uid not in (0, os.geteuid()):
                    raise Distrusted(f"the link {there} belongs to another user")
                target = os.readlink(name, dir_fd=here.descriptor)
                names += [one for one in reversed(target.split(os.sep)) if one]
                if os.path.isabs(target):
                    here.__exit__()
                    here = _root()
                continue
            following = here.folder(name, sticky=True)
            here.__exit__()
            here = following
            if made:
                here.set_mode(make)  # whatever the umask is
    except BaseException:
        here.__exit__()
        raise
    return here


def _root() -> Folder:
    root = Folder(os.sep, os.open(os.sep, _FOLDER))
    try:
        _check(root.descriptor or 0, os.sep, sticky=True)
    except BaseException:
        root.__exit__()
        raise
    return root


_said: set[str] = set()


def say(folder: str | os.PathLike[str], reason: object) -> None:
    """Warn, once a folder, that it is left alone."""
    if str(folder) not in _said:
        _said.add(str(folder))
        warnings.warn(
            f"numbaloss goes without its disk cache in {folder}: {reason}. Code that is planted "
            f"there would run with your rights: only you and root may write to the folder and to "
            f"those above it; NUMBALOSS_CACHE_DIR names another.",
            CacheWarning,
            stacklevel=3,
        )


__all__ = ["CHECKED", "CacheWarning", "Distrusted", "Folder", "opened", "say"]
