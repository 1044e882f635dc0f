"""Machine code, from Numba or from disk: the one door to Numba's private parts."""

from __future__ import annotations

import contextlib
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import config, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.environment import Environment
from numba.core.registry import cpu_target

from .. import forking, numba_settings, sources
from ..disk import cache as disk_cache
from ..disk.cache import Entry

# Not through its own methods, which know no time limit.
if hasattr(global_compiler_lock, "_lock"):
    forking.protected(global_compiler_lock._lock, first=True)


@contextlib.contextmanager
def _compiling() -> Iterator[None]:
    """Alone with Numba's compiler; an error where it cannot work."""
    forking.check()
    numba_settings.check()
    with global_compiler_lock:
        yield


@cache
def _environment() -> tuple[Any, ...]:
    """What machine code depends on beside its source."""
    switches = (
        "OPT",
        "LOOP_VECTORIZE",
        "SLP_VECTORIZE",
        "BOUNDSCHECK",
        "DEBUGINFO_DEFAULT",
        "USING_SVML",
    )
    return (
        sources.digest(),
        numba.__version__,
        llvmlite.__version__,
        sys.implementation.cache_tag,
        getattr(sys, "abiflags", ""),
        platform.machine(),
        cpu_target.target_context.codegen().magic_tuple(),
        tuple(str(getattr(config, switch, None)) for switch in switches),
    )


def _file_name(kind: str, what: str) -> str:
    key = repr((kind, what, _environment()))
    return blake2b(key.encode(), digest_size=20).hexdigest()


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
    except (AttributeError, TypeError, KeyError, ValueError, ImportError) as error:
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
    with _compiling():
        name = _file_name("c", what)
        cacheable = cacheable and bool(sources.digest())
        if cacheable and (entry := disk_cache.read(name)) is not None:
            with _internals():
                library = _linked(entry)
                if library is not None:
                    return Code(_address(library, entry.symbol), library, "disk")
        compiled: Any = CFunc(
            make(), sigutils.normalize_signature(signature), {}, {"nopython": True, **options}
        )
        compiled.compile()
        if cacheable:
            with _internals():
                _keep(name, compiled._library, compiled.native_name)
        return Code(compiled.address, compiled, "compiler")


def python_function(function: Callable, signature: Any, **options: Any) -> Any:
    """Compile ``function`` for one signature, or load it from disk; call it from Python.

    What comes back takes numbers as the signature has them, and no others: without Numba's
    dispatcher, which would check the type of every argument of every call.
    """
    with _compiling():
        name = _file_name("python", f"{function.__module__}.{function.__qualname__}{signature}")
        cacheable = bool(sources.digest())
        if cacheable and (entry := disk_cache.read(name)) is not None:
            with _internals():
                library = _linked(entry)
                if library is not None:
                    return _callable(function, library, entry)
        dispatcher: Any = numba.njit(**options)(function)
        dispatcher.compile(signature)
        (compiled,) = dispatcher.overloads.values()
        if cacheable:
            with _internals():
                _keep(name, compiled.library, compiled.fndesc.llvm_cpython_wrapper_name, compiled)
        return compiled.entry_point


def _keep(name: str, library: Any, symbol: str, compiled: Any = None) -> None:
    """Keep a function on disk, if all that it refers to can be found again by name."""
    if library.has_dynamic_globals:
        return
    module = library._final_module
    declared = [*module.functions, *module.global_variables]
    externals = [one.name for one in declared if one.is_declaration]
    externals = [one for one in externals if not one.startswith("llvm.")]
    environments: list[str] = []
    if compiled is not None:
        # Variables that generated code keeps objects in; ours has none to keep.
        environments = [one.name for one in declared if one.name.startswith("_ZN08NumbaEnv")]
        if len(compiled.environment.consts):
            return
    if all(map(llvm.address_of_symbol, externals)):
        code = library._get_compiled_object()
        parallel = bool(compiled is not None and compiled.reload_init)
        entry = Entry(symbol, code, tuple(externals), tuple(environments), parallel)
        disk_cache.write(name, entry)


def _linked(entry: Entry) -> Any:
    """The library of an entry, ready to run; None where it needs what is not to be had."""
    if entry.parallel:
        from numba.np.ufunc.parallel import _launch_threads

        _launch_threads()
    # LLVM ends the process where it misses a symbol.
    if not all(map(_is_defined, entry.externals)):
        return None
    # Without a refresh of the context, which imports half of Numba and SciPy; and without the
    # bitcode that Numba keeps beside the code, for functions that others are to inline.
    library = cpu_target.target_context.codegen().create_library(entry.symbol)
    library.enable_object_caching()
    library._set_compiled_object(entry.code)
    library._finalize_final_module()
    return library


def _address(library: Any, symbol: str) -> int:
    return library.codegen._engine.get_function_address(symbol)


def _is_defined(symbol: str) -> bool:
    """Whether code can be linked against a symbol; those of Numba's runtime are made so.

    Numba makes them known when it initialises its runtime, which compiles for 20 ms. What is
    kept here only ever needs the part that Numba has in C.
    """
    if llvm.address_of_symbol(symbol):
        return True
    from numba.core.runtime._nrt_python import c_helpers

    address = c_helpers.get(symbol if symbol.startswith("_") else symbol.removeprefix("NRT_"))
    if not address:
        return False
    llvm.add_symbol(symbol, address)
    return True


def _callable(function: Callable, library: Any, entry: Entry) -> Any:
    """What Python can call, of a library that has a wrapper for it."""
    from numba import _dynfunc

    environment = Environment(function.__globals__)
    for name in entry.environments:
        library.codegen.set_env(name, environment)
    return _dynfunc.make_function(
        sys.modules[function.__module__],
        function.__name__,
        f"compiled wrapper for {function.__qualname__!r}",
        _address(library, entry.symbol),
        environment,
        (library,),
    )


__all__ = ["Code", "c_function", "python_function"]
