"""Columns that are no columns of files: what the names of their folders say."""

from __future__ import annotations

import math

import numpy as np

from ..failures import Failure
from .columns import Form, Kind
from .sources import Source


def common(files: list[Source], names: list[str]) -> list[str]:
    """The keys that all files have and that are not columns of theirs."""
    first = list(files[0].keys)
    return [key for key in first if key not in names and all(key in one.keys for one in files)]


def kind(files: list[Source], key: str) -> Kind:
    """Numbers, if all values are; else text."""
    values = [one.keys[key] for one in files]
    if all(map(_is_number, values)):
        return Kind()
    return Kind(text=f"{next(one for one in values if not _is_number(one))!r}, a folder's name,")


def column(value: str, form: Form, rows: int, path: object) -> np.ndarray:
    """A value for all rows of a file."""
    if form.key:
        return np.full(rows, value)
    if form.classes is not None:
        if value and value not in form.classes:
            raise Failure(f"{path}: {value!r} is none of the classes {', '.join(form.classes)}")
        return np.full(rows, form.classes.index(value) if value else math.nan, form.real)
    return np.full(rows, float(value) if value else math.nan, form.real)


def _is_number(text: str) -> bool:
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True
