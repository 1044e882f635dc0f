"""What does not compile, in words that speak of the author's own code."""

from __future__ import annotations

import re

from numba.core.errors import NumbaError, UnsupportedBytecodeError

from ..core.loss import point_of_value
from .structure import Structure

# What Numba raises for code that it cannot compile.
FAULTS = (NumbaError, UnsupportedBytecodeError)


def complaint(
    structure: Structure,
    error: Exception,
    method: str = "point",
    results: str = "three numbers: value, gradient, hessian",
    where: str = "",
) -> str:
    """What does not compile, and why, in words that speak of the author's own code."""
    if method == "point" and all(cls.point is point_of_value for cls in structure.classes):  # type: ignore[attr-defined]
        method = "value"
    reason = _reason(error, results)
    hint = _hint(structure, str(error))
    return f"{structure.title}.{method} does not compile{where}: {hint}{reason}"


def _hint(structure: Structure, text: str) -> str:
    """What to write instead, for the usual reasons; empty for others."""
    for pattern, advice in _HINTS:
        if found := re.search(pattern, text):
            return advice.format(*found.groups()) + "\n"
    missing = re.search(r"Unknown attribute '(\w+)' of type", text)
    for cls in structure.classes if missing else ():
        name = missing[1]  # type: ignore[index]
        member = getattr(cls, name, None)
        if callable(member):
            return (
                f"formulas call functions, not methods of the class: write {name} as a function "
                f"outside the class, with the numbers that it needs as arguments\n"
            )
        if isinstance(member, (bool, int, float)):
            kind = type(member).__name__
            return f"a parameter is declared with its type: {name}: {kind} = {member!r}\n"
    return ""


_HINTS = (
    (r"IMPORT_NAME", "a formula imports nothing: put the import at the top of the file"),
    (
        r"reflected list.*assigned to variable '(\w+)'",
        "{} is a list, which may change: make it a tuple or a NumPy array",
    ),
    (
        r"Untyped global name '(\w+)'.*type of <class 'dict'>",
        "{} is a dict: formulas know numbers, tuples and NumPy arrays",
    ),
    (
        r"Untyped global name '(\w+)'.*type of <class 'type'>",
        "{} is a class: give its numbers names of their own, or make them parameters of the loss",
    ),
    (
        r"Untyped global name '(\w+)'.*type of <class 'function'>",
        "{} calls itself: write it as a loop",
    ),
)


def _reason(error: Exception, results: str) -> str:
    """The sentence and the line of a Numba error that speak of the author's own code."""
    text = str(error)
    of_jets = re.findall(r"TypingError: value\(\): (.*)", text)
    if of_jets:
        return of_jets[-1]
    if "wrong tuple length" in text or "failed to unpack" in text:
        return f"it must return {results}"
    lines = [line.strip() for line in text.splitlines()]
    starts = [i for i, line in enumerate(lines) if "Failed in " in line]
    rest = [line for line in lines[starts[-1] + 1 if starts else 0 :] if line]
    unknown = _UNKNOWN.match("\n".join(rest[:2]))
    if unknown:
        rest = [
            f"nothing is known of the derivative of {unknown[1]} in this form; nl.stop_gradient(x) "
            f"takes x for a constant, and point() gives derivatives by hand",
            *rest[_own_line(rest) :],
        ]
    end = next((i for i, line in enumerate(rest) if line.startswith("During")), len(rest))
    return "\n".join(rest[: min(end, 8)])


def _own_line(lines: list[str]) -> int:
    """Where the lines of an error come to a file that is neither Numba's nor NumPy's."""
    found = enumerate(lines)
    return next((i for i, line in found if re.match(r"File (?!.*\b(numba|numpy)\W)", line)), 0)


# Numba's words for a function that takes no jets.
_UNKNOWN = re.compile(
    r"No implementation of function Function\(<\S*\s?(?:function|class)? ?'?([\w.]+).*\n.*\bJet\("
)
