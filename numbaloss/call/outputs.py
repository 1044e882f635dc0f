"""Arrays for results: made or brought by the caller, tested, and delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import arrays
from ..arrays import layouts
from ..device_value import DeviceValue
from .class_axis import with_classes_last

# In the place of an array for a derivative that nobody asks for.
NOT_WANTED: Any = type("NotWanted", (), {"__repr__": lambda self: "not wanted"})()


def out_of_range(offenders: float, what: str) -> ValueError:
    """The error that tells how many numbers are out of range, and what they should be."""
    return ValueError(f"{int(offenders)} numbers are out of range: {what}")


def model(family: arrays.Family, operand: arrays.Operand, given: Any) -> Any:
    """What arrays for results are made like: lists have become arrays by now."""
    # A bfloat16 array is viewed as another dtype.
    from_list = family is arrays.NUMPY and operand.kind != "bfloat16"
    return operand.array if from_list else given


def hessian_name(outs: tuple[Any, ...]) -> str:
    """What the caller calls the array for the hessian."""
    return "out" if outs and outs[0] is NOT_WANTED else "hess_out"


class Results:
    """What a call writes: values, where they are kept apart, and up to two derivatives.

    Derivatives go to the arrays of ``outs``, or to new ones where those are None; nowhere where
    those are ``NOT_WANTED``. Values go to ``values_out``, or else to ``values``, an array that is
    new or None.
    """

    def __init__(
        self,
        family: arrays.Family,
        like: Any,
        values: Any,
        outs: tuple[Any, ...],
        values_out: Any = None,
    ) -> None:
        self.family, self.like, self.values_out = family, like, values_out
        self.values = values = values if values_out is None else values_out
        self.outs = tuple(None if one is NOT_WANTED else one for one in outs)
        self.arrays = [family.empty_like(like, None) if one is None else one for one in outs]
        self.arrays = [None if one is NOT_WANTED else one for one in self.arrays]
        names = ("values_out", "out", hessian_name(outs))
        nothing = [None] * (2 - len(outs))
        self.arrays += nothing
        self.views = [
            None if one is None else arrays.output(one, name, made=given is None)
            for one, name, given in zip(
                (values, *self.arrays), names, (values_out, *self.outs, *nothing)
            )
        ]

    def put_last(self, axis: int) -> None:
        """Let kernels see an axis of the derivatives last, that of the classes."""
        value, *derivatives = self.views
        self.views = [
            value,
            *(one and with_classes_last(one, axis) for one in derivatives),
        ]

    def deliver(self, total: float, divisor: float, reduction: str) -> tuple[Any, ...]:
        """Value and derivatives as the caller gets them."""
        if reduction not in ("sum", "none"):
            total = total / divisor if divisor else float("nan")
        return self.delivered(total, reduction)

    def receive(
        self,
        record: Any,
        reduction: str,
        wait: bool,
        what: str,
        complain: Callable[[], None],
        later: Callable[[], None] | None = None,
    ) -> tuple[Any, ...]:
        """The same from a GPU, which may still be computing; ``record`` will hold the value.

        ``what`` says what could be out of range, if anything could; ``complain`` raises the error
        that names the first number that is; ``later`` does, if it still can.
        """
        if self.family.waits:
            record.wait()
        value: Any = None
        if wait and (what or reduction != "none"):
            sums = record.read()
            if sums.out_of_range:
                complain()
                raise out_of_range(sums.out_of_range, what)
            value = sums.value
        elif reduction != "none":
            value = DeviceValue(record, what, later)
        return self.delivered(value, reduction)

    def delivered(self, value: Any, reduction: str) -> tuple[Any, ...]:
        """The value as it is, and what else the caller gets."""
        if reduction == "none":
            value = self.values_out
            if value is None:
                value = self.family.finish(self.like, self.values)
        return value, *self.derivatives()

    def derivatives(self) -> tuple[Any, ...]:
        """Gradient and hessian as the caller gets them."""
        given = (*self.outs, None, None)
        gradient, hessian = (
            one if one is not None or made is None else self.family.finish(self.like, made)
            for one, made in zip(given, self.arrays)
        )
        return gradient, hessian


def check_outputs(
    outs: tuple[Any, ...],
    outputs: list[arrays.Operand | None],
    inputs: list[arrays.Operand | None],
    values_out: Any = None,
    samples: tuple[int, ...] = (),
    on_gpu: bool = False,
) -> bool:
    """Raise where an output does not fit; tell whether one of them is the prediction.

    ``samples`` is the shape of the values. Kernels for GPUs write the prediction's dtype alone,
    and values in that of the computation.
    """
    if values_out is None and all(one is None or one is NOT_WANTED for one in outs):
        return False  # what the library has just made fits
    p = inputs[0]
    assert p is not None
    in_place = False
    names = ("values_out", "out", hessian_name(outs))
    for which, (given, output, name) in enumerate(zip((values_out, *outs), outputs, names)):
        if given is None or output is None:
            continue
        of_samples = which == 0
        shape = samples if of_samples else p.array.shape
        if output.array.shape != shape:
            what = "values" if of_samples else "prediction"
            raise ValueError(
                f"{name} must have the shape of the {what}, {shape}, not {output.array.shape}"
            )
        check_output_kind(output, name, p.compute if of_samples else p.kind, on_gpu)
        check_writable(output, name, p, "the prediction")
        for operand, of in zip(inputs, ("prediction", "target", "sample_weight", "mask")):
            if operand is None or not layouts.overlap(output.array, operand.array):
                continue
            if (
                which == 1
                and of == "prediction"
                and output.kind == p.kind
                and layouts.same_memory(output.array, operand.array)
            ):
                in_place = True
            else:
                allowed = ", unless it is the prediction itself" if which == 1 else ""
                raise ValueError(f"{name} shares memory with {of}; it must not{allowed}")
    own = [one and name for one, name in zip(outputs, names)]
    for i, one in enumerate(outputs):
        for j, other in enumerate(outputs[:i]):
            if one is not None and other is not None and layouts.overlap(one.array, other.array):
                raise ValueError(f"{own[j]} and {own[i]} share memory")
    return in_place


def check_output_kind(output: arrays.Operand, name: str, kind: str, on_gpu: bool) -> None:
    """Raise where numbers cannot be written to an output; ``kind`` is what it is by default."""
    whose = "the computation's" if name == "values_out" else "the prediction's"
    if output.kind not in arrays.FLOATS:
        raise TypeError(
            f"{name} must have {whose} dtype, {kind}, or another floating one, not {output.kind}"
        )
    if on_gpu and output.kind != kind:
        raise TypeError(f"{name} must have {whose} dtype on a GPU, {kind}, not {output.kind}")


def check_values_out(values_out: Any, reduction: str) -> None:
    """Raise where there is an array for values, and no values that are kept apart."""
    if values_out is not None and reduction != "none":
        raise ValueError(
            f"values_out receives the values of reduction='none', and reduction is {reduction!r}"
        )


def check_writable(output: arrays.Operand, name: str, of: arrays.Operand, whose: str) -> None:
    """Raise where an output lives elsewhere than an input, or cannot be written to as it lies."""
    if output.device != of.device:
        raise ValueError(
            f"{name} lives on {output.place} and {whose} on {of.place}; "
            f"it must be on the same device"
        )
    if not output.array.flags.writeable:
        raise ValueError(f"{name} is read-only")
    _refuse_windows(output, name)


def _refuse_windows(output: arrays.Operand, name: str) -> None:
    """Raise where one element of an output is another one too: results would get lost."""
    if layouts.overlaps_itself(output.array):
        raise ValueError(
            f"{name} has elements that share memory (shape {output.array.shape}, strides "
            f"{output.array.strides} bytes), as expanded arrays and sliding windows have; "
            f"copy it first"
        )


def wanted_outputs(out: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """The arrays that the caller brings for several gradients."""
    if out is None:
        return (None,) * len(names)
    if not isinstance(out, (tuple, list)) or len(out) != len(names):
        raise TypeError(f"out must be a tuple of arrays for the gradients by {', '.join(names)}")
    return tuple(out)


def check_outputs_apart(
    gradients: Sequence[arrays.Operand],
    wanted: Sequence[Any],
    titles: Sequence[str],
    sources: Sequence[arrays.Operand],
    names: Sequence[str],
    inputs: Sequence[tuple[arrays.Operand | None, str]],
) -> None:
    """Raise where an array for a gradient does not fit, or shares memory with another array."""
    for i, (output, own, of) in enumerate(zip(gradients, wanted, sources)):
        if own is None:
            continue
        title, name = titles[i], names[i]
        if output.array.shape != of.array.shape:
            raise ValueError(
                f"{title} must have the shape of {name}, {of.array.shape}, not {output.array.shape}"
            )
        if output.kind != of.kind:
            raise TypeError(f"{title} must have {name}'s dtype, {of.kind}, not {output.kind}")
        check_writable(output, title, of, name)
        for operand, what in inputs:
            if operand is not None and layouts.overlap(output.array, operand.array):
                raise ValueError(f"{title} shares memory with {what}; it must not")
        for j, other in enumerate(gradients[:i]):
            if layouts.overlap(output.array, other.array):
                raise ValueError(f"{titles[j]} and {title} share memory")
