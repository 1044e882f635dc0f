"""A GPU of one multiprocessor, in Python: it runs the PTX of a kernel as PTX is defined.

Numba's simulator runs the Python code of kernels; this runs what they are compiled to, with the
loads and stores of vectors, the shuffles and the barriers that only GPUs get. Numbers are rounded
as on a GPU, integers wrap round. What a GPU leaves undefined, or may do wrong without a word, is
an error here: memory that is not an array's, an address that is not aligned, a shuffle without all
lanes of its warp, a barrier that some threads pass by, and two threads of a block at the same
memory with no barrier in between.

Each basic block becomes a function of Python, once it is reached. Registers of floats hold floats
of Python, all others integers without a sign; those never written to hold None.
"""

from __future__ import annotations

import bisect
import ctypes
import math
import re
import struct
import weakref
from ctypes.util import find_library
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

WARP = 32
EXIT = -1


class Memory:
    """Arrays that kernels may touch, 256 bytes apart, with nothing in between."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.gone: list[int] = []  # starts of arrays that nobody holds any more

    def array(self, shape: Any, dtype: Any, offset: int = 0) -> np.ndarray:
        """A new array, so many elements behind a multiple of 256 bytes; NaN or -1 at first."""
        dtype = np.dtype(dtype)
        count = math.prod(np.atleast_1d(shape))
        room = np.full(count * dtype.itemsize + 1024, 0xFF, np.uint8)
        while self.gone:  # whose memory the new one may have
            place = self.starts.index(self.gone.pop())
            del self.starts[place], self.ends[place]
        start = 256 + -room.ctypes.data % 256 + offset * dtype.itemsize
        found = room[start : start + count * dtype.itemsize].view(dtype).reshape(shape)
        if found.nbytes:
            low = found.ctypes.data
            place = bisect.bisect(self.starts, low)
            self.starts.insert(place, low)
            self.ends.insert(place, low + found.nbytes)
            weakref.finalize(room, self.gone.append, low)
        return found

    def check(self, address: int, size: int) -> None:
        """Raise unless so many bytes may be accessed at once."""
        place = bisect.bisect(self.starts, address) - 1
        if place < 0 or address + size > self.ends[place]:
            raise IndexError(f"{size} bytes at {address:#x} are not an array's")
        if address % size:
            raise ValueError(f"{size} bytes at {address:#x} are not aligned")


def _warp_of(thread: int) -> range:
    """The threads of a thread's warp."""
    first = thread // WARP * WARP
    return range(first, first + WARP)


def _several(thread: int) -> int:
    """What stands for several threads of a thread's warp, and no others."""
    return -3 - thread // WARP


class Watch:
    """Who of a block was where in a memory since the last barrier."""

    def __init__(self, name: str, step: int) -> None:
        self.name, self.step = name, step  # bytes that are accessed at once, at least
        self.barrier()

    def barrier(self) -> None:
        self.writers: dict[int, int] = {}
        self.readers: dict[int, int] = {}

    def warp_barrier(self, thread: int) -> None:
        """A barrier of the warp of a thread alone."""
        gone = {_several(thread), *_warp_of(thread)}
        for threads in (self.writers, self.readers):
            for place in [place for place, one in threads.items() if one in gone]:
                del threads[place]

    def note(self, address: int, size: int, thread: int, writes: bool) -> None:
        for place in range(address, address + size, self.step):
            clash = self.writers.get(place, thread) != thread
            if writes:
                clash |= self.readers.get(place, thread) != thread
                self.writers[place] = thread
            elif (earlier := self.readers.setdefault(place, thread)) != thread:
                own = earlier in (_several(thread), *_warp_of(thread))
                self.readers[place] = _several(thread) if own else -1
            if clash:
                raise RuntimeError(f"threads race for byte {place} of {self.name} memory")


ATOMIC = -2  # the thread that all atomic operations are noted for: they may meet each other


