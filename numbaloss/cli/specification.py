"""Losses as they are written on a command line.

==================================  ==================================================
``huber``                           a registered loss, by its name or an alias
``huber:delta=1.5``                 with parameters, separated by commas
``huber:delta=1.5 + 0.1*log_cosh``  a weighted sum
``ce:class_weight=1/2/0.5``         an array of numbers has slashes
``my_losses.py:Quartic:scale=2``    a class in a file of one's own
``my_package.losses:Quartic``       a class in a module that Python can import
==================================  ==================================================
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from .. import registry
from ..core.loss import Loss
from .failures import UsageFailure, did_you_mean, first_line

# A plus between terms, not that of 1e+5. Hyphens occur in names: a minus has spaces around.
_BETWEEN_TERMS = re.compile(r"(?<![0-9.][eE])\s*(\+)\s*|\s+(-)\s+")
_FACTOR = re.compile(r"^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*")


# A loss of a prediction and a target, by its contract.
Scorable = Any


class Chosen(NamedTuple):
    """A loss that the user asked for, and what its columns of results are called after."""

    name: str
    text: str
    loss: Scorable


def choose(texts: list[str]) -> list[Chosen]:
    """The losses of all ``--loss`` options, each with a name of its own."""
    read = [_read(text) for text in texts]
    names = [name for name, _ in read]
    chosen = [
        Chosen(name if names.count(name) == 1 else slug(text), text, loss)
        for text, (name, loss) in zip(texts, read, strict=True)
    ]
    for place, one in enumerate(chosen):
        first = chosen[0]
        if one.loss.contract.of_classes != first.loss.contract.of_classes:
            of_rows, other = (one, first) if one.loss.contract.of_classes else (first, one)
            raise UsageFailure(
                f"--loss {of_rows.text!r} takes a row of predictions, --loss {other.text!r} a "
                f"single one: score them one after the other"
            )
        for other in chosen[:place]:
            if one.loss == other.loss or one.name == other.name:
                raise UsageFailure(f"--loss {one.text!r} is the same as --loss {other.text!r}")
    return chosen


def class_names(text: str | None) -> tuple[str, ...] | None:
    """The names of ``--classes``."""
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    for name, times in Counter(names).items():
        if not name or times > 1:
            what = f"names {name!r} twice" if name else "has an empty name"
            raise UsageFailure(f"--classes {text} {what}")
    return names


def slug(text: str) -> str:
    """``huber:delta=1.5`` to ``huber_delta_1.5``."""
    return re.sub(r"[^0-9A-Za-z.]+", "_", text).strip("_.")


def _read(text: str) -> tuple[str, Scorable]:
    name, loss = read(text)
    if not loss.contract.prediction_and_target:
        raise UsageFailure(
            f"--loss {text!r}: no columns of a table hold what {type(loss).__name__} takes"
        )
    return name, loss


def read(text: str) -> tuple[str, Any]:
    """The name and the loss of one option, whatever the loss takes."""
    pieces = _BETWEEN_TERMS.split(text)
    total: Any = 0
    name = slug(text)
    try:
        # The pattern has two groups: term, plus or None, minus or None, term, ...
        for place in range(0, len(pieces), 3):
            sign = -1.0 if place and pieces[place - 1] else 1.0
            found = _FACTOR.match(pieces[place])
            factor = sign * float(found[1]) if found else sign
            body = pieces[place][found.end() if found else 0 :]
            own_name, loss = _term(body.strip(), text)
            if len(pieces) == 1 and not found:
                name = own_name
            total = total + (loss if factor == 1.0 else factor * loss)
    except (TypeError, ValueError) as error:
        raise UsageFailure(f"--loss {text!r}: {first_line(error)}") from None
    return name, total


def _term(body: str, text: str) -> tuple[str, Loss]:
    parts = [part.strip() for part in body.split(":")]
    if not parts[0]:
        raise UsageFailure(f"--loss {text!r}: a loss is written name:parameter=value")
    own = parts[0].endswith(".py") or not _registered(parts[0])
    if own and len(parts) > 1 and parts[1].isidentifier():
        if len(parts) > 3:
            raise UsageFailure(f"--loss {text!r}: too many colons")
        cls = _own_class(parts[0], parts[1])
        return registry.snake_case(cls.__name__), cls(**parameters(parts[2:], text))
    if len(parts) > 2:
        raise UsageFailure(f"--loss {text!r}: too many colons")
    try:
        loss = registry.get(parts[0], **parameters(parts[1:], text))
    except ValueError as error:
        raise ValueError(str(error).replace("numbaloss.losses()", "`numbaloss list`")) from None
    return registry.snake_case(type(loss).__name__), loss


def _registered(name: str) -> bool:
    try:
        registry.get(name)
    except ValueError:
        return False
    except TypeError:  # it has parameters that must be given
        return True
    return True


def parameters(parts: list[str], text: str, option: str = "loss") -> dict[str, Any]:
    """Values by name, of a text ``name=value,name=value``."""
    values: dict[str, Any] = {}
    for item in parts[0].split(",") if parts and parts[0] else []:
        name, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or not name or not value:
            raise UsageFailure(f"--{option} {text!r}: {item!r} should read parameter=value")
        if name in values:
            raise UsageFailure(f"--{option} {text!r}: {name!r} is given twice")
        values[name] = _value(value)
    return values


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    kinds: tuple[Callable[[str], Any], ...] = (int, float, _numbers)
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _numbers(text: str) -> list[float]:
    return [float(piece) for piece in text.split("/")]


def _own_class(where: str, name: str) -> type[Loss]:
    module = _file(Path(where)) if where.endswith(".py") else _module(where)
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Loss)):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, Loss)
            and value.__module__ == module.__name__
        ]
        raise UsageFailure(f"{where} has no loss {name!r}; {did_you_mean(name, classes)}")
    return found


def _file(path: Path) -> ModuleType:
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if not path.is_file():
        raise UsageFailure(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageFailure(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # A loss looks up the types of its parameters in its module. A file that is called like
    # a module in use, say numpy.py, must not take its place.
    if known is None:
        sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None) if known is None else None
        raise UsageFailure(f"{path}: {type(error).__name__}: {first_line(error)}") from error
    return module


def _module(name: str) -> ModuleType:
    # `python -m` and an installed command differ in this; a user's module is in the folder.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageFailure(f"{name}: {type(error).__name__}: {first_line(error)}") from error
