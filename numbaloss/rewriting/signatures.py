"""Signatures of functions, as Numba reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def with_signature(function: Callable, names: list[str], **defaults: Any) -> Callable:
    """Give Numba, which reads signatures, the arguments that ``function`` takes as a tuple."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, kind, default=defaults.get(name, inspect.Parameter.empty))
            for name in names
        ]
    )
    return function
