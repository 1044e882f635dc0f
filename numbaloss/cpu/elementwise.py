"""Elementwise losses on CPU threads: from arrays to a launch and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import NUMBERS, Operand
from ..formulas.bytecode import names_in
from ..formulas.catching import HEADER, ONCE
from ..formulas.fitting import lower_for
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..formulas.structure import Structure, parameter_values, plans_of
from ..structures.elementwise import Elementwise, Inspection
from ..structures.loss import domain
from ..structures.offenders import raise_first_number
from ..structures.recoding import Recoding
from . import threads
from .asking import raises
from .blocks import Variant, kernel, with_asides
from .chunks import chunk
from .compile import Code
from .movers import arrange, mover

# A layout that says of all six arrays: use it where it lies.
_DIRECT = np.zeros(10, np.int64)
# Targets that are converted as they come, of arrays that are plain otherwise.
_CONVERTED = {np.dtype(kind): kind for kind in sorted(NUMBERS - {"bfloat16"})}
_AS_GIVEN = Recoding()


class Plan(NamedTuple):
    """What it takes to run a loss on arrays of one dtype: compiled once, kept with the loss."""

    chunk: Code
    kernel: Code
    parameters: np.ndarray
    catching: bool  # whether the formula can raise an exception
    limits: np.ndarray | None  # of targets that rounding can lead beyond their domain
    recoding: np.ndarray | None  # what is made of targets
    direct: np.ndarray | None  # the layouts of plain arrays

    def run(self, size: int, scale: float, layouts: np.ndarray, *handles: int) -> Any:
        """Sum of the values, and the number of inputs outside their domains.

        The handles stand for prediction, target, weight, value, gradient and hessian.
        """
        # Formulas that raise leave word of it there, those of this call alone.
        memory = self.parameters.copy() if self.catching else self.parameters
        sums = threads.launch(
            self.chunk.address,
            self.kernel.address,
            threads.handle(memory),
            size,
            threads.handle(layouts),
            scale,
            *handles,
        )
        if self.catching:
            Raised.check(memory)
        return sums


def plan(
    loss: Elementwise,
    real: str,
    derivatives: int,
    weighted: bool = False,
    check: bool = True,
    kind: str = "",
) -> Plan:
    """The plan of a loss for a compute dtype and a set of options; targets are of ``kind``."""
    plans = plans_of(loss)
    key = real, derivatives, weighted, check, kind or real
    found = plans.get(key)
    if found is None:
        lowered = lower_for(loss, real)
        given, of_prediction = domain(loss.target_domain), domain(loss.prediction_domain)
        recoding, own_kind = loss.recoding() or _AS_GIVEN, kind or real
        of_target = given if recoding is _AS_GIVEN else recoding.seen(given)
        dtype = np.dtype(real)
        ends = [*of_target.closed(dtype), *of_prediction.closed(dtype)]
        structure = Structure.of(lowered)
        header = ends + [0.0] * (HEADER - len(ends))
        header[ONCE] = float(_prints(structure))
        variant = Variant(
            derivatives,
            weighted or recoding.paired,
            check and not of_target.binary and not of_target.everything,
            check and of_target.binary,
            check and not of_prediction.everything,
        )
        catching = raises(structure, real, "point")
        limits = np.array([*recoding.limits(given, dtype, own_kind), float(catching)])
        near = variant.check_target and (limits[:2] != limits[2:4]).any()
        aside = limits if near and not recoding.paired else None
        recoded = None
        if recoding is not _AS_GIVEN:
            recoded = np.array(recoding.numbers(given, dtype, own_kind, check))
        found = plans[key] = Plan(
            chunk(real),
            kernel(structure, real, variant),
            np.array(header + parameter_values(lowered)),
            catching,
            aside,
            recoded,
            None if recoding.paired else with_asides(_plain(real, kind), aside, recoded),
        )
    return found


def _plain(real: str, kind: str) -> np.ndarray:
    """The layouts of contiguous arrays of the compute type, but for targets of ``kind``."""
    if kind in ("", real, "bfloat16"):
        return _DIRECT
    # One axis, as long as any array: the layout is the same for all of them.
    target = [mover("load", kind, False, real).address, 1, 1 << 62, np.dtype(kind).itemsize]
    layouts = np.concatenate([_DIRECT, np.array(target, np.int64)])
    layouts[1] = len(_DIRECT)
    return layouts


def _prints(structure: Structure) -> bool:
    """Whether a formula prints: somebody who looks at numbers wants each of them once."""
    methods: list[Any] = [method for cls in structure.classes for method in (cls.point, cls.value)]  # type: ignore[attr-defined]
    return any("print" in names_in(method.__code__) for method in methods)


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


# C-contiguous, aligned, writeable: NumPy's flags as one number.
_AS_IS, _WRITEABLE = 0x101, 0x400


def direct(prediction: Any, target: Any, weight: Any) -> bool:
    """Whether the arguments are what kernels take as they are: no check is left to make."""
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return False
    dtype = prediction.dtype
    if not (
        (dtype is _FLOAT32 or dtype is _FLOAT64)
        and (target.dtype is dtype or target.dtype in _CONVERTED)
        and prediction.shape == target.shape
        and prediction.flags.num & target.flags.num & _AS_IS == _AS_IS
    ):
        return False
    return weight is None or (
        type(weight) is np.ndarray
        and weight.dtype is dtype
        and weight.shape == prediction.shape
        and weight.flags.num & _AS_IS == _AS_IS
    )


def direct_output(
    loss: Elementwise,
    check: bool,
    out: Any,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: Any,
) -> bool:
    """Whether kernels can write to ``out`` as it is, given arguments that are direct."""
    if (
        type(out) is not np.ndarray
        or out.dtype is not prediction.dtype
        or out.shape != prediction.shape
        or out.flags.num & (_AS_IS | _WRITEABLE) != _AS_IS | _WRITEABLE
        or np.may_share_memory(out, target)
    ):
        return False
    if out is prediction:
        # An error must leave the prediction as it was: only where none can come.
        return not _may_complain(loss, prediction.dtype.name, weight, check)
    if np.may_share_memory(out, prediction):
        return False
    return weight is None or not np.may_share_memory(out, weight)


def _limited(loss: Elementwise) -> bool:
    """Whether some predictions or targets are outside the loss's domain."""
    return not (domain(loss.target_domain).everything and domain(loss.prediction_domain).everything)


