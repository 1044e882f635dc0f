"""``numbaloss warmup``: machine code for all losses, before it is needed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from rich.text import Text

from .. import registry
from ..core.loss import Loss, Parameter
from ..structures.elementwise import Elementwise
from ..structures.embedding import Embedding
from . import warming_gpu, warming_rows, warming_vectors
from .failures import Failure, UsageFailure, harmless
from .report import console, counted, duration
from .specification import Scorable, choose, read

# What the public methods and `numbaloss score` ask for: derivatives, whether there are weights.
VARIANTS = tuple((derivatives, weighted) for derivatives in (0, 1, 2) for weighted in (False, True))


# A function at the top of a module, and its arguments: what other processes can be sent.
Task = tuple[Callable[..., int], tuple[Any, ...]]


class Warmed(NamedTuple):
    losses: int
    compiled: int
    seconds: float


def warm(
    texts: list[str], reals: list[str], widths: list[int], progress: Callable[[float], None]
) -> Warmed:
    """Compile losses in all variants that are likely to be used, or find them on disk."""
    started = time.perf_counter()
    check_place()
    losses, vectors = _asked_for(texts) if texts else (registered(), warming_vectors.registered())
    of_points = [loss for loss in losses if not loss.contract.of_classes]
    of_rows: list[Any] = [loss for loss in losses if loss.contract.of_classes]
    tasks: list[Task] = [(compile_task, (loss, real)) for loss in of_points for real in reals]
    if vectors:  # which share nearly all loops: two processes would compile them twice
        tasks += [(warming_vectors.compile_all, (vectors, real)) for real in reals]
    maps: list[Task] = []
    if of_rows:
        tasks += warming_rows.kernel_tasks(reals, widths)
        # Each takes loops that all losses share, which must be on disk by then.
        maps = warming_rows.map_tasks(of_rows, reals, widths)
    compiled = done = 0
    for stage in (tasks, maps):
        for fresh in _each(stage):
            compiled += fresh
            done += 1
            progress(done / (len(tasks) + len(maps)))
    names = texts or {type(loss) for loss in (*losses, *vectors)}
    return Warmed(len(names), compiled, time.perf_counter() - started)


def warm_gpu(
    texts: list[str],
    kinds: list[str],
    widths: list[int],
    capability: tuple[int, int],
    progress: Callable[[float], None],
) -> Warmed:
    """The same for a GPU of a compute capability, which need not be here."""
    started = time.perf_counter()
    check_place()
    losses, vectors = _asked_for(texts) if texts else (registered(), warming_vectors.registered())
    all_pairs = [loss for loss in vectors if loss.contract.in_batch]
    if texts and all_pairs:
        raise UsageFailure(
            f"{all_pairs[0]!r} takes products of matrices of another library's, and needs a GPU: "
            f"its code is kept from the first call on"
        )
    of_samples = [loss for loss in vectors if loss.contract.named]
    if texts and of_samples:
        raise UsageFailure(f"{of_samples[0]!r}: losses of several outputs are computed on the CPU")
    vectors = [loss for loss in vectors if loss.contract.vectors]
    chosen = [*losses, *(loss for loss in vectors if not loss.contract.in_batch)]
    rows = tuple(widths) or warming_gpu.WIDTHS
    tasks: list[Task] = [
        (warming_gpu.compile_task, (loss, kind, capability, rows))
        for kind in kinds
        for loss in chosen
    ]
    compiled = 0
    for done, fresh in enumerate(_each(tasks), start=1):
        compiled += fresh
        progress(done / len(tasks))
    names = texts or {type(loss) for loss in chosen}
    return Warmed(len(names), compiled, time.perf_counter() - started)


def registered() -> list[Scorable]:
    """The registered losses, and what their switches turn them into."""
    found: list[Any] = []
    for cls in registry.losses().values():
        if not cls.contract.prediction_and_target:
            continue
        parameters = cls.parameters()
        required = {one.name: _some_value(cls, one) for one in parameters if one.required}
        usual: Any = cls(**required)
        found.append(usual)
        found += [
            usual.replace(**{one.name: not one.default})
            for one in parameters
            if one.kind is bool and not one.required
        ]
        if usual.contract.of_classes:
            found += warming_rows.other_formulas(usual)
    return found


def _asked_for(texts: list[str]) -> tuple[list[Scorable], list[Embedding]]:
    """The losses that were named: of columns of a table, and of vectors."""
    of_vectors = [text for text in texts if _of_several(read(text)[1])]
    others = [text for text in texts if text not in of_vectors]
    losses = [one.loss for one in choose(others)] if others else []
    vectors = [read(text)[1] for text in of_vectors]
    for text, loss in (*zip(others, losses), *zip(of_vectors, vectors)):
        _check_package(text, loss)
    return losses, vectors


def _of_several(loss: Loss) -> bool:
    """Whether columns of a table do not hold what a loss takes."""
    return bool(loss.contract.vectors) or loss.contract.named


def _check_package(text: str, loss: Loss) -> None:
    from ..formulas.structure import Structure, lower

    if not Structure.of(lower(loss)).cacheable:
        raise UsageFailure(
            f"{text}: only the code of registered losses is kept; that of your own may "
            f"change without a trace"
        )


def _some_value(cls: type[Loss], parameter: Parameter) -> Any:
    """A value for a parameter without a default: code does not depend on which."""
    from ..core.intervals import interval

    limits = interval(cls.bounds.get(parameter.name, "(-inf, inf)"))
    candidates = (0.5, 1.5, -0.5, limits.low, limits.high)
    value = next(one for one in candidates if one in limits)
    return value if parameter.kind is float else parameter.kind and parameter.kind(value)


def _each(tasks: list[Task]) -> Iterator[int]:
    """Do the tasks: here while their code is found on disk, then on all processors."""
    rest = iter(tasks)
    for task in rest:
        result = _do(task)
        yield result
        if result:
            break
    left = list(rest)
    workers = min(os.cpu_count() or 1, len(left))
    if workers < 2:
        yield from map(_do, left)
        return
    # Threads would wait for each other at Numba's compiler lock; a fork would inherit its
    # state, and ours.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_interrupts)
    try:
        yield from pool.map(_do, left)
    finally:
        pool.shutdown(cancel_futures=True)


def _do(task: Task) -> int:
    function, arguments = task
    return function(*arguments)


def _ignore_interrupts() -> None:
    # Ctrl-C reaches all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def compile_task(loss: Elementwise, real: str) -> int:
    """Compile one loss for one dtype; how many kernels were not on disk."""
    from ..cpu import elementwise, threads

    threads.prepare()
    kernels = [elementwise.plan(loss, real, *variant).kernel for variant in VARIANTS]
    return sum(code.origin != "disk" for code in kernels)


def check_place() -> None:
    """Raise where machine code could be kept nowhere, before any is made."""
    from ..disk.cache import place

    reasons = place()
    if reasons:
        raise Failure(
            f"machine code cannot be kept in {', nor in '.join(reasons)}; NUMBALOSS_CACHE_DIR "
            f"names a place"
        )


def kept() -> tuple[Path, int, int]:
    """The folder with the code of this version, its files and their bytes."""
    from ..disk import cache as disk_cache

    found = disk_cache.kept()
    if not found:
        raise Failure(f"no machine code could be written to {disk_cache.cache_folders()[0]}")
    return found[0][0], sum(one[1] for one in found), sum(one[2] for one in found)


def print_warmed(warmed: Warmed) -> None:
    folder, files, size = kept()
    if files < warmed.compiled:
        raise Failure(f"{folder} took {files} of {warmed.compiled} kernels; is the disk full?")
    fresh = counted(warmed.compiled, "kernel") if warmed.compiled else "nothing had to be"
    out = console()
    out.print(
        Text(
            f"{counted(warmed.losses, 'loss', 'es')} ready in {duration(warmed.seconds)}, "
            f"{fresh} compiled"
        )
    )
    where = harmless(str(folder))
    out.print(Text(f"{counted(files, 'file')}, {size / 1e6:.1f} MB, in {where}"), soft_wrap=True)


def clear() -> None:
    """Delete the machine code of all versions, and nothing else that may lie there."""
    from ..disk import cache as disk_cache
    from ..disk.trust import Distrusted

    try:
        size = disk_cache.clear()
    except Distrusted as reason:
        raise Failure(f"nothing is deleted where others can write: {reason}") from None
    except OSError as error:
        raise Failure(f"cannot delete machine code: {error.strerror or error}") from None
    console().print(Text(f"deleted {size / 1e6:.1f} MB of machine code"))
