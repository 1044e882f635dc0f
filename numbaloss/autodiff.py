"""Calls of losses by libraries that have derivatives of their own: what goes in, and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from .core.loss import Loss

REDUCTIONS = ("mean", "weighted_mean", "batchmean", "sum", "none")


class Options(NamedTuple):
    """What a call says beside its arrays."""

    reduction: str = "mean"
    axis: int = -1
    transposed: bool | None = None
    check: bool = True

    @classmethod
    def of(cls, reduction: str, axis: int, transposed: bool | None, check: bool) -> Options:
        """The same, tested.

        Raises
        ------
        ValueError
            For a reduction that there is not.
        """
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {reduction!r}")
        return cls(reduction, axis, transposed, check)


class Form(NamedTuple):
    """What losses of one structure take."""

    structure: str
    inputs: int  # arrays that have a gradient, a bias aside
    has_target: bool
    # Whether the gradient of a row depends on other rows, or is a sum over rows: values that are
    # kept apart then have no gradients that are.
    in_batch: bool
    has_mask: bool = True

    @classmethod
    def of(cls, loss: Loss) -> Form:
        contract = loss.contract
        if contract.name == "vectors":
            return cls("vectors", contract.vectors, contract.vectors == 2, False)
        if contract.name == "batch":
            return cls("batch", contract.vectors, contract.vectors == 1, True, False)
        if contract.name == "linear":
            return cls("linear", 2, True, True)
        has_target = not contract.named or bool(loss.targets)  # type: ignore[attr-defined]
        return cls(contract.name, 1, has_target, False)

    def split(self, inputs: tuple[Any, ...], mask: Any, bias: Any) -> tuple[list[Any], Any]:
        """The arrays of a call that have a gradient, and the target.

        Raises
        ------
        TypeError
            For another number of arrays; for a mask or a bias that the loss does not take.
        """
        expected = self.inputs + self.has_target
        if len(inputs) != expected:
            raise TypeError(f"the loss takes {expected} arrays, not {len(inputs)}")
        if bias is not None and self.structure != "linear":
            raise TypeError("bias is for losses of a linear layer")
        if mask is not None and not self.has_mask:
            raise TypeError("losses of a batch of vectors take no mask")
        differentiable = list(inputs[: self.inputs])
        if bias is not None:
            differentiable.append(bias)
        return differentiable, inputs[-1] if self.has_target else None


def keywords(
    form: Form,
    options: Options,
    inputs: Sequence[Any],
    target: Any,
    sample_weight: Any,
    mask: Any,
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments, by position and by name, for the methods of a loss."""
    given = list(inputs)
    found: dict[str, Any] = {
        "sample_weight": sample_weight,
        "reduction": options.reduction,
        "check": options.check,
    }
    if form.has_mask:
        found["mask"] = mask
    if form.structure == "rows":
        found["axis"] = options.axis
    if form.structure == "linear":
        found["transposed"] = options.transposed
        found["bias"] = given.pop() if len(given) > 2 else None
    if form.has_target:
        given.append(target)
    return given, found


def shape_of_values(structure: str, shape: Sequence[Any], axis: int) -> tuple[Any, ...]:
    """The shape of the values that are kept apart, of the shape of the first input."""
    found = list(shape)
    if structure != "elementwise":
        del found[axis if structure == "rows" else -1]
    return tuple(found)
