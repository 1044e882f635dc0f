"""The last layer of a language model: time beside that of its three products, and memory.

The products alone run through PyTorch in the same process: hidden vectors by weight, and a
gradient of logits by either. The gradient is a real one, for the power that a product draws,
and so its clock, depend on the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import reference
from .clock import Step
from .libraries import in_one_line
from .race import Run, Skipped

SIZES = (8192, 4096, 131072)
DRY_SIZES = (24, 16, 96)
WORKSPACE = 2**30
# Those of the report, as others have published them.
REPORTED = (4096, 4096, 128_256)
# Of the time, what is neither of the products; a call may take 1.15 times as long as they do.
TARGET = 1.0 - 1.0 / 1.15
# Logits of bfloat16 are off by 2**-9 of themselves, and so are their exponentials.
BOUNDS = {"value": 1e-3, "by_hidden": 2e-2, "by_weight": 2e-2}
ROWS = 512

Matrices = tuple[Any, Any, Any]


def run(work: Run, sizes: tuple[int, int, int] = SIZES) -> None:
    sizes = sizes if work.library.on_gpu else DRY_SIZES
    for transposed, layout in ((True, "(C, H)"), (False, "(H, C)")):
        plain = {
            "part": "linear",
            "loss": "linear_cross_entropy",
            "title": f"weight {layout}",
            "shape": sizes,
            "dtype": "bfloat16",
            "transposed": transposed,
            "workspace": WORKSPACE,
            "target": TARGET,
            "target_bytes": WORKSPACE,
        }
        work.add(f"linear cross-entropy, weight {layout}", partial(_measure, work), plain)


def layer(work: Run, sizes: tuple[int, int, int], transposed: bool) -> Matrices:
    """Hidden vectors, weight and labels; logits have a standard deviation of 2."""
    rows, length, classes = sizes
    library = work.library
    hidden = library.normal((rows, length), "bfloat16")
    weight = library.normal((classes, length), "bfloat16")
    weight *= 2.0 / length**0.5
    weight = weight if transposed else weight.t().contiguous()
    return hidden, weight, library.integers(classes, (rows,))


def _measure(work: Run, plain: dict[str, Any]) -> None:
    import numbaloss

    library, transposed = work.library, plain["transposed"]
    if library.name != "torch":
        raise Skipped("the products and the reference are PyTorch's, which is not installed")
    if library.memory()[0] < 40e9:
        raise Skipped(f"needs 40 GB of memory, {library.memory()[0] / 1e9:.1f} GB are free")
    given = layer(work, plain["shape"], transposed)
    out = tuple(library.xp.full_like(one, float("nan")) for one in given[:2])
    loss = numbaloss.LinearCrossEntropy()
    options = dict(work.options, out=out, transposed=transposed, workspace=WORKSPACE)

    def step(_: int = 0) -> Any:
        return loss.value_and_grad(*given, **options)

    found = errors(library, given, transposed, float(step()[0]), out)
    plain["errors"] = found
    wrong = [f"{name} is off by {error:.1e}" for name, error in found.items()
             if not error <= BOUNDS[name]]  # fmt: skip
    if wrong:
        plain["error"] = "; ".join(wrong)
        return
    plain["seconds"] = work.clock.time(step, 1).plain()
    plain |= {f"{name}_bytes": count for name, count in extra_memory(library, step).items()}
    multiply = products(library, given, transposed, out)
    plain["products"] = work.clock.time(multiply, 1).plain()
    del multiply
    library.release()
    plain["peers"] = {"torch": _peer(work, given, transposed, _logits_apart)}
    fused = getattr(library.xp.nn.functional, "linear_cross_entropy", None)
    if fused is not None and transposed:
        plain["peers"]["fused"] = _peer(work, given, transposed, lambda torch, *rest: fused(*rest))


def products(library: Any, given: Matrices, transposed: bool, out: Any) -> Step:
    """The three products of full size, into arrays that are there already."""
    torch = library.xp
    hidden, weight, target = given
    logits = torch.empty((len(hidden), _classes(weight, transposed)), dtype=hidden.dtype,
                         device=hidden.device)  # fmt: skip
    matrix = weight.t() if transposed else weight
    torch.mm(hidden, matrix, out=logits)
    slope = torch.softmax(logits, 1)
    slope[library.arange(len(hidden)), target] -= 1.0
    slope /= len(hidden)

    def multiply(_: int = 0) -> None:
        torch.mm(hidden, matrix, out=logits)
        torch.mm(slope, matrix.t(), out=out[0])
        if transposed:
            torch.mm(slope.t(), hidden, out=out[1])
        else:
            torch.mm(hidden.t(), slope, out=out[1])

    return multiply


def errors(
    library: Any, given: Matrices, transposed: bool, value: float, out: Any
) -> dict[str, float]:
    """How far results are from products and softmax in float64, some rows at a time."""
    hidden, weight, target = given
    matrix = weight.double().t() if transposed else weight.double()
    by_hidden = library.xp.empty_like(hidden, dtype=matrix.dtype)
    by_matrix = library.xp.zeros_like(matrix)
    total = 0.0
    for start in range(0, len(hidden), ROWS):
        part = slice(start, start + ROWS)
        h, labels = hidden[part].double(), target[part]
        every = library.arange(len(h))
        values, slope, _ = reference.rows(library.xp, "cross_entropy", h @ matrix, labels, every)
        total += float(values.sum())
        slope /= len(hidden)
        by_hidden[part] = slope @ matrix.t()
        by_matrix += h.t() @ slope
    by_weight = by_matrix.t() if transposed else by_matrix
    expected = total / len(hidden)
    return {
        "value": abs(value - expected) / abs(expected),
        "by_hidden": reference.distance(library, out[0], by_hidden),
        "by_weight": reference.distance(library, out[1], by_weight),
    }


def extra_memory(library: Any, step: Callable[[], Any]) -> dict[str, int]:
    """Bytes that a call takes beyond what is there: by PyTorch's books, and by the driver's.

    The driver's are those that the call has left with some allocator; they show memory that
    does not come from PyTorch.
    """
    if not library.on_gpu:
        return {}
    cuda = library.xp.cuda
    library.synchronize()
    library.release()
    cuda.reset_peak_memory_stats()
    allocated, free = cuda.memory_allocated(), library.memory()[0]
    step()
    library.synchronize()
    peak = cuda.max_memory_allocated() - allocated
    growth = max(0, free - library.memory()[0])
    return {"peak": peak, "growth": growth, "extra": max(peak, growth)}


def _logits_apart(torch: Any, hidden: Any, matrix: Any, target: Any) -> Any:
    """PyTorch with all logits in memory; the matrix is (C, H)."""
    return torch.nn.functional.cross_entropy(hidden @ matrix.t(), target)


def _peer(
    work: Run, given: Matrices, transposed: bool, function: Callable[..., Any]
) -> dict[str, Any]:
    """PyTorch, forward and backward."""
    torch = work.library.xp
    hidden, weight = (one.detach().requires_grad_() for one in given[:2])

    def step(_: int = 0) -> None:
        hidden.grad = weight.grad = None
        matrix = weight if transposed else weight.t()
        function(torch, hidden, matrix, given[2]).backward()

    try:
        seconds = work.clock.time(step, 1).plain()
        hidden.grad = weight.grad = None
        memory = extra_memory(work.library, step)
    except Exception as failure:
        work.note(f"PyTorch, linear layer: {in_one_line(failure)}")
        return {"error": in_one_line(failure)}
    gradients = sum(one.numel() * one.element_size() for one in given[:2])
    found: dict[str, Any] = {"seconds": seconds}
    if memory:
        found["extra_bytes"] = memory["extra"] - gradients
    return found


def _classes(weight: Any, transposed: bool) -> int:
    return weight.shape[0 if transposed else 1]
