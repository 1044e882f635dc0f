"""Every kernel for GPUs with every loss that reaches it, and their PTX, which needs no GPU."""

from __future__ import annotations

import importlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import Any, NamedTuple
from unittest import mock

import numbaloss as nl
from tests.support.own_losses import (
    Branching,
    Decoupled,
    DecoupledValue,
    LabelledPairs,
    MellowValue,
    PairsValue,
    SoftTriplet,
    SoftTripletValue,
    SquaredPairs,
    SquaredSums,
)

KINDS = ("float32", "float64", "float16", "bfloat16")
CAPABILITIES = ((8, 0), (9, 0))
# Of in-batch losses, those that know no loss, and those that call the map of one.
VECTORS_AS_GIVEN = ("prepare", "finish")  # the only ones that see halves
OF_NO_LOSS = (
    *VECTORS_AS_GIVEN, "center", "measure_rows", "measure_columns", "close", "mine_rows",
    "mine_columns", "gather", "add_columns", "total",
)  # fmt: skip
# Rows of losses that read the label alone, without hessians and walks.
IN_REGISTERS = "narrow_rows", "register_rows"
# The same too long for registers.
KEPT = "kept_rows"
# Those of losses that read all classes, by what their targets are.
OF_CLASSES = "all_classes", "all_classes_dense", "kept_classes", "kept_classes_dense"
OF_FORMS = {
    "softmax": ("positives", "emit"),
    "pairs": ("emit_pairs",),
    "triplets": ("finish_mined", "emit_triplets"),
}
BATCH_MODULES = (
    "batch_vectors", "batch_sums", "batch_slopes", "batch_mining", "batch_triplets",
)  # fmt: skip
IN_BATCH = (*OF_NO_LOSS, *(name for names in OF_FORMS.values() for name in names))
# Of rows that a thread takes.
CLASSES = 10
# Those that a test run without this variable leaves out take half an hour.
ALL = bool(os.environ.get("NUMBALOSS_TEST_ALL"))


class Quartic(nl.Elementwise):
    """A loss as a user writes it."""

    scale: float = 1.0

    def point(self, prediction, target):
        residual = (prediction - target) / self.scale
        square = residual * residual
        return square * square, 4.0 * square * residual / self.scale, 12.0 * square / self.scale**2


class Mellow(nl.Softmax):
    """The same, of rows."""

    q: float = 0.5
    sparse = True

    def point(self, log_probability, target):
        power = nl.exp(self.q * log_probability)
        return target * (1.0 - power) / self.q, -target * power, -target * self.q * power


class Softened(nl.PairEmbedding):
    """The same, of pairs of vectors, with a distance of its own."""

    width: float = 0.5

    def term(self, difference):
        ratio = difference / self.width
        size = nl.sqrt(1.0 + ratio * ratio)
        return size - 1.0, ratio / (size * self.width)

    def root(self, total):
        return nl.log1p(total), 1.0 / (1.0 + total)

    def point(self, distance, target):
        apart = distance - target
        return apart * apart, 2.0 * apart


class Case(NamedTuple):
    """A kernel: what it is made of, and what it is compiled for."""

    kernel: str
    losses: tuple[type, ...]
    weighted: bool  # a sum of them
    kind: str
    derivatives: int = 2
    traversed: bool = False
    capability: tuple[int, int] = (9, 0)

    def __str__(self) -> str:
        name = f"{self.kernel}{' traversed' if self.traversed else ''} " + "+".join(
            cls.__name__.strip("_") for cls in self.losses
        )
        major, minor = self.capability
        orders = "" if self.in_batch else f" {self.derivatives}"
        return "-".join(f"{name} {self.kind}{orders} sm_{major}{minor}".split())

    @property
    def whole(self) -> bool:
        """Whether rows in registers are whole vectors: by turns."""
        return self.capability == (9, 0)

    @property
    def in_batch(self) -> bool:
        """Whether it computes all pairs of a batch."""
        return self.kernel in IN_BATCH


