"""Exceptions that compiled formulas raised, for the caller: which, and for what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.loss import Loss, point_of_value
from .catching import NUMBER, RAISED, TARGET, ask
from .points import METHODS
from .structure import lower, parameters_of, terms


class Raised(Exception):
    """What a formula that raised left in the memory of a call."""

    def __init__(self, memory: np.ndarray) -> None:
        self.method = list(METHODS)[int(memory[RAISED]) - 1]
        self.number, self.target = float(memory[NUMBER]), float(memory[TARGET])

    @staticmethod
    def check(memory: np.ndarray) -> None:
        """Raise what a launch left in its memory, if it did."""
        if memory[RAISED]:
            raise Raised(memory)


def first_that_raises(
    count: int, run: Callable[[int, int], Any], known: Raised
) -> tuple[int | None, Raised]:
    """The first of ``count`` samples that makes a formula raise; ``run`` evaluates some of them.

    Threads race for the word that is left: by halves, the first is the same in every run. None
    where none of them raises now.
    """

    def asked(start: int, stop: int) -> Raised | None:
        try:
            run(start, stop)
        except Raised as raised:
            return raised
        return None

    start, stop = 0, count
    if asked(start, stop) is None:
        return None, known
    while stop - start > 1:
        middle = (start + stop) // 2
        if asked(start, middle) is None:
            start = middle
        else:
            stop = middle
    return start, asked(start, stop) or known


def place_of(first: int | None, shape: Sequence[int], words: str) -> str:
    """Where a sample stands among samples of a shape, in words; empty where nobody knows."""
    if first is None or not shape:
        return ""
    return f"{words} [{', '.join(str(int(i)) for i in np.unravel_index(first, shape))}]"


def exception_of(loss: Loss, raised: Raised, real: str, place: str) -> BaseException:
    """The exception of a formula: as plain Python raises it, where it raises the same.

    That one comes with the line of the formula, and with all that its message says.
    """
    kind = np.dtype(real).type
    lowered = lower(loss)
    with np.errstate(all="ignore"):
        number, target = kind(raised.number), kind(raised.target)
    record = parameters_of(lowered, kind)
    compiled = _raised_by(lambda: ask(METHODS[raised.method], record, number, target))
    found = compiled
    for _, part in terms(lowered):
        method = getattr(part, raised.method)
        two = raised.method == "point"
        given = (number, target) if two else (number,)
        error = _raised_by(lambda: method(*given))  # noqa: B023 (called at once)
        if error is not None and (compiled is None or type(error) is type(compiled)):
            found = error
            break
    if found is None:
        found = RuntimeError("a formula raised an exception when it was run, and none when asked")
    found.add_note(_note(loss, raised, real, place))
    return found


def _note(loss: Loss, raised: Raised, real: str, place: str) -> str:
    names = type(loss).point_takes()
    said = f"{names[0]} = {raised.number:.17g}"
    if raised.method == "point":
        said += f", {names[1]} = {raised.target:.17g}"
    else:
        said = f"a number of {raised.number:.17g}"
    method = raised.method
    parts: list[Any] = [part for _, part in terms(lower(loss))]
    if method == "point" and all(type(part).point is point_of_value for part in parts):
        method = "value"
    return f"raised by {method} of {loss!r} in {real}{place}: {said}"


def _raised_by(call: Callable[[], Any]) -> BaseException | None:
    try:
        with np.errstate(all="ignore"):
            call()
    except Exception as error:
        return error
    return None
