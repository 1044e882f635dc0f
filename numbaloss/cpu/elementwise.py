"""Elementwise losses on CPU threads.

The work is cut twice. *Chunks* go to threads; their number depends on the size of the
arrays alone, each leaves its own partial sum, and the sums are added in a fixed order, so
that results do not depend on the number of threads. *Blocks*, within a chunk, fit into the
first-level cache. Per block, one function made for the loss maps contiguous arrays of the
compute type to contiguous arrays; everything else (other dtypes, strides, weights, domains,
sums) happens around it in loops that know no loss and are compiled once for all of them.
Their operands are in the first-level cache, so they cost little beside the trip to memory,
and a loss compiles three small functions a dtype rather than one for every combination of
options.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic, models, register_model

from ..arrays import FLOATS, Operand, numbers
from ..definitions import Structure, lower, parameter_values, point
from ..structures.elementwise import Elementwise
from ..structures.intervals import Interval, interval
from ..structures.loss import Loss, Parameter, domain
from . import threads
from .compile import Code, c_function
from .intrinsics import caller, no_alias, pointer, prefer_wide_vectors, stack_memory
from .movers import arrange
from .threads import (CHUNK, GRADIENT, HESSIAN, KERNEL, LAYOUTS, PARAMETERS, PREDICTION, SIZE, TARGET, VALUE, WEIGHT)

# Bytes of one array of a block: six of them fit into a first-level cache of 48 KiB.
BLOCK_BYTES = 8192
SCRATCH_BYTES = 6 * BLOCK_BYTES
# float64 numbers in front of a loss's parameters: closed domains of target and prediction.
HEADER = 4


class LossType(types.Type):
    """Type of an argument without content that tells a kernel which loss it is made for."""

    def __init__(self, structure: Structure, real: types.Type) -> None:
        self.structure = structure
        self.record = structure.numba_type(real)
        super().__init__(name=f"loss[{structure.name}, {real}]")


@register_model(LossType)
class _LossModel(models.OpaqueModel):
    pass


@intrinsic
def _unpack(typingctx, loss, parameters):
    """The named tuple of a loss, read from an array of float64."""
    record = loss.record

    def codegen(context, builder, signature, args):
        position = HEADER

        def read(kind):
            nonlocal position
            if isinstance(kind, types.BaseTuple):
                return context.make_tuple(builder, kind, [read(field) for field in kind.types])
            number = builder.load(cgutils.gep(builder, args[1], position))
            position += 1
            return context.cast(builder, number, types.float64, kind)

        return read(record)

    return record(loss, parameters), codegen


# Losses whose point promotes float32 to float64: found while Numba infers types.
_promoted: set[str] = set()


@intrinsic
def _settle(typingctx, number, like, loss):
    """A result of ``point`` in the compute type; takes note where it comes in a wider one."""
    if isinstance(number, types.Float) and number.bitwidth > like.bitwidth:
        _promoted.add(loss.structure.title)

    def codegen(context, builder, signature, args):
        return context.cast(builder, args[0], signature.args[0], like)

    return like(number, like, loss), codegen


class Variant(NamedTuple):
    """What a kernel does beside calling ``point``: known when it is compiled, so that it costs
    nothing where it is not wanted."""

    derivatives: int  # 0 the value, 1 and its gradient, 2 and its curvature
    per_sample: bool = False  # values are stored, not only summed
    weighted: bool = False
    check_target: bool = False
    check_binary: bool = False
    check_prediction: bool = False


def _block(variant: Variant, real: type[np.floating]) -> Callable:
    """The loop of a loss over contiguous arrays, for one variant."""
    derivatives, per_sample, weighted, check_target, check_binary, check_prediction = variant
    with_gradient, with_hessian = derivatives > 0, derivatives > 1
    checked = check_target or check_binary or check_prediction or weighted
    zero, one = real(0), real(1)

    def block(
        loss, parameters, prediction, target, weight, value, gradient, hessian, size, scale, result
    ):
        prefer_wide_vectors()
        no_alias()
        self = _unpack(loss, parameters)
        low, high = real(parameters[0]), real(parameters[1])
        lowest, highest = real(parameters[2]), real(parameters[3])
        # Sums in the compute type, a block long and in many lanes, then in float64: as good
        # as float64 throughout, and the vectors stay full. Offenders are counted in the same
        # type for the same reason: an integer flag cost 65 % on cross-entropy, this 2 %.
        total = zero
        offenders = zero
        for i in range(size):
            p, t = prediction[i], target[i]
            value_, gradient_, curvature = point(self, p, t)
            v = _settle(value_, p, loss)
            # NaN is settled here rather than in every loss: min, max and comparisons lose it.
            v = p + t if (p != p) | (t != t) else v
            g = h = zero
            if with_gradient:
                g = _settle(gradient_, p, loss)
                g = v if v != v else g * scale
            if with_hessian:
                h = _settle(curvature, p, loss)
                h = v if v != v else h * scale
            if check_target:
                offenders += one if (t < low) | (t > high) else zero
            if check_binary:
                offenders += one if (t < zero) | (t > one) | ((t > zero) & (t < one)) else zero
            if check_prediction:
                offenders += one if (p < lowest) | (p > highest) else zero
            if weighted:
                w = weight[i]
                offenders += zero if w >= zero else one
                # Not a product alone: 0 * NaN is NaN.
                v = zero if w == zero else v * w
                if with_gradient:
                    g = zero if w == zero else g * w
                if with_hessian:
                    h = zero if w == zero else h * w
            if per_sample:
                value[i] = v
            if with_gradient:
                gradient[i] = g
            if with_hessian:
                hessian[i] = h
            total += v
        result[0] += total
        if checked:
            result[1] += offenders

    return block


@lru_cache(maxsize=None)
def kernel(structure: Structure, real: str, variant: Variant) -> Code:
    """The machine code of a loss for one dtype and variant."""
    loss = LossType(structure, getattr(types, real))
    try:
        code = _compile(structure, loss, real, variant)
    except NumbaError as error:
        raise TypeError(f"{structure.title}.point does not compile: {_reason(error)}") from error
    if structure.title in _promoted:
        _promoted.discard(structure.title)
        warnings.warn(
            f"{structure.title}.point turns float32 into float64, which is right but slow: write "
            f"constants as floats (2.0 * x, not 2 * x) and declare parameters as float",
            RuntimeWarning,
            stacklevel=2,
        )
    return code


def _compile(structure: Structure, loss: LossType, real: str, variant: Variant) -> Code:
    kind = getattr(types, real)
    doubles, reals = types.CPointer(types.float64), types.CPointer(kind)
    return c_function(
        _block(variant, np.dtype(real).type),
        types.void(loss, doubles, *[reals] * 6, types.int64, kind, doubles),
        f"elementwise {tuple(variant)} {loss.name}",
        cacheable=structure.cacheable,
        error_model="numpy",
        # reassoc lets the two sums run in lanes; `point` keeps its own, stricter flags.
        fastmath={"contract", "reassoc"},
    )


def _reason(error: NumbaError) -> str:
    """The sentence and the line of a Numba error that speak of the author's own code."""
    text = str(error)
    if "wrong tuple length" in text or "failed to unpack" in text:
        return "it must return three numbers: value, gradient, curvature"
    lines = [line.strip() for line in text.splitlines()]
    starts = [i for i, line in enumerate(lines) if "Failed in nopython mode" in line]
    rest = [line for line in lines[starts[-1] + 1 if starts else 0 :] if line]
    end = next((i for i, line in enumerate(rest) if line.startswith("During")), len(rest))
    return "\n".join(rest[: min(end, 8)])


