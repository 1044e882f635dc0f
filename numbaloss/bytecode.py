"""Changes to compiled functions of Python."""

from __future__ import annotations

import dis
from typing import Any


def with_whole_exponents(code: Any) -> Any:
    """The same code with ``x ** 2`` where it says ``x ** 2.0``: products, and no power."""
    constants, binary = list(code.co_consts), bytearray(code.co_code)
    last: Any = None
    for instruction in dis.get_instructions(code):
        if last is not None and instruction.argrepr in ("**", "**="):
            constants.append(int(last.argval))
            if len(constants) <= 256 and last.arg < 256:  # others take an instruction more
                binary[last.offset + 1] = len(constants) - 1
        value = instruction.argval if instruction.opname == "LOAD_CONST" else None
        last = instruction if type(value) is float and value.is_integer() else None
    return code.replace(co_consts=tuple(constants), co_code=bytes(binary))
