"""Checks of losses of pairs and triplets of vectors on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EMBEDDING_ROW_LOSSES
from numbaloss.core.loss import domain
from numbaloss.structures.embedding_rows import PairEmbedding
from tests.support.gpu.checks.common import (
    Library,
    as_kind,
    assert_close,
    assert_results,
    check,
    computed,
)
from tests.support.gpu.kernels import Softened
from tests.support.own_losses import PairsValue

REDUCTIONS = ("mean", "weighted_mean", "sum", "none")
EVERY = [*EMBEDDING_ROW_LOSSES, Softened(), PairsValue()]
# One of each kind, and one that compares all three.
FORMS: list[Any] = [
    nl.Contrastive(2.0),
    nl.CosineEmbedding(0.1),
    nl.Triplet(),
    nl.Triplet(p=1.5, swap=True),
]
LENGTHS = (1, 2, 3, 4, 7, 8, 16, 31, 33, 64, 70)
BLOCK_LENGTH = 1104  # more than a warp takes


def inputs(loss: Any, shape: tuple[int, ...], kind: str, seed: int = 0) -> tuple[Any, Any]:
    """Vectors, and targets for losses of pairs."""
    rng = np.random.default_rng([seed, *shape])
    pairs = isinstance(loss, PairEmbedding)
    vectors = [as_kind(rng.normal(size=shape), kind) for _ in range(2 if pairs else 3)]
    if not pairs:
        return vectors, None
    target = rng.random(shape[:-1])
    return vectors, (target < 0.5) * 1.0 if domain(loss.target_domain).binary else target


def given(vectors: Any, target: Any) -> list[Any]:
    return [*vectors] if target is None else [*vectors, target]


def reference(loss: Any, vectors: Any, target: Any, **options: Any) -> Any:
    """Value and gradients on the CPU, in full precision, rounded once."""
    kind = vectors[0].dtype.name
    real = computed(kind)
    if options.get("sample_weight") is not None:
        options["sample_weight"] = options["sample_weight"].astype("f8")
    target = None if target is None else target.astype("f8")
    value, gradients = loss.value_and_grad(
        *given([one.astype(real) for one in vectors], target), **options
    )
    return value, *(as_kind(one, kind) for one in gradients)


def cancelled(loss: Any, vectors: Any) -> float:
    """The size of numbers that leave almost nothing in a gradient.

    Vectors of one or two elements are all parallel, or often so: their cosine has no slope.
    """
    if getattr(loss, "metric", None) != "cosine" or vectors[0].shape[-1] > 2:
        return 0.0
    lengths = np.linalg.norm(np.array([one.astype("f8") for one in vectors]), axis=-1)
    return float(max(1.0, *(1.0 / lengths[lengths > 0]))) if lengths.any() else 0.0


def distances(loss: Any, vectors: Any) -> float:
    """The largest distance of rows, where values are differences of distances.

    Each is a sum of n terms in one order on the CPU and in another on the GPU, which agree within
    some root of n units of its own last place: so do differences, and not in units of theirs.
    """
    if not isinstance(loss, nl.Triplet) or not vectors[0].size:
        return 0.0
    wide = [one.astype("f8") for one in vectors]
    pairs = [(0, 1), (0, 2), (1, 2)]
    powers = [np.abs(wide[i] - wide[j]) ** loss.p for i, j in pairs]
    with np.errstate(all="ignore"):
        found = np.array([one.sum(axis=-1) ** (1.0 / loss.p) for one in powers])
    if loss.squared:
        found = found**2
    return float(np.max(found, where=np.isfinite(found), initial=0.0))


def compare(
    library: Library, loss: Any, vectors: Any, target: Any, factor: float = 100.0, **options: Any
) -> None:
    """Calls on the GPU, with gradients and without, against one on the host."""
    kind = vectors[0].dtype.name
    expected = reference(loss, vectors, target, **options)
    own = {
        name: library.put(one) if isinstance(one, np.ndarray) else one
        for name, one in options.items()
    }
    arrays = [library.put(one) for one in given(vectors, target)]
    try:
        value, gradients = loss.value_and_grad(*arrays, **own)
        results = value, *gradients
        sums = distances(loss, vectors)
        assert_results(library, results, expected, kind, factor, cancelled(loss, vectors), sums)
        own.pop("gradient_scale", None)
        value = loss(*arrays, **own)
        assert_results(library, value, expected[0], computed(kind), factor, sums=sums)
    except AssertionError as error:
        shape = vectors[0].shape
        raise AssertionError(f"{loss!r}, {shape} {kind}, {options}: {error}") from error


@check("vectors", EVERY)
def every_loss_at_every_length(library: Library, number: int, case: Any) -> None:
    lengths = (*LENGTHS, library.long_width) if library.thorough else LENGTHS
    for place, length in enumerate(lengths):
        if not library.thorough and (number + place) % 2:
            continue
        kinds = library.kinds
        own = kinds if library.thorough else [kinds[(number + place) // 2 % len(kinds)]]
        for kind in own:
            compare(library, case, *inputs(case, (library.rows, length), kind))


@check("vectors", FORMS)
def rows_of_a_whole_block(library: Library, number: int, case: Any) -> None:
    kind = (*library.kinds, "float32")[number]
    # Of whole vectors, and not.
    for length in (BLOCK_LENGTH, BLOCK_LENGTH - 3):
        compare(library, case, *inputs(case, (2, length), kind))


@check("vectors", FORMS)
def more_rows_than_a_block_takes(library: Library, number: int, case: Any) -> None:
    for shape in ((257, 3), (70, 8), (library.sizes[-1] // 64, 12)):
        compare(library, case, *inputs(case, shape, "float32"))


@check("vectors with options", [*FORMS, Softened()])
def every_reduction_with_and_without_weights(library: Library, number: int, case: Any) -> None:
    rng = np.random.default_rng(number)
    for place, length in enumerate((5, 16)):
        kind = library.kinds[(number + place) % len(library.kinds)]
        vectors, target = inputs(case, (9, length), kind)
        weight = rng.random(9)
        weight[[1, 4]] = 0.0
        # A row of weight 0 may hold anything.
        vectors[0][1], vectors[1][4, 2] = np.nan, np.inf
        for reduction in REDUCTIONS:
            compare(
                library, case, vectors, target,
                sample_weight=weight, reduction=reduction, gradient_scale=0.5,
            )  # fmt: skip
        vectors, target = inputs(case, (9, length), kind)
        for reduction in REDUCTIONS:
            compare(library, case, vectors, target, reduction=reduction)
    zeros = np.zeros(9)
    compare(library, case, vectors, target, sample_weight=zeros, reduction="sum")


@check("vectors with options")
def every_dtype_of_targets_and_weights(library: Library) -> None:
    for kind in ("bool", *library.integers, *library.kinds):
        vectors, target = inputs(FORMS[0], (6, 4), "float32")
        weight = as_kind(np.arange(6), kind)
        compare(library, FORMS[0], vectors, as_kind(target, kind), sample_weight=weight)
        vectors, _ = inputs(FORMS[2], (6, 4), "float32")
        compare(library, FORMS[2], vectors, None, sample_weight=weight)


@check("vectors with options", EVERY)
def nan_stays_in_its_row(library: Library, number: int, case: Any) -> None:
    for length in (8, 9):
        vectors, target = inputs(case, (6, length), "float32")
        vectors[0][1, 3], vectors[1][2] = np.nan, np.nan
        vectors[-1][3, 0] = np.nan
        if target is not None:
            target[4] = np.nan
        for reduction in ("none", "mean"):
            compare(library, case, vectors, target, reduction=reduction)


@check("vectors with options", EVERY)
def vectors_that_are_zero_or_equal(library: Library, number: int, case: Any) -> None:
    for kind in library.kinds[:3]:
        vectors, target = inputs(case, (7, 8), kind)
        vectors[0][0] = 0
        vectors[1][1] = 0
        for one in vectors:
            one[2] = 0
            one[3] = vectors[0][3]
        vectors[1][4] = vectors[0][4]
        vectors[-1][5] = vectors[0][5]
        compare(library, case, vectors, target, reduction="none")


def laid_out(library: Library) -> dict[str, Callable[[Any], Any]]:
    """What brings vectors of shape (3, 2, 8) to the GPU in all kinds of order."""
    put, transpose = library.put, library.transpose

    def gaps(p: Any) -> Any:
        wide = np.full((6, 2, 21), 3, p.dtype)
        wide[::2, :, 1:17:2] = p
        return put(wide)[::2, :, 1:17:2]

    def rows_apart(p: Any) -> Any:
        wide = np.full((3, 2, 16), 3, p.dtype)
        wide[:, :, :8] = p
        return put(wide)[:, :, :8]

    ways = {
        "C order": put,
        "Fortran order": lambda p: transpose(put(p.transpose(2, 1, 0)), (2, 1, 0)),
        "mixed order": lambda p: transpose(put(p.transpose(1, 0, 2)), (1, 0, 2)),
        "gaps": gaps,
        "rows apart": rows_apart,
        "shifted": lambda p: put(np.concatenate([p[..., :1], p], axis=2))[:, :, 1:],
    }
    if library.reverses:
        ways["reversed"] = lambda p: put(p[::-1, :, ::-1])[::-1, :, ::-1]
    return ways


@check("vectors with options", FORMS)
def every_layout_of_vectors(library: Library, number: int, case: Any) -> None:
    for kind in library.kinds[number % 2 : 3 : 2]:
        vectors, target = inputs(case, (3, 2, 8), kind)
        weight = np.arange(3.0)
        options: dict[str, Any] = {"reduction": "none"}
        expected = reference(case, vectors, target, sample_weight=weight, **options)
        for way in laid_out(library).values():
            arrays = [*map(way, vectors)]
            # All in one layout, and the first alone.
            for some in (arrays, [arrays[0], *map(library.put, vectors[1:])]):
                own = given(some, None if target is None else library.put(target))
                value, gradients = case.value_and_grad(
                    *own, sample_weight=library.put(weight), **options
                )
                assert_results(library, (value, *gradients), expected, kind, 100.0)


@check("vectors with options", FORMS)
def gradients_go_where_they_are_asked_to(library: Library, number: int, case: Any) -> None:
    kind = (*library.kinds, "float32")[number]
    for length in (16, 19):
        vectors, target = inputs(case, (4, length), kind)
        arrays = [library.put(one) for one in given(vectors, target)]
        value, expected = case.value_and_grad(*arrays)
        apart = [library.put(np.zeros((8, length + 1), one.dtype)) for one in vectors]
        out = tuple(one[::2, 1:] for one in apart)
        again, found = case.value_and_grad(*arrays, out=out)
        own, half = case.value_and_grad(*arrays, out=(out[0], *[None] * (len(vectors) - 1)))
        assert half[0] is out[0]
        # The same to the last bit, wherever they go, but for how sums are split.
        assert again == pytest.approx(value, rel=1e-5)
        assert own == pytest.approx(value, rel=1e-5)
        for one, other, memory, view in zip(found, expected, apart, out):
            assert one is view
            got = library.get(memory, kind)
            assert_close(got[::2, 1:], library.get(other, kind), kind, 20.0)
            assert not got[1::2].astype("f4").any()
            assert not got[:, 0].astype("f4").any()
        # In every run.
        value_, again_ = case.value_and_grad(*arrays)
        assert value_ == value
        for one, other in zip(again_, expected):
            np.testing.assert_array_equal(library.get(one, kind), library.get(other, kind))


@check("vectors with options", [*FORMS, Softened()])
def single_vectors_and_empty_ones(library: Library, number: int, case: Any) -> None:
    for shape in ((4,), (1, 1), (0, 4), (3, 0, 4), (0, 0), (3, 0), (0,)):
        vectors, target = inputs(case, shape, "float32")
        target = None if target is None else np.asarray(target)
        for reduction in REDUCTIONS:
            compare(library, case, vectors, target, reduction=reduction)


@check("errors of vectors")
def targets_and_weights_out_of_range_are_named(library: Library) -> None:
    for loss in FORMS[:2]:
        vectors, target = inputs(loss, (5, 8), "float32")
        for wrong in (-1.0, 0.5, 2.0):
            bad = target.copy()
            bad[2] = bad[4] = wrong
            arrays = [*map(library.put, given(vectors, bad))]
            for reduction in REDUCTIONS:
                with pytest.raises(ValueError, match=rf"^target\[2\] is {wrong:g}"):
                    loss.value_and_grad(*arrays, reduction=reduction)
            value, _ = loss.value_and_grad(*arrays, wait=False)
            assert np.isnan(library.number(value))
            with pytest.raises(ValueError, match=r"^2 numbers are out of range \(targets in"):
                float(value)
            expected = reference(loss, vectors, bad, check=False)
            found = loss.value_and_grad(*arrays, check=False)
            assert_results(library, (found[0], *found[1]), expected, "float32", 100.0)
    for loss in FORMS:
        vectors, target = inputs(loss, (5, 8), "float32")
        arrays = [*map(library.put, given(vectors, target))]
        for wrong in (-2.0, np.nan):
            weight = np.ones(5)
            weight[3] = wrong
            own = library.put(weight)
            for reduction in REDUCTIONS:
                with pytest.raises(ValueError, match=rf"^sample_weight\[3\] is {wrong:g}"):
                    loss.value_and_grad(*arrays, sample_weight=own, reduction=reduction)
            value = loss(*arrays, sample_weight=own, wait=False)
            with pytest.raises(ValueError, match=r"^1 numbers? .* out of range \(weights >= 0"):
                float(value)


@check("errors of vectors")
def what_does_not_fit_vectors_is_an_error(library: Library) -> None:
    loss = nl.Contrastive()
    (first, second), target = inputs(loss, (4, 8), "float32")
    a, b, t = map(library.put, (first, second, target))
    with pytest.raises(ValueError, match="must have one shape"):
        loss(a, b[:, 1:], t)
    with pytest.raises(ValueError, match="target must have the shape"):
        loss(a, b, t[1:])
    with pytest.raises(TypeError, match="must have one"):
        loss(a, library.put(second.astype("f8")), t)
    with pytest.raises(ValueError, match=r"first lives on .*second on"):
        loss(a, second, t)
    with pytest.raises(ValueError, match=r"first lives on .*target on"):
        loss(a, b, target)
    with pytest.raises(ValueError, match="shares memory with first"):
        loss.value_and_grad(a, b, t, out=(a, None))
