"""The engines that compute losses, by name.

An engine is a package with a module ``engine``, which has

- ``STRUCTURES``, a table: for each structure of losses, by the name that its contract has
  (:mod:`numbaloss.core.contracts`), the module that computes it;
- ``run(kernels, request)``, which has such a module compute a request
  (:class:`numbaloss.core.request.Request`) and returns an ``Outcome``.

Of the host's engine, ``"cpu"``, each module has ``divisor(request)``, an ``Outcome`` too, whose
total is what a sum of values is divided by; and those of losses whose gradient may take the place
of the prediction have ``check_inputs(request)``, which finds what ``run`` would, before anything is
written.

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
    for one in _direct:
        one.forget()


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


class Direct:
    """The path of plain arrays on the host, a few us sooner: ``run`` is a module's ``run_direct``.

    It returns None for arguments that are others, or bad. The module is looked up at the first
    call, and again once another engine has been registered.
    """

    __slots__ = ("run", "structure")

    def __init__(self, structure: str) -> None:
        self.structure = structure
        self.forget()
        _direct.append(self)

    def forget(self) -> None:
        """Look the module up at the next call."""
        self.run: Any = self._first

    def _first(self, *arguments: Any) -> Any:
        # Arrays of a GPU are none of the host's: for these alone, its engine is not imported.
        if hasattr(type(arguments[2]), "__cuda_array_interface__"):
            return None
        self.run = kernels("cpu", self.structure).run_direct
        return self.run(*arguments)


_direct: list[Direct] = []
