"""One call: a loss, arrays on fenced memory, options; drawn from a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numbaloss.core.loss import domain

from . import draws
from .draws import chance, pick
from .families import Stretch, with_class_weights, with_weights_of_labels
from .memory import Arena, Layout, Placed, place, plain

REDUCTIONS = ("mean", "mean", "weighted_mean", "sum", "sum", "none", "none")
METHODS = ("__call__", "value_and_grad", "value_and_grad", "value_grad_hess")
SCALES = (1.0, 1.0, 1.0, -2.5, 1024.0, 2.0**-20, 0.0)
# Around blocks, chunks, and what is worth a thread.
BORDERS = (1023, 1024, 1025, 2047, 2048, 2049, 4097, 8191, 8192, 8193, 16385, 32767, 32768, 32769)


@dataclass
class Call:
    """What is called, with what."""

    structure: str
    loss: Any
    real: np.dtype
    method: str
    arrays: dict[str, Placed] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    outs: dict[str, Placed] = field(default_factory=dict)
    in_place: bool = False
    off_domain: bool = False
    expected: str = ""  # what is wrong with it, where it must raise an error
    overlay: dict[str, Any] = field(default_factory=dict)  # arguments in the place of arrays

    @property
    def derivatives(self) -> int:
        return {"__call__": 0, "value_and_grad": 1, "value_grad_hess": 2}[self.method]

    @property
    def single(self) -> bool:
        """Whether there is one gradient, and not a tuple of several."""
        return self.structure in ("elementwise", "softmax") or "embeddings" in self.arrays

    def keywords(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments without those of outputs."""
        found = {
            name: one.array for name, one in self.arrays.items() if name not in self.positional
        }
        found |= {name: one for name, one in self.overlay.items() if name not in self.positional}
        found |= self.options | changes
        if self.derivatives == 0:
            found.pop("gradient_scale", None)
        return found

    def inputs(self) -> list[Any]:
        return [self.overlay.get(name, self.arrays[name].array) for name in self.positional]

    def output_keywords(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.in_place:
            found["out"] = self.arrays["prediction"].array
        if self.single:
            found |= {name: one.array for name, one in self.outs.items()}
        elif self.outs:
            names = self.gradient_names
            found["out"] = tuple(
                self.outs[name].array if name in self.outs else None for name in names
            )
        return found

    @property
    def gradient_names(self) -> tuple[str, ...]:
        """The arrays that have gradients, in the order of the results."""
        named = {
            "elementwise": ("prediction",),
            "softmax": ("prediction",),
            "linear": ("hidden", "weight", "bias"),
            "pairs": ("first", "second", "anchor", "positive", "negative"),
            "batch": ("queries", "keys", "embeddings"),
        }[self.structure]
        return tuple(name for name in named if name in self.arrays)

    def evaluate(self) -> Any:
        """Value, and a list of gradients and hessian as they come."""
        keywords = (
            self.keywords()
            | self.output_keywords()
            | {name: one for name, one in self.overlay.items() if name in ("out", "hess_out")}
        )
        result = getattr(self.loss, self.method)(*self.inputs(), **keywords)
        if self.derivatives == 0:
            return result, []
        if self.derivatives == 2:
            return result[0], [result[1], result[2]]
        return result[0], [result[1]] if self.single else list(result[1])

    def describe(self) -> str:
        """The call in a few words, for reports."""
        parts = []
        for name, one in (self.arrays | {f"out {k}": v for k, v in self.outs.items()}).items():
            a = one.array
            parts.append(
                f"{name} {a.dtype.str if a.dtype.kind != 'V' else a.dtype} {a.shape} {a.strides}"
            )
        own = {**self.options, **({"in_place": True} if self.in_place else {})}
        return f"{self.loss!r}.{self.method}({'; '.join(parts)}; {own})"


class Maker:
    """Draws calls of one stretch."""

    def __init__(self, rng: np.random.Generator, stretch: Stretch, arena: Arena) -> None:
        self.rng, self.stretch, self.arena = rng, stretch, arena
        self.real = np.dtype(stretch.real)
        self.loss = pick(rng, stretch.losses)
        self.kind = pick(rng, stretch.kinds.predictions[stretch.real])
        self.mood = pick(rng, draws.MOODS)

    def put(self, contents: Any, repeats: bool = True) -> Placed:
        contents = np.asarray(contents)
        return place(self.arena, contents, draws.layout(self.rng, contents.ndim, repeats))

    def any_kind(self) -> np.dtype:
        """A type of targets or weights: mostly that of the prediction."""
        if chance(self.rng, 0.6):
            return self.kind
        return pick(self.rng, self.stretch.kinds.others)

    def call(self) -> Call:
        made = getattr(self, f"_{self.stretch.structure}")()
        if made.method != "__call__" and chance(self.rng, 0.3):
            made.options["gradient_scale"] = pick(self.rng, SCALES)
        return made

    def _new(self, loss: Any, method: str) -> Call:
        made = Call(self.stretch.structure, loss, self.real, method)
        made.options["reduction"] = pick(self.rng, REDUCTIONS)
        if chance(self.rng, 0.2):
            made.options["check"] = chance(self.rng, 0.2)
        return made

    def _outputs(self, made: Call) -> None:
        """Arrays of the caller's own for results, some of the time."""
        rng = self.rng
        if made.derivatives == 0 or chance(rng, 0.4):
            return
        names = made.gradient_names
        if made.single:
            like = made.arrays[names[0]].array
            if names[0] == "prediction" and chance(rng, 0.25):
                steps = [s == 0 and n > 1 for s, n in zip(like.strides, like.shape)]
                if like.flags.writeable and not any(steps):
                    made.in_place = True
            if not made.in_place and chance(rng, 0.8):
                made.outs["out"] = self._output(like)
            if made.derivatives == 2 and chance(rng, 0.7):
                made.outs["hess_out"] = self._output(like)
            return
        for name in names:
            if chance(rng, 0.75):
                made.outs[name] = self._output(made.arrays[name].array)

    def _output(self, like: np.ndarray) -> Placed:
        room = self.put(np.zeros(like.shape, like.dtype), repeats=False)
        room.only_elements_written()  # guards everywhere: what is not written shows
        return room

    def _sample_weight(self, made: Call, shape: tuple[int, ...], leading: bool = True) -> None:
        if chance(self.rng, 0.55):
            return
        if leading and chance(self.rng, 0.3):
            shape = shape[: int(self.rng.integers(0, len(shape) + 1))]
        made.arrays["sample_weight"] = self.put(draws.weights(self.rng, shape, self.any_kind()))

    def _mask(self, made: Call, shape: tuple[int, ...]) -> None:
        if chance(self.rng, 0.2):
            shape = shape[: int(self.rng.integers(0, len(shape) + 1))]
            made.arrays["mask"] = self.put(self.rng.random(shape) < pick(self.rng, (0.0, 0.7)))

    # Structures

    def _elementwise(self) -> Call:
        rng, loss = self.rng, self.loss
        shape = self._shape()
        loss = with_weights_of_labels(rng, loss, shape) if chance(rng, 0.1) else loss
        made = self._new(loss, pick(rng, METHODS))
        of_prediction, of_target = domain(loss.prediction_domain), domain(loss.target_domain)
        mood = self.mood if chance(rng, 0.8) else "calm"
        prediction = draws.numbers(rng, shape, of_prediction, self.kind, self.real, self.mood)
        target = draws.numbers(rng, shape, of_target, self.any_kind(), self.real, mood)
        if self.mood == "small" and chance(rng, 0.3) and of_target.everything:
            target = prediction.copy()
        if made.options.get("check") is False and chance(rng, 0.5):
            made.off_domain = True
            target = draws.raw_numbers(rng, shape, "calm")
            with np.errstate(all="ignore"):
                target = target.astype(self.kind)
        elif of_target.high == 1.0 and not of_target.binary and chance(rng, 0.05):
            # A few units in the last place above 1 count as 1.
            wide = target.astype(np.float64)
            step = np.finfo(self.real).eps
            target = np.where(wide == 1.0, 1.0 + step * rng.integers(0, 8, shape), wide)
            target = target.astype(self.real)
        made.arrays["prediction"], made.arrays["target"] = self.put(prediction), self.put(target)
        made.positional = "prediction", "target"
        self._sample_weight(made, shape)
        self._mask(made, shape)
        self._outputs(made)
        return made

    def _shape(self) -> tuple[int, ...]:
        rng = self.rng
        if chance(rng, 0.015):
            size = int(pick(rng, BORDERS))
            return (size,) if chance(rng, 0.6) else (size // 33, 33)
        return pick(
            rng,
            [
                (int(rng.integers(0, 70)),),
                (int(rng.integers(1, 40)),),
                (int(rng.integers(1, 12)), int(rng.integers(1, 20))),
                (int(rng.integers(1, 5)), int(rng.integers(1, 6)), int(rng.integers(1, 6))),
                pick(rng, [(), (0,), (1,), (3, 0, 2), (1, 1, 1), (0, 0)]),
            ],
        )

    def _rows_shape(self, classes: int) -> tuple[int, ...]:
        rng = self.rng
        most = max(2, min(40, 2500 // classes))
        return pick(
            rng,
            [
                (int(rng.integers(0, most)),),
                (int(rng.integers(1, most)),),
                (int(rng.integers(1, most)),),
                (2, max(1, int(rng.integers(0, most)) // 2)),
                pick(rng, [(), (0,), (1,), (2, 0), (2, 1, 2)]),
            ],
        )

    def _labels(self, loss: Any, shape: tuple[int, ...], classes: int) -> np.ndarray:
        rng = self.rng
        ignored = getattr(loss, "ignore_index", None)
        if hasattr(loss, "terms"):
            ignored = loss.row_options().ignore_index
        kind = pick(rng, self.stretch.kinds.integers)
        info = np.iinfo(kind)
        found = rng.integers(0, min(classes, int(info.max) + 1), shape)
        if ignored is not None and info.min <= ignored <= info.max and chance(rng, 0.4):
            found = np.where(rng.random(shape) < pick(rng, (0.2, 1.0)), ignored, found)
        return np.asarray(found).astype(kind)

    def _dense(self, loss: Any, shape: tuple[int, ...]) -> np.ndarray:
        rng = self.rng
        of_target = domain(loss.target_domain)
        # Integers, one a class of the only row, may be meant as labels: they are refused.
        kind = self.any_kind() if len(shape) > 1 else pick(rng, self.stretch.kinds.floats)
        if of_target.everything:
            return draws.numbers(rng, shape, of_target, kind, self.real, "calm")
        if chance(rng, 0.5):
            mood = "special" if self.mood == "special" else "calm"
            return draws.numbers(rng, shape, of_target, kind, self.real, mood)
        parts = rng.random(shape) * (rng.random(shape) < 0.8)
        parts = parts / np.maximum(parts.sum(-1, keepdims=True), 1e-3)
        return np.minimum(parts, 1.0).astype(self.kind)

    def _row_targets(self, made: Call, loss: Any, shape: tuple[int, ...], classes: int) -> None:
        dense = not self.stretch.labels
        target = (
            self._dense(loss, (*shape, classes)) if dense else self._labels(loss, shape, classes)
        )
        made.arrays["target"] = self.put(target)
        self._sample_weight(made, shape)
        self._mask(made, shape)

    def _softmax(self) -> Call:
        rng = self.rng
        classes = int(pick(rng, self.stretch.widths))
        loss = with_class_weights(rng, self.loss, classes) if chance(rng, 0.3) else self.loss
        made = self._new(loss, pick(rng, METHODS))
        shape = self._rows_shape(classes)
        everything = domain("(-inf, inf)")
        logits = draws.numbers(rng, (*shape, classes), everything, self.kind, self.real, self.mood)
        made.arrays["prediction"] = self.put(logits)
        self._row_targets(made, loss, shape, classes)
        made.positional = "prediction", "target"
        self._outputs(made)
        return made

    def _linear(self) -> Call:
        rng = self.rng
        classes = int(pick(rng, self.stretch.widths[:14]))
        length = int(pick(rng, (1, 2, 3, 5, 8, 16, 17, 31)))
        loss = with_class_weights(rng, self.loss, classes) if chance(rng, 0.3) else self.loss
        made = self._new(loss, pick(rng, METHODS[:3]))
        shape = self._rows_shape(classes)
        kind = self.kind
        made.arrays["hidden"] = self.put(self._vectors((*shape, length)))
        turned = chance(rng, 0.5)
        weight = self._vectors((classes, length) if turned else (length, classes))
        made.arrays["weight"] = self.put(weight)
        if chance(rng, 0.5):
            made.arrays["bias"] = self.put(rng.normal(size=classes).astype(kind))
        made.options["transposed"] = turned
        if chance(rng, 0.3):
            made.options["workspace"] = int(pick(rng, (1, 100, 4096, 1 << 20)))
        self._row_targets(made, loss, shape, classes)
        made.positional = "hidden", "weight", "target"
        self._outputs(made)
        return made

    def _vectors(self, shape: tuple[int, ...]) -> np.ndarray:
        """Vectors, among them zero ones, equal ones, and special numbers where the mood is."""
        rng = self.rng
        found = rng.normal(0.0, pick(rng, (0.5, 1.0, 3.0)), shape)
        if self.mood == "special" and chance(rng, 0.5):
            found = draws.raw_numbers(rng, shape, "special")
        elif self.mood == "small" and len(shape) > 1 and shape[0] > 1:
            found[0] = 0.0
            found[-1] = found[int(rng.integers(shape[0]))]
        with np.errstate(all="ignore"):
            return np.asarray(found).astype(self.kind)

    def _pairs(self) -> Call:
        rng, loss = self.rng, self.loss
        made = self._new(loss, pick(rng, METHODS[:3]))
        length = int(pick(rng, (*range(1, 10), 15, 16, 17, 33, 64, 100, 130)))
        shape = self._rows_shape(length)
        triplet = hasattr(loss, "swap")
        names = ("anchor", "positive", "negative") if triplet else ("first", "second")
        for name in names:
            made.arrays[name] = self.put(self._vectors((*shape, length)))
        made.positional = names
        if not triplet:
            target = draws.numbers(
                rng, shape, domain(loss.target_domain), self.any_kind(), self.real, "calm"
            )
            made.arrays["target"] = self.put(target)
            made.positional = (*names, "target")
        self._sample_weight(made, shape)
        if chance(rng, 0.5):
            self._mask(made, shape)
        self._outputs(made)
        return made

    def _batch(self) -> Call:
        rng, loss = self.rng, self.loss
        made = self._new(loss, pick(rng, METHODS[:3]))
        length = int(pick(rng, (1, 2, 3, 5, 8, 16, 17, 33)))
        count = int(pick(rng, (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 23)))
        if hasattr(loss, "symmetric") or type(loss).__name__ == "SigLIP":
            more = 0 if getattr(loss, "symmetric", False) or chance(rng, 0.5) else 5
            made.arrays["queries"] = self.put(self._vectors((count, length)))
            made.arrays["keys"] = self.put(self._vectors((count + more, length)))
            made.positional = "queries", "keys"
        else:
            made.arrays["embeddings"] = self.put(self._vectors((count, length)))
            labels = rng.integers(0, pick(rng, (1, 2, 3, 8)), count)
            made.arrays["labels"] = self.put(labels.astype(pick(rng, self.stretch.kinds.integers)))
            made.positional = "embeddings", "labels"
        if chance(rng, 0.3):
            made.options["workspace"] = int(pick(rng, (1, 1000, 1 << 20)))
        self._sample_weight(made, (count,), leading=False)
        self._outputs(made)
        return made


__all__ = ["Call", "Layout", "Maker", "plain"]
