"""Instructions of PTX as statements of Python."""

from __future__ import annotations

import re
from typing import NamedTuple

from .arithmetic import _FORMATS, _float32, _float64

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
_NUMPY = {f"{letter}{bits}": f"{name}{bits}" for letter, name in (("u", "uint"), ("s", "int"))
          for bits in (8, 16, 32, 64)}  # fmt: skip


class Instruction(NamedTuple):
    guard: str  # predicate of Python's, or nothing
    name: list[str]
    operands: list[str]
    text: str


class Translation:
    """Statements for instructions, of a kernel whose registers and parameters are known."""

    classes: dict[str, str]  # of registers, by the letters of their names
    symbols: dict[str, int]  # where variables lie in shared memory
    parameters: list[tuple[str, str]]
    places: dict[str, int]

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
        if name == "ld" and space[0] == "shared::cluster":
            found = f"t.read_neighbour('<{_FORMATS[kind]}', {self.address(one.operands[1])})"
            return self.write(one.operands[0], kind, found)
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
        if one.name in (["cvta", "shared", "u64"], ["cvta", "to", "shared", "u64"]):
            return self.write(one.operands[0], "u64", self.read(one.operands[1], "u64"))
        if op == "mapa":
            place, rank = (self.read(operand, "u32") for operand in one.operands[1:])
            return self.write(one.operands[0], "u32", f"t.neighbour({place}, {rank})")
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
