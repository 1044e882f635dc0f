"""Lines for a terminal of some width, in which no number, name or path is cut in two."""

from __future__ import annotations

import re

from .failures import harmless

# In the place of a space where no line may end, and of nothing where one may. What is shown
# holds neither: what does not print is escaped.
TIGHT, LOOSE = "\x00", "\x01"


def tight(text: object) -> str:
    """Text that stays on one line: a number with its unit, a path with spaces."""
    return harmless(str(text)).replace(" ", TIGHT)


def breakable(loss: str) -> str:
    """The text of a loss, whose lines may end between terms and between parameters."""
    return re.sub(r"(?<=[+,:])(?<![0-9.][eE]\+)(?=\S)", LOOSE, harmless(loss))


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` where words allow: longer ones have a line of their own."""
    lines = [""]
    for gap, word in re.findall(f"([ {LOOSE}]*)([^ {LOOSE}]+)", text):
        space = gap.replace(LOOSE, "") if lines[-1] else ""
        shown = word.replace(TIGHT, " ")
        if lines[-1] and len(lines[-1]) + len(space) + len(shown) > width:
            lines.append(shown)
        else:
            lines[-1] += space + shown
    return lines
