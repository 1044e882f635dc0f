"""Trees: dicts, lists and tuples, nested in any way, whose leaves are arrays.

A leaf is named by the way to it: ``layers.0.weight`` is ``tree["layers"][0]["weight"]``. What is
None holds no leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

ROOT = "array"  # the name of a tree that is one leaf


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Name and array of each leaf, in the order of the tree.

    Raises
    ------
    ValueError
        For two leaves of one name, such as those of the keys ``1`` and ``"1"``.

    >>> [name for name, _ in named_leaves({"layers": [{"weight": 1.0, "bias": 2.0}]})]
    ['layers.0.weight', 'layers.0.bias']
    """
    found: list[tuple[str, Any]] = []
    _collect(tree, "", found)
    names = {name for name, _ in found}
    if len(names) < len(found):
        seen: set[str] = set()
        twice = next(name for name, _ in found if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"two leaves are called {twice}: rename a key")
    return found


def _collect(tree: Any, path: str, found: list[tuple[str, Any]]) -> None:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            _collect(value, _join(path, key), found)
    elif isinstance(tree, (list, tuple)):
        for place, value in enumerate(tree):
            _collect(value, _join(path, place), found)
    elif tree is not None:
        found.append((path or ROOT, tree))


def leaves(tree: Any) -> list[Any]:
    """The arrays of a tree, in its order."""
    return [array for _, array in named_leaves(tree)]


def mapped(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """The tree of what a function makes of each leaf, and of those of others of the same form."""
    if isinstance(tree, Mapping):
        return {
            key: mapped(function, value, *(one[key] for one in others))
            for key, value in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        parts = [mapped(function, *values) for values in zip(tree, *others, strict=True)]
        if isinstance(tree, list):
            return parts
        # Named tuples take their parts one by one.
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else function(tree, *others)


def pair(tree: Any, other: Any, mine: list[Any], its: list[Any], path: str = "") -> None:
    """The leaves of a tree, and what another of the same form has in their places.

    None in the other tree stands for a branch, or a leaf, that has nothing.

    Raises
    ------
    ValueError
        Where the other tree has another form, with the place.
    """
    kind = type(tree)
    if kind is dict or isinstance(tree, Mapping):
        if other is None:
            other = dict.fromkeys(tree)
        if not isinstance(other, Mapping) or len(other) != len(tree) or other.keys() != tree.keys():
            raise _another_form(tree, other, path)
        for key, value in tree.items():
            pair(value, other[key], mine, its, f"{path}.{key}")
    elif kind is list or isinstance(tree, (list, tuple)):
        if other is None:
            other = (None,) * len(tree)
        if not isinstance(other, (list, tuple)) or len(other) != len(tree):
            raise _another_form(tree, other, path)
        for place, value in enumerate(tree):
            pair(value, other[place], mine, its, f"{path}.{place}")
    elif tree is None:
        if other is not None:
            raise _another_form(tree, other, path)
    else:
        mine.append(tree)
        its.append(other)


def _another_form(tree: Any, other: Any, path: str) -> ValueError:
    place = f" at {path[1:]}" if path else ""
    return ValueError(
        f"gradients must have the form of the parameters{place}: {_form(tree)} there, "
        f"{_form(other)} here"
    )


def _form(tree: Any) -> str:
    if isinstance(tree, Mapping):
        return f"a dict of {', '.join(map(repr, tree)) or 'nothing'}"
    if isinstance(tree, (list, tuple)):
        return f"a {type(tree).__name__} of {len(tree)}"
    return "None" if tree is None else f"a leaf ({type(tree).__name__})"
