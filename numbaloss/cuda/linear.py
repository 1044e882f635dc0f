"""Losses of linear layers on a GPU: a block of rows of logits at a time.

As on the CPU: a product makes the logits of some rows, their loss turns them into their gradient
where they lie, and two more products carry it on. The products are cuBLAS's, by the library of
the arrays, on its own stream; in half precision logits are rounded to it.

Rows that do not count are left out of the products where that is worth reading how many they are,
and where the caller waits anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import arrays
from ..arrays import Operand
from ..core.request import Request
from . import backend, softmax
from .backend import Place
from .products import Library, library
from .results import DeviceSums

# Bytes of a block of logits by default, and the share of what is free that it may take.
WORKSPACE, SHARE = 1 << 30, 4
# Rows of a block are a multiple of this: cuBLAS works in tiles.
ROW_MULTIPLE = 128
# Multiplications of a layer (rows x classes x length) that are worth a wait for the number of its
# rows that count: some tenths of a millisecond.
WORTH_A_WAIT = 1 << 36


class Inputs(NamedTuple):
    """The arrays of a call, known to fit together."""

    family: str
    hidden: Any  # the caller's own
    weight: Any
    bias: Any
    transposed: bool  # whether the weight is (C, H)
    operand: Operand  # view of hidden, which has an axis of rows
    classes: int
    rows: Sequence[Operand | None]  # views of target, weight and mask of the rows
    given: Sequence[Any]  # the same as the caller's own

    @classmethod
    def of(cls, request: Request) -> Inputs:
        own, (hidden, weight, *_) = request.own, request.inputs
        assert own is not None
        assert hidden is not None
        assert weight is not None
        own_hidden, own_weight, bias, *given = own.inputs
        return cls(
            own.family, own_hidden, own_weight, bias, request.details.transposed, hidden,
            weight.array.shape[1], request.inputs[3:], given,
        )  # fmt: skip


def run(request: Request, place: Place) -> DeviceSums | None:
    """Ask the GPU for the value; values and gradients will receive what they are for.

    Nothing waits for the GPU. None for layers without rows, or without classes: the results are
    zeros then.
    """
    own, inputs = request.own, Inputs.of(request)
    assert own is not None
    values_of_caller, *outs = own.outputs
    if not math.prod(inputs.operand.array.shape[:-1]) * inputs.classes:
        clear(own.family, outs if values_of_caller is None else [*outs, values_of_caller])
        return None
    return _evaluate(request, inputs, tuple(outs) if request.derivatives else None, place)


def _evaluate(
    request: Request, inputs: Inputs, outs: tuple[Any, ...] | None, place: Place
) -> DeviceSums:
    """Ask for one block of rows after the other; ``outs`` receive gradients, in their layouts."""
    loss, check, values = request.details.loss, request.check, request.outputs[0]
    reduction, gradient_scale = request.reduction, request.gradient_scale
    found = library(inputs.family, inputs.operand.kind)
    shape = inputs.operand.array.shape[:-1]
    count = math.prod(shape)
    logits_type = np.broadcast_to(np.zeros((), inputs.operand.array.dtype), (count, inputs.classes))
    whole = Operand(logits_type, inputs.operand.kind, device=place.device)
    with found.on(place, inputs.family):
        flat = [_flat(found, one, own, shape) for one, own in zip(inputs.rows, inputs.given)]
        rows = [operand for operand, _ in flat]
        start = softmax.begin(loss, [whole, *rows], reduction, gradient_scale, check, place)
        places = _rows_that_count(request, inputs, found, flat, count, place)
        if places is not None:
            count = len(places)
            flat = [_taken(found, one, own, places) for one, own in flat[:2]] + [(None, None)]
            rows = [operand for operand, _ in flat]
        step = _rows_of_block(inputs, count, request.workspace, place)
        layer = _Layer(found, inputs, outs, places, several=step < count)
        logits = found.empty((step, inputs.classes), layer.hidden)
        flat_values = None
        if values is not None:
            flat_values = values._replace(array=values.array.reshape(count))  # in C order
        record: DeviceSums | None = None
        for first in range(0, count, step):
            part = slice(first, min(first + step, count))
            block = logits[: part.stop - part.start]
            layer.forward(part, block)
            view, _ = arrays.operand(block, "logits")
            own = [None if one is None else one._replace(array=one.array[part]) for one in rows]
            value = None
            if flat_values is not None:
                value = flat_values._replace(array=flat_values.array[part])
            outputs = [value, view if outs is not None else None, None]
            derivatives = int(outs is not None)
            record = softmax.go_on(
                loss, derivatives, [view, *own], outputs, start, record, check, place
            )
            if outs is not None:
                layer.backward(part, block)
        layer.finish()
        assert record is not None
        return record


def _rows_of_block(inputs: Inputs, count: int, budget: int | None, place: Place) -> int:
    size = inputs.operand.array.dtype.itemsize
    if budget is None:
        budget = min(WORKSPACE, backend.free_memory(place.device) // SHARE)
    rows = max(1, budget // (inputs.classes * size))
    if rows > ROW_MULTIPLE:
        rows = rows // ROW_MULTIPLE * ROW_MULTIPLE
    return min(rows, count)


def _rows_that_count(
    request: Request,
    inputs: Inputs,
    found: Library,
    flat: Sequence[tuple[Operand | None, Any]],
    count: int,
    place: Place,
) -> Any:
    """The places of the rows that count; None for all, or where nobody should wait to know."""
    if not request.details.waits or request.outputs[0] is not None:
        return None
    length = inputs.operand.array.shape[-1]
    if count * inputs.classes * length < WORTH_A_WAIT or backend.is_capturing(place):
        return None
    (target, own_target), _, (mask, own_mask) = flat
    assert target is not None
    counting = None if mask is None else found.own(own_mask)
    ignored = request.details.loss.row_options().ignore_index
    # Unsigned labels, which libraries would compare with the bits of a negative number, all count.
    if target.array.ndim == 1 and ignored is not None and target.array.dtype.kind == "i":
        labelled = found.own(own_target) != ignored
        counting = labelled if counting is None else counting & labelled
    if counting is None:
        return None
    places = found.places(counting)
    return places if 0 < len(places) < count else None


def _taken(
    found: Library, operand: Operand | None, own: Any, places: Any
) -> tuple[Operand | None, Any]:
    """Some rows of an array, and a view of them."""
    if operand is None:
        return None, None
    some = found.take(found.own(own), places)
    view, _ = arrays.operand(some, "rows")
    return view, some


class _Layer:
    """The arrays of a layer as those of the library that multiplies them.

    ``places`` are those of the rows that count, of which the parts are parts then; ``several`` says
    that there is more than one part.
    """

    def __init__(
        self,
        found: Library,
        inputs: Inputs,
        outs: tuple[Any, ...] | None,
        places: Any = None,
        several: bool = False,
    ) -> None:
        self.library, self.places = found, places
        self.hidden = found.rows(found.own(inputs.hidden))
        weight = found.own(inputs.weight)
        self.weight = weight.T if inputs.transposed else weight
        self.bias = None if inputs.bias is None else found.own(inputs.bias)
        self.copies: list[tuple[Any, Any]] = []
        self.of_bias: Any = None
        if outs is None:
            return
        of_hidden, of_weight, *rest = [found.own(one, inputs.operand.kind) for one in outs]
        of_hidden = self._contiguous(of_hidden)
        self.of_hidden = found.rows(of_hidden)
        if several and inputs.operand.array.dtype.itemsize == 2:
            # Sums of several products are rounded to half precision once.
            own = found.make(tuple(of_weight.shape), "float32", of_weight)
            self.copies.append((own, of_weight))
            of_weight = own
        else:
            of_weight = self._contiguous(of_weight)
        self.of_weight, self.transposed = of_weight, inputs.transposed
        if places is not None:
            found.clear(self.of_hidden)
        self.out_bias = rest[0] if rest else None

    def _contiguous(self, out: Any) -> Any:
        """An array that products can be written to, in the place of the caller's."""
        if self.library.contiguous(out):
            return out
        own = self.library.empty(tuple(out.shape), out)
        self.copies.append((own, out))
        return own

    def forward(self, part: slice, logits: Any) -> None:
        """The logits of some rows."""
        self.part = self.hidden[part]
        if self.places is not None:
            self.part = self.library.take(self.hidden, self.places[part])
        self.library.multiply(self.part, self.weight, logits, add=False)
        if self.bias is not None:
            logits += self.bias

    def backward(self, part: slice, gradient: Any) -> None:
        """What the gradient by these logits comes to for the layer."""
        again, hidden = part.start > 0, self.part
        if self.places is None:
            self.library.multiply(gradient, self.weight.T, self.of_hidden[part], add=False)
        else:
            some = self.library.empty(tuple(hidden.shape), hidden)
            self.library.multiply(gradient, self.weight.T, some, add=False)
            self.library.put_rows(self.of_hidden, self.places[part], some)
        if self.transposed:
            self.library.multiply(gradient.T, hidden, self.of_weight, add=again)
        else:
            self.library.multiply(hidden.T, gradient, self.of_weight, add=again)
        if self.out_bias is not None:
            sums = self.library.sum_rows(gradient)
            self.of_bias = sums if self.of_bias is None else self.of_bias + sums

    def finish(self) -> None:
        """Bring to the caller's arrays what was computed elsewhere."""
        if self.of_bias is not None:
            self.library.copy(self.of_bias, self.out_bias)
        for own, out in self.copies:
            self.library.copy(own, out)


def _flat(
    found: Library, operand: Operand | None, given: Any, shape: tuple[int, ...]
) -> tuple[Operand | None, Any]:
    """The axes of the rows as one, and the array that this is a view of: a copy if need be."""
    if operand is None or len(shape) == 1:
        return operand, given
    flat = found.flat(found.own(given), shape)
    view, _ = arrays.operand(flat, "rows")
    return view, flat


def clear(family: str, results: list[Any]) -> None:
    """Fill arrays with zeros: the results of layers without rows, or without classes."""
    found = library(family)
    for one in results:
        found.clear(found.own(one))