_inner = {"forceinline": True, "error_model": "numpy"}


@lru_cache(maxsize=None)
def chunk(real: str) -> Code:
    """The loop over the blocks of a chunk, for one compute dtype."""
    cast = np.dtype(real).type
    zero = cast(0)
    itemsize = np.dtype(real).itemsize
    block = BLOCK_BYTES // itemsize
    call_kernel = caller(types.void, *[types.int64] * 9, getattr(types, real), types.int64)
    call_mover = caller(types.void, *[types.int64] * 5)

    @njit(**_inner)
    def copy(source, target, size):
        for i in range(size):
            target[i] = source[i]

    @njit(**_inner)
    def fetch(job, slot, start, size, scratch):
        """Where the block of an input is: in place, or loaded into scratch."""
        layout = pointer(job[LAYOUTS], 1)[slot]
        if layout == 0:
            return job[slot] + start * itemsize
        layout = job[LAYOUTS] + 8 * layout
        call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))
        return scratch

    @njit(**_inner)
    def place(job, slot, start, scratch):
        """Where the block of an output is computed: in place where its layout allows."""
        if job[slot] == 0 or pointer(job[LAYOUTS], 1)[slot] != 0:
            return scratch
        return job[slot] + start * itemsize

    @njit(**_inner)
    def deliver(job, slot, start, size, scratch):
        layout = pointer(job[LAYOUTS], 1)[slot]
        if job[slot] != 0 and layout != 0:
            layout = job[LAYOUTS] + 8 * layout
            call_mover(pointer(layout, 1)[0], (job[slot], layout, start, size, scratch))

    def elementwise_chunk(job, scale, index, result):
        start = index * job[CHUNK]
        stop = min(start + job[CHUNK], job[SIZE])
        scratch = stack_memory(SCRATCH_BYTES)
        sums = pointer(result, 1.0)
        sums[0] = sums[1] = 0.0
        while start < stop:
            size = min(block, stop - start)
            p = fetch(job, PREDICTION, start, size, scratch)
            t = fetch(job, TARGET, start, size, scratch + BLOCK_BYTES)
            w = fetch(job, WEIGHT, start, size, scratch + 2 * BLOCK_BYTES)
            v = place(job, VALUE, start, scratch + 3 * BLOCK_BYTES)
            g = place(job, GRADIENT, start, scratch + 4 * BLOCK_BYTES)
            h = place(job, HESSIAN, start, scratch + 5 * BLOCK_BYTES)
            if p == g:  # in place: kernels are promised that their arrays are apart
                copy(pointer(p, zero), pointer(scratch, zero), size)
                p = scratch
            call_kernel(
                job[KERNEL],
                (0, job[PARAMETERS], p, t, w, v, g, h, size, cast(scale), result),
            )
            deliver(job, VALUE, start, size, v)
            deliver(job, GRADIENT, start, size, g)
            deliver(job, HESSIAN, start, size, h)
            start += size

    signature = types.void(
        types.CPointer(types.int64), types.float64, types.int64, types.int64
    )
    return c_function(elementwise_chunk, signature, f"elementwise chunk {real}", error_model="numpy")