class Shared:
    """The shared memory of a block; what it knows of races is of global memory too."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(b"\xff" * size)
        self.own, self.everywhere = Watch("shared", 4), Watch("global", 2)

    def barrier(self) -> None:
        self.own.barrier()
        self.everywhere.barrier()

    def warp_barrier(self, thread: int) -> None:
        self.own.warp_barrier(thread)
        self.everywhere.warp_barrier(thread)

    def check(self, address: int, size: int, thread: int, writes: bool) -> None:
        if not 0 <= address <= len(self.bytes) - size:
            raise IndexError(f"{size} bytes at {address} of {len(self.bytes)} in shared memory")
        if address % size:
            raise ValueError(f"{size} bytes at {address} of shared memory are not aligned")
        self.own.note(address, size, thread, writes)


# What functions of basic blocks call. Floats that hold float32 numbers make exact sums' and
# products' roundings the same as those of the exact results: 53 bits are 2 * 24 and more.


def _bits32(x: float) -> int:
    return ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value


def _bits64(x: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def _float32(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def _float64(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def _float16(bits: int) -> float:
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def _bits16(x: float) -> int:
    try:
        return struct.unpack("<H", struct.pack("<e", x))[0]
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def _upper(x: float) -> int:
    """The bits of a bfloat16."""
    bits = _bits32(x)
    return 0x7FFF if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def _divide(a: float, b: float) -> float:
    if b != 0.0:
        return a / b
    return math.nan if a == 0.0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _root(a: float) -> float:
    return math.sqrt(a) if a >= 0.0 else math.nan


def _off(x: float, steps: int) -> float:
    """A result of the special function unit: as many steps off as PTX allows, up or down."""
    if not 2.0**-126 <= abs(x) < math.inf or math.frexp(x)[0] == 0.5:
        return x
    steps = steps if hash(x) & 64 else -steps
    return x + steps * 2.0 ** (math.frexp(x)[1] - 24)


def _flushed(x: float) -> float:
    """Without denormal numbers."""
    return math.copysign(0.0, x) if abs(x) < 2.0**-126 else x


def _exp2(a: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float32(_off(float(np.exp2(np.float64(a))), 2)))


def _inverse(a: float) -> float:
    return ctypes.c_float(_off(_divide(1.0, a), 1)).value


def _fma_downwards(a: float, b: float, c: float) -> float:
    """a * b + c rounded down to a float32, by its neighbours."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    found = np.float32(float(exact))
    return float(found if Fraction(float(found)) <= exact else np.nextafter(found, -np.inf))


def _in_unit(a: float) -> float:
    return min(max(a, 0.0), 1.0) if a == a else 0.0


def _whole(a: float, how: str) -> float:
    """Rounded to an integer, as a float."""
    if not math.isfinite(a):
        return a
    rounded = {"rzi": math.trunc, "rni": round, "rmi": math.floor, "rpi": math.ceil}[how](a)
    return math.copysign(float(rounded), a)


def _integer(a: float, how: str, low: int, high: int) -> int:
    if a != a:
        return 0
    return int(max(low, min(_whole(a, how), high)))


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _larger(a: float, b: float) -> float:
    if a == b == 0.0:
        return a + b
    return a if a > b or b != b else b


def _smaller(a: float, b: float) -> float:
    return -_larger(-a, -b)


def _inserted(a: int, b: int, at: int, length: int) -> int:
    mask = (1 << length) - 1 << at
    return b & ~mask | a << at & mask


_libm = ctypes.CDLL(find_library("m"))
_fma32, _fma64 = _libm.fmaf, _libm.fma
_fma32.argtypes, _fma32.restype = [ctypes.c_float] * 3, ctypes.c_float
_fma64.argtypes, _fma64.restype = [ctypes.c_double] * 3, ctypes.c_double

