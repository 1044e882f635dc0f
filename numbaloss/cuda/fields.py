"""Records as GPUs get them: numbers of their own, one behind the other, that kernels name.

A record is declared in :mod:`numbaloss.jobs`. Kernels see a named tuple, whose machine code is that
of a tuple. On the host it is filled in as a plain object, at 10 ns a field: a launch sets 40 of
them.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from operator import attrgetter
from types import ModuleType
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numba import types

from ..jobs.record import Record

R = TypeVar("R", bound=Record)


class Fields:
    """The arguments of a launch, to be filled in: an attribute a field, 0 at first."""

    get: ClassVar[Any]  # ``get(fields)``: all of them, in their order
    of: ClassVar[Any]  # the record

    def __repr__(self) -> str:
        return f"{type(self).__name__}{named(self.of)(*self.get(self))}"


def _of(record: Any) -> type[Fields]:
    kinds = record.memory.dtype
    zeros: dict[str, Any] = {name: kinds[name].type(0).item() for name in record.memory.place}
    return type(record.__name__, (Fields,), {**zeros, "get": attrgetter(*zeros), "of": record})


_known: dict[Any, Any] = {}


def new(record: type[R]) -> R:
    """A record to fill in."""
    try:
        return cast(R, _known[record]())
    except KeyError:
        _known[record] = _of(record)
        return cast(R, _known[record]())


def copied(fields: R) -> R:
    """The same once more, to change some of it."""
    found = type(fields)()
    found.__dict__.update(fields.__dict__)
    return found


@cache
def named(record: Any) -> Any:
    """The named tuple that kernels see."""
    make: Any = namedtuple
    found = make(record.__name__, record.memory.place)
    found._of_record = record
    return found


def is_record(kind: Any) -> bool:
    """Whether a type of Numba's is that of a record's named tuple."""
    return hasattr(getattr(kind, "instance_class", None), "_of_record")


@cache
def kernel_type(record: Any, real: str = "float64") -> Any:
    """The type of a kernel's argument, whose real numbers are of a dtype."""
    number, kinds = getattr(types, real), record.memory.dtype
    found = [number if kinds[name] == np.float64 else types.int64 for name in record.memory.place]
    if len(set(found)) == 1:
        return types.NamedUniTuple(found[0], len(found), named(record))
    return types.NamedTuple(found, named(record))


@cache
def positions(record: Any) -> Any:
    """Which word of a record in memory each field is, as attributes."""
    # A module: the one kind of namespace whose members compiled code can use.
    found = ModuleType(record.__name__)
    found.__dict__.update({name: np.int64(place) for name, place in record.memory.place.items()})
    return found
