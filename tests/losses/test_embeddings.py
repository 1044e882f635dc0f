"""Losses of vectors against dense formulas in float64, whatever arrays and options they get."""

import os

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import numbaloss as nl
from tests.support.reference.embeddings import differences, reference

MORE = int(os.environ.get("NUMBALOSS_TEST_EXAMPLES", "1"))
REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]
# Of gradients. Values of half precision come in float32, and are as good.
DTYPES = {
    "float64": (np.float64, 1e-10, 1e-10),
    "float32": (np.float32, 2e-5, 2e-5),
    "float16": (np.float16, 2e-5, 2e-3),
    "bfloat16": (ml_dtypes.bfloat16, 2e-5, 2e-2),
}

# By the classes that kernels are compiled for, with parameters that they take at run time.
PAIRS = [
    [nl.Contrastive(), nl.Contrastive(margin=9.0)],
    [nl.CosineEmbedding(), nl.CosineEmbedding(margin=0.25), nl.CosineEmbedding(margin=-0.5)],
]
TRIPLETS = [
    [nl.Triplet(), nl.Triplet(margin=0.0, swap=True)],
    [nl.Triplet(margin=3.0, p=1.0), nl.Triplet(p=1.0, swap=True)],
    [nl.Triplet(p=3.0), nl.Triplet(margin=2.0, p=1.5, swap=True)],
    [nl.Triplet(margin=5.0, squared=True), nl.Triplet(swap=True, squared=True)],
]
KEYED = [
    [
        nl.InfoNCE(),
        nl.InfoNCE(temperature=0.5, symmetric=True),
        nl.InfoNCE(temperature=2.0, normalize=False),
    ],
    [nl.SigLIP(), nl.SigLIP(temperature=2.0, bias=0.5, normalize=False)],
]
SIMILARITIES = [
    [nl.NTXent(), nl.NTXent(temperature=0.5), nl.NTXent(temperature=1.0, normalize=False)],
    [
        nl.SupervisedContrastive(),
        nl.SupervisedContrastive(temperature=0.5),
        nl.SupervisedContrastive(temperature=1.0, normalize=False),
    ],
]
MINED = [
    [
        nl.BatchTriplet(mining=mining),
        nl.BatchTriplet(mining=mining, margin=0.3, normalize=True),
        nl.BatchTriplet(mining=mining, squared=True),
    ]
    for mining in ("hard", "semi-hard", "all")
]
EVERY = [*PAIRS, *TRIPLETS, *KEYED, *SIMILARITIES, *MINED]
EACH = [one for family in EVERY for one in family]
IN_BATCH = [one for one in EACH if isinstance(one, (nl.KeyedEmbedding, nl.LabelledEmbedding))]
BY_ROW = [one for one in EACH if one not in IN_BATCH]


def name_of(family):
    return repr(family[0]).partition("(")[0] + getattr(family[0], "mining", "")


def vectors_of(loss, count, length, rng, more=0, dtype=np.float64):
    """Random vectors, of such lengths that similarities are moderate."""
    size = 1.0
    if not isinstance(loss, nl.PairEmbedding | nl.TripletEmbedding) and not loss.normalize:
        size = length**-0.25
    inputs = {nl.PairEmbedding: 2, nl.TripletEmbedding: 3, nl.KeyedEmbedding: 2}
    number = next((n for cls, n in inputs.items() if isinstance(loss, cls)), 1)
    lead = count if isinstance(count, tuple) else (count,)
    made = [size * rng.normal(size=(*lead, length)) for _ in range(number)]
    if more:
        made[-1] = np.concatenate([made[-1], size * rng.normal(size=(more, length))])
    return [one.astype(dtype) for one in made]


