"""``numbaloss list``: the registry, as a table or as JSON."""

from __future__ import annotations

import inspect
import re
from typing import Any

from rich.text import Text

from .. import registry
from ..core.loss import Loss, Parameter
from .report import console, plain_table


def described() -> list[dict[str, Any]]:
    """All registered losses with what there is to say of them."""
    return [
        {
            "name": name,
            "aliases": list(cls.aliases),
            "structure": registry.snake_case(cls.structure().__name__),
            "parameters": [_parameter(one, cls) for one in cls.parameters()],
            "use": use(cls),
        }
        for name, cls in registry.losses().items()
    ]


def _parameter(parameter: Parameter, cls: type[Loss]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": parameter.name, "required": parameter.required}
    if not parameter.required:
        described["default"] = parameter.default
    if parameter.name in cls.bounds:
        described["bounds"] = cls.bounds[parameter.name]
    return described


def use(cls: type[Loss]) -> str:
    """The first line of the docstring, without marks of reStructuredText."""
    lines = (inspect.getdoc(cls) or "").strip().splitlines()
    line = lines[0] if lines else ""
    line = re.sub(r":\w+:`~?([^`]*)`", r"\1", line)
    return line.replace("`", "").rstrip(".")


def print_losses(losses: list[dict[str, Any]]) -> None:
    """A table a structure; one row a loss: left what one writes after ``--loss``, right its use."""
    out = console()
    known = {
        registry.snake_case(cls.__name__): cls
        for cls in (one.structure() for one in registry.losses().values())
    }
    tables = {name: plain_table("Loss, parameters", "Use, other names") for name in known}
    for one in losses:
        left = Text(one["name"], style="bold")
        for parameter in one["parameters"]:
            value = "" if parameter["required"] else f"={parameter['default']}"
            left.append(f"\n  {parameter['name']}{value}", style="not bold")
        right = Text(one["use"])
        aliases = [alias for alias in one["aliases"] if alias != one["name"]]
        if aliases:
            right.append(f"\nalso {', '.join(aliases)}", style="dim")
        tables[one["structure"]].add_row(left, right)
    width = max(len(one["name"]) for one in losses)
    for name, table in tables.items():
        out.print(Text.assemble((name, "bold"), f": {use(known[name])}"))
        table.columns[0].no_wrap = True
        table.columns[0].min_width = width
        out.print(table)
