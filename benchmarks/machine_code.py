"""What the kernels look like in machine code, for processors that need not be at hand.

    python -m benchmarks.machine_code --processor znver3 --processor sapphirerapids
    python -m benchmarks.machine_code --processor haswell --everything --json FILE

Losses are called as anybody calls them, so that the kernels that a call takes are compiled; none
of them runs, and nothing is read from the disk cache or written to it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# As LLVM names them: 32-byte registers of both makers, and 64-byte registers.
PROCESSORS = ("znver3", "haswell", "sapphirerapids")
REALS = ("float32", "float64")
# Widths of rows that take loops of their own: tiles made for their width, other tiles, rows in
# registers, pieces of rows, rows of many pieces.
WIDTHS = (10, 2, 3, 4, 7, 8, 15, 16, 17, 40, 64, 129, 200, 5000, 300_000)

# Losses of numbers whose hot loops are followed.
ELEMENTWISE = ("binary_cross_entropy", "focal", "huber", "log_cosh", "poisson")

_INSTRUCTION = re.compile(r"^\s+v?[a-z][a-z0-9]+(?:\s|$)", re.M)
# Of the operands the last one is written: memory has parentheses.
_MASKED_STORE = re.compile(
    r"^\s+vp?maskmov\w+\s+%.*\)\s*$"  # AVX2: the mask comes first
    r"|^\s+v(?!p?scatter)\w+\s.*\)\s*\{%k\d\}\s*$",  # AVX-512: behind the operand it is for
    re.M,
)
_ARITHMETIC = re.compile(r"^\s+v(?:add|sub|mul|div|max|min|fn?m(?:add|sub)\d+)p[sd]\s", re.M)
_CALL = re.compile(r"^\s+callq?\s", re.M)
_STACK = r"-?\d*\(%r[sb]p\)"
_SPILL = re.compile(rf"^\s+v?mov\w+\s+(?:{_STACK}, %[xyz]mm\d+|%[xyz]mm\d+, {_STACK})", re.M)


def counts(assembly: str) -> dict[str, int]:
    """Instructions of some kinds in x86 assembly as LLVM prints it."""
    return {
        "instructions": len(_INSTRUCTION.findall(assembly)),
        "masked stores": len(_MASKED_STORE.findall(assembly)),
        "calls": len(_CALL.findall(assembly)),
        "vectors to or from the stack": len(_SPILL.findall(assembly)),
    }


def hot_loop(assemblies: Iterable[str]) -> str:
    """The innermost loop with the most arithmetic on vectors, of some kernels."""
    loops = []
    for block in (part for one in assemblies for part in re.split(r"\n(?=\.LBB\w+:)", one)):
        if label := re.match(r"\.LBB\w+", block):
            jumps = list(re.finditer(rf"\bj\w+\s+{re.escape(label[0])}$", block, re.M))
            if jumps:
                loops.append(block[: jumps[-1].end()])
    return max(loops, key=lambda loop: len(_ARITHMETIC.findall(loop)), default="")


@contextmanager
def collected() -> Iterator[dict[str, str]]:
    """The assembly of all that is compiled meanwhile, by name; calls compute nothing.

    In a process that has called no loss yet: what it has compiled before is not seen again.
    """
    from numba.core.dispatcher import Dispatcher

    import numbaloss.cpu
    from numbaloss.cpu import compile as compiler
    from numbaloss.cpu import threads

    found: dict[str, str] = {}

    def c_function(make: Any, signature: Any, what: str, cacheable: Any = True, **options: Any):
        code = own(make, signature, what, cacheable=False, **options)
        found[what] = code.assembly()
        return code

    def run(*arguments: Any) -> tuple[float, float]:
        return 1.0, 0.0  # a sum of values, and nothing out of its domain

    def refuse(self: Any, *arguments: Any, **options: Any) -> None:
        raise AssertionError(f"{self.py_func.__qualname__} would run, on whatever processor")

    own = compiler.c_function
    names = [one.name for one in pkgutil.walk_packages(numbaloss.cpu.__path__, "numbaloss.cpu.")]
    modules = [importlib.import_module(name) for name in names]
    places = [(one, "c_function", c_function) for one in modules if hasattr(one, "c_function")]
    places += [(threads, "serial", lambda: run), (threads, "_parallel", lambda: run)]
    places += [(Dispatcher, "_compile_for_args", refuse)]
    former = [(place, name, getattr(place, name)) for place, name, _ in places]
    for place, name, value in places:
        setattr(place, name, value)
    try:
        with np.errstate(all="ignore"):
            yield found
    finally:
        for place, name, value in former:
            setattr(place, name, value)


def _labels(count: int, classes: int) -> np.ndarray:
    return np.arange(count) % classes


def rows(real: str, everything: bool) -> None:
    """Losses of rows: all loops, then what losses bring of their own."""
    import numbaloss as nl
    from numbaloss.cli.warming import registered
    from numbaloss.structures.softmax import Softmax

    for width in WIDTHS if everything else WIDTHS[:1]:
        for count in (64, 1) if everything else (64,):
            logits = np.zeros((count, width), real)
            nl.CrossEntropy().value_and_grad(logits, _labels(count, width))
            if everything:
                nl.CrossEntropy().value_and_grad(logits, logits)
    # Classes that are far apart, few and many of them.
    for width in (10, 200):
        images = np.zeros((2, width, 8, 8), real)
        nl.CrossEntropy().value_and_grad(images, np.zeros((2, 8, 8), np.int64), axis=1)
    if not everything:
        return
    hidden, weight = np.zeros((8, 4), real), np.zeros((4, 20), real)
    nl.LinearCrossEntropy().value_and_grad(hidden, weight, _labels(8, 20))
    logits = np.zeros((4, 3), real)
    for loss in registered():
        for form in loss.accepts if isinstance(loss, Softmax) else ():
            if loss.row_options().class_weight is None:
                loss.value_grad_hess(logits, _labels(4, 3) if form == "labels" else logits)


def elementwise(real: str, everything: bool) -> None:
    """Losses of numbers: with and without derivatives, weights, checks."""
    import numbaloss as nl
    from numbaloss.cli.warming import registered
    from numbaloss.structures.elementwise import Elementwise

    numbers = np.ones(64, real)
    for loss in registered() if everything else (nl.Huber(), nl.Tweedie()):
        if isinstance(loss, Elementwise):
            loss.value_grad_hess(numbers, numbers, sample_weight=numbers)
    for loss in (nl.Huber(), nl.BinaryCrossEntropy(), nl.Poisson()) if everything else ():
        for weight in (None, numbers):
            for check in (True, False):
                options = {"sample_weight": weight, "check": check}
                for method in (loss, loss.value_and_grad, loss.value_grad_hess):
                    method(numbers, numbers, **options)
        loss(numbers, numbers, reduction="none")


def movers(real: str, everything: bool) -> None:
    """Arrays of other types, byte orders and layouts."""
    import numbaloss as nl

    kinds = ["float16", ">f4", "uint8"]
    if everything:
        kinds += ["float32", "float64", ">f2", ">f8", "int8", "int16", "int32", "int64", "uint16"]
        kinds += ["uint32", "uint64", ">i4", ">i8", "bool"]
    prediction, loss = np.zeros(64, real), nl.SquaredError()
    for kind in kinds:
        given = np.zeros((64, 3), kind)[:, 0]
        loss(prediction, given, sample_weight=given if everything else None)
        if np.dtype(kind).kind == "f":
            out = np.zeros((64, 3), kind)[:, 0]
            loss.value_and_grad(given, prediction, out=out, mask=given == 0)
            if everything:
                images, labels = np.zeros((2, 10, 8, 8), kind), np.zeros((2, 8, 8), np.int64)
                nl.CrossEntropy().value_and_grad(images, labels, axis=1)
        if everything and np.dtype(kind).kind in "iu":
            nl.CrossEntropy()(np.zeros((64, 3), real), given)


def embeddings(real: str, everything: bool) -> None:
    """Losses of vectors."""
    import numbaloss as nl
    from numbaloss.cli import warming_vectors

    losses = warming_vectors.registered()
    if not everything:
        losses = [nl.InfoNCE(symmetric=True), nl.SigLIP()]
        losses += [nl.BatchTriplet(), nl.BatchTriplet(mining="all")]
    for loss in losses:
        warming_vectors.call(loss, real)


PARTS: dict[str, Callable[[str, bool], None]] = {
    part.__name__: part for part in (rows, elementwise, movers, embeddings)
}


def hot(real: str) -> dict[str, str]:
    """The hot loops of some calls, value and gradient, for the processor compiled for."""
    import numbaloss as nl

    numbers, found = np.ones(64, real), {}
    calls: dict[str, Callable[[], Any]] = {
        f"cross_entropy, {classes} classes": lambda classes=classes: (
            nl.CrossEntropy().value_and_grad(np.zeros((64, classes), real), _labels(64, classes))
        )
        for classes in (10, 1000)
    }
    calls["focal, 10 classes"] = lambda: nl.CategoricalFocal().value_and_grad(
        np.zeros((64, 10), real), _labels(64, 10)
    )
    for name in ELEMENTWISE:
        calls[name] = lambda name=name: nl.get(name).value_and_grad(numbers, numbers)
    with collected() as kernels:
        for name, call in calls.items():
            former = set(kernels)
            call()
            found[name] = hot_loop(kernels[one] for one in kernels if one not in former)
    return found


def of_process(parts: Iterable[str], reals: Iterable[str], everything: bool) -> dict[str, str]:
    """The assembly of all kernels of some parts, for the processor that Numba compiles for."""
    with collected() as found:
        for part in parts:
            for real in reals:
                PARTS[part](real, everything)
    return found


def of_processor(
    processor: str,
    parts: Iterable[str] = tuple(PARTS),
    reals: Iterable[str] = REALS,
    everything: bool = False,
) -> dict[str, dict[str, int]]:
    """Counts of all kernels, by name, for a processor as LLVM names it: in another process."""
    arguments = [f"--part={part}" for part in parts] + [f"--real={real}" for real in reals]
    return _elsewhere(processor, arguments + ["--everything"] * everything)


def hot_of_processor(processor: str, real: str) -> dict[str, dict[str, int]]:
    """Counts of the hot loops of some calls, by name, for a processor."""
    found = _elsewhere(processor, ["--hot", f"--real={real}"])
    return {name.removesuffix(f", {real}"): one for name, one in found.items()}


def _elsewhere(processor: str, arguments: list[str]) -> dict[str, dict[str, int]]:
    # Both: with the name alone the features of this machine's processor stay.
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    command = [sys.executable, "-m", "benchmarks.machine_code", "--own", "--json", "-", *arguments]
    done = subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.machine_code")
    parser.add_argument("--processor", action="append", help="as LLVM names it, again for more")
    parser.add_argument("--own", action="store_true", help="that which Numba compiles for here")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--real", action="append", choices=REALS)
    parser.add_argument("--hot", action="store_true", help="the hot loops of some calls alone")
    parser.add_argument("--everything", action="store_true", help="all widths, losses and types")
    parser.add_argument("--json", metavar="FILE", help="for --own, - is the standard output")
    given = parser.parse_args()
    parts, reals = given.part or list(PARTS), tuple(given.real or REALS)
    found: dict[str, Any]
    if given.hot and given.own:
        found = {
            f"{name}, {real}": counts(loop) for real in reals for name, loop in hot(real).items()
        }
    elif given.hot:
        found = {
            one: _elsewhere(one, ["--hot", *(f"--real={real}" for real in reals)])
            for one in given.processor or PROCESSORS
        }
    elif given.own:
        assembly = of_process(parts, reals, given.everything)
        found = {name: counts(text) for name, text in assembly.items()}
    else:
        found = {
            one: of_processor(one, parts, reals, given.everything)
            for one in given.processor or PROCESSORS
        }
    if given.json == "-":
        print(json.dumps(found))
        return
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")
    for processor, kernels in found.items() if not given.own else [("", found)]:
        for name, one in kernels.items():
            print(processor, name, *(f"{what}: {count}" for what, count in one.items()), sep="  ")


if __name__ == "__main__":
    main()
