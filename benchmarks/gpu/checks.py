"""Every family of kernels on small inputs, beside the library's own results on the CPU.

Those are tested against formulas in extended precision; a GPU may differ from them by roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from .race import Run, Skipped

# Largest errors of values, and of gradients beside the largest one.
BOUNDS = {"float64": 1e-11, "float32": 2e-5, "bfloat16": 2e-2, "float16": 4e-3}
KINDS = ("float32", "bfloat16", "float16", "float64")


class Check(NamedTuple):
    """A call, by what makes its arguments on the CPU."""

    family: str
    loss: Any
    arguments: Callable[[Any, str], tuple[Any, ...]]  # of PyTorch and a dtype
    options: Callable[[Any], dict[str, Any]] = lambda torch: {}
    method: str = "value_and_grad"


def run(work: Run) -> None:
    """All families in all dtypes; a family that is wrong is an error among the results."""
    found = list(checks())
    for check in found if work.library.on_gpu else [found[0], found[4], found[-1]]:
        for kind in KINDS if work.library.on_gpu else KINDS[:1]:
            plain = {"part": "checks", "title": check.family, "loss": repr(check.loss),
                     "shape": [], "dtype": kind}  # fmt: skip
            work.add(f"check {check.family}, {kind}", partial(_compare, work, check), plain)


def _normal(*shape: int, scale: float = 2.0) -> Callable[[Any, str], Any]:
    def make(torch: Any, kind: str) -> Any:
        generator = torch.Generator().manual_seed(sum(shape))
        return (scale * torch.randn(shape, generator=generator)).to(getattr(torch, kind))

    return make


def _vectors(rows: int, length: int, seed: int) -> Callable[[Any, str], Any]:
    def make(torch: Any, kind: str) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn((rows, length), generator=generator).to(getattr(torch, kind))

    return make


def _labels(classes: int, *shape: int) -> Callable[[Any, str], Any]:
    def make(torch: Any, kind: str) -> Any:
        return torch.randint(classes, shape, generator=torch.Generator().manual_seed(classes))

    return make


def _of(*makers: Callable[[Any, str], Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    return lambda torch, kind: tuple(make(torch, kind) for make in makers)


def _columns(rows: int, columns: int, scale: float = 2.0) -> Callable[[Any, str], Any]:
    whole = _normal(rows, 2 * columns, scale=scale)
    return lambda torch, kind: whole(torch, kind)[:, ::2]


def _dense(rows: int, classes: int) -> Callable[[Any, str], Any]:
    logits = _normal(rows, classes)
    return lambda torch, kind: torch.softmax(logits(torch, kind).float(), 1).to(
        getattr(torch, kind)
    )


def _weights(*shape: int) -> Callable[[Any], dict[str, Any]]:
    return lambda torch: {"sample_weight": _normal(*shape)(torch, "float32").abs()}


def checks() -> Iterator[Check]:
    """A call or two of each family of kernels."""
    import numbaloss as nl

    pair = _of(_normal(1003), _normal(1003, scale=0.5))
    yield Check("elements", nl.Huber(), pair)
    yield Check("elements, hessian", nl.LogCosh(), pair, method="value_grad_hess")
    strided = _of(_columns(50, 21), _columns(50, 21, 0.5))
    yield Check("elements, strided", nl.Huber(), strided, _weights(50, 21))
    labels = _of(_normal(1003), _labels(2, 1003))
    yield Check("elements, labels", nl.BinaryCrossEntropy(), labels)
    for family, rows, classes in (
        ("rows, in threads", 333, 10), ("rows, in registers", 65, 1000),
        ("rows, in shared memory", 33, 5003), ("rows, long", 5, 70_001),
        ("rows, long, shared by blocks", 2, 200_000),
    ):  # fmt: skip
        given = _of(_normal(rows, classes), _labels(classes, rows))
        yield Check(family, nl.CrossEntropy(), given)
        yield Check(f"{family}, smoothed", nl.CrossEntropy(label_smoothing=0.1), given,
                    _weights(rows))  # fmt: skip
    few = _of(_normal(65, 100), _labels(100, 65))
    yield Check("rows, hessian", nl.CrossEntropy(), few, method="value_grad_hess")
    yield Check("rows, all classes", nl.Brier(), few)
    yield Check("rows, dense", nl.CrossEntropy(), _of(_normal(65, 100), _dense(65, 100)))
    yield Check("vectors", nl.Triplet(), _of(*[_vectors(50, 33, seed) for seed in range(3)]))
    batch = _of(_vectors(70, 32, 0), _vectors(70, 32, 1))
    yield Check("all pairs, keys", nl.InfoNCE(temperature=0.5), batch)
    grouped = _of(_vectors(70, 32, 0), _labels(9, 70))
    yield Check("all pairs, labels", nl.SupervisedContrastive(temperature=0.5), grouped)
    yield Check("all pairs, mined", nl.BatchTriplet(mining="hard"), grouped)
    layer = _of(_normal(64, 32, scale=1.0), _normal(500, 32, scale=0.3), _labels(500, 64))
    yield Check("linear", nl.LinearCrossEntropy(), layer, lambda torch: {"transposed": True})


def _compare(work: Run, check: Check, plain: dict[str, Any]) -> None:
    library = work.library
    if library.name != "torch":
        raise Skipped("the arguments are PyTorch's, which is not installed")
    torch, kind = library.xp, plain["dtype"]
    given = check.arguments(torch, kind)
    options = check.options(torch)
    call = getattr(check.loss, check.method)
    expected = _flat(call(*given, **options))
    there = [_there(library, one) for one in given]
    moved = {name: _there(library, one) for name, one in options.items()}
    found = _flat(call(*there, **moved))
    errors = [_error(one, other) for one, other in zip(found, expected, strict=True)]
    plain["errors"] = {"value": errors[0], "derivatives": max(errors[1:])}
    if not max(errors) <= BOUNDS[kind]:
        plain["error"] = f"differs from the CPU's by {max(errors):.1e}, allowed: {BOUNDS[kind]:.0e}"


def _there(library: Any, given: Any) -> Any:
    """A copy on the device of a tensor, with its strides; anything else as it is."""
    if not isinstance(given, library.xp.Tensor):
        return given
    made = library.xp.empty_strided(
        given.size(), given.stride(), dtype=given.dtype, device=library.device
    )
    return made.copy_(given)


def _flat(results: Any) -> list[Any]:
    value, *derivatives = results
    found = [value]
    for one in derivatives:
        found += one if isinstance(one, tuple) else [one]
    return found


def _error(found: Any, expected: Any) -> float:
    """The largest difference beside the largest number."""
    if isinstance(expected, float):
        return abs(found - expected) / max(abs(expected), 1e-30)
    ours, theirs = found.double().cpu(), expected.double()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))
