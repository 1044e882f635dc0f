"""Checks of losses of all pairs of a batch on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import KEYED_LOSSES, LABELLED_LOSSES
from tests.support.gpu.checks.common import Library, as_kind, assert_close, check, computed
from tests.support.mined import mined_clearly
from tests.support.own_losses import (
    Decoupled,
    DecoupledValue,
    LabelledPairs,
    SoftTriplet,
    SoftTripletValue,
    SquaredPairs,
    SquaredSums,
)

REDUCTIONS = ("mean", "weighted_mean", "sum", "none")
OF_USERS: list[Any] = [
    DecoupledValue(),
    Decoupled(symmetric=True),
    SquaredPairs(),
    SquaredSums(),
    LabelledPairs(),
    SoftTripletValue(),
    SoftTriplet("semi-hard", squared=True),
]
EVERY = [*KEYED_LOSSES, *LABELLED_LOSSES, *OF_USERS]
# One of each way through a batch.
WAYS: list[Any] = [
    nl.InfoNCE(),
    nl.InfoNCE(0.5, symmetric=True),
    nl.SigLIP(0.3, -1.0),
    nl.NTXent(0.5),
    nl.SupervisedContrastive(0.5),
    LabelledPairs(),
    nl.BatchTriplet(),
    nl.BatchTriplet(mining="semi-hard"),
    nl.BatchTriplet(0.5, "all", normalize=True),
]
# Bytes of a block: all in one, several, and one of a few rows.
BLOCKS = (None, 3000, 300)


_valued: set[Any] = set()


def left_out(library: Library, number: int, turn: int = 0) -> bool:
    """Whether every other way through a batch is enough, and this is one of the others."""
    return not library.thorough and number % 2 != turn


def keyed(loss: Any) -> bool:
    return isinstance(loss, nl.KeyedEmbedding)


def inputs(
    loss: Any, count: int, length: int, kind: str, extra: int = 0, seed: int = 0
) -> tuple[list[Any], Any]:
    """Vectors, and labels for losses that take them."""
    rng = np.random.default_rng([seed, count, length])
    counts = [count, count + extra] if keyed(loss) else [count]
    vectors = [as_kind(rng.normal(size=(one, length)), kind) for one in counts]
    return vectors, None if keyed(loss) else rng.integers(0, max(2, count // 5), count)


def given(vectors: Any, labels: Any) -> list[Any]:
    return [*vectors] if labels is None else [*vectors, labels]


def flat(found: Any) -> tuple[Any, ...]:
    """Value and gradients."""
    value, gradients = found
    return (value, *gradients) if isinstance(gradients, tuple) else (value, gradients)


def reference(loss: Any, vectors: Any, labels: Any, **options: Any) -> tuple[Any, ...]:
    """Value and gradients on the CPU, in full precision, rounded once."""
    kind = vectors[0].dtype.name
    if options.get("sample_weight") is not None:
        options["sample_weight"] = options["sample_weight"].astype("f8")
    wide = [one.astype(computed(kind)) for one in vectors]
    value, *gradients = flat(loss.value_and_grad(*given(wide, labels), **options))
    return value, *(as_kind(one, kind) for one in gradients)


def size_of_slopes(loss: Any, vectors: Any, reduction: str) -> float:
    """How large the numbers are that a gradient is the sum of, which may all but cancel."""
    options = loss.batch_options()
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(np.concatenate(vectors).astype("f8"), axis=1)
    lengths = lengths[np.isfinite(lengths) & (lengths > 0)]
    if not lengths.size:
        return 1.0
    largest = 1.0 / lengths.min() if options.normalize else lengths.max()
    if options.squared:
        largest *= lengths.max()
    count = max(1, len(vectors[0])) if "mean" in reduction else 1
    return float(largest / options.temperature / count)


def assert_same(
    library: Library, loss: Any, vectors: Any, found: Any, expected: Any, options: Any
) -> None:
    kind = vectors[0].dtype.name
    real, reduction = computed(kind), options.get("reduction", "mean")
    slopes = size_of_slopes(loss, vectors, reduction) * options.get("gradient_scale", 1.0)
    assert len(found) == len(expected)
    for place, (one, other) in enumerate(zip(found, expected)):
        own = kind if place else real
        if isinstance(other, float):
            assert type(one) is float
        else:
            assert library.is_result(one, own), (type(one), own)
            one = library.get(one, own)
        assert_close(one, other, own, 100.0, slopes if place else 1.0)


def compare(library: Library, loss: Any, vectors: Any, labels: Any, **options: Any) -> None:
    """Calls on the GPU, with gradients and without, against one on the host."""
    on_host = {name: one for name, one in options.items() if name != "workspace"}
    expected = reference(loss, vectors, labels, **on_host)
    own = {
        name: library.put(one) if isinstance(one, np.ndarray) else one
        for name, one in options.items()
    }
    arrays = [library.put(one) for one in given(vectors, labels)]
    try:
        found = flat(loss.value_and_grad(*arrays, **own))
        assert_same(library, loss, vectors, found, expected, options)
        # The value alone takes the same kernels but the last: once a loss and block will do.
        way = repr(loss), options.get("workspace")
        if library.thorough or way not in _valued:
            _valued.add(way)
            own.pop("gradient_scale", None)
            value = loss(*arrays, **own)
            assert_same(library, loss, vectors, [value], expected[:1], options)
    except Exception as error:
        shapes, kind = [one.shape for one in vectors], vectors[0].dtype.name
        raise AssertionError(f"{loss!r}, {shapes} {kind}, {options}: {error!r}") from error


@check("batches", EVERY)
def every_loss_in_every_dtype(library: Library, number: int, case: Any) -> None:
    if number % 3 and not library.thorough:
        return  # every way through a batch is walked below: some sets of parameters may do here
    turn, kinds = number // 3, library.kinds
    own = kinds if library.thorough else [kinds[turn % 2]]
    for place, kind in enumerate(own):
        for block in BLOCKS if library.thorough else [BLOCKS[(turn + place) % 3]]:
            compare(library, case, *inputs(case, 13, 5, kind), workspace=block)


@check("batches", WAYS)
def halves(library: Library, number: int, case: Any) -> None:
    if not left_out(library, number, 1):
        kind = [one for one in library.kinds if one.endswith("float16")][-1 - number % 2 :][0]
        compare(library, case, *inputs(case, 11, 4, kind), workspace=BLOCKS[number % 3])


@check("batches", WAYS)
def batches_of_every_size(library: Library, number: int, case: Any) -> None:
    sizes = [(1, 3), (2, 5), (3, 1), (13, 33), (33, 2)]
    if library.thorough:
        sizes += [(40, 5), (40, 33), (257, 40), (300, 300), (1000, 3)]
    for place, (count, length) in enumerate(sizes):
        if length == 1 and case.batch_options().normalize and hasattr(case, "mining"):
            continue  # all vectors are 1 or -1: whom to choose is rounding's choice
        if count >= 13 and not library.thorough and number % 3 != place % 3:
            continue
        kind = ("float32", "float64")[place % 2] if library.thorough else "float32"
        block = BLOCKS[(number + place) % 3] if count < 33 else BLOCKS[place % 2]
        made = mined_clearly(case, *inputs(case, count, length, kind))
        compare(library, case, *made, workspace=block)


@check("batches")
def keys_beyond_the_queries(library: Library) -> None:
    for loss in (nl.InfoNCE(), nl.SigLIP(0.3, -1.0), Decoupled(), SquaredPairs()):
        for extra, block in ((1, None), (7, 300)):
            compare(library, loss, *inputs(loss, 6, 5, "float32", extra), workspace=block)


@check("batches", WAYS)
def every_reduction_with_and_without_weights(library: Library, number: int, case: Any) -> None:
    if left_out(library, number):
        return
    weight, turn = np.arange(9.0) % 4, number // 2
    for place, reduction in enumerate(REDUCTIONS):
        if not library.thorough and (turn + place) % 2:
            continue
        vectors, labels = inputs(case, 9, 5, "float32")
        block = BLOCKS[(turn + place) % 3]
        options = {"reduction": reduction, "workspace": block}
        compare(library, case, vectors, labels, sample_weight=weight, gradient_scale=0.5, **options)
        if library.thorough or place < 2:
            compare(library, case, vectors, labels, **options)
    zeros = np.zeros(9, "f4")
    compare(library, case, vectors, labels, sample_weight=zeros, reduction="sum")


@check("batches")
def labels_of_every_integer_dtype(library: Library) -> None:
    loss = nl.SupervisedContrastive()
    for kind in library.integers:
        vectors, labels = inputs(loss, 7, 3, "float32")
        compare(library, loss, vectors, labels.astype(kind) + np.dtype(kind).type(3))
    far = np.array([1 << 62, -(1 << 62), 1 << 62, 0, -(1 << 62), 0, 5])
    compare(library, loss, vectors, far)
    for kind in ("bool", "float32"):
        arrays = [library.put(one) for one in (*vectors, labels.astype(kind))]
        with pytest.raises(TypeError, match="labels are integers"):
            loss(*arrays)


@check("batches")
def every_layout_of_vectors(library: Library) -> None:
    put, transpose = library.put, library.transpose

    def gaps(x: Any) -> Any:
        wide = np.full((2 * len(x), 2 * x.shape[1] + 1), 3, x.dtype)
        wide[::2, 1::2] = x
        return put(wide)[::2, 1::2]

    ways = {"turned": lambda x: transpose(put(x.T), (1, 0)), "gaps": gaps}
    if library.reverses:
        ways["reversed"] = lambda x: put(x[::-1, ::-1])[::-1, ::-1]
    for loss in (nl.InfoNCE(), nl.NTXent(), nl.BatchTriplet()):
        vectors, labels = inputs(loss, 7, 4, "float32")
        weight = np.arange(7.0)
        expected = reference(loss, vectors, labels, sample_weight=weight)
        for way in ways.values():
            arrays = given([*map(way, vectors)], labels)
            if labels is not None:
                wide = np.repeat(labels, 2)
                arrays[-1] = put(wide)[::2]
            own = put(np.repeat(weight, 3))[::3]
            found = flat(loss.value_and_grad(*arrays, sample_weight=own))
            assert_same(library, loss, vectors, found, expected, {})


@check("batches", WAYS)
def gradients_go_where_they_are_asked_to(library: Library, number: int, case: Any) -> None:
    kind = (*library.kinds, *["float32"] * len(WAYS))[number]
    vectors, labels = inputs(case, 6, 4, kind)
    arrays = [library.put(one) for one in given(vectors, labels)]
    found = flat(case.value_and_grad(*arrays))
    apart = [library.put(np.zeros((2 * len(one), 5), one.dtype)) for one in vectors]
    views = tuple(one[::2, 1:] for one in apart)
    out = views if keyed(case) else views[0]
    again = flat(case.value_and_grad(*arrays, out=out))
    assert again[0] == found[0]
    for one, other, memory, view in zip(again[1:], found[1:], apart, views):
        assert one is view
        got = library.get(memory, kind)
        np.testing.assert_array_equal(got[::2, 1:], library.get(other, kind))
        assert not got[1::2].astype("f4").any()
        assert not got[:, 0].astype("f4").any()


@check("batches")
def gradients_may_go_to_one_array_and_not_to_the_other(library: Library) -> None:
    vectors, _ = inputs(WAYS[0], 6, 4, "float32")
    arrays = [*map(library.put, vectors)]
    own = library.put(np.zeros_like(vectors[1]))
    _, found = WAYS[0].value_and_grad(*arrays)
    _, gradients = WAYS[0].value_and_grad(*arrays, out=(None, own))
    assert gradients[1] is own
    for one, other in zip(gradients, found):
        np.testing.assert_array_equal(library.get(one, "float32"), library.get(other, "float32"))


@check("batches", WAYS)
def values_that_are_read_later(library: Library, number: int, case: Any) -> None:
    if left_out(library, number):
        return
    vectors, labels = inputs(case, 6, 4, "float32")
    arrays = [library.put(one) for one in given(vectors, labels)]
    found = flat(case.value_and_grad(*arrays))
    later = flat(case.value_and_grad(*arrays, wait=False))
    assert library.number(later[0]) == pytest.approx(found[0], rel=1e-6)
    assert float(later[0]) == found[0]
    # The same to the last bit in every run.
    for one, other in zip(later[1:], found[1:]):
        np.testing.assert_array_equal(library.get(one, "float32"), library.get(other, "float32"))


@check("batches", WAYS)
def batches_with_little_to_compare(library: Library, number: int, case: Any) -> None:
    labelled = [None] if keyed(case) else [np.zeros(5, "i8"), np.arange(5), np.arange(5) // 4]
    for place, labels in enumerate(labelled):
        vectors, _ = inputs(case, 5, 3, "float32")
        reduction = REDUCTIONS[(number + place) % 4]
        block = BLOCKS[2 * (place % 2)]
        compare(library, case, vectors, labels, reduction=reduction, workspace=block)
    vectors, labels = inputs(case, 1, 4, "float32")
    compare(library, case, vectors, labels, reduction="none")


@check("batches", WAYS)
def vectors_that_are_zero_or_equal(library: Library, number: int, case: Any) -> None:
    if left_out(library, number, 1):
        return
    vectors, labels = inputs(case, 12, 4, "float32")
    for one in vectors:
        one[[1, 4]] = 0
    block = BLOCKS[1]
    # Which of several equal negatives is chosen is one gradient or another: no zeros among
    # vectors that are mined.
    if not hasattr(case, "mining"):
        compare(library, case, vectors, labels, reduction="none", workspace=block)
    same = [np.repeat(one[:1], 12, axis=0) for one in inputs(case, 12, 4, "float32")[0]]
    arrays = [library.put(one) for one in given([same[0]] * len(same), labels)]
    value, *gradients = flat(case.value_and_grad(*arrays, workspace=block))
    expected = reference(case, [same[0]] * len(same), labels)
    assert value == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
    for one, other in zip(gradients, expected[1:]):
        np.testing.assert_allclose(library.get(one, "float32"), other, rtol=0, atol=1e-5)


@check("batches")
def directions_of_vectors_of_any_length(library: Library) -> None:
    """The squares of some of them neither float32 nor float64 can hold."""
    for loss in (nl.InfoNCE(), nl.NTXent(), nl.BatchTriplet(normalize=True)):
        for size in (1e25, 1e-30):
            vectors, labels = inputs(loss, 7, 4, "float32")
            compare(library, loss, [one * np.float32(size) for one in vectors], labels)


@check("batches", [*WAYS, nl.BatchTriplet(mining="semi-hard", normalize=True)])
def what_is_not_finite_spreads_as_on_the_cpu(library: Library, number: int, case: Any) -> None:
    for place, wrong in enumerate((np.nan, np.inf)):
        vectors, labels = inputs(case, 9, 4, "float32")
        if labels is not None:
            labels[:] = [0, 0, 1, 1, 1, 2, 3, 3, 3]  # row 5 has no positive
        for row in (0, 8)[: 1 if place or not library.thorough else 2]:
            vectors[-1][...] = inputs(case, 9, 4, "float32")[0][-1]
            vectors[-1][row, 1] = wrong
            options = {"workspace": BLOCKS[2 * (place % 2)], "reduction": "none"}
            compare(library, case, vectors, labels, **options)


@check("batches")
def distances_that_overflow_reach_nothing_else(library: Library) -> None:
    """Their squares are finite, and sums of two of them are not."""
    for mining in ("semi-hard", "all"):
        loss = nl.BatchTriplet(mining=mining)
        vectors, labels = inputs(loss, 9, 2, "float32")
        labels[:] = [0, 0, 0, 1, 1, 1, 1, 1, 2]
        vectors[0][:4] = [[1.6e19, 0], [-1.6e19, 0], [0, 1.6e19], [0, -1.6e19]]
        arrays = [library.put(one) for one in given(vectors, labels)]
        values, _ = loss.value_and_grad(*arrays, reduction="none", workspace=300)
        assert library.get(values, "float32").shape == (9,)


@check("batches")
def what_does_not_fit_a_batch_is_an_error(library: Library) -> None:
    loss = nl.InfoNCE()
    (queries, keys), _ = inputs(loss, 5, 4, "float32")
    q, k = map(library.put, (queries, keys))
    for reduction in REDUCTIONS:
        weight = np.ones(5)
        for wrong in (-2.0, np.nan):
            weight[3] = weight[4] = wrong
            with pytest.raises(ValueError, match=rf"^sample_weight\[3\] is {wrong:g}"):
                loss.value_and_grad(q, k, sample_weight=library.put(weight), reduction=reduction)
    with pytest.raises(ValueError, match=r"queries lives on .*keys on"):
        loss(q, keys)
    with pytest.raises(ValueError, match=r"queries lives on .*sample_weight on"):
        loss(q, k, sample_weight=np.ones(5))
    with pytest.raises(ValueError, match=r"embeddings lives on .*labels on"):
        nl.NTXent()(q, np.arange(5))
    with pytest.raises(ValueError, match="on a GPU already"):
        loss(queries, keys, device="cuda")
    with pytest.raises(ValueError, match="there must be a key for every query"):
        loss(q, k[1:])
    with pytest.raises(TypeError, match="must have one"):
        loss(q, library.put(keys.astype("f8")))
    with pytest.raises(ValueError, match="shares memory with queries"):
        loss.value_and_grad(q, k, out=(q, None))
    with pytest.raises(ValueError, match="workspace must be"):
        loss(q, k, workspace=0)


@check("batches", WAYS)
def batches_without_vectors_or_without_length(library: Library, number: int, case: Any) -> None:
    if left_out(library, number):
        return
    for count, length in ((0, 4), (3, 0), (0, 0)):
        for reduction in REDUCTIONS if library.thorough else [REDUCTIONS[number // 2 % 4]]:
            vectors, labels = inputs(case, count, length, "float32")
            compare(library, case, vectors, labels, reduction=reduction)


@check("batches")
def batches_of_keys_without_queries(library: Library) -> None:
    for loss in (nl.InfoNCE(), nl.SigLIP()):
        for reduction in ("sum", "none"):
            compare(library, loss, *inputs(loss, 0, 4, "float32", 3), reduction=reduction)
