"""What an elementwise loss brings to its kernels: machine code by structure, and its numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..arrays import NUMBERS
from ..core.intervals import Interval
from ..core.loss import domain
from ..core.recoding import SHARES, Recoding
from ..formulas.catching import HEADER, ONCE
from ..formulas.plans import MET, Plans, outline_of_one, plans_of
from ..formulas.raised import Raised
from ..formulas.structure import Structure
from ..rewriting.bytecode import names_in
from . import threads
from .asking import raises
from .blocks import Variant, kernel
from .chunks import chunk
from .compile import Code
from .movers import AS_THEY_LIE, flat_layout, followed_by, with_asides

# Targets and weights that are converted as they come, of arrays that are plain otherwise.
CONVERTED = {np.dtype(kind): kind for kind in sorted(NUMBERS - {"bfloat16"})} | {None: ""}
_AS_GIVEN = Recoding()


class Program(NamedTuple):
    """What plans have in common, whatever the parameters of their losses are."""

    launch: Any  # what runs chunks on one thread; None where a call takes more arguments
    chunk: int  # the address of its first argument
    address: int  # that of the kernel
    step: int  # elements of a chunk
    layouts: int  # the handle of those of plain arrays; 0 where labels have their own
    memory: np.ndarray  # that of parameters, before they are written to it
    recoding: np.ndarray | None  # what is made of targets
    direct: np.ndarray | None  # the layouts of plain arrays
    limits: np.ndarray | None  # of targets that rounding can lead beyond their domain
    catching: bool  # whether the formula can raise an exception
    kernel: Code


class Plan(NamedTuple):
    """What it takes to run a loss on arrays of one dtype: kept with the loss.

    It begins with what `run_direct` wants: a launcher, or None, and its arguments.
    """

    launch: Any
    chunk: int
    address: int
    handle: int
    step: int
    layouts: int
    parameters: np.ndarray
    recoding: np.ndarray | None
    program: Program

    @property
    def kernel(self) -> Code:
        """The machine code."""
        return self.program.kernel

    def run(self, size: int, scale: float, layouts: np.ndarray, *handles: int) -> Any:
        """Sum of the values, and the number of inputs outside their domains.

        The handles stand for prediction, target, weight, value, gradient and hessian.
        """
        # Formulas that raise leave word of it there, those of this call alone.
        program = self.program
        memory = self.parameters.copy() if program.catching else self.parameters
        sums = threads.launch(
            self.chunk,
            self.address,
            threads.handle(memory),
            size,
            threads.handle(layouts),
            scale,
            *handles,
        )
        if program.catching:
            Raised.check(memory)
        return sums


def plan(
    loss: Any,
    real: str,
    derivatives: int,
    weighted: bool = False,
    check: bool = True,
    kind: str = "",
) -> Plan:
    """The plan of a loss for a compute dtype and a set of options; targets are of ``kind``."""
    plans = plans_of(loss)
    options = real, derivatives, real if weighted else "", check, kind or real
    found: Plan | None = plans.get(options)
    if found is None:
        found = plans[options] = _plan(loss, plans, options)
    return found


# Compute dtype, derivatives, the weights' dtype or "", whether numbers are tested, the targets'.
Options = tuple[str, int, str, bool, str]


def _plan(loss: Any, plans: Plans, options: Options) -> Plan:
    numbers = plans.numbers(loss, options[0])
    given, recoding = loss.target_domain, loss.recoding() or _AS_GIVEN
    pairs = recoding.pos_weight is not None
    program = _program(
        plans.structure, given, loss.prediction_domain, recoding.signed, pairs, options
    )  # fmt: skip
    recoded = program.recoding
    if pairs:  # each label has numbers of its own
        real, *_, check, kind = options
        recoded = np.array(recoding.numbers(domain(given), np.dtype(real), kind, check))
    return _filled(program, numbers, recoded)


def _filled(program: Program, numbers: list[float], recoded: np.ndarray | None) -> Plan:
    """A plan with the numbers of a loss."""
    launch, first, address, step, layouts, memory, _, _, _, _, _ = program
    memory = memory.copy()
    for place, number in enumerate(numbers, HEADER):
        memory[place] = number
    handle = threads.handle(memory)
    # Not by its constructor, which takes twice as long.
    fields = launch, first, address, handle, step, layouts, memory, recoded, program
    return tuple.__new__(Plan, fields)


# Losses made in calls find it here, whatever their parameters are. It has an end, for the domains
# of a loss of somebody's own may depend on its parameters.
@lru_cache(maxsize=1024)
def _program(
    structure: Structure,
    target_domain: str | Interval,
    prediction_domain: str | Interval,
    signed: bool,
    paired: bool,
    options: Options,
) -> Program:
    real, derivatives, of_weights, check, kind = options
    given, of_prediction = domain(target_domain), domain(prediction_domain)
    recoding, dtype = Recoding(signed), np.dtype(real)
    of_target = SHARES if paired else recoding.seen(given)
    ends = [*of_target.closed(dtype), *of_prediction.closed(dtype)]
    variant = Variant(
        derivatives,
        of_weights != "" or paired,
        check and not of_target.binary and not of_target.everything,
        check and of_target.binary,
        check and not of_prediction.everything,
    )
    catching = raises(structure, real, "point")
    limits = np.array([*recoding.limits(given, dtype, kind), float(catching)])
    near = variant.check_target and (limits[:2] != limits[2:4]).any()
    aside = limits if near and not paired else None
    recoded = None
    if signed and not paired:
        recoded = np.array(recoding.numbers(given, dtype, kind, check))
    layouts = None if paired else with_asides(_plain(real, kind, of_weights), aside, recoded)
    code = kernel(structure, real, variant)
    memory = np.zeros(HEADER + structure.size)
    memory[: len(ends)], memory[ONCE] = ends, _prints(structure)
    return Program(
        None if catching or paired else threads.serial(),
        chunk(real).address,
        code.address,
        threads.CHUNK_ELEMENTS,
        0 if layouts is None else threads.handle(layouts),
        memory,
        recoded,
        layouts,
        aside,
        catching,
        code,
    )


def plan_of_first_call(loss: Any, key: tuple[Any, ...]) -> Plan | None:
    """That of a loss which no call has met yet, and maybe no other will: nothing is kept with it.

    None where more than its numbers has to be asked. It takes a third of what `plans_of` and
    `plan_of_arrays` do, for people who make losses in calls.
    """
    outline = outline_of_one(type(loss))
    if outline is None:
        return None
    own = loss.__dict__
    name, default = outline.first
    like = outline.examples.get(key)
    # Losses of default parameters share what is kept with one of them.
    if like is None or own.get(name) is default or "targets" in own:
        return None
    program, target_domain, prediction_domain, real = like
    if target_domain is not loss.target_domain or prediction_domain is not loss.prediction_domain:
        return None
    numbers = outline.fitting[real].numbers(loss, None)
    if numbers is None:
        return None
    own["_plans"] = MET
    return _filled(program, numbers, None)


def plan_of_arrays(loss: Any, plans: Plans, key: tuple[Any, ...]) -> Plan:
    """The plan of a loss for plain arrays, from now on found by dtypes in the place of names."""
    real, derivatives, of_weights, check, kind = key
    like = plans.outline.examples.get(key)
    if like is not None and like[1] is loss.target_domain and like[2] is loss.prediction_domain:
        program, _, _, name = like
        if loss.recoding() is None:
            found = plans[key] = _filled(program, plans.numbers(loss, name), None)
            return found
    # Not by `dtype.name`, which takes 2 us.
    options = CONVERTED[real], derivatives, CONVERTED[of_weights], check, CONVERTED[kind]
    found = plans[key] = _plan(loss, plans, options)
    if loss.recoding() is None:
        example = found.program, loss.target_domain, loss.prediction_domain, options[0]
        plans.outline.examples[key] = example
    return found


def _plain(real: str, of_target: str, of_weights: str) -> np.ndarray:
    """The layouts of contiguous arrays of the compute type, but for targets and weights."""
    parts = {}
    for name, kind in (("target_layout", of_target), ("weight_layout", of_weights)):
        if kind not in ("", real, "bfloat16"):
            parts[name] = flat_layout(kind, real)
    return followed_by(AS_THEY_LIE, parts) if parts else AS_THEY_LIE


def _prints(structure: Structure) -> bool:
    """Whether a formula prints: somebody who looks at numbers wants each of them once."""
    methods: list[Any] = [method for cls in structure.classes for method in (cls.point, cls.value)]  # type: ignore[attr-defined]
    return any("print" in names_in(method.__code__) for method in methods)
