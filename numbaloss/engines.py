"""The engines that compute losses, by name.

An engine is a package with a module ``engine`` that has a table ``STRUCTURES``: for each structure
of losses (:mod:`numbaloss.core.forms`) the module that computes it. Both are imported at the first
call that needs them: Numba takes 0.2 s to load. What is below engines asks for them here, by name,
and imports none.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

_packages = {"cpu": "numbaloss.cpu", "cuda": "numbaloss.cuda"}


def register(name: str, package: str) -> None:
    """Make an engine known: the package whose module ``engine`` describes it."""
    _packages[name] = package
    module.cache_clear()


@cache
def module(engine: str, name: str) -> Any:
    """A module of an engine, imported at the first call."""
    return import_module(f"{_packages[engine]}.{name}")


@cache
def kernels(engine: str, structure: str) -> Any:
    """What computes losses of a structure on an engine.

    Raises
    ------
    TypeError
        Where the engine has nothing for that structure.
    """
    table = module(engine, "engine").STRUCTURES
    if structure not in table:
        raise TypeError(f"the engine {engine!r} computes no {structure} losses")
    return module(engine, table[structure])
