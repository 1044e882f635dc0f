"""Compiled functions of Python: read, and changed."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType
from typing import Any

# Whole powers up to this one are a few products.
HIGHEST_PRODUCT = 64


def names_in(code: CodeType) -> set[str]:
    """The global names of a function, and those of functions inside it."""
    inner = (one for one in code.co_consts if isinstance(one, CodeType))
    return set(code.co_names).union(*map(names_in, inner))


def with_products(code: CodeType) -> CodeType:
    """The same code with ``x @ 2`` in the place of ``x ** 2.0``.

    A whole exponent that stands in a formula makes a few products of a power. It is to be seen
    when types are inferred, as integers are and floats are not; but an integer to the power of an
    integer would be an integer. So the operator is another, which numbers do not have.
    """
    constants, binary = list(code.co_consts), bytearray(code.co_code)
    last: Any = None
    for instruction in dis.get_instructions(code):
        # Where a jump arrives, another exponent may have been chosen.
        whole_power = last is not None and not instruction.is_jump_target
        if whole_power and instruction.argrepr in ("**", "**="):
            constants.append(int(last.argval))
            if len(constants) <= 256 and last.arg < 256:  # others take an instruction more
                binary[last.offset + 1] = len(constants) - 1
                binary[instruction.offset + 1] = _AT
        value = instruction.argval if instruction.opname == "LOAD_CONST" else None
        whole = type(value) is float and value.is_integer() and abs(value) <= HIGHEST_PRODUCT
        last = instruction if whole else None
    return code.replace(co_consts=tuple(constants), co_code=bytes(binary))


def with_positional(
    code: CodeType, defaults: tuple[Any, ...] | None, by_name: dict[str, Any] | None
) -> tuple[CodeType, tuple[Any, ...] | None]:
    """The same code with arguments by name alone as ordinary ones, which Numba knows; defaults.

    Not where such an argument has no default, but one before it has.
    """
    count, more = code.co_argcount, code.co_kwonlyargcount
    names, by_name = code.co_varnames[count : count + more], by_name or {}
    given = [name in by_name for name in names]
    if not more or given != sorted(given) or (defaults and not all(given)):
        return code, defaults
    values = (*(defaults or ()), *[by_name[name] for name in names if name in by_name])
    return code.replace(co_argcount=count + more, co_kwonlyargcount=0), values or None


def _operators(function: Any) -> Iterator[int]:
    for instruction in dis.get_instructions(function):
        if instruction.opname == "BINARY_OP":
            yield instruction.arg or 0


(_AT,) = _operators(lambda a, b: a @ b)
