"""What is measured: losses, shapes, dtypes, options; the bytes each must move; the targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

ITEM_SIZE = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
LABEL_SIZE = 8
OUTPUTS = {"value": 0, "value_and_grad": 1, "value_grad_hess": 2}

# Short titles: tables are 80 characters wide. Targets: real numbers, 0 or 1, counts; labels of
# rows, probabilities of a row, logits of a teacher.
TITLES = {
    "squared_error": "squared error",
    "huber": "Huber",
    "absolute_error": "absolute error",
    "log_cosh": "log-cosh",
    "binary_cross_entropy": "BCE",
    "focal": "focal",
    "poisson": "Poisson",
    "cross_entropy": "CE",
    "brier": "Brier",
    "distillation": "distillation",
}
TARGETS = {
    "binary_cross_entropy": "binary",
    "focal": "binary",
    "poisson": "count",
    "cross_entropy": "labels",
    "brier": "labels",
    "distillation": "logits",
}
ELEMENTWISE = (
    "squared_error",
    "huber",
    "absolute_error",
    "log_cosh",
    "binary_cross_entropy",
    "focal",
    "poisson",
)
LARGE = 2**26

# Two to a few classes, both sides of a warp's width, ImageNet, vocabularies of language models.
WIDTHS = (
    *(2, 3, 10, 16, 32, 33, 64, 100, 128, 256, 1000, 1024, 2048, 4096, 8192),
    *(32000, 50257, 131072),
)
HALF_WIDTHS = (1024, 4096, 16384, 32768, 131072, 262144)
FEW_ROWS = ((1, 262144), (8, 131072))
COMPILED_WIDTHS = (10, 128, 1000, 4096, 32000, 131072)
COMPILED_HALF_WIDTHS = (4096, 32768)
FIRST_WIDTHS = (10, 100, 1000, 4096, 32000, 131072)
FIRST_HALF_WIDTHS = (1024, 4096, 32768, 131072)
QUICK_WIDTHS = (10, 128, 1000, 4096, 131072)


@dataclass(frozen=True)
class Case:
    """One call that is timed."""

    part: str
    loss: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    targets: str = "real"
    method: str = "value_and_grad"
    # "columns": a part of the columns of a wider array; "step": every second element.
    layout: str = "contiguous"
    weighted: bool = False
    # The share of the copy's bandwidth that is aimed at.
    target: float | None = None
    # Whether ``torch.compile`` enters, which takes seconds a case.
    compiled: bool = False

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def samples(self) -> int:
        return self.shape[0] if self.part == "rows" else self.elements

    @property
    def reduction(self) -> str:
        """A sum in float16: the gradient of a mean of so many would underflow."""
        return "sum" if self.dtype == "float16" else "mean"

    @property
    def bytes(self) -> int:
        """Every input read once, every output written once; labels are int64."""
        item = ITEM_SIZE[self.dtype]
        total = self.elements * item * (1 + OUTPUTS[self.method])
        total += self.samples * LABEL_SIZE if self.targets == "labels" else self.elements * item
        return total + (self.samples * item if self.weighted else 0)

    @property
    def rank(self) -> int:
        """Where time is short, cases of a lower rank come first."""
        plain = not self.details.removeprefix(self.dtype)
        if self.part == "rows":
            widths = FIRST_HALF_WIDTHS if self.dtype == "bfloat16" else FIRST_WIDTHS
            first = self.shape[1] in widths and self.shape[0] > FEW_ROWS[-1][0]
            return 0 if plain and first else 1
        large = self.elements == LARGE
        return (0 if plain and self.dtype in ("float32", "bfloat16") else 1) if large else 2

    @property
    def footprint(self) -> int:
        """Bytes of a set of arrays; those of other layouts lie in larger ones."""
        return self.bytes if self.layout == "contiguous" else 2 * self.bytes

    @property
    def title(self) -> str:
        return TITLES[self.loss]

    @property
    def details(self) -> str:
        """What is not plain: in a few words."""
        words = [] if self.dtype == "float32" else [self.dtype]
        words += {"value": ["value"], "value_grad_hess": ["hessian"]}.get(self.method, [])
        words += ["dense"] if self.targets == "dense" else []
        words += ["weights"] if self.weighted else []
        words += [] if self.layout == "contiguous" else [self.layout]
        return ", ".join(words)

    def plain(self) -> dict[str, Any]:
        """As it stands in the file of results."""
        names = ("part", "loss", "shape", "dtype", "targets", "method", "layout", "weighted")
        found = {name: getattr(self, name) for name in names}
        more = {"title": self.title, "details": self.details, "reduction": self.reduction}
        return found | more | {"bytes": self.bytes, "target": self.target}


def elementwise(quick: bool = False) -> Iterator[Case]:
    """Losses of single elements: all sizes, then what is not plain at the largest."""

    def case(loss: str, size: int = LARGE, **options: Any) -> Case:
        return Case("elementwise", loss, (size,), targets=TARGETS.get(loss, "real"), **options)

    losses = ("squared_error", "huber", "binary_cross_entropy") if quick else ELEMENTWISE
    for size in (LARGE,) if quick else (2**20, 2**22, 2**24, LARGE):
        for loss in losses:
            large = size == LARGE
            yield case(
                loss, size, target=ELEMENT_SHARE if large else None, compiled=large and not quick
            )
    for loss in ("huber", "binary_cross_entropy"):
        for dtype in ("bfloat16",) if quick else ("float64", "float16", "bfloat16"):
            yield case(loss, dtype=dtype)
        if not quick:
            yield case(loss, method="value")
            yield case(loss, method="value_grad_hess")
            yield case(loss, weighted=True)
            yield replace(case(loss), shape=(8192, LARGE // 8192), layout="columns")
            yield case(loss, layout="step")


def rows(quick: bool = False) -> Iterator[Case]:
    """Losses of rows of logits."""

    def case(rows: int, classes: int, loss: str = "cross_entropy", **options: Any) -> Case:
        options = {"targets": TARGETS[loss]} | options
        return Case("rows", loss, (rows, classes), **options)

    for classes in QUICK_WIDTHS if quick else WIDTHS:
        count = 8192 if classes == 131072 else 2**27 // classes
        compiled = classes in COMPILED_WIDTHS and not quick
        yield case(count, classes, target=_target(classes), compiled=compiled)
    if not quick:
        for shape in FEW_ROWS:
            yield case(*shape)
    for classes in (32768,) if quick else HALF_WIDTHS:
        target = _target(classes, "bfloat16")
        compiled = classes in COMPILED_HALF_WIDTHS and not quick
        count = 2**28 // classes
        yield case(count, classes, dtype="bfloat16", target=target, compiled=compiled)
    if not quick:
        for classes in (100, 1000):
            yield case(2**27 // classes, classes, targets="dense")
        yield case(2**27 // 1000, 1000, "brier")
        yield case(2**27 // 1000, 1000, "distillation")


# A row of so many bytes fits into what a multiprocessor of Hopper has, and is read once.
ONCE_BYTES = 227 * 1024
# Of elements; of rows below 1000 classes, of those that are read once, of those read twice.
ELEMENT_SHARE, FEW_SHARE, ONCE_SHARE, TWICE_SHARE = 0.95, 0.70, 0.90, 0.62
# Of torch.compile: how much longer it takes.
AHEAD_OF_COMPILE = 1.3


def _target(classes: int, dtype: str = "float32") -> float:
    """The share of a copy's bandwidth that cross-entropy should reach, counted as one read."""
    if classes < 1000:
        return FEW_SHARE
    return ONCE_SHARE if classes * ITEM_SIZE[dtype] <= ONCE_BYTES else TWICE_SHARE


