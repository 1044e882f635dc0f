"""The losses by name: one list that tests, docs, benchmarks and the command line all read."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from .core.loss import Loss

LossClass = TypeVar("LossClass", bound=type[Loss])

_classes: dict[str, type[Loss]] = {}
_names: dict[str, str] = {}


def register(cls: LossClass) -> LossClass:
    """Class decorator that makes a loss findable by name.

    The name is the name of the class in lower case with underscores; ``cls.aliases``
    find it too. Upper case, hyphens, spaces and underscores make no difference.

    Raises
    ------
    ValueError
        If another loss has the name or an alias already. A class defined again under
        its own name, as in a notebook cell run twice, replaces the former.
    """
    name = snake_case(cls.__name__)
    known = _classes.get(name)
    again = known is not None and (known.__module__, known.__qualname__) == (
        cls.__module__,
        cls.__qualname__,
    )
    for one in (name, *cls.aliases):
        owner = _names.get(_normal(one))
        if owner is not None and not (again and owner == name):
            raise ValueError(f"the name {one!r} belongs to {_classes[owner].__name__} already")
    _classes[name] = cls
    for one in (name, *cls.aliases):
        _names[_normal(one)] = name
    return cls


def losses() -> dict[str, type[Loss]]:
    """All registered losses, name to class, in the order of their definition."""
    return dict(_classes)


def get(name: str, **parameters: Any) -> Any:
    """Make a registered loss from its name or an alias.

    >>> get("huber", delta=1.5)
    Huber(delta=1.5)
    >>> get("mse")
    SquaredError()

    Raises
    ------
    ValueError
        For an unknown name, with the closest known ones.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a loss is a string, not {name!r}")
    found = _names.get(_normal(name))
    if found is None:
        from difflib import get_close_matches

        spellings = {_normal(alias): alias for cls in _classes.values() for alias in cls.aliases}
        spellings |= {_normal(known): known for known in _classes}
        close = [spellings[one] for one in get_close_matches(_normal(name), spellings, 3, 0.5)]
        hint = f"did you mean {' or '.join(close)}?" if close else "see numbaloss.losses()"
        raise ValueError(f"no loss is called {name!r}; {hint}")
    return _classes[found](**parameters)


# Abbreviations whose capitals begin no word.
_ONE_WORD = {
    "GIoU": "Giou", "DIoU": "Diou", "CIoU": "Ciou", "IoU": "Iou", "SimPO": "Simpo", "TNLL": "TNll"
}  # fmt: skip


def snake_case(name: str) -> str:
    """``BinaryCrossEntropy`` to ``binary_cross_entropy``."""
    for word, spelt in _ONE_WORD.items():
        name = name.replace(word, spelt)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
