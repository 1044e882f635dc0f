"""The engines that compute losses, by name.

An engine is a package with a module ``engine``, which has

- ``STRUCTURES``, a table: for each structure of losses, by the name that its contract has
  (:mod:`numbaloss.core.contracts`), the module that computes it;
- ``run(kernels, request)``, which has such a module compute a request
  (:class:`numbaloss.core.request.Request`) and returns an ``Outcome``.

Of the host's engine, ``"cpu"``, each module has ``divisor(loss, inputs, reduction, check)``, what a
sum of values is divided by, and ``check_inputs(loss, inputs, check)``, which raises what ``run``
would, before anything is written.

Modules are imported at the first call that needs them: Numba takes 0.2 s to load. What is below
engines asks for them here, by name, and imports none.
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
    kernels.cache_clear()


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


def run(engine: str, request: Any) -> Any:
    """Have an engine compute a request; what it found out."""
    return module(engine, "engine").run(kernels(engine, request.structure), request)
