"""What the user reads: tables on a terminal, JSON for machines."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from .failures import harmless
from .scoring import Options, Score, Scores
from .sections import plain_table, print_sections, sections_as_json
from .wrap import TIGHT, breakable, tight, wrapped

# Columns of a terminal that tables need to show all they hold.
NARROWEST = 64


def console(stderr: bool = False) -> Console:
    """A console on the present stdout or stderr; 80 columns wide where that is no terminal."""
    found = Console(
        file=sys.stderr if stderr else sys.stdout, highlight=False, soft_wrap=False, emoji=False
    )
    # Names that a narrow terminal wraps can be read; those that are cut cannot.
    if found.width < 1:
        found.width = 80
    elif not stderr and found.width < NARROWEST:
        found.width = NARROWEST
    return found


def print_json(content: Any) -> None:
    """JSON that every reader takes: NaN and infinities, which it has not, become strings."""
    # Bytes of file names that are no letters are written as JSON escapes by the stream itself.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    ascii_only = not encoding.lower().startswith("utf")
    print(json.dumps(portable(content), indent=2, ensure_ascii=ascii_only, allow_nan=False))


def print_lines(*lines: str) -> None:
    """Lines, wrapped to the width of the terminal."""
    out = console()
    for line in lines:
        out.print(Text("\n".join(wrapped(line, out.width))), soft_wrap=True)


def portable(content: Any) -> Any:
    """The same with ``"nan"``, ``"inf"``, ``"-inf"`` for the numbers that JSON lacks."""
    if isinstance(content, dict):
        return {str(key): portable(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [portable(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if content is None or isinstance(content, (bool, int, float, str)):
        return content
    return str(content)


def print_scores(
    path: Path, scores: Scores, options: Options, output: Path | None, names: tuple[str, str]
) -> None:
    """The table of ``numbaloss score``, and what is worth knowing beside it."""
    titles = (options.reduction.replace("_", " "), "gradient norm", "not finite")
    rows = [
        (
            f"{one.value:.8g}",
            f"{one.gradient_norm:.6g}",
            f"{one.not_finite / scores.rows:.2%}" if one.not_finite else "0",
        )
        for one in scores.scores
    ]
    out = console()
    # What the numbers leave; there are three characters between columns.
    width = out.width - 1 - sum(max(map(len, cells)) + 3 for cells in zip(titles, *rows))
    table = plain_table("Loss", *titles)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    table.columns[0].overflow = "fold"
    for one, cells in zip(scores.scores, rows):
        lines = wrapped(breakable(one.chosen.text), width)
        table.add_row(Text("\n".join(lines)), *cells)
    if scores.scores:
        out.print(table)
    print_sections(out, scores, names)
    for line in _remarks(path, scores, options, output):
        out.print(Text("\n".join(wrapped(line, out.width))), soft_wrap=True)


def _remarks(path: Path, scores: Scores, options: Options, output: Path | None) -> Iterator[str]:
    for one in scores.scores:
        if one.not_finite:
            yield _not_finite(one, options)
    if scores.skipped:
        yield f"{tight(counted(scores.skipped, 'row'))} with a NaN skipped"
    yield from _ignored(scores)
    on = " on a GPU" if options.device == "cuda" else ""
    classes = ""
    if scores.classes:
        classes = f", {tight(counted(scores.classes, 'class', 'es'))},"
    yield (
        f"{tight(counted(scores.rows, 'row'))}{classes} of {tight(path)} in "
        f"{tight(duration(scores.seconds))} ({tight(speed(scores))}), computed in "
        f"{scores.real}{on}"
    )
    if scores.compile_seconds > 1:
        before = tight(duration(scores.compile_seconds))
        yield f"{before} before that to compile, which {tight('`numbaloss warmup`')} does once"
    if output is not None:
        yield tight(f"wrote {output}")


def _ignored(scores: Scores) -> Iterator[str]:
    """The rows that losses leave out by their label: in one line where they agree."""
    if len({one.ignored for one in scores.scores}) == 1:
        ignored = scores.scores[0].ignored
        if ignored:
            yield f"{tight(counted(ignored, 'row'))} ignored, by the label"
        return
    for one in scores.scores:
        if one.ignored:
            rows = tight(counted(one.ignored, "row"))
            yield f"{one.chosen.name}: {rows} ignored, by the label"


def _not_finite(one: Score, options: Options) -> str:
    hint = "" if options.skip_nan else "; --skip-nan leaves rows with a NaN out"
    what = tight(counted(one.not_finite, "value"))
    place = re.sub("(?<=row) ", TIGHT, harmless(str(one.first_place)))
    verb = "is" if one.not_finite == 1 else "are"
    first = "in" if one.not_finite == 1 else "the first in"
    return f"{one.chosen.name}: {what} {verb} not finite, {first} {place}{hint}"


def scores_as_json(
    path: Path, scores: Scores, options: Options, output: Path | None, names: tuple[str, str]
) -> dict[str, Any]:
    return {
        "file": str(path),
        "reduction": options.reduction,
        "dtype": scores.real,
        "device": options.device,
        "rows": scores.rows,
        "rows_skipped": scores.skipped,
        "classes": scores.classes,
        "losses": [
            {
                "name": one.chosen.name,
                "loss": repr(one.chosen.loss),
                "value": one.value,
                "gradient_norm": one.gradient_norm,
                "rows_ignored": one.ignored,
                "not_finite": one.not_finite,
                "share_not_finite": one.not_finite / scores.rows if scores.rows else 0.0,
                "first_not_finite_row": one.first_row,
            }
            for one in scores.scores
        ],
        **sections_as_json(scores, names),
        "seconds": round(scores.seconds, 6),
        "compile_seconds": round(scores.compile_seconds, 6),
        "rows_per_second": round(scores.rows / scores.seconds) if scores.seconds else None,
        "output": None if output is None else str(output),
    }


def counted(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else plural)


def speed(scores: Scores) -> str:
    a_second = scores.rows / scores.seconds if scores.seconds else math.inf
    if a_second >= 1e6:
        return f"{a_second / 1e6:.3g} million a second"
    return f"{a_second:,.0f} a second"


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"
