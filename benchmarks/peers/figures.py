"""Numbers for tables and charts, from the results of a race."""

from __future__ import annotations

from typing import Any

from .catalogue import WORKS
from .contestants import ENTRIES

Cell = dict[str, Any]


def titles(cells: list[Cell], kinds: tuple[str, ...] = ("ours", "floor", "peer")) -> dict[str, str]:
    """Contestants that appear in the cells, in the order of tables."""
    present = {name for cell in cells for name in cell["nanoseconds"]}
    return {
        name: entry.title
        for name, entry in ENTRIES.items()
        if name in present and entry.kind in kinds
    }


def per_element(cell: Cell, name: str) -> float | None:
    """Nanoseconds an element."""
    time = cell["nanoseconds"].get(name)
    return None if time is None else time / cell["size"]


def ratio(cell: Cell, above: str | None, below: str) -> float | None:
    """How much longer one contestant takes than another."""
    times = cell["nanoseconds"]
    if above not in times or below not in times:
        return None
    return times[above] / times[below]


def best_peer(cell: Cell) -> str | None:
    """The fastest of the other libraries."""
    times = cell["nanoseconds"]
    peers = [name for name in times if ENTRIES[name].kind == "peer"]
    return min(peers, key=times.__getitem__, default=None)


def groups(cells: list[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """Cells by dtype and size."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell["dtype"], cell["size"]), []).append(cell)
    return found


def loss_title(cell: Cell) -> str:
    return WORKS[cell["loss"]].title


def digits(number: float | None) -> str:
    """Three digits that matter; a dash for what does not exist."""
    if number is None:
        return "-"
    if number < 9.995:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def size_title(size: int) -> str:
    """2**22 as 4 Mi."""
    for power, unit in ((20, "Mi"), (10, "Ki")):
        if size >= 2**power and size % 2**power == 0:
            return f"{size >> power} {unit}"
    return f"{size:,}"


def machine_line(results: dict[str, Any]) -> str:
    """The machine and the versions, in a line."""
    machine = results["machine"]
    parts = [f"{machine['processor']}, {machine['threads']} threads", f"Python {machine['python']}"]
    versions = results.get("speed", results.get("small", {})).get("versions", {})
    parts += [f"{name} {version}" for name, version in sorted(versions.items())]
    return ", ".join(parts)
