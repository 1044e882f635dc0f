"""Records: arguments of kernels, as named numbers of eight bytes.

A record is declared once, as a class whose annotations are its fields, in the order in which they
lie in memory::

    class Piece(Record):
        first: Count  # row
        source: Address  # of the logits; 0: none
        scale: Real  # of the gradient

On the host an instance is an array of words with a property for each field: copying it takes
0.3 us, and a NumPy array of a structured dtype 12. Compiled code reads and writes the fields by
name too (:mod:`numbaloss.cpu.records`). The machine code is that of an array indexed by constants.

:class:`Columns` does the same for arrays that lie behind one another, all of one length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import get_annotations
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np

# Kinds of fields. For people and type checkers: all but the last are an int64.
Address: TypeAlias = int  # of memory, of one array or of many numbers; 0: there is none
Code: TypeAlias = int  # address of a compiled function; 0: there is none
Count: TypeAlias = int  # how many, or which one of them
Flag: TypeAlias = int  # 1: yes, 0: no
Choice: TypeAlias = int  # one of some numbers that have names
Bits: TypeAlias = int  # of a class of :class:`Flags`, one or several
Word: TypeAlias = int  # position of a word, counted from the start of the record; 0: there is none
Real: TypeAlias = float

_KINDS = dict.fromkeys(("Address", "Code", "Count", "Flag", "Choice", "Bits", "Word"), np.int64) | {
    "Real": np.float64
}


_FLOAT64 = np.dtype(np.float64)


def _kinds(cls: type, base: type, known: Any) -> dict[str, Any]:
    """The fields that a class and its bases declare, in their order, with what is known of each."""
    found: dict[str, Any] = {}
    for one in reversed(cls.__mro__):
        if one is base or not issubclass(one, base):
            continue
        for name, kind in get_annotations(one).items():
            if name in found:
                raise TypeError(f"{cls.__name__} declares {name} twice")
            if kind not in known:
                raise TypeError(f"{one.__name__}.{name} is a {kind}; there are {', '.join(known)}")
            found[name] = known[kind]
    return found


def _field(place: int, real: bool) -> property:
    # Functions, and `item`: half the time of what Python has to look up by name.
    def read_real(self: Record) -> float:
        return self.reals.item(place)

    def write_real(self: Record, number: float) -> None:
        self.reals[place] = number

    def read(self: Record) -> int:
        return self.words.item(place)

    def write(self: Record, number: int) -> None:
        self.words[place] = number

    return property(read_real, write_real) if real else property(read, write)


class Memory(NamedTuple):
    """How the fields of a record lie in memory."""

    dtype: np.dtype  # as NumPy and Numba see them
    words: int  # so many of eight bytes
    bytes: int
    place: dict[str, int]  # which word a field is
    addresses: frozenset[str]  # the fields that are an Address


class Record:
    """Base of all records. ``words`` may be longer than the fields: what they refer to follows."""

    __slots__ = ("reals", "words")

    memory: ClassVar[Memory]

    def __init_subclass__(cls) -> None:
        kinds = _kinds(cls, Record, _KINDS)
        if taken := kinds.keys() & set(dir(Record)):
            raise TypeError(f"{cls.__name__} cannot have a field called {', '.join(sorted(taken))}")
        place = {name: position for position, name in enumerate(kinds)}
        dtype = np.dtype(list(kinds.items()), align=True)
        every = _kinds(cls, Record, {kind: kind for kind in _KINDS})
        addresses = frozenset(name for name, kind in every.items() if kind == "Address")
        cls.memory = Memory(dtype, len(kinds), 8 * len(kinds), place, addresses)
        for name, position in place.items():
            setattr(cls, name, _field(position, kinds[name] is np.float64))

    def __init__(self, words: np.ndarray | None = None) -> None:
        self.words = np.zeros(self.memory.words, np.int64) if words is None else words
        self.reals = self.words.view(_FLOAT64)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.memory.place)
        return f"{type(self).__name__}({fields})"

    @property
    def address(self) -> int:
        return self.words.ctypes.data

    def copy(self) -> Self:
        return type(self)(self.words.copy())

    def followed_by(self, parts: Mapping[str, Sequence[int] | np.ndarray]) -> Self:
        """A copy with the words that fields refer to behind it; fields without any stay."""
        behind = sum(map(len, parts.values()))
        if behind == 0:
            return self.copy()
        position = self.words.size
        words = np.empty(position + behind, np.int64)
        words[:position] = self.words
        for name, numbers in parts.items():
            if count := len(numbers):
                words[self.memory.place[name]] = position
                words[position : position + count] = numbers
                position += count
        return type(self)(words)


Column: TypeAlias = Any


class Columns:
    """Base of classes that name arrays which lie behind one another: a number a row each, say.

    ``column`` has the position of each, as attributes. They are numbers of NumPy, since Numba
    compiles a function anew for every plain integer that it is given as a constant.
    """

    column: ClassVar[Any]
    count: ClassVar[int]

    def __init_subclass__(cls) -> None:
        names = _kinds(cls, Columns, {"Column": None})
        cls.count = len(names)
        # A module: the one kind of namespace whose members compiled code can use.
        cls.column = ModuleType(cls.__name__)
        cls.column.__dict__.update({name: np.int64(place) for place, name in enumerate(names)})


Bit: TypeAlias = Any


class Flags:
    """Base of classes that name bits of one number. ``bit`` has each, as attributes."""

    bit: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        cls.bit = ModuleType(cls.__name__)  # as of columns
        names = _kinds(cls, Flags, {"Bit": None})
        cls.bit.__dict__.update({name: 1 << place for place, name in enumerate(names)})
