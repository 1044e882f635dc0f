"""Errors that name the first number out of range, once somebody knows that there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Operand, numbers
from .intervals import interval
from .loss import domain

# Elements that the search looks at in one go.
_SEARCH = 1 << 16


def raise_first_number(loss: Any, inputs: Sequence[Operand | None], check: bool) -> None:
    """Find the first input outside its domain, in C order, and raise an error that names it.

    What the mask leaves out may be anything; so may what has the weight 0.
    """
    prediction, target, weight, mask = inputs[:4]
    domains = [domain(loss.prediction_domain), domain(loss.target_domain), interval("[0, inf)")]
    names = ["prediction", "target", "sample_weight"]
    for operand, of, name in zip((prediction, target, weight), domains, names):
        if operand is None or not check or of.everything:
            continue
        # Judged in the type of the computation, as the kernel does.
        real = np.dtype((prediction or operand).compute)
        low, high = of.near(real, operand.kind) if name == "target" else of.closed(real)
        for start in range(0, operand.array.size, _SEARCH):
            piece = _piece(operand, start, real)
            bad = (piece < low) | (piece > high)
            if of.binary:
                bad = (piece != of.low) & (piece != of.high) & (piece == piece)
            if name == "sample_weight":
                bad |= piece != piece
            if not bad.any():
                continue
            for one in (mask, None if name == "sample_weight" else weight):
                if one is not None:
                    bad &= _piece(one, start, real) != 0
            if bad.any():
                first = int(bad.argmax())
                index = np.unravel_index(start + first, operand.array.shape)
                place = ", ".join(str(int(i)) for i in index[: operand.dimensions])
                found = _named(name, place, operand, start + first)
                if name == "sample_weight":
                    raise ValueError(f"{found}; weights are >= 0")
                raise ValueError(f"{found}; {loss!r} takes {name}s in {of}")


def _piece(operand: Operand, start: int, real: np.dtype) -> np.ndarray:
    """Some elements of an array in C order, as numbers of the computation."""
    with np.errstate(all="ignore"):  # a float64 that float32 cannot hold is infinite
        return numbers(operand, operand.array.flat[start : start + _SEARCH]).astype(real)


def raise_first_row(
    loss: Any,
    prediction: Operand,
    labels: Operand | None,
    weight: Operand | None,
    mask: Operand | None,
) -> None:
    """Find the first bad label or weight, in C order, and raise an error that names it."""
    shape = prediction.array.shape[:-1]
    classes = prediction.array.shape[-1]
    ignored = loss.row_options().ignore_index
    size = int(np.prod(shape, dtype=np.int64))
    for start in range(0, size, _SEARCH):
        stop = start + _SEARCH
        if labels is not None:
            piece = labels.array.flat[start:stop]
            bad = (piece < 0) | (piece >= classes)
            if ignored is not None:
                bad &= piece != ignored
            if mask is not None:
                bad &= mask.array.flat[start:stop]
            if bad.any():
                first = int(bad.argmax())
                place = _place_behind(start + first, labels)
                except_for = "" if ignored is None else f", or {ignored} to ignore a row"
                found = _named("target", place, labels, start + first)
                raise ValueError(
                    f"{found}; labels of {classes} classes are 0 to {classes - 1}{except_for}"
                )
        if weight is not None:
            piece = numbers(weight, weight.array.flat[start:stop])
            bad = ~(piece >= 0)
            if bad.any():
                first = int(bad.argmax())
                dimensions = len(shape) if weight.dimensions is None else weight.dimensions
                place = _place(start + first, shape, dimensions)
                found = _named("sample_weight", place, weight, start + first)
                raise ValueError(f"{found}; weights are >= 0")


def raise_first_target(
    loss: Any,
    prediction: Operand,
    target: Operand,
    weight: Operand | None,
    mask: Operand | None,
) -> None:
    """Find the first dense target outside its domain, in a row that counts; raise an error."""
    shape, dtype = target.array.shape, np.dtype(prediction.compute)
    of_target = domain(loss.target_domain)
    low, high = of_target.near(dtype, target.kind)
    size, classes = target.array.size, shape[-1]
    for start in range(0, size, _SEARCH):
        with np.errstate(all="ignore"):  # a float64 that float32 cannot hold is infinite
            piece = numbers(target, target.array.flat[start : start + _SEARCH]).astype(dtype)
        bad = (piece < low) | (piece > high)
        if bad.any():
            rows = np.arange(start, start + len(piece)) // classes
            first_row, last_row = int(rows[0]), int(rows[-1]) + 1
            for operand in (weight, mask):
                if operand is not None:
                    used = operand.array.flat[first_row:last_row] != 0
                    bad &= used[rows - first_row]
        if bad.any():
            first = int(bad.argmax())
            place = _place_behind(start + first, target)
            found = _named("target", place, target, start + first)
            raise ValueError(f"{found}; {loss!r} takes dense targets in {of_target}")


def _named(name: str, place: str, operand: Operand, position: int) -> str:
    """An element with all its digits, in the dtype that it came in."""
    number = numbers(operand, operand.array.flat[position : position + 1])[0]
    where = f"[{place}]" if place else ""
    return f"{name}{where} is {str(number).removesuffix('.0')}"


def _place_behind(position: int, operand: Operand) -> str:
    """The place in an array that may have got an axis in front."""
    dimensions = operand.array.ndim if operand.dimensions is None else operand.dimensions
    shape = operand.array.shape
    shape = shape[len(shape) - dimensions :]
    if operand.axis is not None:
        index = list(np.unravel_index(position, shape))
        index.insert(operand.axis, index.pop())
        return ", ".join(str(int(i)) for i in index)
    return _place(position, shape, dimensions)


def _place(position: int, shape: tuple[int, ...], dimensions: int) -> str:
    index = np.unravel_index(position, shape) if shape else ()
    return ", ".join(str(int(i)) for i in index[:dimensions])