def report_elementwise() -> list[Case]:
    """For the report: all losses at the largest size, those of halves, and what is not plain."""
    found = []
    for dtype in ("float32", "bfloat16"):
        for loss in ELEMENTWISE:
            if dtype == "float32" or loss in ("huber", "binary_cross_entropy"):
                target = {"targets": TARGETS.get(loss, "real"), "target": ELEMENT_SHARE}
                found.append(Case("elementwise", loss, (LARGE,), dtype, compiled=True, **target))
    return found


def report_rows() -> list[Case]:
    """For the report: cross-entropy from 256 to 262,144 classes, where most is decided first."""
    found = []
    for classes in (4096, 131072, 1024, 32768, 256, 262144, 16384, 65536):
        for dtype, elements in (("bfloat16", 2**28), ("float32", 2**27)):
            options = {"targets": "labels", "target": _target(classes, dtype), "compiled": True}
            shape = (elements // classes, classes)
            found.append(Case("rows", "cross_entropy", shape, dtype, **options))
    return found


def shrunk(case: Case) -> Case:
    """As many classes as before, but so few elements that a CPU has them at once."""
    if case.part == "rows":
        rows, classes = case.shape
        return replace(case, shape=(min(rows, max(2, 2**13 // classes)), classes))
    return replace(case, shape=(8, 257) if len(case.shape) > 1 else (case.shape[0] // 2**14 + 3,))
