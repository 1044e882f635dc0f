"""Columns of Arrow as NumPy arrays: numbers, lists of numbers, names of classes.

By way of the buffers: `to_numpy`, and already a scalar NaN, make pyarrow import pandas,
which takes 50 MB and a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..failures import Failure
from .columns import Form, Kind, contiguous, no_class, not_numbers, real_of

# Texts that stand for a missing label, unless they are classes.
BLANKS = ("", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan")


def opened(path: Path) -> Any:
    """A file to read; Arrow takes names in UTF-8 alone, others go by way of Python."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return pa.PythonFile(open(path, "rb"), mode="r")
    return pa.OSFile(str(path))


def column_kind(kind: Any, column: str, path: Path) -> Kind:
    """What a column of some type of Arrow's holds; lists of unknown length have width -1."""
    kinds = pa.types
    if is_list(kind):
        values = column_kind(kind.value_type, column, path)
        if values.text is not None or values.width is not None:
            raise not_numbers(path, column, kind)
        fixed = kinds.is_fixed_size_list(kind)
        return Kind(values.real, kind.list_size if fixed else -1)
    stored = kind.value_type if kinds.is_dictionary(kind) else kind
    if kinds.is_string(stored) or kinds.is_large_string(stored) or kinds.is_string_view(stored):
        return Kind(text="text")
    if not (
        kinds.is_integer(stored)
        or kinds.is_floating(stored)
        or kinds.is_boolean(stored)
        or kinds.is_decimal(stored)
        or kinds.is_null(stored)
    ):
        raise not_numbers(path, column, stored)
    whole = kinds.is_integer(stored) or kinds.is_boolean(stored)
    return Kind(real_of(str(stored)), whole=whole)


def is_list(kind: Any) -> bool:
    kinds = pa.types
    return kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind)


def column_width(column: Any) -> int | None:
    """The length of the first list that is there."""
    for value in column:
        if value.is_valid:
            return len(value)
    return None


def read_column(column: Any, form: Form, place: Callable[[int], str]) -> np.ndarray:
    """A column of a batch as it is wanted; ``place`` calls its rows by name."""
    if form.key:
        return keys(column)
    if form.classes is not None:
        return codes(column, form, place)
    if form.width is not None:
        return lists(column, form, place)
    return numbers(column, form.real)


def numbers(column: Any, real: str) -> np.ndarray:
    """An Arrow array as a NumPy one; null becomes NaN."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not pa.types.is_floating(column.type):
        column = column.cast(pa.float64(), safe=False)
    values = contiguous(_buffer(column), real)
    if column.null_count:
        values = np.where(_missing(column), values.dtype.type(np.nan), values)
    return values


def lists(column: Any, form: Form, place: Callable[[int], str]) -> np.ndarray:
    """Lists of one length as the rows of a matrix; null makes a row of NaN."""
    size, width = len(column), form.width
    assert width is not None
    missing = _missing(column) if column.null_count else None
    if not pa.types.is_fixed_size_list(column.type):
        lengths = _lengths(column)
        bad = lengths != width
        if missing is not None:
            bad &= ~missing
        if bad.any():
            first = int(bad.argmax())
            raise Failure(
                f"{place(first)} has {lengths[first]} numbers in column {form.column!r}; the first "
                f"row has {width}"
            )
    # Flattening leaves out what lies in the place of null.
    values = numbers(column.flatten(), form.real)
    if missing is None:
        return values.reshape(size, width)
    full = np.full((size, width), np.nan, form.real)
    full[~missing] = values.reshape(-1, width)
    return full


def _lengths(column: Any) -> np.ndarray:
    dtype = np.dtype(np.int64 if pa.types.is_large_list(column.type) else np.int32)
    if not len(column):
        return np.empty(0, dtype)
    start = column.offset * dtype.itemsize
    return np.diff(np.frombuffer(column.buffers()[1], dtype, len(column) + 1, start))


def codes(column: Any, form: Form, place: Callable[[int], str]) -> np.ndarray:
    """Text as its place among the classes; null, and text that stands for it, becomes NaN."""
    import pyarrow.compute as pc

    assert form.classes is not None
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = column.cast(pa.large_string())
    found = pc.index_in(column, value_set=_texts(form.classes))
    values = numbers(found, form.real)
    unknown = np.isnan(values)
    if unknown.any():
        unknown &= ~_missing(column)
        for index in np.flatnonzero(unknown):
            text = column[int(index)].as_py()
            if text.strip() not in BLANKS:
                raise no_class(text, place(int(index)), form.classes)
    return values


def keys(column: Any) -> np.ndarray:
    """Whatever a column holds as texts; null is the empty one."""
    import pyarrow.compute as pc

    if not len(column):
        return np.empty(0, str)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    column = pc.fill_null(column.cast(pa.large_string()), "").dictionary_encode()
    names = np.array(column.dictionary.to_pylist(), str)
    return names[_buffer(column.indices.cast(pa.uint32()))]


def _texts(texts: tuple[str, ...]) -> Any:
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(texts), buffers)


def _missing(column: Any) -> np.ndarray:
    return _buffer(column.is_null().cast(pa.uint8())).astype(bool)


def _buffer(column: Any) -> np.ndarray:
    """The numbers of an Arrow array where they lie; what null ones hold is undefined."""
    width = column.type.bit_width // 8
    dtype = np.dtype(f"{'u' if pa.types.is_integer(column.type) else 'f'}{width}")
    if not len(column):
        return np.empty(0, dtype)
    # The first buffer says which are null, the second one holds the numbers.
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * width)
