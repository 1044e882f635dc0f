"""What is known of the trees of a step, for as long as they stay what they are."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import numpy as np

from ..arrays import Operand, operand
from ..cpu import threads
from ..cpu.plain_arrays import AS_IS, WRITEABLE
from .jobs import Leaf
from .leaves import gradient_of, refuse_overlaps, seen
from .passes import GRADIENT, Table
from .rules import Rule
from .states import LeafState

_BOTH = AS_IS | WRITEABLE
_SLOTS = Leaf.count - 3  # columns for states


def table_of(device: int | None, sizes: list[int], units: list[int] | None = None) -> Table:
    """The table of leaves that live on the CPU, or on a GPU."""
    if device is None:
        return Table(sizes, units)
    from .cuda_passes import CudaTable

    return CudaTable(sizes, units, device)


def row_of(given: Any, view: Operand) -> int:
    """What a table has for an array of the caller's: its handle, or its address on a GPU."""
    if view.device is not None:
        return view.array.ctypes.data
    return threads.handle(given if type(given) is np.ndarray else view.array)


def stream_of(given: Any) -> tuple[int, bool]:
    """The stream that an array's library works on now, and whether it knows of none."""
    family = operand(given, "parameter")[1]
    return family.stream(given), family.waits


class Group:
    """Leaves of one dtype in one place that have taken as many steps: one launch."""

    def __init__(
        self, rule: Rule, kind: str, device: int | None, places: list[int], states: list[LeafState]
    ) -> None:
        self.kind, self.device, self.places, self.states = kind, device, places, states
        self.step = states[0].step
        self.table = table_of(device, [math.prod(one.shape) for one in states])
        self.table.prepare(rule, kind)
        slots = (*rule.slots, *[""] * (_SLOTS - len(rule.slots)), "master")
        for row, state in zip(self.table.rows, states):
            row[2:] = state.addresses(slots)


class Views:
    """All leaves of a step, looked at: an error for what cannot be stepped on."""

    def __init__(self, names: list[str], parameters: list[Any], gradients: list[Any]) -> None:
        self.names = names
        self.taking = [place for place, one in enumerate(gradients) if one is not None]
        self.parameters: dict[int, Operand] = {}
        self.gradients: dict[int, Operand] = {}
        for place in self.taking:
            name = names[place]
            view = seen(parameters[place], "parameter", name, written=True)
            self.parameters[place] = view
            self.gradients[place] = gradient_of(gradients[place], name, view)
        refuse_overlaps(
            [names[place] for place in self.taking],
            [self.parameters[place] for place in self.taking],
            [self.gradients[place] for place in self.taking],
        )

    def form(self) -> list[Any]:
        """All that a plan depends on, but for where the arrays lie."""
        return [
            (place, self.names[place], view.kind, view.array.shape, view.device)
            for place, view in self.parameters.items()
        ]


class Plan:
    """Launches for the leaves of a step."""

    def __init__(self, views: Views, rule: Rule, groups: list[Group], count: int) -> None:
        self.names, self.rule, self.groups, self.count = views.names, rule, groups, count
        self.form = views.form()
        taking = set(views.taking)
        self.idle = [place for place in range(count) if place not in taking]
        self.where = {
            place: (group, row) for group in groups for row, place in enumerate(group.places)
        }

    def refresh(self, views: Views, parameters: list[Any], gradients: list[Any]) -> None:
        """Take arrays of the same form as before."""
        # What is referred to by its handle lives as long.
        self._kept = views
        self._members: list[tuple[int, Any, Any, Any]] = []
        self._former = [gradients[place] for place in views.taking]
        self.plain = threads.DATA_OFFSET >= 0  # otherwise there are no handles
        for place in views.taking:
            p, g = parameters[place], gradients[place]
            group, row = self.where[place]
            group.table.rows[row, :2] = (
                row_of(p, views.parameters[place]),
                row_of(g, views.gradients[place]),
            )
            self.plain &= type(p) is np.ndarray and type(g) is np.ndarray
            shape = views.parameters[place].array.shape
            self._members.append((place, p, shape, getattr(p, "dtype", None)))
            if group.device is not None:
                group.table.on_stream(*stream_of(p))
        arrays = [one.array for one in views.parameters.values() if one.array.size]
        ends = sorted((one.ctypes.data + one.nbytes, one.ctypes.data) for one in arrays)
        self._stops, self._starts = [one[0] for one in ends], [one[1] for one in ends]

    def holds(self, parameters: list[Any], gradients: list[Any]) -> bool:
        """Whether the arrays are as they were, but for other gradients of the same kind.

        Whatever is not seen at a glance to be so is looked at anew.
        """
        if not self.plain or len(parameters) != self.count:
            return False
        former, moved = self._former, None
        for (place, known, shape, dtype), was in zip(self._members, former):
            p, g = parameters[place], gradients[place]
            if (
                p is not known
                or p.shape != shape
                or p.dtype is not dtype
                or p.flags.num & _BOTH != _BOTH
                or (g is not was and type(g) is not np.ndarray)
                or g.shape != shape
                or g.dtype is not dtype
                or g.flags.num & AS_IS != AS_IS
            ):
                return False
            if g is not was:
                start = threads.address(g)
                # The first parameter that ends behind the start of the gradient.
                behind = bisect_left(self._stops, start + 1)
                if behind < len(self._stops) and self._starts[behind] < start + g.nbytes:
                    return False
                moved = True
        for place in self.idle:
            if gradients[place] is not None:
                return False
        if moved:
            self._move(gradients)
        return True

    def _move(self, gradients: list[Any]) -> None:
        for index, (place, *_) in enumerate(self._members):
            g = gradients[place]
            if g is not self._former[index]:
                group, row = self.where[place]
                group.table.rows[row, GRADIENT] = threads.handle(g)
                self._former[index] = g


def grouped(views: Views, rule: Rule, states: dict[str, LeafState]) -> list[Group]:
    """The launches that a step takes."""
    members: dict[Any, list[int]] = {}
    for place, view in views.parameters.items():
        state = states[views.names[place]]
        members.setdefault((view.kind, view.device, state.step), []).append(place)
    return [
        Group(rule, kind, device, places, [states[views.names[place]] for place in places])
        for (kind, device, _), places in members.items()
    ]
