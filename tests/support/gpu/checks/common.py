"""What is checked of losses on a GPU, whatever library brings the arrays.

The simulator runs these checks where there is no GPU, and CuPy and PyTorch where there is one. What
comes out is held against the kernels of the CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

# Checks by group and name; those of many cases, in parts that know one each.
CHECKS: dict[str, dict[str, Callable[[Library], None]]] = {}
PARTS: dict[tuple[str, str], dict[str, Callable[[Library], None]]] = {}
HALVES = ("float16", "bfloat16")
INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))


def check(group: str, cases: Sequence[Any] | None = None) -> Callable[[Any], Any]:
    """Enlist a check; those of a group run in one process where they need one of their own.

    Where there are cases, the check is a function of a library, the number of a case, and the case
    itself. On a GPU each of them is a test, since most of the time is that of compilations.
    """

    def enlist(function: Callable[..., None]) -> Callable[..., None]:
        name = function.__name__
        parts: dict[str, Callable[[Library], None]] = {"": function}
        if cases is not None:
            parts = {
                _name_of(number, case): partial(function, number=number, case=case)
                for number, case in enumerate(cases)
            }

        def whole(library: Library) -> None:
            for part in parts.values():
                part(library)

        CHECKS.setdefault(group, {})[name] = whole
        PARTS[group, name] = parts
        return function

    return enlist


def _name_of(number: int, case: Any) -> str:
    parts = case if isinstance(case, tuple) else (case,)
    return " ".join([str(number), *(re.sub(r"\W.*", "", repr(one).strip("'")) for one in parts)])


class Library:
    """How a library brings arrays to a GPU and gives them back."""

    # Of elementwise losses; of rows that wait in shared memory; of what is long, or very long.
    sizes: tuple[int, ...] = (1, 2, 31, 33, 257, 1000, 100_003)
    widths: tuple[int, ...] = (1, 2, 3, 33, 257, 1025, 5000)
    rows = 5
    long_width, split_width = 20_000, 150_000
    kinds: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")
    integers: tuple[str, ...] = INTEGERS
    reverses = True
    # Whether time is plenty, as it is not in the simulator.
    thorough = True

    def put(self, array: np.ndarray) -> Any:
        """A copy on the GPU, in C order."""
        raise NotImplementedError

    def get(self, given: Any, kind: str) -> np.ndarray:
        """A copy on the host of an array of a dtype."""
        raise NotImplementedError

    def is_result(self, given: Any, kind: str) -> bool:
        """Whether an array is of the kind that results have."""
        raise NotImplementedError

    def transpose(self, given: Any, axes: tuple[int, ...]) -> Any:
        """The same array with its axes in another order."""
        return given.transpose(*axes)

    def number(self, value: Any) -> float:
        """A value that may still be computed, read by the library."""
        raise NotImplementedError

    # Dtypes that its products of matrices come in.
    products_of: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")

    @contextmanager
    def rows_as(self, path: str) -> Iterator[None]:
        """Send rows along one path: in registers where they can be; staged; long; or split."""
        from numbaloss.cuda import narrow_rows, register_rows, softmax, staged

        if path == "registers":
            yield
            return
        with (
            mock.patch.object(narrow_rows, "shape", return_value=None),
            mock.patch.object(register_rows, "shape", return_value=None),
            mock.patch.object(softmax, "LEAST_PIECE", 16 if path == "split" else 1 << 30),
        ):
            if path == "staged":
                yield
                return
            with mock.patch.object(staged, "most_classes", return_value=8):
                yield


def as_kind(array: np.ndarray, kind: str) -> np.ndarray:
    """An array of a dtype that NumPy may not know."""
    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else kind
    with np.errstate(all="ignore"):
        return np.asarray(array).astype(dtype)


def kind_of(array: np.ndarray) -> str:
    return array.dtype.name


def computed(kind: str) -> str:
    """The dtype that a dtype is computed in."""
    return "float64" if kind == "float64" else "float32"


def epsilon(kind: str) -> float:
    return float(ml_dtypes.finfo(as_kind(np.ones(()), kind).dtype).eps)


def assert_close(
    found: Any, expected: Any, kind: str, factor: float, from_: float = 0.0, sums: float = 0.0
) -> None:
    """Equal where infinite or NaN, and within a tolerance of the largest number elsewhere.

    Where that is what numbers leave that cancel, ``from_`` says how large they are; ``sums``, how
    large sums in float64 are that do.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    if finite.any():
        largest = max(float(np.abs(expected[finite]).max()), from_)
        # Rounding to a half may go either way.
        tolerance = epsilon(kind) if kind in HALVES else factor * epsilon(kind)
        smallest = 2.0**-24 if kind == "float16" else 1e-37
        of_sums = factor * epsilon("float64") * sums
        np.testing.assert_allclose(
            found[finite], expected[finite], rtol=0, atol=tolerance * largest + of_sums + smallest
        )


def assert_results(
    library: Library,
    found: Any,
    expected: Any,
    kind: str,
    factor: float = 50.0,
    from_: float = 0.0,
    sums: float = 0.0,
) -> None:
    """Results of a call on a GPU against those of the same call on the host.

    ``sums`` is the size of sums in float64 whose difference values are; see `assert_close`.
    """
    found, expected = (one if isinstance(one, tuple) else (one,) for one in (found, expected))
    assert len(found) == len(expected)
    for place, (one, other) in enumerate(zip(found, expected)):
        own = kind if place else computed(kind)
        if isinstance(other, float):
            assert type(one) is float
        else:
            assert library.is_result(one, own), (type(one), own)
            one = library.get(one, own)
        # Exponentials of halves are exact to 2^-22, no more.
        factor_ = 4 * factor if kind in HALVES else factor
        assert_close(one, other, own, factor_, from_, 0.0 if place else sums)


def call(loss: Any, derivatives: int, *arguments: Any, **options: Any) -> Any:
    """The method of a loss that gives so many derivatives."""
    methods = loss, loss.value_and_grad, loss.value_grad_hess
    return methods[derivatives](*arguments, **options)


def reference(
    loss: Any, derivatives: int, prediction: Any, target: Any, **options: Any
) -> tuple[Any, ...]:
    """The same on the CPU, by kernels that most tests use: those of full precision."""
    kind = kind_of(prediction)
    real = computed(kind)
    target = target.astype("i8" if target.ndim < prediction.ndim else real)
    if options.get("sample_weight") is not None:
        options["sample_weight"] = options["sample_weight"].astype("f8")
    found = loss.value_grad_hess(prediction.astype(real), target, **options)
    return found[0], *(as_kind(one, kind) for one in found[1 : derivatives + 1])


def compare(
    library: Library,
    loss: Any,
    prediction: np.ndarray,
    target: np.ndarray,
    derivatives: int = 2,
    factor: float = 50.0,
    **options: Any,
) -> None:
    """A call on the GPU against the same call on the host."""
    expected = reference(loss, derivatives, prediction, target, **options)
    options = {
        name: library.put(one) if isinstance(one, np.ndarray) else one
        for name, one in options.items()
    }
    found = call(loss, derivatives, library.put(prediction), library.put(target), **options)
    try:
        assert_results(library, found, expected, kind_of(prediction), factor)
    except AssertionError as error:
        shape, kind = prediction.shape, kind_of(prediction)
        raise AssertionError(f"{loss!r}, {shape} {kind}, {options}: {error}") from error
