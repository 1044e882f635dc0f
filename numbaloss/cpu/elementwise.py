"""Elementwise losses on CPU threads: from arrays to a launch and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays import NUMBERS, Operand
from ..core.loss import domain
from ..core.out_of_range import raise_first_number
from ..core.probes import Inspection, Weights
from ..core.recoding import Recoding
from ..core.reductions import batch_length
from ..formulas.catching import HEADER, ONCE
from ..formulas.fitting import lower_for
from ..formulas.raised import Raised, exception_of, first_that_raises, place_of
from ..formulas.structure import Structure, parameter_values, plans_of
from ..rewriting.bytecode import names_in
from . import threads
from .asking import raises
from .blocks import Variant, kernel
from .chunks import chunk
from .compile import Code
from .movers import AS_THEY_LIE, arrange, followed_by, mover, with_asides

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
    small: tuple[Any, ...] | None  # what a call on one thread takes: see `run_direct`

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
    loss: Any,
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
        layouts = None if recoding.paired else with_asides(_plain(real, kind), aside, recoded)
        code = chunk(real), kernel(structure, real, variant)
        parameters = np.array(header + parameter_values(lowered))
        small = None
        if layouts is not None:
            addresses = [one.address for one in code]
            handles = threads.handle(parameters), threads.CHUNK_ELEMENTS, threads.handle(layouts)
            small = (threads.serial(), *addresses, *handles)
        found = plans[key] = Plan(*code, parameters, catching, aside, recoded, layouts, small)
    return found


def _plan_of_arrays(
    loss: Any,
    plans: Any,
    derivatives: int,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    check: bool,
) -> Plan:
    """The plan of a loss for plain arrays, from now on found under their dtypes."""
    key = prediction.dtype, derivatives, weight is not None, check, target.dtype
    found = plan(loss, prediction.dtype.name, *key[1:4], _CONVERTED[target.dtype])
    plans[key] = found
    return found


def _plain(real: str, kind: str) -> np.ndarray:
    """The layouts of contiguous arrays of the compute type, but for targets of ``kind``."""
    if kind in ("", real, "bfloat16"):
        return AS_THEY_LIE
    # One axis, as long as any array: the layout is the same for all of them.
    target = [mover("load", kind, False, real).address, 1, 1 << 62, np.dtype(kind).itemsize]
    return followed_by(AS_THEY_LIE, {"target_layout": target})


def _prints(structure: Structure) -> bool:
    """Whether a formula prints: somebody who looks at numbers wants each of them once."""
    methods: list[Any] = [method for cls in structure.classes for method in (cls.point, cls.value)]  # type: ignore[attr-defined]
    return any("print" in names_in(method.__code__) for method in methods)


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


# C-contiguous, aligned, writeable: NumPy's flags as one number.
_AS_IS, _WRITEABLE = 0x101, 0x400


def _writes_direct(
    loss: Any,
    check: bool,
    out: Any,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: Any,
) -> bool:
    """Whether kernels can write to ``out`` as it is, given inputs that they take as they are."""
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


def _limited(loss: Any) -> bool:
    """Whether some predictions or targets are outside the loss's domain."""
    return not (domain(loss.target_domain).everything and domain(loss.prediction_domain).everything)


