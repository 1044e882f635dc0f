"""Schedules of learning rates: plain callables of the step, which is counted from 0."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(learning_rate: float) -> Schedule:
    """The same rate at every step."""
    return lambda step: learning_rate
