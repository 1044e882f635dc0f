"""Machine code for GPUs: whatever calls of losses would launch, compiled and kept."""

from __future__ import annotations

import re
from typing import Any

from .failures import Failure, UsageFailure

# Rows of so many classes take all kernels that there are; some are for one number of classes.
WIDTHS = (2, 10, 100, 1000, 5000, 50_000)
ROWS, LENGTH = 4096, 64


def capability(text: str | None) -> tuple[int, int]:
    """The compute capability to compile for: of the GPU here, or as ``"90"`` or ``"9.0"``."""
    from ..cuda import availability
    from ..engines import module

    if text is None:
        problem = availability.problem()
        if problem is not None:
            raise UsageFailure(
                f"--device cuda: {problem}; see `numbaloss devices`. For a GPU that is elsewhere, "
                f"--compute-capability says which: 90 for an H100"
            )
        found = availability.gpus()[0].capability
    else:
        parts = re.fullmatch(r"(\d+)\.?(\d)", text)
        if parts is None:
            raise UsageFailure(f"--compute-capability must be like 90 or 9.0, not {text}")
        found = int(parts[1]), int(parts[2])
    try:
        known = module("cuda", "backend").capabilities()
    except Exception as error:  # no package, no compiler, by version one or another
        raise Failure(f"there is no compiler for GPUs here ({error}); {REMEDY}") from None
    if found not in known:
        names = ", ".join(f"{major}{minor}" for major, minor in known)
        raise UsageFailure(
            f"the compiler for GPUs here knows no compute capability {found[0]}.{found[1]}; "
            f"it knows {names}"
        )
    return found


REMEDY = 'python -m pip install "numbaloss[cuda13]" brings one'


def compile_task(loss: Any, kind: str, capability: tuple[int, int], widths: tuple[int, ...]) -> int:
    """Compile what calls of a loss launch; how many kernels were not on disk."""
    from ..cuda import backend, binaries
    from ..cuda.rehearsal import rehearsal

    with rehearsal() as kernels:
        _call(loss, kind, widths)
    fresh = 0
    with backend.compiling_for(capability):
        for kernel in kernels:
            found = binaries.binary(kernel, capability)
            if found is None:
                raise Failure(
                    f"{loss!r}: NVIDIA's linker does not link kernels here; {REMEDY}, and the GPU "
                    f"itself does it at the first call"
                )
            fresh += found.origin != "disk"
    return fresh


def _call(loss: Any, kind: str, widths: tuple[int, ...]) -> None:
    """Call a loss as programs do: all derivatives, and weights."""
    from ..cuda.rehearsal import Nowhere as Array

    if loss.contract.vectors:
        vectors = [Array((ROWS, LENGTH), kind) for _ in range(3)]
        given = vectors
        if loss.contract.vectors == 2:
            given = [*vectors[:2], Array((ROWS,), "int64")]
        loss.value_and_grad(*given, wait=False)
        return
    if not loss.contract.of_classes:
        _call_all(loss, Array((ROWS,), kind), Array((ROWS,), kind), Array((ROWS,), kind))
        return
    weights = loss.row_options().class_weight
    for width in widths if weights is None else (len(weights),):
        logits, weight = Array((ROWS, width), kind), Array((ROWS,), "float32")
        for form in loss.accepts:
            target = Array((ROWS,), "int64") if form == "labels" else Array((ROWS, width), kind)
            _call_all(loss, logits, target, weight)


def _call_all(loss: Any, prediction: Any, target: Any, weight: Any) -> None:
    options = {"wait": False, "device": None}
    loss(prediction, target, **options)
    loss.value_and_grad(prediction, target, **options)
    loss.value_grad_hess(prediction, target, **options)
    loss(prediction, target, sample_weight=weight, reduction="weighted_mean", **options)
