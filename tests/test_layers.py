"""The rooms of the package, from the ground up: nothing imports what stands above it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numbaloss"

# Each line may import from the lines above it, and its rooms from one another where they say so.
LAYERS = (
    ("engines", "forking", "misuse", "numba_settings", "sources"),
    ("arrays", "disk", "jobs", "vmath"),
    ("device_value", "rewriting"),
    ("jets",),
    ("core",),
    ("all_pairs", "formulas"),
    ("cpu", "cuda"),
    ("call",),
    ("structures",),
    ("check", "registry"),
    ("losses",),
    ("boosting", "metrics"),
    ("catboost", "lightgbm", "xgboost"),
    ("__init__",),
    ("autodiff",),
    ("train",),
    ("jax", "scale", "scipy", "torch"),
    ("keras", "river", "sklearn"),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def modules() -> dict[str, Path]:
    """All modules of the package, by their dotted names below it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found[".".join(parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    return module.partition(".")[0]


def imports(module: str, text: str, path: Path) -> list[tuple[int, str]]:
    """Line and module of all that a module imports of the package, inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    parts = [] if package in ("", "__init__") else package.split(".")
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [
                (node.lineno, one.name.partition(".")[2] or "__init__")
                for one in node.names
                if one.name.partition(".")[0] == "numbaloss"
            ]
        if not isinstance(node, ast.ImportFrom):
            continue
        if node.level:
            base = parts[: len(parts) - node.level + 1] + (node.module or "").split(".")
        elif (node.module or "").partition(".")[0] == "numbaloss":
            base = (node.module or "").split(".")[1:]
        else:
            continue
        name = ".".join(filter(None, base))
        for one in node.names:
            inner = f"{name}.{one.name}".strip(".")
            found.append((node.lineno, inner if inner in MODULES else name or "__init__"))
    return found


def upward(module: str, text: str, path: Path) -> list[str]:
    """The lines of a module that import from above, in words."""
    found = []
    for line, other in imports(module, text, path):
        own, its = room(module), room(other)
        if own != its and LEVEL[its] >= LEVEL[own]:
            found.append(f"{path.relative_to(ROOT)}:{line} imports {other}, which {own} is below")
    return found


def test_every_room_has_its_layer():
    assert {room(module) for module in MODULES} == set(LEVEL)


@pytest.mark.parametrize("which", sorted(LEVEL))
def test_nothing_imports_upward(which):
    found = [
        line
        for module, path in MODULES.items()
        if room(module) == which
        for line in upward(module, path.read_text(), path)
    ]
    assert not found, "\n".join(found)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle; empty where there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            if found := visit(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := visit(module, []))), [])


def test_no_modules_import_one_another_in_a_circle():
    graph = {
        module: {other for _, other in imports(module, path.read_text(), path)} - {module}
        for module, path in MODULES.items()
    }
    assert circle(graph) == []


def test_upward_imports_are_found_wherever_they_stand():
    path = PACKAGE / "core" / "intervals.py"
    text = "import math\n\ndef f():\n    from ..structures import softmax\n    return softmax\n"
    (found,) = upward("core.intervals", text, path)
    assert found.startswith("numbaloss/core/intervals.py:4 imports structures.softmax")
    assert upward("cpu.x", "from ..cuda import backend\n", PACKAGE / "cpu" / "x.py")
    assert upward("core.x", "import numbaloss.call\n", PACKAGE / "core" / "x.py")
    assert not upward("cpu.x", "from ..core.loss import Loss\n", PACKAGE / "cpu" / "x.py")
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_contributing_shows_these_layers():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.search(r"```text\n(__main__.*?)```", text, re.S)
    assert shown, "CONTRIBUTING.md shows no layers"
    lines = [line.split() for line in shown[1].strip().splitlines()]
    assert lines == [list(rooms) for rooms in reversed(LAYERS)]
