"""Kernels for a GPU: compiled for one list of argument types, and launched."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from ..formulas.messages import complaint
from ..formulas.refusals import refuse_exceptions
from ..formulas.structure import Structure
from . import backend, numpy_functions, packing
from .backend import Place, cuda, stream_of
from .fields import Fields, named


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
        self._compiled: dict[tuple[int, int], Any] = {}
        self._ready: OrderedDict[Any, Any] = OrderedDict()

    def ptx(self, capability: tuple[int, int]) -> str:
        """The kernel in PTX, for a compute capability; needs no GPU."""
        self._refuse()
        with self._blamed():
            text, _ = cuda.compile_ptx(
                self.function, self.arguments, cc=capability, **self._bounds()
            )
        return text

    def _bounds(self) -> dict[str, Any]:
        return {"launch_bounds": self.bounds} if self.bounds else {}

    def _refuse(self) -> None:
        """Raise for a formula that can raise: on a GPU nobody would hear of it."""
        if self.of is not None:
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
    ) -> None:
        """Run so many blocks on a stream, with so many bytes of shared memory each."""
        if threads is None:
            threads = backend.THREADS
        if backend.SIMULATED:
            tuples = _as_tuples(arguments, self.arguments)
            cuda.jit(self.function)[blocks, threads, 0, shared](*tuples)
            return
        key = place.device, place.stream, blocks, shared, threads
        ready = self._ready.get(key)
        if ready is None:
            ready = self._configure(place, blocks, shared, threads)
            self._ready[key] = ready
            while len(self._ready) > 256:
                self._ready.popitem(last=False)
        ready(*arguments)

    def _configure(
        self, place: Place, blocks: int, shared: int, threads: int
    ) -> Callable[..., None]:
        self._refuse()
        capability = tuple(cuda.get_current_device().compute_capability)
        compiled = self._compiled.get(capability)
        if compiled is None:
            with self._blamed():
                signature = numba.types.void(*self.arguments)
                compiled = cuda.jit(signature, **self._bounds())(self.function)
            self._compiled[capability] = compiled
        with warnings.catch_warnings():
            # Small arrays make small grids: nothing to warn of.
            warnings.simplefilter("ignore")
            configured = compiled[blocks, threads, stream_of(place), shared]
        packed = packing.launch(compiled, configured, self.arguments, (blocks, threads, shared))
        return packed or (lambda *given: configured(*_as_tuples(given, self.arguments)))


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