def labels_of(count, kind, rng):
    """Labels of few or many classes, of any integers."""
    classes, dtype = kind
    found = {
        "one": np.zeros(count, int),
        "distinct": rng.permutation(count),
        "few": rng.integers(0, 3, count),
        "pairs": rng.permutation(np.arange(count) // 2),
        "uneven": (rng.random(count) ** 3 * 9).astype(int),
    }[classes]
    if dtype == "negative":
        return found * -7 - 1
    if dtype == "large":
        return found + (2**63 - 1 - max(count, 1))
    return found.astype(dtype)


def rows_for(loss, count, rng, kind=("uneven", "int64")):
    """The further arguments of a call: labels, targets, or none."""
    if isinstance(loss, nl.LabelledEmbedding):
        return [labels_of(count, kind, rng)]
    if isinstance(loss, nl.PairEmbedding):
        return [rng.integers(0, 2, count)]
    return []


def both(loss, vectors, rows, **options):
    """Value and gradients, as a tuple in any case."""
    value, gradients = loss.value_and_grad(*vectors, *rows, **options)
    return value, gradients if isinstance(gradients, tuple) else (gradients,)


def expected(loss, vectors, rows, **options):
    return reference(loss, *vectors, labels=rows[0] if rows else None, **options)


def compare(found, wanted, of_value, of_gradient, floor):
    value = np.asarray(found[0], np.float64)
    assert value.shape == np.shape(wanted[0])
    scale = max(np.abs(wanted[0]).max(initial=0.0), 0.1)
    np.testing.assert_allclose(value, wanted[0], rtol=of_value, atol=of_value * scale)
    for one, other in zip(found[1], wanted[1], strict=True):
        # Half precisions have no numbers below 6e-8 that are not rounded to multiples of it.
        least = 6e-8 if one.dtype == np.float16 else 0.0
        assert one.shape == other.shape
        atol = of_gradient * max(np.abs(other).max(initial=0.0), floor) + least
        one = one.astype(np.float64)
        np.testing.assert_allclose(one, other, rtol=of_gradient, atol=atol)


def assume_settled(loss, vectors, rows, wanted, tolerance, **options):
    """Leave out inputs at which rounding decides: who is nearest, which hinges are active."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        moved = [one.astype(np.float64) for one in vectors]
        moved = [one * (1 + 5e-7 * rng.normal(size=one.shape)) for one in moved]
        other = expected(loss, moved, rows, **options)
        for one, two in zip(wanted[1], other[1]):
            assume(np.abs(one - two).max(initial=0.0) <= tolerance * np.abs(one).max(initial=0.0))


def laid_out(array, layout):
    """The same numbers in another order of memory."""
    if layout == "turned":
        return np.asfortranarray(array)
    if layout == "strided":
        return np.repeat(np.repeat(array, 2, axis=-1), 3, axis=0)[::3, ..., ::2]
    if layout == "backwards":
        return array[::-1, ..., ::-1].copy()[::-1, ..., ::-1]
    return array


def check(loss, rng, count, length, more, dtype, layout, kind, weighted, options):
    of_dtype, of_value, of_gradient = DTYPES[dtype]
    vectors = vectors_of(loss, count, length, rng, more, of_dtype)
    vectors = [laid_out(one, layout) for one in vectors]
    rows = rows_for(loss, count, rng, kind)
    weight = None
    if weighted:
        weight = rng.integers(0, 3, count).astype(np.float32)
    calls = {"sample_weight": weight, "reduction": options["reduction"]}
    wanted = expected(loss, vectors, rows, **calls)
    if dtype != "float64":
        assume_settled(loss, vectors, rows, wanted, of_gradient / 4, **calls)
    found = both(loss, vectors, rows, sample_weight=weight, **options)
    assert all(one.dtype == of_dtype for one in found[1])
    size = int(np.prod(count))
    floor = 0.01 / max(size, 1) if options["reduction"].endswith("mean") else 0.01
    compare(found, wanted, of_value, of_gradient, floor)
    alone = loss(*vectors, *rows, sample_weight=weight, **options)
    np.testing.assert_allclose(alone, found[0], rtol=of_value / 10, atol=of_value / 10)


@st.composite
def calls(draw, family):
    loss = draw(st.sampled_from(family))
    dtype = draw(st.sampled_from(list(DTYPES)))
    # The gradient of a direction in one dimension is 0, but for rounding.
    turning = getattr(loss, "normalize", isinstance(loss, nl.CosineEmbedding))
    length = draw(st.sampled_from([2, 3, 8, 33, 70] if turning else [1, 2, 3, 8, 33, 70]))
    counts = [0, 1, 2, 3, 17, 60, 130]
    if getattr(loss, "mining", "") in ("semi-hard", "all") and dtype != "float64":
        counts = counts[:5]  # among more there are always some that rounding decides
        length = max(length, 3)
    count = draw(st.sampled_from(counts))
    if isinstance(loss, nl.PairEmbedding | nl.TripletEmbedding) and draw(st.booleans()):
        count = draw(st.sampled_from([(), (3, 5), (2, 3, 4), (40, 7), (0, 3)]))
    if count and draw(st.integers(0, 5)) == 0:
        length, count = 1500, (5 if isinstance(count, int) else count)
    layouts = ["plain", "turned", "strided", "backwards"]
    more = 0
    if isinstance(loss, nl.KeyedEmbedding) and not getattr(loss, "symmetric", False):
        more = draw(st.sampled_from([0, 1, 9]))
    kind = (
        draw(st.sampled_from(["one", "distinct", "few", "pairs", "uneven"])),
        draw(st.sampled_from(["negative", "large", "uint8", "int16", "uint64", ">i4"])),
    )
    options = {"reduction": draw(st.sampled_from(REDUCTIONS))}
    if isinstance(loss, nl.KeyedEmbedding | nl.LabelledEmbedding):
        options["workspace"] = draw(st.sampled_from([None, 1, 3000, 20_000, 10**8]))
    return {
        "loss": loss,
        "rng": np.random.default_rng(draw(st.integers(0, 2**32))),
        "count": count,
        "length": length,
        "more": more,
        "dtype": dtype,
        "layout": "plain" if count == () else draw(st.sampled_from(layouts)),
        "kind": kind,
        "weighted": draw(st.booleans()),
        "options": options,
    }


@pytest.mark.parametrize("family", EVERY, ids=name_of)
def test_any_call_agrees_with_dense_formulas(family):
    @settings(max_examples=15 * MORE, deadline=None)
    @given(calls(family))
    def run(call):
        check(**call)

    run()


@pytest.mark.parametrize("family", [*KEYED, *SIMILARITIES, *MINED], ids=name_of)
def test_blocks_of_any_size_give_the_same(family):
    loss, rng = family[-1], np.random.default_rng(1)
    vectors, rows = vectors_of(loss, 130, 7, rng), rows_for(loss, 130, rng)
    weight = rng.integers(0, 3, 130)
    wanted = expected(loss, vectors, rows, sample_weight=weight)
    for workspace in (1, 3000, 20_000, 10**8):
        found = both(loss, vectors, rows, sample_weight=weight, workspace=workspace)
        compare(found, wanted, 1e-12, 1e-11, 1e-4)


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_gradients_are_differences(loss):
    rng = np.random.default_rng(3)
    vectors, rows = vectors_of(loss, 6, 3, rng), rows_for(loss, 6, rng, ("few", "int64"))
    weight = np.array([1.0, 0.5, 2.0, 0.0, 1.0, 3.0])
    for reduction in ("mean", "none"):
        options = {"sample_weight": weight, "reduction": reduction}
        _, found = both(loss, vectors, rows, **options)

        def total(*moved, options=options):
            return float(np.sum(loss(*moved, *rows, **options)))

        for one, other in zip(found, differences(total, vectors), strict=True):
            scale = np.abs(other).max()
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8 * max(scale, 1.0))


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_float32_is_close_to_float64(loss):
    rng = np.random.default_rng(4)
    vectors = vectors_of(loss, 40, 33, rng, dtype=np.float32)
    rows = rows_for(loss, 40, rng, ("few", "int64"))
    found = both(loss, vectors, rows)
    wanted = both(loss, [one.astype(np.float64) for one in vectors], rows)
    assert {one.dtype for one in found[1]} == {np.dtype(np.float32)}
    compare(found, wanted, 5e-6, 2e-5, 1e-4)


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_rows_of_weight_0_add_nothing_and_weights_scale_the_rest(loss):
    rng = np.random.default_rng(5)
    vectors, rows = vectors_of(loss, 17, 5, rng), rows_for(loss, 17, rng)
    weight = np.arange(17) % 3 / 2
    values = loss(*vectors, *rows, reduction="none")
    weighted, gradients = both(loss, vectors, rows, sample_weight=weight, reduction="none")
    np.testing.assert_allclose(weighted, weight * values, rtol=1e-13, atol=1e-15)
    assert not weighted[weight == 0].any()
    if loss in BY_ROW:
        assert not any(one[weight == 0].any() for one in gradients)
    total = loss(*vectors, *rows, sample_weight=weight, reduction="sum")
    assert total == pytest.approx(weighted.sum(), rel=1e-12)
    wide = weight.astype(np.float16)[:, None].repeat(2, axis=1)[:, 1]
    other = both(loss, vectors, rows, sample_weight=wide, reduction="none")
    np.testing.assert_array_equal(other[0], weighted)


@pytest.mark.parametrize("loss", BY_ROW, ids=repr)
def test_weight_0_removes_rows_that_hold_nan(loss):
    rng = np.random.default_rng(6)
    vectors, rows = vectors_of(loss, 9, 5, rng), rows_for(loss, 9, rng)
    weight = np.array([1.0, 0.0, 2.0] * 3)
    wanted = both(loss, vectors, rows, sample_weight=weight)
    for one in vectors:
        one[1, 2] = np.nan
        one[4] = np.inf
    found = both(loss, vectors, rows, sample_weight=weight)
    assert found[0] == wanted[0]
    for one, other in zip(found[1], wanted[1]):
        np.testing.assert_array_equal(one, other)
        assert not one[weight == 0].any()


@pytest.mark.parametrize("loss", BY_ROW, ids=repr)
def test_weights_of_a_leading_part_hold_for_all_rows_behind(loss):
    rng = np.random.default_rng(7)
    vectors, rows = vectors_of(loss, (3, 4), 5, rng), rows_for(loss, (3, 4), rng)
    weight = np.array([0.5, 0.0, 2.0])
    full = np.repeat(weight[:, None], 4, axis=1)
    for reduction in REDUCTIONS:
        found = both(loss, vectors, rows, sample_weight=weight, reduction=reduction)
        wanted = both(loss, vectors, rows, sample_weight=full, reduction=reduction)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-15)
        for one, other in zip(found[1], wanted[1]):
            np.testing.assert_allclose(one, other, rtol=1e-15)


@pytest.mark.parametrize("family", EVERY, ids=name_of)
def test_gradients_go_where_the_caller_wants_them(family):
    loss, rng = family[0], np.random.default_rng(8)
    vectors, rows = vectors_of(loss, 11, 6, rng), rows_for(loss, 11, rng)
    wanted = both(loss, vectors, rows)
    made = [
        np.full((22, 12), 7.0)[::2, ::-2],
        np.full((6, 11), 7.0).T,
        np.full((11, 6), 7.0).astype(">f8"),
    ]
    for turn in range(3):
        out = [made[(i + turn) % 3] for i in range(len(vectors))]
        given_out = tuple(out) if len(out) > 1 else out[0]
        value, found = both(loss, vectors, rows, out=given_out, gradient_scale=3.0)
        assert value == wanted[0]
        for one, other, expect in zip(found, out, wanted[1]):
            assert one is other
            np.testing.assert_allclose(one, 3.0 * expect, rtol=1e-12, atol=1e-15)
    if len(vectors) > 1:
        out = (None, *[np.zeros((11, 6)) for _ in vectors[1:]])
        _, found = both(loss, vectors, rows, out=out)
        assert all(one is other for one, other in zip(found[1:], out[1:]))
        for one, expect in zip(found, wanted[1]):
            np.testing.assert_allclose(one, expect, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("family", EVERY, ids=name_of)
def test_inputs_stay_as_they_are(family):
    for loss in family:
        rng = np.random.default_rng(9)
        vectors, rows = vectors_of(loss, 30, 9, rng, dtype=np.float32), rows_for(loss, 30, rng)
        weight = rng.integers(0, 3, 30)
        arrays = [*vectors, *rows, weight]
        copies = [one.copy() for one in arrays]
        for one in arrays:
            one.flags.writeable = False
        both(loss, vectors, rows, sample_weight=weight)
        loss.diagnose(*vectors, *rows)
        for one, copy in zip(arrays, copies):
            np.testing.assert_array_equal(one, copy)


@pytest.mark.parametrize("family", EVERY, ids=name_of)
def test_lists_are_float64(family):
    loss, rng = family[0], np.random.default_rng(10)
    vectors, rows = vectors_of(loss, 5, 3, rng), rows_for(loss, 5, rng, ("few", "int64"))
    wanted = both(loss, vectors, rows)
    found = both(loss, [one.tolist() for one in vectors], [one.tolist() for one in rows])
    assert found[0] == wanted[0]
    for one, other in zip(found[1], wanted[1]):
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("family", [*SIMILARITIES, *MINED], ids=name_of)
def test_labels_tell_rows_apart_and_nothing_else(family):
    loss, rng = family[0], np.random.default_rng(11)
    vectors = vectors_of(loss, 40, 5, rng)
    labels = rng.integers(0, 6, 40)
    names = np.array([3, -(2**63), 2**63 - 1, 0, -1, 2**40])
    wanted = both(loss, vectors, [labels])
    found = both(loss, vectors, [names[labels]])
    compare(found, wanted, 1e-13, 1e-12, 1e-4)
    unsigned = both(loss, vectors, [labels.astype(np.uint64) + np.uint64(2**63)])
    compare(unsigned, wanted, 1e-13, 1e-12, 1e-4)


@pytest.mark.parametrize("family", [*KEYED, *SIMILARITIES, *MINED], ids=name_of)
def test_the_order_of_rows_does_not_matter(family):
    loss, rng = family[1], np.random.default_rng(12)
    vectors, rows = vectors_of(loss, 40, 5, rng), rows_for(loss, 40, rng)
    order = rng.permutation(40)
    value, gradients = both(loss, vectors, rows, reduction="none")
    shuffled = both(loss, [one[order] for one in vectors], [one[order] for one in rows],
                    reduction="none")  # fmt: skip
    compare(shuffled, (value[order], [one[order] for one in gradients]), 1e-11, 1e-11, 1e-2)


@pytest.mark.parametrize(
    "loss", [one for one in EACH if getattr(one, "normalize", False)], ids=repr
)
def test_lengths_of_directions_do_not_matter_however_large(loss):
    rng = np.random.default_rng(13)
    vectors, rows = vectors_of(loss, 12, 4, rng), rows_for(loss, 12, rng)
    factors = 2.0 ** rng.integers(-300, 300, (len(vectors), 12, 1))
    value, gradients = both(loss, vectors, rows)
    found = both(loss, [one * factor for one, factor in zip(vectors, factors)], rows)
    assert found[0] == pytest.approx(value, rel=1e-12)
    for one, other, factor in zip(found[1], gradients, factors):
        np.testing.assert_allclose(one * factor, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    "loss", [one for one in EACH if getattr(one, "normalize", False)], ids=repr
)
def test_directions_in_one_dimension_have_no_slope(loss):
    rng = np.random.default_rng(14)
    vectors, rows = vectors_of(loss, 12, 1, rng), rows_for(loss, 12, rng)
    _, gradients = both(loss, vectors, rows)
    for one, vector in zip(gradients, vectors):
        assert np.abs(one * vector).max() < 1e-13


def test_targets_of_removed_pairs_may_be_anything():
    pairs = np.ones((2, 3)), np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"target\[1\] is 2"):
        nl.Contrastive()(*pairs, [1, 2])
    removed = nl.Contrastive()(*pairs, [1, 2], sample_weight=[1.0, 0.0])
    assert removed == nl.Contrastive()(*pairs, [1, 1], sample_weight=[1.0, 0.0])


@pytest.mark.parametrize("loss", [nl.Contrastive(), nl.CosineEmbedding()], ids=repr)
def test_targets_may_be_of_any_real_type(loss):
    rng = np.random.default_rng(15)
    vectors, target = vectors_of(loss, 12, 4, rng), np.arange(12) % 2
    wanted = loss(*vectors, target)
    for dtype in (bool, np.int8, np.uint64, np.float16, np.float32, ">f8"):
        assert loss(*vectors, target.astype(dtype)) == wanted
    half = loss(*vectors, np.full(12, 0.5), check=False)
    ends = loss(*vectors, np.zeros(12)) / 2 + loss(*vectors, np.ones(12)) / 2
    assert half == pytest.approx(ends, rel=1e-13)
