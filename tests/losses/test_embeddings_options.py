"""Weights, masks, outputs and types of inputs of losses of vectors."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.calls_of_vectors import (
    BY_ROW,
    EACH,
    EVERY,
    MINED,
    REDUCTIONS,
    SIMILARITIES,
    both,
    compare,
    name_of,
    rows_for,
    vectors_of,
)


@pytest.mark.every(3)
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


@pytest.mark.every(3)
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


@pytest.mark.every(10)
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


@pytest.mark.every(12)
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


@pytest.mark.every(12)
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
