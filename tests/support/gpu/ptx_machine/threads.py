"""Threads of a launch, as functions of basic blocks see them."""

from __future__ import annotations

import ctypes
import struct
from typing import Any, NamedTuple

from .memory import ATOMIC, Memory, Shared


class Thread:
    """What a function of a basic block gets beside the registers."""

    def __init__(self, number: int, registers: int, launch: Launch) -> None:
        self.number, self.registers, self.at = number, [None] * registers, 0
        self.unseen = False  # whether other blocks may not see yet what was written
        self.block, self.blocks = launch.block, launch.blocks
        self.threads, self.dynamic = launch.threads, launch.dynamic
        self.parameters, self.memory, self.shared = launch.parameters, launch.memory, launch.shared
        self.neighbours = launch.neighbours

    def read(self, cell: Any, address: int, count: int = 1) -> Any:
        size = ctypes.sizeof(cell)
        self.memory.check(address, size * count)
        self.shared.everywhere.note(address, size * count, self.number, False)
        if count == 1:
            return cell.from_address(address).value
        return (cell * count).from_address(address)[:]

    def write(self, cell: Any, address: int, *numbers: Any) -> None:
        size = ctypes.sizeof(cell) * len(numbers)
        self.memory.check(address, size)
        self.shared.everywhere.note(address, size, self.number, True)
        (cell * len(numbers)).from_address(address)[:] = numbers
        self.unseen = True

    def read_shared(self, kind: str, address: int) -> Any:
        self.shared.check(address, struct.calcsize(kind), self.number, False)
        found = struct.unpack_from(kind, self.shared.bytes, address)
        return found if len(found) > 1 else found[0]

    def neighbour(self, address: int, rank: int) -> int:
        """The address of the same place in the shared memory of another block of the cluster."""
        if not 0 <= rank < len(self.neighbours):
            raise IndexError(f"block {rank} of a cluster of {len(self.neighbours)}")
        return (rank + 1) << 20 | address

    def read_neighbour(self, kind: str, address: int) -> Any:
        rank, place = (address >> 20) - 1, address & ((1 << 20) - 1)
        if rank < 0:
            raise IndexError("an address of a cluster that says of no block")
        there = self.neighbours[rank]
        # As somebody else than any thread of that block.
        there.check(place, struct.calcsize(kind), (1 + self.block) << 12 | self.number, False)
        return struct.unpack_from(kind, there.bytes, place)[0]

    def write_shared(self, kind: str, address: int, *numbers: Any) -> None:
        self.shared.check(address, struct.calcsize(kind), self.number, True)
        struct.pack_into(kind, self.shared.bytes, address, *numbers)

    def change(self, how: str, address: int, number: int) -> int:
        """An atomic operation on 64 bits."""
        self.memory.check(address, 8)
        self.shared.everywhere.note(address, 8, ATOMIC, True)
        cell = ctypes.c_uint64.from_address(address)
        found = cell.value
        cell.value = found + number if how == "add" else min(found, number)
        return found

    def ticket(self, address: int, limit: int) -> int:
        if self.unseen:
            raise RuntimeError("a ticket is taken before a fence")
        found = self.read(ctypes.c_uint32, address)
        self.write(ctypes.c_uint32, address, 0 if found >= limit else found + 1)
        return found


class Launch(NamedTuple):
    block: int
    blocks: int
    threads: int
    dynamic: int
    parameters: list[Any]
    memory: Memory
    shared: Shared
    neighbours: list[Shared]  # that of all blocks of the cluster