def run_direct(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    weight: Any,
    reduction: str,
    gradient_scale: float,
    check: bool,
    out: Any = None,
    hessian_alone: bool = False,
) -> tuple[Any, ...] | None:
    """Value and derivatives of plain arrays, for the reductions "mean" and "sum".

    None where the arguments are others, or bad: the general road knows what to do.

    A call on 100 elements takes 2 us, most of them here: what saves 2 % of that is worth a line.
    Apart from what the comments say, it is one function for all, and asks no array twice.
    """
    if type(prediction) is not np.ndarray or type(target) is not np.ndarray:
        return None
    dtype, kind, shape = prediction.dtype, target.dtype, prediction.shape
    if not (
        (dtype is _FLOAT32 or dtype is _FLOAT64)
        and (kind is dtype or kind in _CONVERTED)
        and target.shape == shape
        and prediction.flags.num & target.flags.num & _AS_IS == _AS_IS
    ):
        return None
    if weight is not None and not (
        type(weight) is np.ndarray
        and weight.dtype is dtype
        and weight.shape == shape
        and weight.flags.num & _AS_IS == _AS_IS
    ):
        return None
    if out is not None and not _writes_direct(loss, check, out, prediction, target, weight):
        return None
    plans = loss.__dict__.get("_plans")
    if plans is None or plans.stale(loss):
        plans = plans_of(loss)
    # By dtypes, without their names and calls of `plan` and `plans_of`: 0.1 us.
    found = plans.get((dtype, derivatives, weight is not None, check, kind))
    if found is None:
        found = _plan_of_arrays(loss, plans, derivatives, prediction, target, weight, check)
    if found.small is None:
        return None
    size = prediction.size
    scale = gradient_scale / size if reduction == "mean" and size else gradient_scale
    handle = threads.handle
    p, t, w, g, h = handle(prediction), handle(target), 0, 0, 0
    if weight is not None:
        w = handle(weight)
    if derivatives:
        if not hessian_alone:
            # `np.empty_like` takes 0.05 us longer.
            out = np.empty(shape, dtype) if out is None else out
            g = handle(out)
        if derivatives == 2:
            hessian = np.empty(shape, dtype)
            h = handle(hessian)
    # As `Plan.run` and `threads.launch` would do it, whose tuples and look-ups take 0.8 us.
    if size < threads.PARALLEL_SIZE and not found.catching:
        run, function, kernel, parameters, chunk, layouts = found.small
        total, offenders = run(
            function, kernel, parameters, size, chunk, layouts, scale, p, t, w, 0, g, h
        )
    else:
        try:
            total, offenders = found.run(size, scale, found.direct, p, t, w, 0, g, h)
        except Raised:
            return None
    if offenders and check:  # where nothing is to be checked they are negative weights
        return None
    if reduction == "mean":
        total = total / size if size else math.nan
    if derivatives == 2:
        return total, out, hessian
    return (total, out) if derivatives else (total,)


Operands = Sequence[Operand | None]


def evaluate(
    loss: Any,
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
    loss: Any,
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
    if layouts is AS_THEY_LIE and found.direct is not None:
        layouts = found.direct  # which knows the asides
    else:
        layouts = with_asides(layouts, found.limits, found.recoding)
    handles = [0 if one is None else threads.handle(one.array) for one in operands]
    return found.run(size, scale, layouts, *handles)


def _exception(loss: Any, raised: Raised, inputs: Operands, check: bool) -> BaseException:
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


def divisor(loss: Any, inputs: Operands, reduction: str, check: bool) -> float:
    """What the sum of the values is divided by.

    Raises
    ------
    ValueError
        For a negative or NaN weight that counts for it, where ``check`` says so.
    """
    prediction, _, weight, mask = inputs[:4]
    assert prediction is not None
    if reduction == "weighted_mean" and weight is not None:
        return sum_of_weights(weight, mask, check)
    if reduction in ("mean", "weighted_mean"):
        size = float(prediction.array.size)
        return size if mask is None else sum_of_weights(mask, None, False)
    return batch_length(prediction.array.shape) if reduction == "batchmean" else 1.0


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


_WEIGHTS = Weights()


def check_inputs(loss: Any, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, before anything is written."""
    prediction = inputs[0]
    assert prediction is not None
    if plan(loss, prediction.compute, 1, weighted=inputs[2] is not None, check=check).catching:
        evaluate(loss, 0, inputs, [None, None, None], 1.0, check)
    elif _may_complain(loss, prediction.compute, inputs[2], check):
        nothing = Inspection(loss)
        evaluate(nothing, 0, inputs, [None, None, None], 1.0, check)


def _may_complain(loss: Any, real: str, weight: Any, check: bool) -> bool:
    """Whether there are numbers for which a call ends in an error."""
    if check and (weight is not None or _limited(loss)):
        return True
    return plan(loss, real, 1, check=check).catching
