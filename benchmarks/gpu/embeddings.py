"""Losses of embeddings: in a batch beside the matrix products they need, and row by row.

Plain products are those of the textbook, all similarities and one for each gradient, of the full
size, by PyTorch in float32. The peer is PyTorch with all similarities in memory and autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .clock import Step
from .libraries import in_one_line
from .linear import extra_memory
from .race import Run, Skipped

SIZES = (16_384, 256)
DRY_SIZES = (48, 8)
# Rows of the report.
REPORTED = 16_384, 65_536
# Rows that are compared with float64, and the bytes of a block there: several blocks.
CHECKED, CHECKED_WORKSPACE = 1024, 1 << 20
BOUND = 1e-4
EACH_CLASS = 16
TEMPERATURE = 0.07
# Elements of an input of losses of rows, and the length of a row.
ELEMENTS, DRY_ELEMENTS, LENGTH = 2**26, 2**10, 256
TARGET = 0.92

# A loss, its title, and the products of the textbook; those without a peer have no title there.
IN_BATCH = {
    "infonce": ("InfoNCE", 3),
    "clip": ("InfoNCE, symmetric", 3),
    "siglip": ("SigLIP", 3),
    "ntxent": ("NTXent", 3),
    "supcon": ("SupervisedContrastive", 3),
    "hard": ("BatchTriplet, hard", 1),
    "semi-hard": ("BatchTriplet, semi-hard", 3),
    "all": ("BatchTriplet, all", 3),
}
OF_ROWS = {
    "contrastive": ("Contrastive", 2),
    "cosine": ("CosineEmbedding", 2),
    "triplet": ("Triplet", 3),
}


def run(work: Run) -> None:
    sizes = SIZES if work.library.on_gpu else DRY_SIZES
    for name, (title, count) in IN_BATCH.items():
        plain = {"part": "embeddings", "loss": name, "title": title, "shape": sizes,
                 "dtype": "float32", "plain": count}  # fmt: skip
        work.add(f"{title}, all pairs", partial(_in_batch, work), plain)
    elements = ELEMENTS if work.library.on_gpu else DRY_ELEMENTS
    for name, (title, count) in OF_ROWS.items():
        plain = {"part": "embeddings", "loss": name, "title": title, "dtype": "float32",
                 "shape": (elements // LENGTH, LENGTH), "target": TARGET,
                 "bytes": 8 * count * elements}  # fmt: skip
        work.add(f"{title}, rows", partial(_of_rows, work), plain)


def report(work: Run) -> None:
    """InfoNCE and SupCon alone, at two sizes; the larger one is not compared with all pairs."""
    for rows in REPORTED if work.library.on_gpu else DRY_SIZES[:1]:
        sizes = rows, SIZES[1] if work.library.on_gpu else DRY_SIZES[1]
        for name in ("infonce", "supcon") if work.library.on_gpu else ("infonce",):
            title, count = IN_BATCH[name]
            plain = {"part": "embeddings", "loss": name, "title": title, "shape": sizes,
                     "dtype": "float32", "plain": count, "peer": rows < REPORTED[1]}  # fmt: skip
            work.add(f"{title}, {rows:,} rows", partial(_in_batch, work), plain)


def loss_of(name: str) -> Any:
    """The loss of a case."""
    import numbaloss as nl

    losses: dict[str, Callable[[], Any]] = {
        "infonce": lambda: nl.InfoNCE(TEMPERATURE),
        "clip": lambda: nl.InfoNCE(TEMPERATURE, symmetric=True),
        "siglip": nl.SigLIP,
        "ntxent": lambda: nl.NTXent(TEMPERATURE),
        "supcon": lambda: nl.SupervisedContrastive(TEMPERATURE),
        "contrastive": nl.Contrastive,
        "cosine": nl.CosineEmbedding,
        "triplet": nl.Triplet,
    }
    return losses[name]() if name in losses else nl.BatchTriplet(mining=name)


def _in_batch(work: Run, plain: dict[str, Any]) -> None:
    library, name = work.library, plain["loss"]
    if library.name != "torch":
        raise Skipped("the products and the reference are PyTorch's, which is not installed")
    if library.memory()[0] < 30e9:
        raise Skipped(f"needs 30 GB of memory, {library.memory()[0] / 1e9:.1f} GB are free")
    rows, length = plain["shape"]
    loss, keyed = loss_of(name), name in ("infonce", "clip", "siglip")
    queries = library.normal((rows, length), "float32")
    keys = queries + library.normal((rows, length), "float32")
    labels = library.integers(max(2, rows // EACH_CLASS), (rows,))
    given = (queries, keys) if keyed else (queries, labels)
    formula = formulas(library.xp).get(name)
    if formula is not None:
        few = tuple(one[:CHECKED] for one in given)
        plain["errors"] = found = errors(loss, formula, few)
        if not max(found.values()) <= BOUND:
            plain["error"] = f"is off by {max(found.values()):.1e}"
            return
    out: Any = tuple(library.xp.empty_like(one) for one in given if one is not labels)
    options = dict(work.options, out=out if keyed else out[0])

    def step(_: int = 0) -> Any:
        return loss.value_and_grad(*given, **options)

    step()
    plain["seconds"] = work.clock.time(step, 1).plain()
    plain |= {f"{which}_bytes": count for which, count in extra_memory(library, step).items()}
    plain["products"] = work.clock.time(products(library, given, plain["plain"]), 1).plain()
    library.release()
    if formula is not None and plain.get("peer", True):
        plain["peers"] = {"torch": _peer(work, formula, given)}


def products(library: Any, given: Any, count: int) -> Step:
    """The products of the textbook, into arrays that are there already."""
    torch, queries = library.xp, given[0]
    keys = given[1] if given[1].ndim == 2 else queries
    block = torch.empty((len(queries), len(keys)), dtype=queries.dtype, device=queries.device)
    sums = torch.empty_like(queries)

    def multiply(_: int = 0) -> None:
        torch.mm(queries, keys.t(), out=block)
        if count > 1:
            torch.mm(block, keys, out=sums)
            torch.mm(block.t(), queries, out=sums)

    return multiply


def formulas(torch: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """The losses with all similarities in memory."""
    functional = torch.nn.functional

    def similarities(a: Any, b: Any) -> Any:
        return functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).t() / TEMPERATURE

    def infonce(a: Any, b: Any) -> Any:
        logits = similarities(a, b)
        return functional.cross_entropy(logits, torch.arange(len(a), device=a.device))

    def clip(a: Any, b: Any) -> Any:
        logits, own = similarities(a, b), torch.arange(len(a), device=a.device)
        entropy = functional.cross_entropy
        return (entropy(logits, own) + entropy(logits.t(), own)) / 2

    def masks(labels: Any) -> tuple[Any, Any]:
        own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        return (labels[:, None] == labels) & ~own, own

    def supcon(a: Any, labels: Any) -> Any:
        same, own = masks(labels)
        logits = similarities(a, a).masked_fill(own, -torch.inf)
        log_p = logits - logits.logsumexp(1, keepdim=True)
        count = same.sum(1)
        found = -log_p.masked_fill(~same, 0.0).sum(1) / count.clamp(min=1)
        return found[count > 0].mean()

    def hard(a: Any, labels: Any) -> Any:
        same, own = masks(labels)
        distance = torch.cdist(a, a)
        far = distance.masked_fill(~same, -torch.inf).amax(1)
        near = distance.masked_fill(same | own, torch.inf).amin(1)
        return functional.relu(far - near + 1.0)[same.any(1)].mean()

    return {"infonce": infonce, "clip": clip, "supcon": supcon, "hard": hard}


def errors(loss: Any, formula: Callable[..., Any], given: Any) -> dict[str, float]:
    """How far value and first gradient are from the formula in float64."""
    value, gradient = loss.value_and_grad(*given, workspace=CHECKED_WORKSPACE)
    first = gradient[0] if isinstance(gradient, tuple) else gradient
    wide = [one.double() if one.is_floating_point() else one for one in given]
    wide[0] = wide[0].detach().requires_grad_()
    expected = formula(*wide)
    expected.backward()
    found, wanted = wide[0].grad, float(expected.detach())
    return {
        "value": abs(float(value) - wanted) / abs(wanted),
        "gradient": float((first.double() - found).norm() / found.norm()),
    }


def _peer(work: Run, formula: Callable[..., Any], given: Any) -> dict[str, Any]:
    """PyTorch, forward and backward."""
    inputs = [one.detach().requires_grad_(one.is_floating_point()) for one in given]

    def step(_: int = 0) -> None:
        for one in inputs:
            one.grad = None
        formula(*inputs).backward()

    try:
        found: dict[str, Any] = {"seconds": work.clock.time(step, 1).plain()}
        memory = extra_memory(work.library, step)
    except Exception as failure:
        work.note(f"PyTorch, embeddings: {in_one_line(failure)}")
        return {"error": in_one_line(failure)}
    return found | ({"extra_bytes": memory["extra"]} if memory else {})


def _of_rows(work: Run, plain: dict[str, Any]) -> None:
    library, name = work.library, plain["loss"]
    if library.memory()[0] < 2.5 * plain["bytes"]:
        raise Skipped("needs more memory than is free")
    count = OF_ROWS[name][1]
    vectors = [library.normal(plain["shape"], "float32") for _ in range(count)]
    given = [*vectors, *([library.integers(2, plain["shape"][:1])] if count == 2 else [])]
    out = tuple(library.empty(plain["shape"], "float32") for _ in vectors)
    loss = loss_of(name)

    def step(_: int = 0) -> Any:
        return loss.value_and_grad(*given, out=out, **work.options)

    step()
    plain["seconds"] = work.clock.time(step, 1).plain()
    plain["bytes_per_second"] = plain["bytes"] / plain["seconds"]["median"]
