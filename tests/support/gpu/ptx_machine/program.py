"""Kernels in PTX, and their runs."""

from __future__ import annotations

import ctypes
import math
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import arithmetic
from .memory import WARP, Memory, Shared
from .threads import Launch, Thread
from .translation import Instruction, Translation

EXIT = -1
# What a warp waits at for others.
_OF_BLOCKS = ["bar", "sync"], ["barrier", "cluster"]


def _split(text: str) -> list[str]:
    """Operands, with what is in brackets in one piece."""
    return [one.strip() for one in re.findall(r"(?:\{[^}]*\}|\[[^]]*\]|[^,{\[])+", text)]


class Program(Translation):
    """The kernel of a PTX module."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"//[^\n]*", "", text)
        head, body = re.search(r"\.entry\s+\S+\s*\((.*?)\)[^{]*\{(.*)\}", text, re.S).groups()
        self.parameters = re.findall(r"\.param \.(\w+) (\w+)", head)
        self.places = {name: place for place, (_, name) in enumerate(self.parameters)}
        self.symbols, self.static = {}, 0
        declared = r"(\.extern)?[^\n;]*\.shared \.align (\d+) \.b8 (\w+)\[(\d*)\];"
        for _, align, name, size in sorted(re.findall(declared, text), key=lambda one: one[0]):
            self.static = -(-self.static // int(align)) * int(align)
            self.symbols[name] = self.static
            self.static += int(size or 0)  # what is dynamic comes last, and has no size
        self.classes: dict[str, str] = {}
        for kind, name in re.findall(r"\.reg \.(\w+)\s+%(\w+)<", body):
            self.classes[name] = kind
        self._blocks(body)
        self.numbers: dict[str, int] = {}
        where: dict[str, set[int]] = {}
        for place, block in enumerate(self.blocks):
            for one in block:
                for name in re.findall(r"%([a-z]+\d+)\b", one.text):
                    where.setdefault(name, set()).add(place)
        for place, (one, _) in self.waits.items():
            for name in re.findall(r"%([a-z]+\d+)\b", one.text):
                where.setdefault(name, set()).update((place, -1))
        # Registers of one block are its local variables alone.
        self.shared = {name for name, places in where.items() if len(places) > 1}
        self.numbers = {name: number for number, name in enumerate(sorted(self.shared))}
        self.compiled: list[Any] = [None] * len(self.blocks)

    def _blocks(self, body: str) -> None:
        """Cut the instructions where a jump leads to or from, or threads wait for each other."""
        self.blocks: list[list[Instruction]] = [[]]
        self.labels: dict[str, int] = {}
        self.waits: dict[int, tuple[Instruction, Any]] = {}
        for line in re.split(r"[;\n]", re.sub(r"(\$?\w+):(?!:)", r"\1:\n", body)):
            line = line.strip()
            if not line or line.startswith((".", "{", "}")):
                continue
            if line.endswith(":"):
                if self.blocks[-1] or len(self.blocks) - 1 in self.waits:
                    self.blocks.append([])
                self.labels[line[:-1]] = len(self.blocks) - 1
                continue
            guard, name, rest = re.match(r"(?:@(\S+)\s+)?(\S+)\s*(.*)", line).groups()
            guard = (guard or "").replace("!", "not ").replace("%", "")
            one = Instruction(guard, name.split("."), _split(rest), line)
            if one.name[0] in ("shfl", "bar", "barrier"):
                if guard:
                    raise NotImplementedError(line)
                self.blocks.append([])
                self.waits[len(self.blocks) - 1] = one, None
                continue
            self.blocks[-1].append(one)
            if one.name[0] in ("bra", "ret", "exit"):
                self.blocks.append([])

    def function(self, place: int) -> Any:
        """A basic block as a function of the registers and the thread: which block comes next."""
        if self.compiled[place] is None:
            lines, after = [], place + 1
            jump = f"return {after}" if after < len(self.blocks) else f"return {EXIT}"
            for one in self.blocks[place]:
                if one.name[0] == "bra":
                    to = self.labels[one.operands[0]]
                    condition = one.guard
                    jump = (
                        f"return {to} if {condition} else {after}" if condition else f"return {to}"
                    )
                elif one.name[0] in ("ret", "exit"):
                    jump = f"return {EXIT}" + (f" if {one.guard} else {after}" if one.guard else "")
                else:
                    lines.append(self.statement(one))
            self.compiled[place] = self._made([*lines, jump])
        return self.compiled[place]

    def _made(self, lines: list[str]) -> Any:
        names = set(re.findall(r"\b[a-z]+\d+\b", "\n".join(lines))) & self.shared
        written = set(re.findall(r"(?:^|; |: )([a-z]+\d+) = ", "\n".join(lines), re.M)) & names
        loads = [f"{name} = R[{self.numbers[name]}]" for name in sorted(names)]
        stores = [f"R[{self.numbers[name]}] = {name}" for name in sorted(written)]
        text = "".join(f"    {line}\n" for line in [*loads, *lines[:-1], *stores, lines[-1]])
        scope = dict(
            vars(arithmetic), np=np, c_float=ctypes.c_float, copysign=math.copysign, inf=math.inf
        )
        scope["nan"] = math.nan
        exec(f"def block(R, t):\n{text}", scope)
        return scope["block"]

    # Running.

    def run(
        self,
        memory: Memory,
        blocks: int,
        threads: int,
        given: bytes,
        shared: int = 0,
        cluster: int = 1,
    ) -> None:
        """Run so many blocks, or clusters of blocks, one after another, the last one first."""
        if threads % WARP:
            raise ValueError(f"{threads} threads are not whole warps")
        parameters = self._read(given)
        if blocks % cluster:
            raise ValueError(f"{blocks} blocks are not whole clusters of {cluster}")
        for first in reversed(range(0, blocks, cluster)):  # none may rely on those before it
            together = [Shared(self.static + shared) for _ in range(cluster)]
            running = []
            for block, own in enumerate(together, first):
                launch = Launch(block, blocks, threads, shared, parameters, memory, own, together)
                team = [Thread(number, len(self.numbers), launch) for number in range(threads)]
                running.append(self._block(team))
            try:
                self._cluster(running, together)
            except Exception as error:
                error.add_note(f"in block {first}") if hasattr(error, "add_note") else None
                raise

    def _cluster(self, running: list[Any], together: list[Shared]) -> None:
        """Run the blocks of a cluster, by turns from one of its barriers to the next."""
        while True:
            at = [next(block, EXIT) for block in running]
            if set(at) == {EXIT}:
                return
            if len(set(at)) > 1:
                raise RuntimeError("blocks of a cluster part at a barrier, or one is gone")
            for shared in together:
                shared.barrier()
            running.reverse()

    def _read(self, block: bytes) -> list[Any]:
        """The parameters, each at a multiple of its size, as the driver copies them."""
        codes = {"u64": "Q", "f32": "f", "f64": "d", "u8": "?"}
        layout = "@" + "".join(codes[kind] for kind, _ in self.parameters)
        if len(block) != struct.calcsize(layout):
            raise TypeError(f"{len(block)} bytes for {struct.calcsize(layout)} of parameters")
        return list(struct.unpack(layout, block))

    def _block(self, team: list[Thread]) -> Iterator[int]:
        """Run a block; it stops where it has to wait for its cluster."""
        warps = [team[start : start + WARP] for start in range(0, len(team), WARP)]
        arrived = False
        while True:
            for warp in warps:
                self._warp(warp)
            at = {thread.at for thread in team}
            if at == {EXIT}:
                return
            if len(at) > 1:
                raise RuntimeError(f"threads of a block part at a barrier: {self._names(at)}")
            name = self.waits[team[0].at][0].name
            if name[:3] == ["barrier", "cluster", "wait"]:
                if not arrived:
                    raise RuntimeError("a block waits for its cluster and has not arrived")
                arrived = False
                yield team[0].at
            arrived |= name[:3] == ["barrier", "cluster", "arrive"]
            team[0].shared.barrier()
            for thread in team:
                thread.at = self.function(thread.at)(thread.registers, thread)
            warps.reverse()

    def _warp(self, warp: list[Thread]) -> None:
        """Run a warp to its next barrier, or its end."""
        waits, compiled = self.waits, self.compiled
        while True:
            for thread in warp:
                at, registers = thread.at, thread.registers
                while at not in waits and at != EXIT:
                    at = (compiled[at] or self.function(at))(registers, thread)
                thread.at = at
            shuffled = {thread.at for thread in warp} - {EXIT}
            shuffled = {at for at in shuffled if self.waits[at][0].name[:2] not in _OF_BLOCKS}
            if not shuffled:
                return
            at = {thread.at for thread in warp}
            if len(at) > 1:
                raise RuntimeError(f"lanes of a warp part at a shuffle: {self._names(at)}")
            one = self.waits[warp[0].at][0]
            if one.name == ["bar", "warp", "sync"]:
                if one.operands != ["0xFFFFFFFF"] and one.operands != ["-1"]:
                    raise NotImplementedError(one.text)
                warp[0].shared.warp_barrier(warp[0].number)
                for thread in warp:
                    thread.at = self.function(thread.at)(thread.registers, thread)
                continue
            self._shuffle(warp, warp[0].at)

    def _names(self, at: set[int]) -> list[str]:
        return [
            "exit" if one == EXIT else f"{one}: {self.waits[one][0].text}" for one in sorted(at)
        ]

    def _shuffle(self, warp: list[Thread], at: int) -> None:
        one, ask = self.waits[at]
        if one.name != ["shfl", "sync", "bfly", "b32"]:
            raise NotImplementedError(one.text)
        target, *sources = one.operands
        if ask is None:
            asked = ", ".join(self.read(source, "u32") for source in sources)
            ask = self._made([f"return {asked}"])
            self.waits[at] = one, ask
        asked = [ask(thread.registers, thread) for thread in warp]
        for lane, thread in enumerate(warp):
            _, offset, rest, lanes = asked[lane]
            if (rest, lanes) != (31, 0xFFFFFFFF) or offset >= WARP:
                raise NotImplementedError(one.text)
            name, _, valid = target.partition("|")
            thread.registers[self.numbers[name[1:]]] = asked[lane ^ offset][0]
            if valid:
                thread.registers[self.numbers[valid[1:]]] = True
            thread.at = self.function(at)(thread.registers, thread)
