"""Calls that are made again and again: their launches, recorded once and repeated.

Which kernels a call takes, and with which numbers, depends on the loss, on shapes, dtypes and
options, and on how arrays lie; of the arrays themselves only the addresses are left. So a call that
was made before is its launches once more, with other addresses: 5 us in the place of 45.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from . import backend
from .packing import Launch

_now = threading.local()


def recorder() -> Recorder | None:
    """What writes down the launches of this thread; None where nothing does."""
    return getattr(_now, "recorder", None)


class Recorder:
    """Writes down what a call launches; a context."""

    def __init__(self) -> None:
        self._launches: list[tuple[Any, ...]] = []
        self._refused = backend.SIMULATED
        self._record: Any = None
        self._device = 0

    def __enter__(self) -> Recorder:
        _now.recorder = self
        return self

    def __exit__(self, *_: object) -> None:
        _now.recorder = None

    def add(
        self, started: Any, arguments: Sequence[Any], sums: Any, kept: list[int], alive: Any
    ) -> None:
        """A launch with its arguments, where its sums come, and which other addresses stay."""
        if type(started) is not Launch:
            self.refuse()
            return
        # As it is now: whoever launches may change his records and launch them once more.
        packing, block = started.packing, bytearray(started.packing.size)
        packing.pack_into(block, arguments)
        numbers = packing.flat(arguments), packing.addresses(arguments)
        self._launches.append((started, bytes(block), numbers, set(kept), sums, alive))

    def refuse(self) -> None:
        """A launch that cannot be repeated."""
        self._refused = True

    def end(self, record: Any, device: int) -> None:
        """The sums that the call's value is made of."""
        self._record, self._device = record, device

    def repeatable(self, addresses: Sequence[int]) -> Repeatable | None:
        """The call for other arrays than those of these addresses; None where that is uncertain.

        Every address among the parameters has to be that of an array, of sums, or of what lives as
        long as this; and nothing else may be.
        """
        if self._refused or not self._launches or self._launches[-1][4] is not self._record:
            return None
        each = [*addresses, *(sums.address for *_, sums, _ in self._launches)]
        which = {address: place for place, address in enumerate(each) if address}
        if len(which) != sum(map(bool, each)):
            return None  # two that are the same: which of them is meant?
        found = []
        for started, block, numbers, kept, _, _ in self._launches:
            moves = _moves(started, numbers, which, kept)
            if moves is None:
                return None
            found.append((started, block, moves))
        alive = [alive for *_, alive in self._launches]
        return Repeatable(found, self._record.workspace, self._device, alive)


def _moves(
    started: Launch, numbers: tuple[list[Any], list[bool]], which: dict[int, int], kept: set[int]
) -> list[tuple[int, int]] | None:
    """Which word of the parameters is which address."""
    found = []
    for number, is_address, (offset, _) in zip(*numbers, started.packing.places(), strict=True):
        if not is_address:
            if number in which:
                return None
        elif number in which:
            found.append((offset // 8, which[number]))
        elif number and number not in kept:
            return None
    return found


class Repeatable(NamedTuple):
    """A call that can be made again."""

    launches: list[tuple[Launch, bytes, list[tuple[int, int]]]]
    workspace: Any
    device: int
    alive: Any  # what the parameters refer to

    def run(self, addresses: list[int]) -> Any:
        """Launch it for the arrays of these addresses; the record of its sums."""
        workspace, several = self.workspace, len(self.launches) > 1
        held = []
        # As of other calls: what one launch leaves in scratch, the next reads.
        with backend.on_device(self.device), workspace.alone if several else _NOTHING:
            for launch, numbers, moves in self.launches:
                sums = workspace.sums()
                addresses.append(sums.address)
                held.append(sums)
                launch.repeat(numbers, moves, addresses)
        return sums


_NOTHING = nullcontext()
