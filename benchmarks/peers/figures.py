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


def microseconds(cell: Cell, name: str) -> float | None:
    """Microseconds a call."""
    time = cell["nanoseconds"].get(name)
    return None if time is None else time / 1e3


def megabytes(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Memory at the peak of a call: by the title of the loss, and by contestant."""
    tables: dict[str, dict[str, float]] = {}
    for one in found:
        table = tables.setdefault(loss_title(one), {})
        if one["extra_bytes"] is not None:
            table[one["contestant"]] = one["extra_bytes"] / 1e6
    return tables


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
    """Cells by dtype and size; by the size that was asked for where rows rounded it."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell["dtype"], cell.get("total", cell["size"])), []).append(cell)
    return found


def widths(cells: list[Cell]) -> list[Cell]:
    """Of cells with rows those with many elements."""
    return [cell for cell in cells if cell["total"]]


def few_rows(cells: list[Cell]) -> list[Cell]:
    """Of cells with rows those of which a call takes microseconds."""
    return [cell for cell in cells if not cell["total"]]


def shape_title(cell: Cell) -> str:
    rows, classes = cell["shape"]
    return f"{rows:,} x {classes:,}"


def loss_title(cell: Cell) -> str:
    """The loss, with the width of its rows where it has them."""
    title = WORKS[cell["loss"]].title
    shape = cell.get("shape", ())
    return f"{title}, {shape[-1]:,} classes" if len(shape) > 1 else title


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
    if machine.get("held_back"):
        parts.insert(1, f"every library held back to {machine['vectors']}")
    parts_with_versions = (results[part] for part in ("speed", "rows", "small") if part in results)
    versions = next(parts_with_versions, {}).get("versions", {})
    parts += [f"{name} {version}" for name, version in sorted(versions.items())]
    return ", ".join(parts)
