"""Write docs/losses.md, the table of all losses, from the registry.

    python tools/document_losses.py

A test fails when the file is older than the registry.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numbaloss as nl
from numbaloss.core.loss import domain

PAGE = Path(__file__).resolve().parent.parent / "docs" / "losses.md"

HEADER = """# Losses

Written by `python tools/document_losses.py` from the docstrings, which say more:
`help(numbaloss.Huber)`. `r` is prediction minus target. Targets outside the domain are an error,
but for a rounding beyond its bounds.
"""

STRUCTURES: dict[type, tuple[str, str]] = {
    nl.Elementwise: ("One number at a time", "targets"),
    nl.Softmax: (
        "Rows of logits",
        "dense targets",
    ),
    nl.Linear: ("Hidden vectors and a weight", "dense targets"),
    nl.Embedding: ("Vectors", "takes"),
    nl.MultiOutput: ("Several numbers a sample", "outputs; targets"),
}
NOTES: dict[type, str] = {
    nl.Softmax: "Targets are integer labels, or dense, for which the column holds; `MultiMargin` "
    "takes labels alone, `Distillation` dense logits alone.",
}


def takes(cls: type) -> str:
    """What a loss is given beside its prediction, or its vectors."""
    if issubclass(cls, nl.MultiOutput):
        names = ["; ".join(filter(None, [", ".join(cls.outputs), ", ".join(cls.targets)]))]
        some = [f"{name} in `{domain(of)}`" for name, of in cls.domains.items()]
        return ". ".join([*names, ", ".join(some)] if some else names)
    if issubclass(cls, nl.Embedding):
        # Names of the arguments, up to the options.
        names = list(inspect.signature(cls.__call__).parameters.values())[1:]
        given = [one.name for one in names if one.kind is one.POSITIONAL_OR_KEYWORD]
        text = ", ".join(given)
        return text.replace("target", f"target in `{domain(_of_target(cls))}`")
    of_target = _of_target(cls)
    targets = "by power" if isinstance(of_target, property) else str(domain(of_target))
    return "any" if targets == "(-inf, inf)" else f"`{targets}`"


def _of_target(cls: type) -> Any:
    """The domain of targets as a class declares it, or by default."""
    by_form = any(one.name == "targets" for one in cls.parameters())
    return cls().target_domain if by_form else cls.target_domain


def row(cls: type) -> str:
    """One line of a table."""
    signature = ", ".join(
        name if parameter.default is inspect.Parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in inspect.signature(cls).parameters.items()
    )
    summary = (inspect.getdoc(cls) or "").splitlines()[0]
    aliases = ", ".join(f"`{alias}`" for alias in cls.aliases)
    parameters = f"`{signature}`" if signature else ""
    cells = [f"`{cls.__name__}`", aliases, parameters, takes(cls), summary]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page, a table a structure."""
    parts = [HEADER]
    for structure, (title, column) in STRUCTURES.items():
        rows = [row(cls) for cls in nl.losses().values() if cls.structure() is structure]
        note = f"{NOTES[structure]}\n\n" if structure in NOTES else ""
        head = f"| class | aliases | parameters | {column} | what it is |\n|---|---|---|---|---|\n"
        parts.append(f"## {title}\n\n{note}{head}" + "\n".join(rows) + "\n")
    assert sum(part.count("\n| `") for part in parts) == len(nl.losses())
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
