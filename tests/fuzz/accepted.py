"""Deviations that are documented, or that no user has a right to call wrong; each with a reason.

A finding that one of these explains is counted apart, and is no failure. A fault that is known
and will be mended does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .calls import Call


class Accepted(NamedTuple):
    name: str
    reason: str
    explains: Callable[[Call, str, str], bool]


ACCEPTED: list[Accepted] = []


def explanation(call: Call | None, kind: str, text: str) -> str | None:
    """The name of what explains a finding."""
    if call is None:
        return None
    found: Any = (one.name for one in ACCEPTED if one.explains(call, kind, text))
    return next(found, None)
