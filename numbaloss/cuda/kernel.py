"""Kernels for a GPU: compiled for one list of argument types or loaded from disk, and launched."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec

import numba
import numpy as np

from ..formulas.messages import complaint
from ..formulas.structure import Structure
from . import backend, binaries, numpy_functions, shared_memory
from .backend import Place, cuda, stream_of
from .fields import Fields, named
from .packing import Launch, Packing, places_of

Options = ParamSpec("Options")


class Kernel:
    """A function for the GPU, compiled for one list of argument types at its first launch."""

    def __init__(
        self,
        function: Callable,
        arguments: tuple[Any, ...],
        of: Structure | None = None,
        bounds: int | tuple[int, int] = 0,
    ) -> None:
        # Blocks of so many threads must find registers, or so many blocks of so many threads at
        # a time; 0: the compiler takes what it likes.
        self.function, self.arguments, self.of = function, arguments, of
        self.bounds = bounds
        # What names it in all processes; empty where nothing does: see :func:`kept_on_disk`.
        self.what = ""
        self._compiled: dict[tuple[int, int], Any] = {}
        self._loaded: dict[tuple[int, int], Any] = {}
        self._ready: OrderedDict[Any, Any] = OrderedDict()
        self._granted: dict[int, bool] = {}  # see :mod:`.shared_memory`

    def ptx(self, capability: tuple[int, int]) -> str:
        """The kernel in PTX, for a compute capability; needs no GPU."""
        self._refuse()
        backend.learn_functions()
        with self._blamed():
            text, _ = cuda.compile_ptx(
                self.function, self.arguments, cc=capability, **self._bounds()
            )
        return text

    def _bounds(self) -> dict[str, Any]:
        return {"launch_bounds": self.bounds} if self.bounds else {}

    def _refuse(self) -> None:
        """Raise for a formula that can raise: on a GPU nobody would hear of it."""
        if self.of is not None and not self.of.cacheable:
            # Not at the top: what it asks takes 50 ms to import.
            from ..formulas.refusals import refuse_exceptions

            refuse_exceptions(self.of)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        """Say of a loss that does not compile what its author can do about it."""
        try:
            yield
        except Exception as error:
            # numba-cuda has exceptions of its own beside Numba's.
            kinds = {cls.__name__ for cls in type(error).__mro__}
            unknown = numpy_functions.unknown(error)
            if self.of is None or ("NumbaError" not in kinds and unknown is None):
                raise
            raise TypeError(complaint(self.of, unknown or error, where=" for a GPU")) from error

    def launch(
        self,
        place: Place,
        blocks: int,
        arguments: tuple[Any, ...],
        shared: int = 0,
        threads: int | None = None,
        cluster: int = 1,
    ) -> Any:
        """Run so many blocks on a stream, in clusters of some, with so many bytes of shared memory
        each.

        What started them is returned: a :class:`Launch`, where it could be made.
        """
        if threads is None:
            threads = backend.THREADS
        if backend.SIMULATED:
            tuples = _as_tuples(arguments, self.arguments)
            cuda.jit(self.function)[blocks, threads, 0, shared](*tuples)
            return None
        key = place.device, place.stream, blocks, shared, threads, cluster
        ready = self._ready.get(key)
        if ready is None:
            ready = self._configure(place, blocks, shared, threads, cluster)
            self._ready[key] = ready
            while len(self._ready) > 256:
                self._ready.popitem(last=False)
        ready(*arguments)
        return ready

    def _configure(
        self, place: Place, blocks: int, shared: int, threads: int, cluster: int = 1
    ) -> Callable[..., None]:
        self._refuse()
        capability = backend.capability()
        if capability not in self._loaded:
            backend.refuse_capture(place)
            self._loaded[capability] = self._load(capability)
        loaded = self._loaded[capability]
        if loaded is None:
            if cluster > 1:
                raise RuntimeError("clusters of blocks need the driver's own launches")
            shared = min(shared, shared_memory.UNASKED)
            return self._by_numba(capability, place, (blocks, threads, shared))
        driver, handle, packing = loaded
        shared = shared_memory.granted(driver, handle, place.device, shared, self._granted)
        stream = backend.stream_handle(place)
        return Launch(driver, handle, packing, stream, (blocks, threads, shared), cluster)

    def _load(self, capability: tuple[int, int]) -> tuple[Any, Any, Packing] | None:
        """The driver, its handle of the kernel, and how the arguments lie.

        None where ``cuda.bindings`` or the driver are not what this leans on: the driver is asked
        where each parameter lies, and has to agree with :class:`Packing`.
        """
        try:
            driver, packing = backend.driver(), Packing(self.arguments)
            for anew in (False, True):
                found = binaries.binary(self, capability, anew)
                handle = None if found is None else binaries.load(found, driver)
                if handle is not None:
                    agreed = places_of(driver, handle) == packing.places()
                    return (driver, handle, packing) if agreed else None
                if found is None or found.origin != "disk":
                    break
        except (ImportError, AttributeError, KeyError):
            pass
        return None

    def _by_numba(
        self, capability: tuple[int, int], place: Place, grid: tuple[int, int, int]
    ) -> Callable[..., None]:
        """A launch by Numba's own means, which take longer."""
        compiled = self._compiled.get(capability)
        if compiled is None:
            backend.learn_functions()
            with self._blamed():
                signature = numba.types.void(*self.arguments)
                compiled = cuda.jit(signature, **self._bounds())(self.function)
            self._compiled[capability] = compiled
        blocks, threads, shared = grid
        with warnings.catch_warnings():
            # Small arrays make small grids: nothing to warn of.
            warnings.simplefilter("ignore")
            configured = compiled[blocks, threads, stream_of(place), shared]
        return lambda *given: configured(*_as_tuples(given, self.arguments))


def kept_on_disk(make: Callable[Options, Kernel]) -> Callable[Options, Kernel]:
    """Decorates what makes kernels: the same arguments give the same kernel, in all processes.

    Its code may then be kept on disk. So nothing but the arguments and the package's sources may
    decide what the kernel does.
    """

    @cache
    @wraps(make)
    def kernel(*options: Any, **named_options: Any) -> Kernel:
        found = make(*options, **named_options)  # type: ignore[call-arg, arg-type]
        given = [*options, *(part for pair in sorted(named_options.items()) for part in pair)]
        names = [one.name if isinstance(one, Structure) else repr(one) for one in given]
        makers = (f"{one.__module__}.{one.__qualname__}" for one in (make, found.function))
        found.what = f"{' '.join(makers)}({', '.join(names)})"
        return found

    return kernel  # type: ignore[return-value]


def _as_tuples(arguments: tuple[Any, ...], kinds: tuple[Any, ...]) -> list[Any]:
    """Arguments as functions of Python take them, with the fields of records in named tuples."""
    casts = {numba.types.float32: np.float32, numba.types.float64: np.float64}
    found = list(arguments)
    for place, (fields, kind) in enumerate(zip(arguments, kinds)):
        if isinstance(fields, Fields):
            pairs = zip(kind, fields.get(fields))
            numbers = [casts[one](number) if one in casts else number for one, number in pairs]
            found[place] = named(fields.of)(*numbers)
    return found
