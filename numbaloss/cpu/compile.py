"""Machine code, from Numba or from disk: the one door to Numba's private parts.

Numba's own disk cache would be wrong here in three ways. It looks at the time stamp of the
kernel's file alone, so that an edited loss or vmath function would run its old code. It
numbers its files from an index that several processes rewrite without a lock; with one
kernel shared by all losses, that served one loss the code of another. And it would keep
code of losses that are defined elsewhere. So the cache here has no index at all. A file is
named by a digest of everything its content depends on, the package's own sources included,
and is written whole under a temporary name and then renamed: it is right or it is absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

PACKAGE = Path(__file__).resolve().parent.parent

# Old digests that are kept beside the present one: going back and forth between versions
# or commits stays fast, and the folder stays small.
KEPT_DIGESTS = 8


@cache
def source_digest() -> str:
    """Digest of all Python sources of the package.

    Empty where they cannot be read, and where one is younger than this process: it may run
    what was there before, and must not leave that under the digest of what is there now.
    """
    from .. import _imported_at

    digest = hashlib.blake2b(digest_size=16)
    try:
        paths = sorted(PACKAGE.rglob("*.py"))
        for path in paths:
            content, times = path.read_bytes(), path.stat()
            if max(times.st_mtime_ns, times.st_ctime_ns) > _imported_at - 10_000_000:
                return ""
            digest.update(f"{path.relative_to(PACKAGE)}\0{len(content)}\0".encode())
            digest.update(content)
    except OSError:
        return ""
    return digest.hexdigest() if paths else ""


@cache
def _environment() -> tuple[Any, ...]:
    """What machine code depends on beside its source."""
    switches = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
    return (
        source_digest(),
        numba.__version__,
        llvmlite.__version__,
        sys.implementation.cache_tag,
        getattr(sys, "abiflags", ""),
        platform.machine(),
        cpu_target.target_context.codegen().magic_tuple(),
        tuple(str(getattr(config, switch, None)) for switch in switches),
    )


def cache_folders() -> list[Path]:
    """Where machine code is looked up, and written: to the first that can be written to.

    ``NUMBALOSS_CACHE_DIR`` names the only one. Otherwise code is found beside the package,
    which is where a container image keeps it, and in the user's own cache folder.
    """
    chosen = os.environ.get("NUMBALOSS_CACHE_DIR")
    if chosen:
        return [Path(chosen)]
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [PACKAGE / "__pycache__" / "machine_code", base / "numbaloss"]


# Beside somebody else's folders, ours are known by their name.
FOLDER_PREFIX = "numbaloss-"


def folder_name() -> str:
    """Name of the folder with the machine code of the present sources."""
    return FOLDER_PREFIX + source_digest()


def _read(name: str) -> bytes | None:
    for folder in cache_folders():
        with contextlib.suppress(OSError):
            content = (folder / folder_name() / name).read_bytes()
            checksum, payload = content[:16], content[16:]
            if hashlib.blake2b(payload, digest_size=16).digest() == checksum:
                return payload
    return None


def _write(name: str, payload: bytes) -> None:
    content = hashlib.blake2b(payload, digest_size=16).digest() + payload
    for folder in cache_folders():
        target = folder / folder_name()
        temporary = None
        try:
            fresh = not target.exists()
            target.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=target, prefix=".")
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, target / name)
            if fresh:
                _forget_old_digests(folder)
            return
        except OSError:  # read-only, full, not ours: try the next folder, or go without
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)


def _forget_old_digests(folder: Path) -> None:
    with contextlib.suppress(OSError):
        digests = [entry for entry in folder.iterdir() if entry.name.startswith(FOLDER_PREFIX)]
        digests.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in digests[KEPT_DIGESTS:]:
            shutil.rmtree(entry, ignore_errors=True)


def _file_name(kind: str, what: str) -> str:
    key = repr((kind, what, _environment()))
    return hashlib.blake2b(key.encode(), digest_size=20).hexdigest()


@cache
def _complain(reason: str) -> None:
    warnings.warn(
        f"numbaloss compiles anew in every process: its disk cache does not work with "
        f"Numba {numba.__version__} ({reason})",
        RuntimeWarning,
        stacklevel=2,
    )


@contextlib.contextmanager
def _internals() -> Iterator[None]:
    """Go on without the cache where Numba's internals are not as this file knows them."""
    try:
        yield
    except (AttributeError, TypeError, KeyError, ValueError, pickle.PickleError) as error:
        _complain(f"{type(error).__name__}: {error}")


class Code:
    """A compiled C function: its address, and what must stay alive with it."""

    def __init__(self, address: int, keep: Any, origin: str) -> None:
        self.address = address
        self.keep = keep
        self.origin = origin  # "disk" or "compiler"

    def assembly(self) -> str:
        """The machine code as text; only of code compiled in this process."""
        return self.keep._library.get_asm_str()


def c_function(
    make: Callable[[], Callable], signature: Any, what: str, cacheable: bool = True, **options: Any
) -> Code:
    """Load a C function from disk, or compile what ``make`` makes.

    ``what`` names the function and all types it is specialised for, across processes.
    """
    with global_compiler_lock:
        name = _file_name("c", what)
        cacheable = cacheable and bool(source_digest())
        if cacheable and (payload := _read(name)) is not None:
            with _internals():
                symbol, library_data = pickle.loads(payload)
                # Without a refresh of the context, which imports half of Numba and SciPy.
                library = cpu_target.target_context.codegen().unserialize_library(library_data)
                address = library.get_pointer_to_function(symbol)
                if address:
                    return Code(address, library, "disk")
        compiled: Any = CFunc(
            make(), sigutils.normalize_signature(signature), {}, {"nopython": True, **options}
        )
        compiled.compile()
        if cacheable:
            with _internals():
                if not compiled._library.has_dynamic_globals:
                    data = compiled._library.serialize_using_object_code()
                    _write(name, pickle.dumps((compiled.native_name, data)))
        return Code(compiled.address, compiled, "compiler")


class DispatcherCache:
    """Numba's cache interface, for the functions that Python calls directly."""

    cache_path = None

    def __init__(self, what: str) -> None:
        self._what = what

    def load_overload(self, signature: Any, context: Any) -> Any:
        payload = _read(_file_name("python", f"{self._what}{signature}"))
        if payload is not None:
            with _internals():
                # Loops over prange count references even where they own none.
                rtsys.initialize(context)
                return CompileResult._rebuild(context, *pickle.loads(payload))
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        if source_digest():
            with _internals():
                payload = pickle.dumps(result._reduce(), protocol=pickle.HIGHEST_PROTOCOL)
                _write(_file_name("python", f"{self._what}{signature}"), payload)

    def enable(self) -> None: ...

    def disable(self) -> None: ...

    def flush(self) -> None: ...


def python_function(function: Callable, signature: Any, **options: Any) -> Any:
    """Compile ``function`` for one signature, or load it from disk; call it from Python."""
    dispatcher = numba.njit(**options)(function)
    if hasattr(dispatcher, "_cache"):
        dispatcher._cache = DispatcherCache(f"{function.__module__}.{function.__qualname__}")
    else:
        _complain("dispatchers have no _cache")
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return dispatcher


__all__ = [
    "FOLDER_PREFIX",
    "Code",
    "c_function",
    "cache_folders",
    "folder_name",
    "python_function",
    "source_digest",
]
