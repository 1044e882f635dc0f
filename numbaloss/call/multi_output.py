"""Calls of losses of several numbers a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import arrays, misuse
from ..arrays import layouts
from ..core.groups import Group
from ..core.loss import domain
from ..core.out_of_range import raise_first_of_samples, raise_first_weight
from ..core.request import Request
from .arguments import check_options, gpu_of, predicted, row_weights
from .outputs import (
    NOT_WANTED,
    Results,
    check_output_kind,
    check_values_out,
    check_writable,
    hessian_name,
    model,
)
from .run import Errors, run

HESSIANS = ("diagonal", "full", "fisher")


def evaluate(
    loss: Any,
    derivatives: int,
    prediction: Any,
    target: Any,
    sample_weight: Any,
    mask: Any,
    reduction: str,
    device: str | None,
    check: bool,
    wait: bool,
    outs: tuple[Any, ...],
    gradient_scale: float,
    values_out: Any = None,
    hessian: str = "diagonal",
) -> tuple[Any, Any, Any]:
    check_options(reduction, device)
    gradient_scale = misuse.real_number(gradient_scale, "gradient_scale")
    _check_hessian(loss, hessian)
    check_values_out(values_out, reduction)
    given, families, p = _outputs(loss, prediction)
    t = _targets(loss, target, p.shape)
    weight, counts = row_weights(sample_weight, mask, p.shape, "the shape of the samples")
    inputs: list[Any] = [p, t, weight, counts]
    names = _names(loss.outputs, "prediction", p) + _names(loss.targets, "target", t)
    named = [*zip((*p.operands, *t.operands), names), (weight, "sample_weight"), (counts, "mask")]
    gpu = gpu_of([one for one, _ in named], [name for _, name in named], device)
    if gpu is not None or device == "cuda":
        raise NotImplementedError(
            f"{type(loss).__name__}: losses of several outputs are computed on the CPU; copy "
            f"arrays of a GPU to the host"
        )
    results = _Results(
        given, families, p, reduction, outs, values_out, hessian if derivatives > 1 else ""
    )
    in_place = results.check_outputs(named)
    errors = Errors(
        lambda: _ranges(loss, weight is not None, check),
        lambda: raise_first_of_samples(loss, p, t, weight, counts, check),
        lambda: None,
        lambda: raise_first_weight(weight, counts),
    )
    request = Request(
        loss, derivatives, inputs, results.groups, reduction, gradient_scale, check, in_place,
        None, 0, details=hessian,
    )  # fmt: skip
    value, gradient, second = run(request, results, wait, False, errors)
    return value, gradient, second


def _check_hessian(loss: Any, hessian: str) -> None:
    if hessian not in HESSIANS:
        raise ValueError(f"hessian must be one of {HESSIANS}, not {hessian!r}")
    if hessian == "diagonal":
        return
    from ..formulas.structure import lower, terms  # Numba: not where nothing is computed

    for _, term in terms(lower(loss)):
        cls: Any = type(term)
        if hessian == "fisher" and not cls.declares_information():
            raise TypeError(
                f"{cls.__name__} declares no expected information (a method "
                f"information({', '.join(('self', *cls.outputs))})): hessian='fisher' needs it"
            )
        if hessian == "full" and not cls.by_value():
            raise TypeError(
                f"{cls.__name__} has derivatives of its own, the diagonal of the hessian alone: "
                f"hessian='full' takes a class with a value()"
            )


def _names(names: Sequence[str], whole: str, group: Group) -> list[str]:
    """What the arrays of a group are called."""
    return [whole] if group.whole is not None else list(names)


def _outputs(loss: Any, prediction: Any) -> tuple[tuple[Any, ...], list[arrays.Family], Group]:
    """What came, whose it is, and views of it."""
    count = len(loss.outputs)
    if not isinstance(prediction, tuple):
        misuse.refuse_autograd(prediction)
        operand, family = predicted(prediction)
        shape = operand.array.shape
        if not shape or shape[-1] != count:
            raise ValueError(
                f"prediction must have the shape (..., {count}), for "
                f"{', '.join(loss.outputs)}, not {shape}"
            )
        return (prediction,), [family], Group.of_whole(operand)
    _check_count("prediction", prediction, loss.outputs)
    misuse.refuse_autograd(*prediction)
    found = [predicted(one, name) for one, name in zip(prediction, loss.outputs)]
    first = found[0][0]
    for (operand, _), name in zip(found[1:], loss.outputs[1:]):
        if operand.array.shape != first.array.shape:
            raise ValueError(
                f"{loss.outputs[0]} and {name} must have one shape, not {first.array.shape} and "
                f"{operand.array.shape}; shapes are never broadcast"
            )
        if operand.kind != first.kind:
            raise TypeError(
                f"{name} has dtype {operand.kind} and {loss.outputs[0]} {first.kind}; they must "
                f"have one"
            )
    return (
        prediction,
        [family for _, family in found],
        Group.of_each(tuple([operand for operand, _ in found]), first.array.shape),
    )


def _targets(loss: Any, target: Any, shape: tuple[int, ...]) -> Group:
    """Views of the targets, one a sample or several."""
    names = loss.targets
    if not names:
        if target is not None:
            raise TypeError(f"{type(loss).__name__} takes no target: its outputs are compared")
        return Group.of_each((), shape)
    if target is None:
        raise TypeError(f"{type(loss).__name__} needs a target: {', '.join(names)}")
    if isinstance(target, tuple):
        _check_count("target", target, names)
        found = [arrays.operand(one, name)[0] for one, name in zip(target, names)]
        for operand, name in zip(found, names):
            if operand.array.shape != shape:
                raise ValueError(
                    f"{name} must have the shape of the samples, {shape}, not "
                    f"{operand.array.shape}; shapes are never broadcast"
                )
        return Group.of_each(tuple(found), shape)
    operand, _ = arrays.operand(target, "target")
    if len(names) == 1 and operand.array.shape == shape:
        return Group.of_whole(operand._replace(array=operand.array[..., None]))
    wanted = (*shape, len(names))
    if operand.array.shape != wanted:
        alone = f" or {shape}" if len(names) == 1 else f", for {', '.join(names)}"
        raise ValueError(
            f"target must have the shape {wanted}{alone}, not {operand.array.shape}; shapes are "
            f"never broadcast"
        )
    return Group.of_whole(operand)


def _check_count(what: str, given: tuple[Any, ...], names: Sequence[str]) -> None:
    if len(given) != len(names):
        raise ValueError(
            f"{what} is a tuple of {len(given)} arrays, expected {len(names)}: {', '.join(names)}"
        )


def _ranges(loss: Any, weighted: bool, check: bool) -> str:
    """What a call may find out of range, in words; empty where nothing can be."""
    found = ["weights >= 0"] if weighted and check else []
    for term in loss.parts() if check else ():
        for name, declared in term.domains.items():
            found.append(f"{name} in {domain(declared)}")
    return ", ".join(found)


class _Results(Results):
    """What a call writes: a value a sample, a number an output of gradient and hessian."""

    def __init__(
        self,
        given: tuple[Any, ...],
        families: list[arrays.Family],
        prediction: Group,
        reduction: str,
        outs: tuple[Any, ...],
        values_out: Any,
        hessian: str,
    ) -> None:
        like = [
            model(family, one, of) for family, one, of in zip(families, prediction.operands, given)
        ]
        values = None
        if reduction == "none" and values_out is None:
            values = families[0].empty(prediction.shape, prediction.compute)
        super().__init__(families[0], like[0], values, (), values_out)
        self.prediction, self.families, self.likes = prediction, families, like
        self.tuple = prediction.whole is None
        # Of each derivative what the caller brings, what is written, and views of that.
        self.own: list[Any] = [None, None]
        self.made: list[Any] = [None, None]
        self.groups: list[Any] = [self.views[0], None, None]
        self.names = "out", hessian_name(outs)
        for place, own in enumerate(outs):
            if own is not NOT_WANTED:
                self._take(place, own, self.names[place], place == 1 and hessian == "full")

    def _take(self, place: int, own: Any, name: str, full: bool) -> None:
        """Take an array for a derivative, or make one."""
        count, shape = self.prediction.width, self.prediction.shape
        if full or not self.tuple:
            if own is None and full:
                made = self.family.empty((*shape, count, count), self.prediction.operands[0].kind)
            else:
                made = self.family.empty_like(self.likes[0], None) if own is None else own
            operand = arrays.output(made, name, made=own is None)
            wanted = (*shape, count, count) if full else (*shape, count)
            if operand.array.shape != wanted:
                raise ValueError(f"{name} must have the shape {wanted}, not {operand.array.shape}")
            group = Group.of_whole(operand, 2 if full else 1)
        else:
            given = (None,) * count if own is None else own
            if not isinstance(given, tuple) or len(given) != count:
                raise TypeError(f"{name} must be a tuple of {count} arrays, as the prediction is")
            made = tuple(
                [
                    family.empty_like(like, None) if one is None else one
                    for one, family, like in zip(given, self.families, self.likes)
                ]
            )
            views = [
                arrays.output(one, f"{name}[{i}]", made=given[i] is None)
                for i, one in enumerate(made)
            ]
            for i, one in enumerate(views):
                if one.array.shape != shape:
                    raise ValueError(
                        f"{name}[{i}] must have the shape {shape}, not {one.array.shape}"
                    )
            group = Group.of_each(tuple(views), shape)
        self.own[place], self.made[place], self.groups[place + 1] = own, made, group

    def check_outputs(self, inputs: Sequence[tuple[Any, str]]) -> bool:
        """Raise where an output does not fit; tell whether the gradient is the prediction."""
        p = self.prediction.operands[0]
        outputs: list[tuple[arrays.Operand, str, str]] = []
        if self.values_out is not None:
            (view, *_), shape = self.views, self.prediction.shape
            assert view is not None
            if view.array.shape != shape:
                raise ValueError(
                    f"values_out must have the shape of the values, {shape}, not {view.array.shape}"
                )
            outputs.append((view, "values_out", p.compute))
        for own, group, name in zip(self.own, self.groups[1:], self.names):
            if own is not None:
                outputs += [(one, name, p.kind) for one in group.operands]
        gradient = () if self.groups[1] is None else self.groups[1].operands
        in_place = False
        for i, (one, name, kind) in enumerate(outputs):
            check_output_kind(one, name, kind, False)
            check_writable(one, name, p, "the prediction")
            for operand, of in inputs:
                if operand is None or not layouts.overlap(one.array, operand.array):
                    continue
                may = _among(one, gradient) and _among(operand, self.prediction.operands)
                same = one.kind == operand.kind and layouts.same_memory(one.array, operand.array)
                if not may or not same:
                    raise ValueError(f"{name} shares memory with {of}; it must not")
                in_place = True
            for other, of, _ in outputs[:i]:
                if layouts.overlap(one.array, other.array):
                    raise ValueError(f"{of} and {name} share memory")
        return in_place

    def derivatives(self) -> tuple[Any, ...]:
        found = []
        for own, made in zip(self.own, self.made):
            if own is not None or made is None:
                found.append(own)
            elif isinstance(made, tuple):
                found.append(
                    tuple(
                        [
                            family.finish(like, one)
                            for family, like, one in zip(self.families, self.likes, made)
                        ]
                    )
                )
            else:
                found.append(self.family.finish(self.like, made))
        return tuple(found)


def _among(one: Any, others: Sequence[Any]) -> bool:
    """Whether it is one of them; arrays do not compare by identity."""
    return any(one is other for other in others)