def _parts(structure: Any) -> tuple[Any, bool]:
    """The classes of a structure, and whether it is a sum."""
    return structure.classes, structure.weighted


def _structures(losses: Iterable[Any]) -> dict[Any, Any]:
    """Losses that differ in their machine code, as kernels see them."""
    from numbaloss.formulas.structure import Structure, lower

    found: dict[Any, Any] = {}
    for loss in losses:
        found.setdefault(Structure.of(lower(loss)), loss)
    return found


@cache
def reached() -> dict[str, list[tuple[tuple[type, ...], bool]]]:
    """The losses that each kernel may be compiled for."""
    from catalogue.cases import EMBEDDING_ROW_LOSSES, LOSSES, ROW_LOSSES

    found: dict[str, list[Any]] = {name: [] for name in ("vectors", "strided")}
    for structure in _structures(
        [*LOSSES, Quartic(), Branching(), nl.Huber() + 0.5 * nl.LogCosh()]
    ):
        found["vectors"].append(_parts(structure))
        found["strided"].append(_parts(structure))
    by_label, general = [], []
    for structure, loss in _structures([*ROW_LOSSES, Mellow(), MellowValue()]).items():
        if "labels" in loss.accepts and loss.by_label_alone(structure.classes):
            by_label.append(_parts(structure))
        # Dense targets, or smoothed labels of losses that are not linear.
        general.append(_parts(structure))
    of_vectors = map(_parts, _structures([*EMBEDDING_ROW_LOSSES, Softened(), PairsValue()]))
    return found | {
        "narrow_rows": by_label,
        "register_rows": by_label,
        "kept_rows": by_label,
        "staged": by_label,
        "long": by_label,
        "all_classes": general,
        "all_classes_dense": general,
        "kept_classes": general,
        "kept_classes_dense": general,
        "general": general,
        "embedding_rows": list(of_vectors),
    }