_CELLS = {
    "u8": ctypes.c_uint8, "s8": ctypes.c_int8, "u16": ctypes.c_uint16, "s16": ctypes.c_int16,
    "u32": ctypes.c_uint32, "s32": ctypes.c_int32, "u64": ctypes.c_uint64, "s64": ctypes.c_int64,
    "f32": ctypes.c_float, "f64": ctypes.c_double,
}  # fmt: skip
_FORMATS = dict(zip(_CELLS, "BbHhIiQqfd"))
_SPECIAL = {
    "%tid.x": "t.number", "%ctaid.x": "t.block", "%ntid.x": "t.threads", "%nctaid.x": "t.blocks",
    "%laneid": "(t.number % 32)", "%dynamic_smem_size": "t.dynamic",
    **{f"%{name}.{axis}": "0" for name in ("tid", "ctaid") for axis in "yz"},
    **{f"%{name}.{axis}": "1" for name in ("ntid", "nctaid") for axis in "yz"},
}  # fmt: skip
_ORDERED = {
    "eq": "{0} == {1}", "ne": "({0} < {1} or {0} > {1})", "lt": "{0} < {1}", "le": "{0} <= {1}",
    "gt": "{0} > {1}", "ge": "{0} >= {1}", "num": "({0} == {0} and {1} == {1})",
}  # fmt: skip
_OPPOSITE = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_COMPARED = {name: text for name, text in _ORDERED.items() if name != "num"} | {
    "ne": "{0} != {1}", "lo": "{0} < {1}", "ls": "{0} <= {1}", "hi": "{0} > {1}", "hs": "{0} >= {1}"
}  # fmt: skip


class Instruction(NamedTuple):
    guard: str  # predicate of Python's, or nothing
    name: list[str]
    operands: list[str]
    text: str


class Thread:
    """What a function of a basic block gets beside the registers."""

    def __init__(self, number: int, registers: int, launch: Launch) -> None:
        self.number, self.registers, self.at = number, [None] * registers, 0
        self.unseen = False  # whether other blocks may not see yet what was written
        self.block, self.blocks = launch.block, launch.blocks
        self.threads, self.dynamic = launch.threads, launch.dynamic
        self.parameters, self.memory, self.shared = launch.parameters, launch.memory, launch.shared

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


def _split(text: str) -> list[str]:
    """Operands, with what is in brackets in one piece."""
    return [one.strip() for one in re.findall(r"(?:\{[^}]*\}|\[[^]]*\]|[^,{\[])+", text)]


