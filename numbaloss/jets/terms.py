"""Numbers that rules are run on: those that are merely there, and those of LLVM's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..vmath.bits import FUSE, square_root_of, without_sign
from .algebra import ABSENT


class StandIn:
    """Stands for a number that is there, when nothing else matters about it."""

    def _with(self, other: Any) -> Any:
        return NotImplemented if other is ABSENT else self

    def _alone(self, *_: Any) -> StandIn:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _with
    __rtruediv__ = __neg__ = __abs__ = __gt__ = __lt__ = __and__ = __or__ = pick = root = _alone
    __eq__ = _alone  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Term:
    """A number, or a truth value, in the making of LLVM's code."""

    def __init__(self, builder: Any, real: Any, code: Any) -> None:
        self.builder, self.real, self.code = builder, real, code

    def _lift(self, other: Any) -> Any:
        return other.code if isinstance(other, Term) else self.real(float(other))

    def _of(self, code: Any) -> Term:
        return Term(self.builder, self.real, code)

    @staticmethod
    def _arithmetic(name: str, reflected: bool = False) -> Callable[[Any, Any], Any]:
        def emit(self: Term, other: Any) -> Any:
            if other is ABSENT:
                return NotImplemented
            left, right = self.code, self._lift(other)
            if reflected:
                left, right = right, left
            return self._of(getattr(self.builder, name)(left, right, flags=FUSE))

        return emit

    @staticmethod
    def _comparison(sign: str) -> Callable[[Any, Any], Any]:
        def emit(self: Term, other: Any) -> Term:
            return self._of(self.builder.fcmp_ordered(sign, self.code, self._lift(other)))

        return emit

    __add__, __radd__ = _arithmetic("fadd"), _arithmetic("fadd", True)
    __sub__, __rsub__ = _arithmetic("fsub"), _arithmetic("fsub", True)
    __mul__, __rmul__ = _arithmetic("fmul"), _arithmetic("fmul", True)
    __truediv__, __rtruediv__ = _arithmetic("fdiv"), _arithmetic("fdiv", True)
    __gt__, __lt__ = _comparison(">"), _comparison("<")
    __eq__ = _comparison("==")  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Term) -> Term:
        return self._of(self.builder.and_(self.code, other.code))

    def __or__(self, other: Term) -> Term:
        return self._of(self.builder.or_(self.code, other.code))

    def __neg__(self) -> Term:
        # The GPU's compiler does not know fneg; LLVM makes one of this elsewhere.
        return self._of(self.builder.fsub(self.real(-0.0), self.code))

    def __abs__(self) -> Term:
        return self._of(without_sign(self.builder, self.code))

    def root(self) -> Term:
        return self._of(square_root_of(self.builder, self.code))

    def pick(self, where_true: Any, where_false: Any) -> Term:
        """One of two numbers, by this, which is a truth value."""
        arms = self._lift(where_true), self._lift(where_false)
        return self._of(self.builder.select(self.code, *arms))
