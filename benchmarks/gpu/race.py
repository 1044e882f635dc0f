"""One case after another: compared first, then timed, then its peers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import ceil, inf
from time import perf_counter
from typing import Any

from . import inputs, peers, reference
from .cases import Case
from .clock import Clock, Step
from .inputs import Arrays
from .libraries import Library, in_one_line

# The gradient of peers may be coarser: half precisions round between their kernels.
PEER_BOUNDS = {"float64": 1e-11, "float32": 1e-4, "float16": 3e-2, "bfloat16": 3e-2}
MOST_SETS = 100


@dataclass
class Run:
    """What all parts of the benchmark share."""

    library: Library
    clock: Clock
    cache_bytes: int
    report: Callable[[str], None]
    save: Callable[[], None]
    results: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copies: dict[str, Any] = field(default_factory=dict)
    # Keywords of every call: {"wait": False} on a GPU.
    options: dict[str, Any] = field(default_factory=dict)
    # Seconds that may go into torch.compile, by part.
    compile_seconds: dict[str, float] = field(default_factory=dict)
    lost: bool = False
    # When a part must come to its end, by `perf_counter`.
    deadline: float = inf

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            self.report(text)

    def failed(self, part: str, error: Exception) -> None:
        """A part that cannot even begin is a result that is wrong."""
        self.results.append({"part": part, "shape": [], "error": in_one_line(error)})
        self.report(f"  ERROR: {part}: {in_one_line(error)}")

    def add(
        self, title: str, work: Callable[[dict[str, Any]], None], plain: dict[str, Any]
    ) -> None:
        """Have something measured that fills in its result; errors are results too."""
        if self.lost:
            return
        if perf_counter() > self.deadline:
            self.note(f"no time was left for some of: {plain['part']}")
            return
        self.report(title)
        self.results.append(plain)
        start = perf_counter()
        try:
            work(plain)
        except Skipped as reason:
            plain["skipped"] = str(reason)
            self.report(f"  left out: {reason}")
        except Exception as error:
            plain["error"] = in_one_line(error)
        if plain.get("error"):
            self.report(f"  ERROR: {plain['error']}")
        plain["took"] = perf_counter() - start
        self._tidy()
        self.save()

    def _tidy(self) -> None:
        gc.collect()
        try:
            self.library.synchronize()
            self.library.release()
        except Exception as error:
            # After an illegal access nothing runs any more in this process.
            self.lost = True
            self.note(f"the GPU does not answer any more, the rest is left out: {error}")


class Skipped(Exception):
    """A case that this machine cannot run."""


def run(work: Run, cases: Iterable[Case]) -> None:
    """Measure cases, the most telling ones first; results are in the order of the cases."""
    given = list(cases)
    places = {id(plain): place for place, plain in enumerate(work.results)}
    for case in sorted(given, key=lambda case: case.rank):
        shape = " x ".join(f"{count:,}" for count in case.shape)
        title = ", ".join(part for part in (case.title, shape, case.details) if part)
        plain = case.plain()
        places[id(plain)] = len(work.results) + given.index(case) + len(given)
        work.add(title, partial(_measure, work, case), plain)
    work.results.sort(key=lambda plain: places[id(plain)])


def _measure(work: Run, case: Case, plain: dict[str, Any]) -> None:
    library = work.library
    if case.dtype == "bfloat16" and not library.has_bfloat16:
        raise Skipped(f"{library.title} has no bfloat16")
    count = _sets(case, work.cache_bytes)
    # A peer may keep three arrays beside the inputs, a new gradient, and one for autograd.
    needed = count * case.footprint + 3 * case.footprint
    free = library.memory()[0]
    if needed > 0.95 * free:
        raise Skipped(f"needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")
    sets = [inputs.make(library, case) for _ in range(count)]
    step = ours(work, case, sets)
    plain["first_call"] = _first_call(library, step)
    found = _compare(library, case, sets, step)
    plain["errors"] = found
    if complaint := reference.complaint(case, found):
        plain["error"] = complaint
        return
    times = work.clock.time(step, count)
    plain |= {"sets": count, "seconds": times.plain()}
    plain["bytes_per_second"] = case.bytes / times.median
    plain["peers"] = {}
    for name in peers.PEERS:
        _peer(work, case, sets, name, plain["peers"], lambda: float(step(0)))


def _sets(case: Case, cache_bytes: int) -> int:
    """Sets of arrays that take turns: what the cache holds must not be found there again."""
    return min(MOST_SETS, max(1, ceil(4 * cache_bytes / case.bytes)))


def ours(work: Run, case: Case, sets: list[Arrays], options: dict[str, Any] | None = None) -> Step:
    """The call of numbaloss on one of the sets."""
    import numbaloss

    loss = numbaloss.get(case.loss)
    common = dict(work.options if options is None else options, reduction=case.reduction)
    calls = []
    for given in sets:
        arrays = {"sample_weight": given.weight, "out": given.gradient, "hess_out": given.hessian}
        used = {name: array for name, array in arrays.items() if array is not None}
        calls.append((given.prediction, given.target, common | used))
    method = loss if case.method == "value" else getattr(loss, case.method)

    def step(index: int) -> Any:
        prediction, target, keywords = calls[index]
        return method(prediction, target, **keywords)

    return step


def _first_call(library: Library, step: Step) -> float:
    """Seconds of the call that compiles."""
    library.synchronize()
    start = perf_counter()
    step(0)
    library.synchronize()
    return perf_counter() - start


def _compare(library: Library, case: Case, sets: list[Arrays], step: Step) -> dict[str, float]:
    """Errors of the first and of the last set, whichever are larger."""
    worst: dict[str, float] = {}
    for index in {0, len(sets) - 1}:
        sets[index].poison(library)
        result = step(index)
        value = float(result if case.method == "value" else result[0])
        for name, error in reference.errors(library, case, sets[index], value).items():
            # Written so that NaN stays.
            worst[name] = worst[name] if worst.get(name, -1.0) >= error else error
    return worst


def _peer(
    work: Run,
    case: Case,
    sets: list[Arrays],
    name: str,
    found: dict[str, dict[str, Any]],
    own: Callable[[], float],
) -> None:
    """Time the fastest formulation of a peer; who disagrees or fails is noted and left out."""
    start = perf_counter()
    if name == "compile" and work.compile_seconds.get(case.part, 0.0) <= 0.0:
        return
    for formulation, step in _formulations(work, case, sets, name, found).items():
        try:
            error = _peer_error(work, case, sets, step, own)
            if not error <= PEER_BOUNDS[case.dtype]:
                raise ArithmeticError(f"disagrees by {error:.1e}")
            times = work.clock.time(step, len(sets))
        except Exception as failure:
            found.setdefault(name, {"error": in_one_line(failure)})
            continue
        best = found.get(name, {}).get("seconds")
        if best is None or times.median < best["median"]:
            found[name] = {"formulation": formulation, "seconds": times.plain()}
    if "error" in found.get(name, {}):
        work.note(f"{peers.TITLES[name]}: {found[name]['error']}")
    if name == "compile":
        work.compile_seconds[case.part] -= perf_counter() - start


def _formulations(
    work: Run, case: Case, sets: list[Arrays], name: str, found: dict[str, dict[str, Any]]
) -> dict[str, Step]:
    try:
        return peers.PEERS[name](work.library, case, sets)
    except Exception as failure:
        found[name] = {"error": in_one_line(failure)}
        return {}


def _peer_error(
    work: Run, case: Case, sets: list[Arrays], step: Step, own: Callable[[], float]
) -> float:
    """How far a peer is from us, who have been compared with the reference."""
    library, given = work.library, sets[0]
    if given.gradient is None:
        expected = own()
        return abs(float(step(0)[0]) - expected) / abs(expected)
    kept = library.empty(case.shape, case.dtype)
    library.copy(kept, given.gradient)
    given.poison(library)
    _, gradient = step(0)
    error = reference.distance(library, gradient, kept)
    library.copy(given.gradient, kept)
    return error