# A layout that says of all six arrays: use it where it lies.
_DIRECT = np.zeros(6, np.int64)


class Plan(NamedTuple):
    """What it takes to run a loss on arrays of one dtype: compiled once, kept with the loss."""

    chunk: Code
    kernel: Code
    parameters: np.ndarray

    def run(self, size: int, scale: float, layouts: np.ndarray, *handles: int) -> Any:
        """Sum of the values, and the number of inputs outside their domains.

        The handles stand for prediction, target, weight, value, gradient and hessian.
        """
        return threads.launch(size)(
            self.chunk.address,
            self.kernel.address,
            threads.handle(self.parameters),
            size,
            threads.chunk_size(size),
            threads.handle(layouts),
            scale,
            *handles,
        )


def plan(
    loss: Loss,
    real: str,
    derivatives: int,
    per_sample: bool = False,
    weighted: bool = False,
    check: bool = True,
) -> Plan:
    """The plan of a loss for a compute dtype and a set of options."""
    plans = loss.__dict__.setdefault("_plans", {})
    key = real, derivatives, per_sample, weighted, check
    found = plans.get(key)
    if found is None:
        lowered = lower(loss)
        of_target, of_prediction = domain(loss.target_domain), domain(loss.prediction_domain)
        dtype = np.dtype(real)
        parameters = [*of_target.closed(dtype), *of_prediction.closed(dtype)]
        variant = Variant(
            derivatives,
            per_sample,
            weighted,
            check and not of_target.binary and not of_target.everything,
            check and of_target.binary,
            check and not of_prediction.everything,
        )
        found = plans[key] = Plan(
            chunk(real),
            kernel(Structure.of(lowered), real, variant),
            np.array(parameters + parameter_values(lowered)),
        )
    return found


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
        and target.dtype is dtype
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
    loss: Loss, check: bool, out: Any, prediction: np.ndarray, target: np.ndarray, weight: Any
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
        return weight is None and not (check and _limited(loss))
    if np.may_share_memory(out, prediction):
        return False
    return weight is None or not np.may_share_memory(out, weight)


def _limited(loss: Loss) -> bool:
    """Whether some predictions or targets are outside the loss's domain."""
    return not (
        domain(loss.target_domain).everything and domain(loss.prediction_domain).everything
    )