class Program:
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
        for line in re.split(r"[;\n]", re.sub(r"(\$?\w+):", r"\1:\n", body)):
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

    # From operands to Python.

    def read(self, operand: str, kind: str) -> str:
        """An operand as a number of a type."""
        width = int(kind[1:]) if kind != "pred" else 0
        if operand in _SPECIAL:
            return _SPECIAL[operand]
        if operand.startswith("%"):
            name = operand[1:]
            own = self.classes[name.rstrip("0123456789")]
            if "pred" in (kind, own):
                return name
            if own[0] == "f":
                return name if kind[0] == "f" else f"_bits{width}({name})"
            if kind[0] == "f":
                return f"_float{width}({name})"
            if int(own[1:]) > width:
                name = f"({name} & {(1 << width) - 1})"
            return f"(({name} ^ {1 << width - 1}) - {1 << width - 1})" if kind[0] == "s" else name
        if re.match(r"0[fd][0-9A-Fa-f]+$", operand):
            make = _float32 if operand[1] == "f" else _float64
            return f"({make(int(operand[2:], 16))!r})"
        if operand in self.symbols:
            return str(self.symbols[operand])
        number = int(operand, 0)
        if kind == "pred":
            return str(number != 0)
        if kind[0] == "f":
            return f"_float{width}({number})"
        number %= 1 << width
        return str(number - (number >> width - 1 << width) if kind[0] == "s" else number)

    def write(self, operand: str, kind: str, value: str) -> str:
        """The statement that sets a register to a number of a type."""
        name = operand[1:]
        own = self.classes[name.rstrip("0123456789")]
        if kind[0] == "f" and own[0] != "f":
            value = f"_bits{kind[1:]}({value})"
        elif kind[0] != "f" and own[0] == "f":
            value = f"_float{own[1:]}({value})"
        return f"{name} = {value}"

    def address(self, operand: str) -> str:
        base, sign, offset = re.match(r"\[([^+\-\]]+)([+-]*)(\d*)\]$", operand).groups()
        return f"{self.read(base, 'u64')} {sign} {offset}".strip()

    def statement(self, one: Instruction) -> str:
        """An instruction in Python."""
        made = self._memory(one) if one.name[0] in ("ld", "st", "atom") else self._computed(one)
        return f"if {one.guard}: {made}" if one.guard else made

    def _memory(self, one: Instruction) -> str:
        name, space = one.name[0], [part for part in one.name[1:] if part != "volatile"]
        kind = space[-1].replace("b", "u")
        if name == "atom":
            target, place, limit = one.operands
            if one.name[1:] in (["global", "add", "u64"], ["global", "min", "u64"]):
                number = self.read(limit, "u64")
                call = f"t.change('{one.name[2]}', {self.address(place)}, {number})"
                return self.write(target, "u64", call)
            if one.name[1:] != ["global", "inc", "u32"]:
                raise NotImplementedError(one.text)
            call = f"t.ticket({self.address(place)}, {self.read(limit, 'u32')})"
            return self.write(target, "u32", call)
        if space[0] == "param":
            place = self.places[one.operands[1].strip("[]")]
            if name == "st" or self.parameters[place][0] != space[-1]:
                raise NotImplementedError(one.text)
            return self.write(one.operands[0], kind, f"t.parameters[{place}]")
        if space[0] not in ("global", "shared"):
            raise NotImplementedError(one.text)
        count = int(space[1][1:]) if space[1][0] == "v" else 1
        several, place = one.operands if name == "ld" else one.operands[::-1]
        registers = [part.strip() for part in several.strip("{}").split(",")]
        if len(registers) != count:
            raise NotImplementedError(one.text)
        where = self.address(place)
        if name == "st":
            values = ", ".join(self.read(register, kind) for register in registers)
            if space[0] == "global":
                return f"t.write(_CELLS['{kind}'], {where}, {values})"
            return f"t.write_shared('<{count}{_FORMATS[kind]}', {where}, {values})"
        if space[0] == "global":
            found = f"t.read(_CELLS['{kind}'], {where}, {count})"
        else:
            found = f"t.read_shared('<{count}{_FORMATS[kind]}', {where})"
        if count == 1:
            if kind[0] == "s":
                own = self.classes[registers[0][1:].rstrip("0123456789")]
                found = f"{found} & {(1 << int(own[1:])) - 1}"
            return self.write(registers[0], kind, found)
        taken = [self.write(register, kind, f"_[{i}]") for i, register in enumerate(registers)]
        return "; ".join([f"_ = {found}", *taken])

    def _computed(self, one: Instruction) -> str:
        op, *how = one.name
        if op in ("membar", "fence"):
            return "t.unseen = False"
        kind = how[-1]
        if op == "mov" and "{" in one.text:
            return self._regrouped(one)
        if op == "cvt" and how in (["rn", "bf16x2", "f32"], ["rn", "f16x2", "f32"]):
            return self._pair(one)
        if op == "cvt":
            return self.write(one.operands[0], how[-2], self._converted(one))
        width = int(kind[1:]) if kind != "pred" else 1
        mask, real = (1 << width) - 1, kind[0] == "f"
        target, *sources = one.operands
        a, b, c = [*[self.read(s, kind) for s in sources], "", "", ""][:3]
        rounds = set(how[:-1]) <= {"rn"}
        value = None
        if op == "setp":
            value, kind = self._tested(one, a, b), "pred"
        elif op == "selp":
            p = self.read(sources[2], "pred")
            a, b = (self.read(s, kind.replace("s", "u")) for s in sources[:2])
            value = f"{a} if {p} else {b}"
        elif op == "mov":
            value = a
        elif kind == "pred" or op in ("and", "or", "xor", "not"):
            sign = {"and": "&", "or": "|", "xor": "^"}.get(op)
            value = f"{a} {sign} {b}" if sign else f"{a} ^ {mask}" if op == "not" else None
            if kind == "pred" and op == "not":
                value = f"not {a}"
        elif real and rounds and width in (32, 64):
            value = {
                "add": f"{a} + {b}", "sub": f"{a} - {b}", "mul": f"{a} * {b}",
                "fma": f"_fma{width}({a}, {b}, {c})", "div": f"_divide({a}, {b})",
                "rcp": f"_divide(1.0, {a})", "sqrt": f"_root({a})", "neg": f"-{a}",
                "abs": f"abs({a})", "max": f"_larger({a}, {b})", "min": f"_smaller({a}, {b})",
                "copysign": f"copysign({b}, {a})",
            }.get(op)  # fmt: skip
            if width == 32 and op in ("add", "sub", "mul", "div", "rcp", "sqrt") and value:
                value = f"c_float({value}).value"
        elif real and how == ["approx", "f32"]:
            value = {"ex2": f"_exp2({a})"}.get(op)
        elif real and how == ["approx", "ftz", "f32"]:
            value = {
                "ex2": f"_flushed(_exp2(_flushed({a})))",
                "rcp": f"_flushed(_inverse(_flushed({a})))",
            }.get(op)
        elif how == ["rn", "sat", "f32"] and op == "fma":
            value = f"_in_unit(_fma32({a}, {b}, {c}))"
        elif how == ["rm", "f32"] and op == "fma":
            value = f"_fma_downwards({a}, {b}, {c})"
        elif not real:
            u, v = (self.read(s, f"u{width}") for s in (sources * 2)[:2])
            if op in ("mul", "mad") and how[0] == "wide":
                value = f"{a} * {b}" + (f" + {self.read(c, f'u{2 * width}')}" if c else "")
                mask, kind = (1 << 2 * width) - 1, f"u{2 * width}"
            elif op in ("shl", "shr"):
                amount = self.read(sources[1], "u32")
                # A negative number's sign comes in from the left for ever.
                value = f"{u} << min({amount}, 64)" if op == "shl" else f"{a} >> {amount}"
            elif op == "bfi":
                at, length = self.read(sources[2], "u32"), self.read(sources[3], "u32")
                value = f"_inserted({u}, {v}, {at}, {length})"
            else:
                key = f"{op}.{how[0]}" if op in ("mul", "mad") else op
                value = {
                    "add": f"{u} + {v}", "sub": f"{u} - {v}", "mul.lo": f"{u} * {v}",
                    "mad.lo": f"{u} * {v} + {c}", "mul.hi": f"{a} * {b} >> {width}",
                    "div": f"_quotient({a}, {b})", "rem": f"{a} - {b} * _quotient({a}, {b})",
                    "neg": f"-{u}", "abs": f"abs({a})",
                    "min": f"min({a}, {b})", "max": f"max({a}, {b})",
                }.get(key)  # fmt: skip
                if len(how) > (2 if op in ("mul", "mad") else 1):
                    value = None
            value = f"({value}) & {mask}" if value else None
        if value is None:
            raise NotImplementedError(one.text)
        return self.write(target, kind, value)

    def _tested(self, one: Instruction, a: str, b: str) -> str:
        how, kind = one.name[1:-1], one.name[-1]
        if len(how) != 1 or "|" in one.operands[0]:
            raise NotImplementedError(one.text)
        test = how[0]
        if kind[0] != "f":
            return _COMPARED[test].format(a, b)
        if test in _ORDERED:
            return _ORDERED[test].format(a, b)
        if test == "nan":
            return f"not {_ORDERED['num'].format(a, b)}"
        # The unordered ones: true for NaN, and so what the opposite one is not.
        return f"not {_ORDERED[_OPPOSITE[test[:-1]]].format(a, b)}"

    def _pair(self, one: Instruction) -> str:
        """Two floats as halves in a word; the first one is the upper."""
        bits = "_bits16" if one.name[2] == "f16x2" else "_upper"
        high, low = (f"{bits}({self.read(source, 'f32')})" for source in one.operands[1:])
        return self.write(one.operands[0], "u32", f"{high} << 16 | {low}")

    def _converted(self, one: Instruction) -> str:
        *how, to, source = one.name[1:]
        width = int(to[1:])
        a = self.read(one.operands[1], source)
        if to[0] != "f" and source[0] != "f" and not how:
            return f"{a} & {(1 << width) - 1}"
        if to[0] == "f" and source[0] != "f" and how == ["rn"]:
            return f"float({a})" if width == 64 else f"float(np.float32(np.{_NUMPY[source]}({a})))"
        if to[0] == "f" and source[0] == "f":
            if not how and width > int(source[1:]):
                return a
            if how == ["rn"] and (to, source) == ("f32", "f64"):
                return f"c_float({a}).value"
            if how == ["rn"] and (to, source) == ("f16", "f32"):
                return a  # rounded when it is written, as bits
            if to == source and how[0] in ("rzi", "rni", "rmi", "rpi"):
                return f"_whole({a}, '{how[0]}')"
        if to[0] != "f" and source[0] == "f" and how[0] in ("rzi", "rni", "rmi", "rpi"):
            low, high = (0, 1 << width) if to[0] == "u" else (-1 << width - 1, 1 << width - 1)
            return f"_integer({a}, '{how[0]}', {low}, {high - 1}) & {(1 << width) - 1}"
        raise NotImplementedError(one.text)

    def _regrouped(self, one: Instruction) -> str:
        """A word of several shorter ones, or the shorter ones of a word."""
        target, source = one.operands
        whole = one.name[-1].replace("b", "u")
        parts = [
            part.strip() for part in (target + source).replace("}", "{").split("{")[1].split(",")
        ]
        width = int(whole[1:]) // len(parts)
        if source.startswith("{"):
            words = [f"{self.read(p, f'u{width}')} << {i * width}" for i, p in enumerate(parts)]
            return self.write(target, whole, " | ".join(words))
        taken = [
            self.write(part, f"u{width}", f"_ >> {i * width} & {(1 << width) - 1}")
            for i, part in enumerate(parts)
            if part != "_"
        ]
        return "; ".join([f"_ = {self.read(source, whole)}", *taken])

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
        scope = dict(globals(), c_float=ctypes.c_float, copysign=math.copysign, inf=math.inf)
        scope["nan"] = math.nan
        exec(f"def block(R, t):\n{text}", scope)
        return scope["block"]

    # Running.

    def run(
        self, memory: Memory, blocks: int, threads: int, arguments: Any, shared: int = 0
    ) -> None:
        """Run so many blocks, one after another, the last one first."""
        if threads % WARP:
            raise ValueError(f"{threads} threads are not whole warps")
        parameters = self._checked(arguments)
        for block in reversed(range(blocks)):  # none may rely on those before it
            own = Shared(self.static + shared)
            launch = Launch(block, blocks, threads, shared, parameters, memory, own)
            team = [Thread(number, len(self.numbers), launch) for number in range(threads)]
            try:
                self._block(team)
            except Exception as error:
                error.add_note(f"in block {block}") if hasattr(error, "add_note") else None
                raise

    def _checked(self, arguments: Any) -> list[Any]:
        """The arguments of a launch, which have to be of the size that the kernel expects."""
        if len(arguments) != len(self.parameters):
            raise TypeError(f"{len(arguments)} arguments for {len(self.parameters)} parameters")
        found = []
        for (kind, name), value in zip(self.parameters, arguments):
            expected = {"u64": int, "f32": ctypes.c_float, "f64": ctypes.c_double, "u8": bool}
            if type(value) is not expected[kind]:
                raise TypeError(f"{name} is {kind}, not {value!r}")
            found.append(value % (1 << 64) if kind == "u64" else getattr(value, "value", value))
        return found

    def _block(self, team: list[Thread]) -> None:
        warps = [team[start : start + WARP] for start in range(0, len(team), WARP)]
        while True:
            for warp in warps:
                self._warp(warp)
            at = {thread.at for thread in team}
            if at == {EXIT}:
                return
            if len(at) > 1:
                raise RuntimeError(f"threads of a block part at a barrier: {self._names(at)}")
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
            shuffled = {at for at in shuffled if self.waits[at][0].name[:2] != ["bar", "sync"]}
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


_NUMPY = {f"{letter}{bits}": f"{name}{bits}" for letter, name in (("u", "uint"), ("s", "int"))
          for bits in (8, 16, 32, 64)}  # fmt: skip
