"""Write docs/losses.md, the table of all losses, from the registry.

    python tools/document_losses.py

A test fails when the file is older than the registry.
"""

from __future__ import annotations

import inspect
from pathlib import Path

import numbaloss as nl
from numbaloss.structures.loss import domain

PAGE = Path(__file__).resolve().parent.parent / "docs" / "losses.md"

HEADER = """# Losses

Written by `python tools/document_losses.py` from the docstrings, which say more:
`help(numbaloss.Huber)`. `r` is prediction minus target. Targets outside the domain are an error.
Losses of rows of logits, from `CrossEntropy` on, take integer labels or dense targets, for which
the column holds; `MultiMargin` takes labels alone, `Distillation` dense logits alone.

| class | aliases | parameters | targets | what it is |
|---|---|---|---|---|
"""


def row(cls: type) -> str:
    """One line of the table."""
    signature = ", ".join(
        name if parameter.default is inspect.Parameter.empty else f"{name}={parameter.default!r}"
        for name, parameter in inspect.signature(cls).parameters.items()
    )
    summary = (inspect.getdoc(cls) or "").splitlines()[0]
    of_target = cls.target_domain
    targets = "by power" if isinstance(of_target, property) else str(domain(of_target))
    targets = "any" if targets == "(-inf, inf)" else f"`{targets}`"
    aliases = ", ".join(f"`{alias}`" for alias in cls.aliases)
    cells = [f"`{cls.__name__}`", aliases, f"`{signature}`" if signature else "", targets, summary]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The whole page."""
    return HEADER + "\n".join(row(cls) for cls in nl.losses().values()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
