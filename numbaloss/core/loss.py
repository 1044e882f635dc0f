"""What every loss has: parameters, identity, a place in sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import numpy as np

from . import arithmetic
from .contracts import Contract
from .intervals import Interval, interval
from .parameters import ByClass, Parameter, declaration_of, declared

_parameters, _structures = ByClass(), ByClass()
# The range of a parameter that a class does not have.
_UNKNOWN: Any = (None, 0, 0)


def point_of_value(self: Any, first: Any, second: Any) -> tuple[Any, ...]:
    """The ``point`` of a class that gives its ``value`` alone, by derivatives that are exact.

    Kernels compile the value instead: :mod:`numbaloss.jets.compiled`.
    """
    from ..jets.translation import differentiated

    cls = getattr(self, "loss_class", type(self))
    if np.ndim(first) == np.ndim(second) == 0 and (first != first or second != second):
        # As in kernels, which do not ask a formula about NaN.
        return (first + second,) * (2 if cls.point_slopes() == 1 else 3)
    return differentiated(cls.value, cls.point_slopes())(self, first, second)


def point_of_sample(self: Any, *numbers: Any) -> tuple[Any, Any, Any]:
    """The same for losses of several numbers a sample: slopes and hessians are tuples."""
    from ..jets.translation import differentiated_by_each

    cls = getattr(self, "loss_class", type(self))
    return differentiated_by_each(cls.value, len(cls.outputs))(self, *numbers)


class _Signature:
    """Compute the signature of a loss class when somebody asks for it."""

    def __get__(self, instance: Any, owner: type[Loss]) -> Any:
        from inspect import Parameter as Argument
        from inspect import Signature

        return Signature(
            [
                Argument(
                    parameter.name,
                    Argument.POSITIONAL_OR_KEYWORD,
                    default=Argument.empty if parameter.required else parameter.default,
                    annotation=parameter.kind or Argument.empty,
                )
                for parameter in owner.parameters()
            ]
        )


@dataclass_transform(frozen_default=True, eq_default=True)
class Loss:
    """Base of all losses: an immutable bundle of parameters.

    Every annotated attribute of a subclass is a parameter, in order, with the attribute's
    value as its default; parameters of base classes come first. The annotation decides
    what is accepted: ``float`` turns ``2`` into ``2.0``; ``int``, ``bool`` and ``str`` are
    taken as they are; ``float | None`` also takes ``None``.

    Attributes
    ----------
    aliases : tuple of str
        Further names under which a registered loss is found.
    bounds : dict of str to str
        Interval of a parameter: ``{"delta": "(0, inf)"}``. Infinity belongs to ``"(0, inf]"``
        alone.
    spans : dict of str to (int, int)
        Powers of a parameter that the maths takes, of its inverse and of itself, all of which
        must be numbers of the compute type: ``{"scale": (1, 2)}`` for 1 / scale and scale².
    check_bounds : bool
        Whether look-ups in arrays that a formula names (``TABLE[int(target)]``) are tested: an
        index out of range raises ``IndexError``. Without the test it reads memory of others, so
        turn it off for indices that cannot be wrong alone.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[dict[str, str]] = {}
    spans: ClassVar[dict[str, tuple[int, int]]] = {}
    check_bounds: ClassVar[bool] = True
    contract: ClassVar[Contract]
    __signature__: ClassVar[Any] = _Signature()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        owners = [
            next((i for i, base in enumerate(cls.__mro__) if method in vars(base)), -1)
            for method in ("value", "point")
        ]
        # A class that gives both has written its derivatives by hand.
        if 0 <= owners[0] < owners[1]:
            cls.point = point_of_value  # type: ignore[attr-defined]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls, own = type(self), self.__dict__
        declaration = declaration_of(cls)
        ranges, given = declaration.ranges, kwargs
        if args:
            given = declaration.named(cls.__name__, args, kwargs)
        own.update(declaration.defaults)
        for name, value in given.items():
            kind, low, high = ranges.get(name, _UNKNOWN)
            if type(value) is not kind or not low <= value <= high:
                break
            own[name] = value
        else:
            if len(own) == declaration.count:
                if not given:
                    own.update(declaration.kept)
                self.validate()
                return
        # Something is missing, or wants a closer look.
        own.update(declaration.values(cls, declaration.named(cls.__name__, args, kwargs)))
        self.validate()

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        """The parameters of this class, those of its bases first."""
        known = _parameters.get(id(cls))
        if known is None:
            found: dict[str, Parameter] = {}
            for base in reversed(cls.__mro__):
                if base is not Loss and issubclass(base, Loss):
                    found.update(declared(base, Loss))
            known = tuple(
                parameter._replace(default=cls.__dict__.get(name, parameter.default))
                for name, parameter in found.items()
            )
            _parameters.remember(cls, known)
        return known

    def validate(self) -> None:
        """Raise ``ValueError`` where parameters, each fine alone, do not fit together."""

    def values(self) -> tuple[Any, ...]:
        """The values of the parameters, in order."""
        own = self.__dict__
        return tuple([own[parameter.name] for parameter in self.parameters()])

    def replace(self, **changes: Any) -> Self:
        """The same loss with other values for some parameters."""
        names = [parameter.name for parameter in self.parameters()]
        return type(self)(**(dict(zip(names, self.values())) | changes))

    def lower(self) -> Loss:
        """An equivalent loss for the kernels, all of whose parameters are numbers.

        The hook for parameters that choose between formulas (``None``, strings, a special
        value): a kernel has no branches on parameters. The default is the loss itself.
        """
        return self

    @classmethod
    def point_takes(cls) -> tuple[str, str]:
        """What the two numbers are called that ``point`` and ``value`` take."""
        return "prediction", "target"

    def _lacks_maths(self) -> str:
        takes = ", ".join(("self", *self.point_takes()))
        return (
            f"{type(self).__name__} has neither value({takes}), of which the library takes the "
            f"derivatives, nor point({takes}), which returns them too"
        )

    @classmethod
    def point_slopes(cls) -> int:
        """How many slopes ``point`` gives beside the value; 0: a slope and a hessian."""
        return 0

    def grad(self, *inputs: Any, **options: Any) -> Any:
        """The gradient alone, or the tuple of gradients.

        Parameters
        ----------
        *inputs, **options
            What ``value_and_grad`` takes, ``out`` among them.

        Returns
        -------
        array or tuple of arrays
            As the second result of ``value_and_grad``.
        """
        if options.get("reduction") == "none":
            options["reduction"] = "sum"  # of which it is the gradient too
        whole: Any = self
        return whole.value_and_grad(*inputs, **options)[1]

    @classmethod
    def structure(cls) -> type[Loss]:
        """The class right below :class:`Loss` that this one descends from."""
        found: type[Loss] | None = _structures.get(id(cls))
        if found is None:
            found = [base for base in cls.__mro__ if issubclass(base, Loss)][-2]
            _structures.remember(cls, found)
        return found

    @classmethod
    def sum_class(cls) -> Any:
        """The class of sums of losses of this structure."""
        raise TypeError(f"{cls.__name__} losses have no sums")

    def __add__(self, other: object) -> Any:
        return arithmetic.add(self, other)

    def __radd__(self, other: object) -> Any:
        return arithmetic.add(self, other)

    def __sub__(self, other: object) -> Any:
        return arithmetic.add(self, other, -1.0)

    def __mul__(self, factor: object) -> Any:
        return arithmetic.scale(self, factor)

    def __rmul__(self, factor: object) -> Any:
        return arithmetic.scale(self, factor)

    def __truediv__(self, divisor: Any) -> Any:
        return arithmetic.scale(self, 1.0 / divisor)

    def __neg__(self) -> Any:
        return arithmetic.scale(self, -1.0)

    # Without this, numpy.float64(0.1) * loss asks NumPy first, which builds an object array.
    __array_ufunc__ = None

    if not TYPE_CHECKING:  # who takes it for the name of the class

        @property
        def __name__(self) -> str:
            """The name of the class: what wraps functions, as ``make_scorer`` does, asks it."""
            return type(self).__name__

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise AttributeError(
                f"losses are immutable; make another: loss.replace({name}={value!r})"
            )
        declared = any(name == parameter.name for parameter in self.parameters())
        raise AttributeError(
            f"{type(self).__name__}.{name} cannot be set: a loss has no __init__ of its own, and "
            f"no @dataclass: its parameters are the annotated attributes of the class, "
            + ("as they stand" if declared else f"such as {name}: float = 1.0")
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError("losses are immutable")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self._key() == other._key()  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def _key(self) -> tuple[Any, ...]:
        """The values of the parameters, arrays by their bytes."""
        return tuple(
            [value.tobytes() if isinstance(value, np.ndarray) else value for value in self.values()]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.values()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __repr__(self) -> str:
        # How targets are written is no part of the maths.
        pairs = [
            (parameter, value)
            for parameter, value in zip(self.parameters(), self.values())
            if (parameter.name, value) != ("targets", parameter.default)
        ]
        inside = ", ".join(f"{parameter.name}={_shown(value)}" for parameter, value in pairs)
        return f"{type(self).__name__}({inside})"


def _shown(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    if value.size <= 8:
        return repr(value.tolist())
    ends = ", ".join(f"{one:g}" for one in value[:3])
    return f"[{ends}, ... {value.size} numbers]"


def domain(declared: str | Interval) -> Interval:
    """The interval that a class attribute such as ``target_domain`` declares."""
    return declared if isinstance(declared, Interval) else interval(declared)