def run_direct(
    loss: Elementwise,
    derivatives: int,
    check: bool,
    scale: float,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    gradient: np.ndarray | None = None,
    hessian: np.ndarray | None = None,
) -> Any:
    """Sum of values and number of offenders, for arguments that :func:`direct` accepts.

    Where nothing is to be checked the offenders are negative weights, which are fine then. Less
    than none of them: the formula has raised an exception, or there is more to do.
    """
    real = "float32" if prediction.dtype is _FLOAT32 else "float64"
    handle = threads.handle
    kind = real if target.dtype is prediction.dtype else _CONVERTED[target.dtype]
    found = plan(loss, real, derivatives, weight is not None, check, kind)
    if found.direct is None:
        return math.nan, -1.0
    try:
        return found.run(
            prediction.size,
            scale,
            found.direct,
            handle(prediction),
            handle(target),
            0 if weight is None else handle(weight),
            0,
            0 if gradient is None else handle(gradient),
            0 if hessian is None else handle(hessian),
        )
    except Raised:
        return math.nan, -1.0  # the general road knows what to say


Operands = Sequence[Operand | None]


def evaluate(
    loss: Elementwise,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
) -> float:
    """Sum of the values of any arrays; the outputs receive what they are for.

    Raises
    ------
    ValueError
        For a number outside its domain, a negative or NaN weight.
    """
    try:
        total, offenders = _run(loss, derivatives, inputs, outputs, scale, check)
    except Raised as raised:
        error = _exception(loss, raised, inputs, check)
    else:
        if offenders and check:
            raise_first_number(loss, inputs, check)
        return total
    raise error


def _run(
    loss: Elementwise,
    derivatives: int,
    inputs: Operands,
    outputs: Operands,
    scale: float,
    check: bool,
) -> Any:
    """Sum of the values, and the number of inputs outside their domains."""
    prediction, target, weight, mask, pos_weight = inputs
    assert prediction is not None
    assert target is not None
    if weight is None:
        weight, mask = mask, None  # True is a weight of 1
    real, kind = prediction.compute, target.kind
    found = plan(loss, real, derivatives, weight is not None, check, kind)
    operands = [prediction, target, weight, *outputs]
    beside = pos_weight if found.direct is None else None
    layouts, size = arrange(prediction.array.shape, operands, real, mask, beside)
    layouts = with_asides(layouts, found.limits, found.recoding)
    handles = [0 if one is None else threads.handle(one.array) for one in operands]
    return found.run(size, scale, layouts, *handles)


def _exception(loss: Elementwise, raised: Raised, inputs: Operands, check: bool) -> BaseException:
    """What a formula raised, for the first element that it raises for."""
    raise_first_number(loss, inputs, check)
    prediction = inputs[0]
    assert prediction is not None
    shape, real, size = prediction.array.shape, prediction.compute, prediction.array.size
    flat = [one and one._replace(array=one.array.reshape(-1)) for one in inputs]

    def run(start: int, stop: int) -> None:
        some = [one and one._replace(array=one.array[start:stop]) for one in flat]
        _run(loss, 0, some, [None, None, None], 1.0, check)

    first, raised = first_that_raises(size, run, raised)
    place = place_of(first, shape, " at")
    return exception_of(loss, raised, real, place)


class _Weights(Elementwise):
    """The weights themselves, so that the kernels can sum them."""

    prediction_domain = "[0, inf)"

    def point(self, prediction, target):
        return prediction, 1.0, 0.0


def sum_of_weights(weight: Operand, mask: Operand | None, check: bool) -> float:
    """Sum of weights >= 0 (of any, where nobody checks) that count, however they are stored.

    That of a mask is the number of its elements that are True.
    """
    inputs = [weight, weight, mask]
    found = plan(_WEIGHTS, "float64", 0, weighted=mask is not None)
    layouts, size = arrange(weight.array.shape, [*inputs, None, None, None], "float64")
    handle = threads.handle(weight.array)
    counts = 0 if mask is None else threads.handle(mask.array)
    total, offenders = found.run(size, 1.0, layouts, handle, handle, counts, 0, 0, 0)
    if check and (offenders or total != total):
        raise_first_number(_WEIGHTS, [None, None, weight, mask], check)
    return total


_WEIGHTS = _Weights()


def check_inputs(loss: Elementwise, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, before anything is written."""
    prediction = inputs[0]
    assert prediction is not None
    if plan(loss, prediction.compute, 1, weighted=inputs[2] is not None, check=check).catching:
        evaluate(loss, 0, inputs, [None, None, None], 1.0, check)
    elif _may_complain(loss, prediction.compute, inputs[2], check):
        nothing = Inspection(loss)
        evaluate(nothing, 0, inputs, [None, None, None], 1.0, check)


def _may_complain(loss: Elementwise, real: str, weight: Any, check: bool) -> bool:
    """Whether there are numbers for which a call ends in an error."""
    if check and (weight is not None or _limited(loss)):
        return True
    return plan(loss, real, 1, check=check).catching
