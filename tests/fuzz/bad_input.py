"""Calls that cannot be right, each with what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np

import numbaloss as nl
from numbaloss.core.loss import domain

from .calls import Call
from .draws import pick
from .memory import Arena, Layout, place, plain


def spoil(rng: np.random.Generator, call: Call, arena: Arena) -> bool:
    """Make a good call bad in one way; False where the way does not apply to it."""
    call.outs = {} if rng.random() < 0.5 else call.outs
    way = pick(rng, WAYS)
    call.expected = way.__name__.strip("_").replace("_", " ")
    return bool(way(rng, call, arena))


def _first(call: Call) -> str:
    return call.positional[0]


def _replace(call: Call, arena: Arena, name: str, contents: Any) -> None:
    contents = np.asarray(contents)
    call.arrays[name] = place(arena, contents, plain(contents.ndim))


def _place_in(rng: np.random.Generator, array: np.ndarray) -> tuple[int, ...]:
    return tuple(int(rng.integers(n)) for n in array.shape)


def _shape(rng, call, arena):
    name = pick(rng, call.positional)
    array = call.arrays[name].array
    if array.ndim == 0 or name in ("queries", "keys", "weight"):
        return False
    if array.ndim == 1 and name == "prediction" and call.structure == "softmax":
        return False  # one more class
    longer = np.concatenate([array, array[:1]]) if array.size else None
    if longer is None:
        return False
    _replace(call, arena, name, longer)
    call.in_place, call.outs = False, {}
    return True


def _weight(bad):
    def spoiled(rng, call, arena):
        first = call.arrays[_first(call)].array
        rows = call.structure != "elementwise"
        shape = first.shape[:-1] if rows else first.shape
        if not shape or 0 in first.shape or call.options.get("check") is False:
            return False
        labels = call.structure in ("softmax", "linear") and (
            call.arrays["target"].array.ndim < first.ndim
        )
        if labels:  # a row that is ignored may have any weight
            return False
        weight = np.ones(shape, call.real)
        weight[_place_in(rng, weight)] = bad
        call.arrays.pop("mask", None)
        _replace(call, arena, "sample_weight", weight)
        return True

    spoiled.__name__ = f"weight_{bad}"
    return spoiled


def _target_outside(rng, call, arena):
    if "target" not in call.arrays or call.options.get("check") is False:
        return False
    target = call.arrays["target"].array
    loss = call.loss.of_logits() if call.structure == "linear" else call.loss
    interval = domain(loss.target_domain)
    rows = call.structure in ("softmax", "linear")
    if interval.everything or not target.size or (rows and target.ndim != _dimensions(call)):
        return False
    contents = np.array(target, np.float64)
    contents[_place_in(rng, contents)] = pick(rng, (-2.5, 3.0) if interval.high == 1 else (-2.5,))
    for name in ("sample_weight", "mask"):
        call.arrays.pop(name, None)
    _replace(call, arena, "target", contents)
    return True


def _dimensions(call: Call) -> int:
    return call.arrays[_first(call)].array.ndim


def _label_outside(rng, call, arena):
    if call.structure not in ("softmax", "linear"):
        return False
    labels = call.arrays["target"].array
    if labels.ndim == _dimensions(call) or not labels.size:
        return False
    contents = np.array(labels, np.int64)
    contents[_place_in(rng, contents)] = pick(rng, (-7, 10**6, -(2**63), 2**63 - 1, 5000))
    for name in ("sample_weight", "mask"):
        call.arrays.pop(name, None)
    _replace(call, arena, "target", contents)
    return True


def _integer_prediction(rng, call, arena):
    name = pick(rng, call.gradient_names)
    call.overlay[name] = np.zeros(call.arrays[name].array.shape, np.int64)
    call.in_place, call.outs = False, {}
    return True


def _unusable_type(rng, call, arena):
    name = pick(rng, call.positional)
    zeros = np.zeros(call.arrays[name].array.shape)
    kinds = (np.complex128, np.longdouble, object, "datetime64[s]", "S3")
    call.overlay[name] = zeros.astype(pick(rng, kinds))
    call.in_place, call.outs = False, {}
    return True


def _masked_array(rng, call, arena):
    name = pick(rng, call.positional)
    call.overlay[name] = np.ma.masked_array(call.arrays[name].array)
    call.in_place, call.outs = False, {}
    return True


def _unknown_option(rng, call, arena):
    name, value = pick(
        rng,
        [("reduction", "average"), ("reduction", None), ("device", "tpu"), ("reduction", "Mean")],
    )
    call.options[name] = value
    return True


def _complex_scale(rng, call, arena):
    if call.derivatives == 0 or not call.arrays[_first(call)].array.size:
        return False
    call.options["gradient_scale"] = 1j
    return True


def _bring_output(call: Call, out: Any) -> None:
    call.outs, call.in_place = {}, False
    names = call.gradient_names
    call.overlay["out"] = out if call.single else (out, *(None for _ in names[1:]))


def _like(call: Call) -> np.ndarray:
    return call.arrays[call.gradient_names[0]].array


def _output_of_another_shape(rng, call, arena):
    if call.derivatives == 0:
        return False
    like = _like(call)
    _bring_output(call, np.zeros((*like.shape, 1), like.dtype))
    return True


def _output_read_only(rng, call, arena):
    if call.derivatives == 0:
        return False
    out = np.zeros(_like(call).shape, _like(call).dtype)
    out.flags.writeable = False
    _bring_output(call, out)
    return True


def _output_is_a_list(rng, call, arena):
    if call.derivatives == 0 or call.structure not in ("elementwise", "softmax"):
        return False
    _bring_output(call, _like(call).astype(np.float64).tolist())
    return True


def _output_overlaps_itself(rng, call, arena):
    like = _like(call)
    axes = [i for i, n in enumerate(like.shape) if n > 1]
    if call.derivatives == 0 or not axes or not like.size:
        return False
    if rng.random() < 0.5:
        axis = int(pick(rng, axes))
        steps = tuple(0 if i == axis else 1 for i in range(like.ndim))
        layout = Layout(tuple(range(like.ndim)), steps)
        _bring_output(call, place(arena, np.zeros(like.shape, like.dtype), layout).array)
        return True
    # A window that moves by one element a row.
    if like.ndim < 2 or like.shape[-1] < 2 or like.shape[-2] < 2:
        return False
    room = np.zeros(sum(like.shape) + like.size, like.dtype)
    strides = [room.itemsize * like.size // max(1, n) for n in like.shape]
    strides[-1] = strides[-2] = room.itemsize
    for axis in range(like.ndim - 2):
        strides[axis] = room.itemsize * 2
    span = sum((n - 1) * s for n, s in zip(like.shape, strides)) + room.itemsize
    if span > room.nbytes:
        return False
    data = room.view(np.uint8).data
    _bring_output(call, np.ndarray(like.shape, like.dtype, data, 0, tuple(strides)))
    return True


def _output_overlaps_an_input(rng, call, arena):
    like = _like(call)
    if call.derivatives == 0 or like.size < 2:
        return False
    # The input, but for one element, from one place on.
    room = np.empty(like.size + 1, like.dtype)
    both = room[:-1].reshape(like.shape), room[1:].reshape(like.shape)
    both[0][...] = like
    call.overlay[call.gradient_names[0]] = both[0]
    _bring_output(call, both[1])
    return True


def _outputs_are_one(rng, call, arena):
    if call.derivatives != 2 or not _like(call).size:
        return False
    out = np.zeros(_like(call).shape, _like(call).dtype)
    _bring_output(call, out)
    call.overlay["hess_out"] = out
    return True


def _integer_targets_of_one_row(rng, call, arena):
    if call.structure != "softmax" or _dimensions(call) != 1:
        return False
    if "dense" not in call.loss.accepts or not _like(call).size:
        return False
    if isinstance(call.loss, nl.Distillation):  # logits may be whole numbers
        return False
    for name in ("sample_weight", "mask"):
        call.arrays.pop(name, None)
    call.overlay["target"] = np.zeros(_like(call).shape, np.int64)
    return True


WAYS = (
    _shape, _weight(-1.0), _weight(float("nan")), _target_outside, _target_outside,
    _label_outside, _label_outside, _integer_prediction, _unusable_type, _masked_array,
    _unknown_option, _complex_scale, _output_of_another_shape, _output_read_only,
    _output_is_a_list, _output_overlaps_itself, _output_overlaps_itself,
    _output_overlaps_an_input, _outputs_are_one, _integer_targets_of_one_row,
)  # fmt: skip
