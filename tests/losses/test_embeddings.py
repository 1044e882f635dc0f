"""Losses of vectors against formulas in float64, for any call."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.support.calls_of_vectors import (
    EACH,
    EVERY,
    KEYED,
    MINED,
    MORE,
    SIMILARITIES,
    both,
    calls,
    check,
    compare,
    expected,
    name_of,
    rows_for,
    vectors_of,
)
from tests.support.reference.embeddings import differences


@pytest.mark.every(3)
@pytest.mark.parametrize("family", EVERY, ids=name_of)
def test_any_call_agrees_with_dense_formulas(family):
    @settings(max_examples=15 * MORE, deadline=None)
    @given(calls(family))
    def run(call):
        check(**call)

    run()


@pytest.mark.every(3)
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