def of_one_loss() -> list[tuple[Case, bool]]:
    """A kernel of each kind with one loss, and whether it is among the few of a short run."""
    from numbaloss.losses import binary, embeddings, focal, multiclass
    from numbaloss.structures.softmax import LogLikelihood

    few = [
        Case("vectors", (nl.SquaredError,), False, "float32", 1),
        Case("vectors", (nl.Huber,), False, "float32", 0),
        Case("vectors", (nl.Huber,), False, "float64", 2, False, (8, 0)),
        Case("strided", (nl.Huber,), False, "bfloat16", 1, False, (8, 0)),
        Case("narrow_rows", (LogLikelihood,), False, "float32", 1),
        Case("register_rows", (LogLikelihood,), False, "float32", 1),
        Case("register_rows", (nl.Poly1,), False, "float16", 0, False, (8, 0)),
        Case("kept_rows", (LogLikelihood,), False, "float32", 1),
        Case("kept_rows", (nl.Poly1,), False, "bfloat16", 1, False, (8, 0)),
        Case("clusters", (LogLikelihood,), False, "float32", 1),
        Case("staged", (LogLikelihood,), False, "float32", 1),
        Case("staged", (nl.Brier,), False, "float16", 0),
        Case("long", (LogLikelihood,), False, "float32", 1, False, (8, 0)),
        Case("long", (nl.Brier,), False, "float32", 2, True),
        Case("all_classes", (nl.Brier,), False, "float32", 1),
        Case("all_classes_dense", (LogLikelihood,), False, "float32", 2, False, (8, 0)),
        Case("kept_classes", (nl.Brier,), False, "float32", 1, False, (8, 0)),
        Case("kept_classes_dense", (nl.Distillation,), False, "bfloat16", 1),
        Case("general", (multiclass._Fading,), False, "float32", 2),
        Case("general", (nl.Brier,), False, "float16", 0),
        Case("embedding_rows", (nl.Contrastive,), False, "float32", 1),
        Case("embedding_rows", (nl.Triplet,), False, "bfloat16", 1, True),
        Case("embedding_rows", (nl.Triplet,), False, "float64", 0, False, (8, 0)),
    ]
    others = [
        Case("vectors", (focal._FocalPower,), False, "float32", 2, False, (8, 0)),
        Case("strided", (binary._OfLogits,), False, "float32", 2),
        Case("narrow_rows", (nl.Poly1,), False, "bfloat16", 1),
        Case("register_rows", (nl.Poly1,), False, "float16", 1, False, (8, 0)),
        Case("register_rows", (nl.Poly1,), False, "float32", 0),
        Case("kept_rows", (LogLikelihood,), False, "float16", 2),
        Case("kept_rows", (LogLikelihood,), False, "float64", 1, False, (8, 0)),
        Case("clusters", (nl.Poly1,), False, "bfloat16", 1),
        Case("clusters", (LogLikelihood,), False, "float64", 1),
        Case("staged", (nl.Poly1,), False, "float32", 1, False, (8, 0)),
        Case("staged", (multiclass._WithZLoss,), False, "float32", 2, True, (8, 0)),
        Case("long", (nl.Brier,), False, "bfloat16", 2, True, (8, 0)),
        Case("register_rows", (LogLikelihood,), False, "float32", 2),
        Case("register_rows", (nl.Poly1,), False, "bfloat16", 2, False, (8, 0)),
        Case("all_classes", (multiclass._LinearMargin,), False, "float32", 1),
        Case("all_classes_dense", (nl.Distillation,), False, "bfloat16", 1, False, (8, 0)),
        Case("all_classes_dense", (nl.JensenShannon,), False, "float64", 1),
        Case("kept_classes", (multiclass._LinearMargin,), False, "float16", 2),
        Case("kept_classes_dense", (LogLikelihood,), False, "float32", 2, False, (8, 0)),
        Case("kept_classes_dense", (nl.JensenShannon,), False, "float64", 1),
        Case("general", (nl.JensenShannon,), False, "float64", 2, True, (8, 0)),
        Case("embedding_rows", (nl.Contrastive,), False, "float32", 0),
        Case("embedding_rows", (nl.CosineEmbedding,), False, "bfloat16", 0, True),
        Case("embedding_rows", (nl.CosineEmbedding,), False, "float16", 1, False, (8, 0)),
        Case("embedding_rows", (embeddings._EuclideanTriplet,), False, "float32", 1),
        Case("embedding_rows", (nl.Triplet,), False, "float64", 1, False, (8, 0)),
    ]
    return [(case, True) for case in few] + [(case, False) for case in others]


def every_case() -> Iterator[Case]:
    """Each kernel with each loss, one at a time, for all that it may be compiled for."""
    for name, losses in reached().items():
        along_one = "vectors", "strided", *IN_REGISTERS, KEPT, *OF_CLASSES
        shapes = (False,) if name in along_one else (False, True)
        derivatives = (0, 1) if name in ("embedding_rows", "narrow_rows") else (0, 1, 2)
        for loss, *rest in product(losses, KINDS, derivatives, shapes, CAPABILITIES):
            yield Case(name, *loss, *rest)


