"""``numbaloss list LOSS``: all that is known of one loss."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from rich.text import Text

from .. import registry
from ..core.loss import Loss, domain
from . import listing
from .failures import UsageFailure, did_you_mean
from .formula import plain
from .report import console
from .wrap import tight, wrapped

# Longer lines are hard to read.
WIDEST = 88


def find(name: str) -> type[Loss]:
    """The class of a registered loss, by its name or an alias."""
    losses = registry.losses()
    for own, cls in losses.items():
        if name.lower() in (own, cls.__name__.lower(), *(one.lower() for one in cls.aliases)):
            return cls
    known = [one for own, cls in losses.items() for one in (own, *cls.aliases)]
    raise UsageFailure(f"unknown loss {name!r}; {did_you_mean(name, known)}")


def described(cls: type[Loss]) -> dict[str, Any]:
    """What ``list --json`` says of a loss, with its formulas and the whole text."""
    found = next(one for one in listing.described() if one["name"] == _name(cls))
    text = inspect.getdoc(cls) or ""
    return {**found, "formulas": _formulas(text), "takes": _takes(cls), "text": text}


def print_pages(classes: list[type[Loss]]) -> None:
    out = console()
    width = min(out.width, WIDEST)
    for place, cls in enumerate(classes):
        if place:
            out.print()
        for line in _page(cls, width):
            style = "bold" if line and not line.startswith(" ") else ""
            out.print(Text(line, style=style), soft_wrap=True)


def _name(cls: type[Loss]) -> str:
    return next(name for name, one in registry.losses().items() if one is cls)


def _page(cls: type[Loss], width: int) -> Iterator[str]:
    """The lines: what begins with a blank belongs to the heading above it."""
    text = inspect.getdoc(cls) or ""
    sections = _sections(text)
    others = [one for one in cls.aliases if one != _name(cls)]
    yield _name(cls)
    if others:
        yield from _indented(f"also {', '.join(others)}", width)
    yield from _prose(sections.pop(""), width)
    yield ""
    yield "Parameters"
    yield from _parameters(cls, sections.pop("Parameters", []), width)
    yield ""
    yield "Takes"
    for line in _takes(cls):
        yield from _indented(line, width)
    examples = sections.pop("Examples", [])
    for title, lines in sections.items():
        yield ""
        yield title
        yield from _prose(lines, width)
    yield ""
    yield "Examples"
    yield from (f"  {line}" for line in _call(cls))
    if examples:
        yield from ("  " + line if line else "" for line in ["", *examples])


def _sections(text: str) -> dict[str, list[str]]:
    """The lines of a docstring by their headings; those before the first have none."""
    found: dict[str, list[str]] = {"": []}
    title = ""
    lines = text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""]):
        if below and set(below) == {"-"}:
            title = line
            found[title] = []
        elif not (line and set(line) == {"-"}):
            found[title].append(line)
    return {key: _trimmed(value) for key, value in found.items()}


def _trimmed(lines: list[str]) -> list[str]:
    return "\n".join(lines).strip("\n").split("\n")


def _formulas(text: str) -> list[str]:
    return [plain(body) for body in re.findall(r"\.\. math::(.*?)(?:\n\n|\Z)", text, re.DOTALL)]


def _prose(lines: list[str], width: int) -> Iterator[str]:
    """Paragraphs and formulas, without marks of reStructuredText."""
    for place, paragraph in enumerate(re.split(r"\n\s*\n", "\n".join(lines))):
        if place:
            yield ""
        if paragraph.startswith(".. math::"):
            for line in wrapped(plain(paragraph.removeprefix(".. math::")), width - 6):
                yield f"    {line}"
        else:
            yield from _indented(_unmarked(paragraph), width)


def _unmarked(text: str) -> str:
    text = re.sub(r":math:`([^`]*)`", lambda found: plain(found[1]), text)
    text = re.sub(r":\w+:`~?([^`]*)`", r"\1", text).replace("`", "")
    return re.sub(r"\*([^\W\d][^*\n]*(?:\n[^*\n]*)?)\*", r"\1", text)


def _indented(text: str, width: int, by: int = 2) -> Iterator[str]:
    for line in wrapped(" ".join(text.split()), width - by):
        yield " " * by + line


def _parameters(cls: type[Loss], lines: list[str], width: int) -> Iterator[str]:
    """Each with its default, its range, and what the docstring says of it."""
    own = {one.name: one for one in cls.parameters()}
    if not own:
        yield "  none"
    said: dict[str, tuple[str, list[str]]] = {}
    for line in lines:
        head = re.fullmatch(r"(\w[\w, ]*?) : (.*)", line)
        if head:
            said[head[1]] = (head[2], [])
        elif said:
            said[next(reversed(said))][1].append(line)
    told: set[str] = set()
    for names, (kind, body) in said.items():
        for name in names.split(", "):
            told.add(name)
            yield f"  {_parameter(cls, own[name], kind) if name in own else name}   {kind}"
        yield from _indented(_unmarked("\n".join(body)), width, 6)
    yield from (f"  {_parameter(cls, one)}" for name, one in own.items() if name not in told)


def _parameter(cls: type[Loss], one: Any, kind: str = "") -> str:
    """Name, default and range; the range only where the docstring does not tell it."""
    value = "" if one.required else f" = {one.default!r}"
    bounds = cls.bounds.get(one.name)
    told = bounds is None or re.search(r"[<>\[({]", kind)
    return f"{one.name}{value}" + ("" if told else f"   in {bounds}")


def _takes(cls: type[Loss]) -> list[str]:
    """What it is called with, and the numbers that these may be."""
    structure = registry.snake_case(cls.structure().__name__)
    found = [f"{structure}: {listing.use(cls.structure())}"]
    if cls.contract.named:
        return found + _numbers_of_samples(cls)
    for name in ("prediction", "target"):
        declared = getattr(cls, f"{name}_domain", None)
        default = ""
        if isinstance(declared, property):
            default = ", unless parameters say otherwise"
            alone = not any(one.required for one in cls.parameters())
            declared = getattr(cls(), f"{name}_domain") if alone else None
        if declared is not None and cls.contract.prediction_and_target:
            of = "dense targets" if name == "target" and cls.contract.of_classes else f"{name}s"
            some = domain(declared)
            numbers = "any numbers" if some.everything else f"in {tight(some)}"
            found.append(f"{of}: {numbers}{default}")
        elif default:
            found.append(f"{name}s: by the parameters")
    return found


def _numbers_of_samples(cls: Any) -> list[str]:
    """Outputs and targets by their names, and the numbers that these may be."""
    found = []
    for title, names in (("outputs", cls.outputs), ("targets", cls.targets)):
        some = [
            f"{name} in {tight(domain(cls.domains[name]))}" if name in cls.domains else name
            for name in names
        ]
        found.append(f"{title}: {', '.join(some) or 'none'}")
    return found


def _call(cls: type[Loss]) -> list[str]:
    """How it is written on a command line and in Python, with its defaults."""
    given = [(one.name, 0.5 if one.required else one.default) for one in cls.parameters()]
    shown = next(((name, value) for name, value in given if type(value) is float), None)
    option = f":{shown[0]}={shown[1]}" if shown else ""
    python = f"{shown[0]}={shown[1]}" if shown else ""
    lines = []
    if cls.contract.prediction_and_target:
        lines.append(f"numbaloss score FILE --loss {_name(cls)}{option}")
        lines.append(f"nl.{cls.__name__}({python}).value_and_grad(prediction, target)")
    elif cls.contract.named:
        named: Any = cls
        takes = "prediction, target" if named.targets else "prediction"
        lines.append(f"nl.{cls.__name__}({python}).value_and_grad({takes})")
    else:
        lines.append(f"nl.{cls.__name__}({python})")
    return lines
