"""Errors that name the first number out of range, once somebody knows that there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays import Operand, numbers
from .intervals import Interval, interval
from .loss import domain

# Elements that the search reads in one go.
_SEARCH = 1 << 16
_WEIGHTS = interval("[0, inf)")


def raise_first_number(loss: Any, inputs: Sequence[Operand | None], check: bool) -> None:
    """Find the first input outside its domain, in C order, and raise an error that names it.

    What the mask leaves out may be anything; so may what has the weight 0.
    """
    if not check:
        return
    prediction, target, weight, mask = inputs[:4]
    domains = domain(loss.prediction_domain), domain(loss.target_domain)
    for operand, of, name in zip((prediction, target), domains, ("prediction", "target")):
        if operand is None or of.everything:
            continue
        # Compared in the type of the computation, as the kernel does.
        real = np.dtype((prediction or operand).compute)
        ends = of.near(real, operand.kind) if name == "target" else of.closed(real)
        first = _first_of_domain(operand, of, ends, real, [mask, weight])
        if first is None:
            continue
        found = named(name, _index(operand, first), operand, first)
        number = _piece(operand, first, real)[0]
        signed = number == -1 and getattr(loss, "targets", None) == "binary"
        hint = "; targets='signed' takes -1 and 1" if signed else ""
        raise ValueError(f"{found}; {loss!r} takes {name}s in {of}{hint}")
    if weight is not None:
        raise_first_weight(weight, mask, (prediction or weight).compute)


def raise_first_weight(
    weight: Operand | None, mask: Operand | None, compute: str = "float64"
) -> None:
    """Find the first weight that counts and is negative or NaN, and raise an error that names it.

    Judged in the type of a computation; that in which weights are summed is float64.
    """
    if weight is None:
        return
    real = np.dtype(compute)
    ends = _WEIGHTS.closed(real)
    first = _first_of_domain(weight, _WEIGHTS, ends, real, [mask], nan=True)
    if first is not None:
        found = named("sample_weight", _index(weight, first), weight, first)
        raise ValueError(f"{found}; weights are >= 0")


def _first_of_domain(
    operand: Operand,
    of: Interval,
    ends: tuple[float, float],
    real: np.dtype,
    counting: Sequence[Operand | None],
    nan: bool = False,
) -> int | None:
    """Position of the first number outside a domain, where nothing that counts it is 0.

    Its ends are those that rounding leaves; ``nan`` is whether NaN is outside.
    """
    low, high = ends
    for start in range(0, operand.array.size, _SEARCH):
        piece = _piece(operand, start, real)
        bad = (piece < low) | (piece > high)
        if of.binary:
            bad = (piece != of.low) & (piece != of.high) & (piece == piece)
        if nan:
            bad |= piece != piece
        if not bad.any():
            continue
        for one in counting:
            if one is not None:
                bad &= _piece(one, start, real) != 0
        if bad.any():
            return start + int(bad.argmax())
    return None


def _index(operand: Operand, position: int) -> str:
    index = np.unravel_index(position, operand.array.shape)
    return ", ".join(str(int(i)) for i in index[: operand.dimensions])


def _piece(operand: Operand, start: int, real: np.dtype) -> np.ndarray:
    """Some elements of an array in C order, as numbers of the computation."""
    with np.errstate(all="ignore"):  # a float64 that float32 cannot hold is infinite
        return numbers(operand, operand.array.flat[start : start + _SEARCH]).astype(real)


def raise_first_of_samples(
    loss: Any,
    prediction: Any,
    target: Any,
    weight: Operand | None,
    mask: Operand | None,
    check: bool,
) -> None:
    """Find the first number of a sample outside its domain, or weight, and raise an error.

    Outputs come first, by their names and not by samples, then targets, then weights.
    """
    if not check:
        return
    real = np.dtype(prediction.compute)
    planes = [*zip(loss.outputs, prediction.planes), *zip(loss.targets, target.planes)]
    for name, operand in planes:
        for term in loss.parts():
            of = domain(term.domains.get(name, "(-inf, inf)"))
            if of.everything:
                continue
            first = _first_of_domain(operand, of, of.closed(real), real, [mask, weight])
            if first is not None:
                found = named(name, _index(operand, first), operand, first)
                raise ValueError(f"{found}; {term!r} takes {name} in {of}")
    raise_first_weight(weight, mask, prediction.compute)


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
                found = named("target", place, labels, start + first)
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
                found = named("sample_weight", place, weight, start + first)
                raise ValueError(f"{found}; weights are >= 0")


def raise_first_entry(loss: Any, inputs: Sequence[Operand | None]) -> None:
    """Find the first number of a row that counts outside its domain, and raise an error.

    Predictions come first, then dense targets.
    """
    prediction, target, weight, mask = inputs
    assert prediction is not None
    assert target is not None
    dtype = np.dtype(prediction.compute)
    labels = target if target.array.ndim < prediction.array.ndim else None
    ignored = loss.row_options().ignore_index

    def counting(first: int, last: int) -> np.ndarray:
        """Which of some rows count."""
        found = np.ones(last - first, bool)
        for operand in (weight, mask):
            if operand is not None:
                found &= operand.array.flat[first:last] != 0
        if labels is not None and ignored is not None:
            found &= labels.array.flat[first:last] != ignored
        return found

    for operand, name, of in (
        (prediction, "prediction", loss.tested_domain()),
        (target if labels is None else None, "target", domain(loss.target_domain)),
    ):
        if operand is None or of.everything:
            continue
        first = _first_outside(operand, dtype, of, counting)
        if first is not None:
            found = named(name, _place_behind(first, operand), operand, first)
            what = "predictions" if name == "prediction" else "dense targets"
            raise ValueError(f"{found}; {loss!r} takes {what} in {of}")


def _first_outside(
    operand: Operand,
    dtype: np.dtype,
    of: Interval,
    counting: Callable[[int, int], np.ndarray],
) -> int | None:
    """Position of the first element outside an interval, in a row that counts."""
    low, high = of.near(dtype, operand.kind)
    size, classes = operand.array.size, operand.array.shape[-1]
    for start in range(0, size, _SEARCH):
        with np.errstate(all="ignore"):  # a float64 that float32 cannot hold is infinite
            piece = numbers(operand, operand.array.flat[start : start + _SEARCH]).astype(dtype)
        bad = (piece < low) | (piece > high)
        if bad.any():
            rows = np.arange(start, start + len(piece)) // classes
            bad &= counting(int(rows[0]), int(rows[-1]) + 1)[rows - rows[0]]
        if bad.any():
            return start + int(bad.argmax())
    return None


def named(name: str, place: str, operand: Operand, position: int) -> str:
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
