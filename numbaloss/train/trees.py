"""Trees: dicts, lists and tuples, nested in any way, whose leaves are arrays.

A leaf is named by the way to it: ``layers.0.weight`` is ``tree["layers"][0]["weight"]``. What is
None holds no leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

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


def pair(tree: Any, other: Any, mine: list[Any], its: list[Any]) -> None:
    """The leaves of a tree, and what another of the same form has in their places.

    None in the other tree stands for a branch, or a leaf, that has nothing.

    Raises
    ------
    ValueError
        Where the other tree has another form, with the place.
    """
    if not _pair(tree, other, mine, its):
        raise _misfit(tree, other, "")


def _pair(tree: Any, other: Any, mine: list[Any], its: list[Any]) -> bool:
    """The same; whether the forms are the same. Every step of an optimiser comes through here."""
    kind = type(tree)
    if kind is dict or isinstance(tree, Mapping):
        if other is None:
            other = dict.fromkeys(tree)
        if not isinstance(other, Mapping) or len(other) != len(tree):
            return False
        for key, value in tree.items():
            if key not in other:
                return False
            if type(value) is np.ndarray:
                mine.append(value)
                its.append(other[key])
            elif not _pair(value, other[key], mine, its):
                return False
        return True
    if kind is list or isinstance(tree, (list, tuple)):
        if other is None:
            other = (None,) * len(tree)
        if not isinstance(other, (list, tuple)) or len(other) != len(tree):
            return False
        for value, one in zip(tree, other):
            if type(value) is np.ndarray:
                mine.append(value)
                its.append(one)
            elif not _pair(value, one, mine, its):
                return False
        return True
    if tree is None:
        return other is None
    mine.append(tree)
    its.append(other)
    return True


def _misfit(tree: Any, other: Any, path: str) -> ValueError:
    """The error for trees of different forms, with the first place where they are."""
    if isinstance(tree, Mapping) and isinstance(other, Mapping) and tree.keys() == other.keys():
        for key, value in tree.items():
            if not _pair(value, other[key], [], []):
                return _misfit(value, other[key], f"{path}.{key}")
    lists = (list, tuple)
    if isinstance(tree, lists) and isinstance(other, lists) and len(tree) == len(other):
        for place, (value, one) in enumerate(zip(tree, other)):
            if not _pair(value, one, [], []):
                return _misfit(value, one, f"{path}.{place}")
    return _another_form(tree, other, path)


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
