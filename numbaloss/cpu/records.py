"""Records in compiled code: fields by name, of what lies at an address."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

from ..jobs.record import Record


@cache
def at(record: type[Record]) -> Any:
    """Make an intrinsic: the record at an address, to read and to write.

    Numba's own record type: its loads are those of a pointer to numbers, which a type with
    attributes of its own would order otherwise.
    """
    kind = numba.from_dtype(record.memory.dtype)

    @intrinsic
    def view(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), codegen

    return view