def sums_of_all() -> Iterator[Case]:
    """Each kernel with each loss and most dtypes, several losses in one compilation.

    All of a loss's code is in a sum with others too. The kernels for each capability come by
    turns, and so do those for rows along one axis and along several. Losses of vectors have no
    sums.
    """
    size = {"vectors": 8, "strided": 11, "staged": 10, "long": 10, "general": 7}
    size |= dict.fromkeys((*IN_REGISTERS, KEPT), 10) | dict.fromkeys(OF_CLASSES, 2)
    for name, losses in reached().items():
        if name == "embedding_rows":
            for place, loss in enumerate(losses):
                for turn, kind in enumerate(KINDS, start=place):
                    if turn % 3 < 2:  # no loss is without two of the four
                        yield Case(name, *loss, kind, 1, turn % 4 > 1, CAPABILITIES[turn % 2])
            continue
        singles = [classes[0] for classes, weighted in losses if not weighted]
        for turn, kind in enumerate(KINDS, start=len(name)):
            traversed = name in ("staged", "general") and turn % 4 > 1
            # Hessians take the vectors out of long rows' stores.
            gradients = name in ("long", *IN_REGISTERS, KEPT, *OF_CLASSES)
            rest = kind, 1 if gradients else 2, traversed, CAPABILITIES[turn % 2]
            for start in range(0, len(singles), size[name]):
                # Halves are float32 between other moves, and so are elements of any strides those
                # of vectors; dense rows run the code of the losses whatever the dtype.
                moved = name in ("strided", "general", *OF_CLASSES)
                moved = moved or (name == "vectors" and kind in KINDS[2:])
                if moved and (turn + start // size[name]) % 2:
                    continue
                yield Case(name, tuple(singles[start : start + size[name]]), True, *rest)


def in_batch_cases() -> Iterator[Case]:
    """Each kernel over blocks of similarities, with each loss that reaches it."""
    from catalogue.cases import KEYED_LOSSES, LABELLED_LOSSES

    users = [DecoupledValue(), SquaredPairs(), SoftTripletValue()]
    if ALL:
        users += [Decoupled(), SoftTriplet(), SquaredSums(), LabelledPairs()]
    reals = KINDS[:2]
    cases: list[tuple[str, tuple[type, ...], str]] = []
    for name in OF_NO_LOSS:
        kinds = KINDS if name in VECTORS_AS_GIVEN else reals
        cases += [(name, (), kind) for kind in kinds]
    for structure, loss in _structures([*KEYED_LOSSES, *LABELLED_LOSSES, *users]).items():
        names = OF_FORMS[loss.form]
        cases += [(name, structure.classes, kind) for name in names for kind in reals]
    for turn, (name, losses, kind) in enumerate(cases):
        for capability in CAPABILITIES if ALL else [CAPABILITIES[turn // 2 % 2]]:
            yield Case(name, losses, False, kind, capability=capability)


def kernel_of(case: Case) -> Any:
    """The kernel of a case, not compiled yet."""
    from numbaloss.cuda import elementwise_kernels
    from numbaloss.formulas.structure import Structure

    structure = Structure.of_classes(case.losses, case.weighted)
    if case.in_batch:
        modules = (importlib.import_module(f"numbaloss.cuda.{name}") for name in BATCH_MODULES)
        (make,) = (vars(one)[case.kernel] for one in modules if case.kernel in vars(one))
        return make(structure, case.kind) if case.losses else make(case.kind)
    if case.kernel in ("vectors", "strided"):
        return getattr(elementwise_kernels, case.kernel)(structure, case.kind, case.derivatives)
    if case.kernel in OF_CLASSES:
        return _of_classes(case, structure)
    name = {"embedding_rows": "embedding_kernels"}.get(case.kernel, case.kernel)
    module = importlib.import_module(f"numbaloss.cuda.{name}")
    if case.kernel == "narrow_rows":
        rows = module.shape(case.kind, CLASSES).rows
        return module.kernel(structure, case.kind, case.derivatives, CLASSES, rows)
    if case.kernel == "clusters":  # of value and gradient
        return module.kernel(structure, case.kind)
    if case.kernel == KEPT:
        return module.kernel(structure, case.kind, case.derivatives, case.whole)
    if case.kernel == "register_rows":
        vectors = module.limits(case.kind, case.derivatives).usual
        return module.kernel(structure, case.kind, case.derivatives, vectors, case.whole)
    return module.kernel(structure, case.kind, case.derivatives, case.traversed)


def _of_classes(case: Case, structure: Any) -> Any:
    from numbaloss.cuda import all_classes, kept_classes
    from numbaloss.cuda.class_terms import DENSE, LABELS, LOGITS, Form
    from numbaloss.jobs.rows import MARGIN, PLAIN, SOFTMAX

    (first, *_), dense = case.losses, case.kernel.endswith("dense")
    reading = MARGIN if first.relative_to_label else SOFTMAX
    if first.takes_logits is False:
        reading = PLAIN
    targets = LABELS if not dense else LOGITS if first.dense_logits else DENSE
    form = Form(
        case.kind, case.derivatives, reading, targets, case.kind if dense else "", False, case.whole
    )
    if case.kernel.startswith("kept"):
        return kept_classes.kernel(structure, form)
    return all_classes.kernel(structure, form, all_classes.limits(case.kind).usual)


@contextmanager
def without_gpu(capability: tuple[int, int]) -> Iterator[None]:
    """A GPU that is asked for nothing but what it is capable of."""
    gpu = mock.Mock(spec=["compute_capability"], compute_capability=capability)
    with (
        mock.patch("numba.cuda.api.get_current_device", return_value=gpu),
        mock.patch("numba.cuda.dispatcher.get_current_device", return_value=gpu),
    ):
        yield


@cache
def compiled(case: Case) -> tuple[str, frozenset[str]]:
    """What a kernel is compiled to, and the intrinsics that it is made of."""
    with without_gpu(case.capability), intrinsics() as found:
        text = kernel_of(case).ptx(case.capability)
    return text, frozenset(found)


def ptx(case: Case) -> str:
    """What a kernel is compiled to."""
    return compiled(case)[0]


@contextmanager
def intrinsics() -> Iterator[set[str]]:
    """The intrinsics of LLVM in all code that is handed to NVVM meanwhile."""
    from numba.cuda.cudadrv.nvvm import CompilationUnit

    found: set[str] = set()
    add = CompilationUnit.add_module

    def add_module(self: Any, text: bytes) -> None:
        found.update(re.findall(r'@"?(llvm\.[\w.]+)', text.decode()))
        add(self, text)

    with mock.patch.object(CompilationUnit, "add_module", add_module):
        yield found


# Those that NVVM takes: tried with those of CUDA 12.6 to 12.9 and 13.0 to 13.5. A kernel with any
# other may compile with one of them alone: CUDA 13.5 has llvm.trunc, CUDA 13.0 has not.
ACCEPTED = re.compile(
    r"llvm\.("
    r"used"
    r"|(fma|fmuladd|sqrt|minnum|maxnum|minimum|maximum|roundeven)\.f(32|64)"
    r"|(abs|bitreverse|bswap|ctlz|ctpop|cttz|expect|fsh[lr]|[su](min|max)|[su]add\.sat)\.i(32|64)"
    r"|[su](add|sub|mul)\.with\.overflow\.i(32|64)"
    r"|nvvm\.(barrier0|bar\.warp\.sync|membar\.gl|shfl\.sync\.i32|vote\.ballot\.sync|redux\.sync\.add)"
    r"|nvvm\.read\.ptx\.sreg\.n?(tid|ctaid)\.[xyz]"
    r"|nvvm\.(fabs|trunc|floor|ceil|round|saturate|fmin|fmax)\.[fd]"
    r"|nvvm\.(sqrt|rcp|add|mul|div|fma)\.rn\.[fd]"
    r"|nvvm\.(ex2|lg2|rsqrt)\.approx\.f"
    r")"
)


def refused(names: Iterable[str]) -> list[str]:
    """Which intrinsics are none of those that every NVVM takes."""
    return sorted(name for name in names if not ACCEPTED.fullmatch(name))


def instructions(text: str) -> Counter[str]:
    """How often each instruction occurs in PTX, without its operands."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        words = line.strip().rstrip(";").split()
        if not words or words[0].startswith((".", "//", "$", "{", "}", "(", ")")):
            continue
        if words[0].startswith("@"):
            words = words[1:]
        found[words[0]] += 1
    return found