def run_direct(
    loss: Loss,
    derivatives: int,
    check: bool,
    scale: float,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    gradient: np.ndarray | None = None,
) -> Any:
    """Sum of values and number of offenders, for arguments that :func:`direct` accepts."""
    real = "float32" if prediction.dtype is _FLOAT32 else "float64"
    handle = threads.handle
    return plan(loss, real, derivatives, False, weight is not None, check).run(
        prediction.size,
        scale,
        _DIRECT,
        handle(prediction),
        handle(target),
        0 if weight is None else handle(weight),
        0,
        0 if gradient is None else handle(gradient),
        0,
    )


Operands = Sequence[Operand | None]


def evaluate(
    loss: Loss, derivatives: int, inputs: Operands, outputs: Operands, scale: float, check: bool
) -> float:
    """Sum of the values of any arrays; the outputs receive what they are for.

    Raises
    ------
    ValueError
        For a number outside its domain, a negative or NaN weight.
    """
    prediction, _, weight = inputs
    assert prediction is not None
    real = prediction.compute
    found = plan(loss, real, derivatives, outputs[0] is not None, weight is not None, check)
    operands = [*inputs, *outputs]
    layouts, size = arrange(prediction.array.shape, operands, real)
    handles = [0 if one is None else threads.handle(one.array) for one in operands]
    total, offenders = found.run(size, scale, layouts, *handles)
    if offenders:
        raise_first_offender(loss, inputs, check)
    return total


class _Weights(Elementwise):
    """The weights themselves, so that the kernels can sum them."""

    prediction_domain = "[0, inf)"

    def point(self, prediction, target):
        return prediction, 1.0, 0.0


class _Nothing(Elementwise):
    """No loss at all: a look at the inputs before one of them is overwritten."""

    target_domain: Interval
    prediction_domain: Interval

    def __init__(self, of_target: Interval, of_prediction: Interval) -> None:
        self.__dict__.update(target_domain=of_target, prediction_domain=of_prediction)

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        return ()

    def point(self, prediction, target):
        return 0.0, 0.0, 0.0


def sum_of_weights(weight: Operand) -> float:
    """Sum of weights >= 0, however they are stored."""
    widened = weight.compute if weight.kind in FLOATS else "float64"
    inputs = [weight, weight, None]
    found = plan(_WEIGHTS, widened, 0)
    layouts, size = arrange(weight.array.shape, [*inputs, None, None, None], widened)
    handle = threads.handle(weight.array)
    total, offenders = found.run(size, 1.0, layouts, handle, handle, 0, 0, 0, 0)
    if offenders or total != total:
        raise_first_offender(_WEIGHTS, [None, None, weight], False)
    return total


_WEIGHTS = _Weights()


def check_inputs(loss: Loss, inputs: Operands, check: bool) -> None:
    """Raise what :func:`evaluate` would, before anything is written."""
    if inputs[2] is None and not (check and _limited(loss)):
        return
    nothing = _Nothing(domain(loss.target_domain), domain(loss.prediction_domain))
    evaluate(nothing, 0, inputs, [None, None, None], 1.0, check)


# Elements that the search for an offender looks at in one go.
_SEARCH = 1 << 16


def raise_first_offender(loss: Loss, inputs: Operands, check: bool) -> None:
    """Find the first input outside its domain, in C order, and raise an error that names it."""
    prediction, target, weight = inputs
    domains = [domain(loss.prediction_domain), domain(loss.target_domain), interval("[0, inf)")]
    names = ["prediction", "target", "sample_weight"]
    for operand, of, name in zip((prediction, target, weight), domains, names):
        if operand is None or not (check or name == "sample_weight") or of.everything:
            continue
        # Judged in the type of the computation, as the kernel does.
        real = np.dtype((prediction or operand).compute)
        low, high = of.closed(real)
        flat = operand.array.flat
        for start in range(0, operand.array.size, _SEARCH):
            piece = numbers(operand, flat[start : start + _SEARCH]).astype(real)
            bad = (piece < low) | (piece > high)
            if of.binary:
                bad = (piece != 0) & (piece != 1) & (piece == piece)
            if name == "sample_weight":
                bad |= piece != piece
            if bad.any():
                first = int(bad.argmax())
                index = np.unravel_index(start + first, operand.array.shape)
                if name == "sample_weight":
                    axes = (i for i, step in zip(index, operand.array.strides) if step)
                    place = ", ".join(str(int(i)) for i in axes)
                    raise ValueError(
                        f"sample_weight[{place}] is {piece[first]:.9g}; weights are >= 0"
                    )
                place = ", ".join(str(int(i)) for i in index)
                raise ValueError(
                    f"{name}[{place}] is {piece[first]:.9g}; {loss!r} takes {name}s in {of}"
                )
