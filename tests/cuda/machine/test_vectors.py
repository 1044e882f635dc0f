"""Losses of pairs and triplets of vectors on the machine that runs PTX."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.machine import DTYPES, Array, launched, put, same


def vectors(kind, count, length, pairs=True, seed=0):
    """Vectors, and targets for losses of pairs."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=(count, length)).astype(DTYPES[kind]) for _ in range(3)]
    return (*found[:2], rng.integers(0, 2, count)) if pairs else tuple(found)


def agree_on_vectors(loss, given, offset=0, **options):
    """Compare calls on the machine, with gradients and without, with one on the CPU."""
    kind, outs = given[0].dtype.name, {}
    if kind == "bfloat16":  # see `agree`
        outs = {"out": tuple(put(one) for one in given if one.ndim > 1)}
    expected = loss.value_and_grad(*given, **options)
    options = {name: put(value) for name, value in options.items()}
    arrays = [Array.copy(one, offset) for one in given]
    value, gradients = loss.value_and_grad(*arrays, **options, **outs)
    same([value, *gradients], [expected[0], *expected[1]], kind)
    same([loss(*arrays, **options)], [expected[0]], kind)


@pytest.mark.every(24)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [1, 7, 16, 24, 67, 144])
def test_vectors_of_pairs_and_triplets(machine, kind, length):
    agree_on_vectors(nl.Contrastive(3.0), vectors(kind, 5, length))
    if length > 1:  # of one element, it has no gradient but roundings
        agree_on_vectors(nl.CosineEmbedding(), vectors(kind, 5, length))
    agree_on_vectors(nl.Triplet(swap=True), vectors(kind, 5, length, False))
    assert launched(machine) == ["embedding_rows"]


@pytest.mark.every(10)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("length", [1032, 1091])
def test_vectors_of_a_whole_block(machine, kind, length):
    agree_on_vectors(nl.CosineEmbedding(), vectors(kind, 3, length))
    agree_on_vectors(nl.Triplet(), vectors(kind, 3, length, False))


def test_many_vectors(machine):
    agree_on_vectors(nl.Contrastive(3.0), vectors("float32", 300, 8))
    ((_, blocks), *_) = machine.launched
    assert blocks > 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
def test_weighted_vectors_of_any_strides(machine, reduction):
    weight = np.arange(6.0) % 4
    for kind in ("float64", "bfloat16"):
        first, second, target = vectors(kind, 12, 34)
        first[2] = second[8, 3] = np.nan  # of weight 0, and not
        given = first[::2, ::2], second[::-2, 1::2], target[::2]
        agree_on_vectors(nl.Contrastive(), given, sample_weight=weight, reduction=reduction)
    agree_on_vectors(nl.Triplet(p=3.0), vectors("float32", 6, 8, False), 1, reduction=reduction)
    stacked = [one.reshape(3, 4, 2, 5) for one in vectors("float32", 12, 10, False, 3)]
    walked = [one.transpose(1, 0, 2, 3)[:, 1:] for one in stacked]
    agree_on_vectors(nl.Triplet(p=1.0), walked, reduction=reduction)


def test_vectors_with_errors(machine):
    first, second, target = vectors("float32", 6, 8)
    target[4] = 3
    given = [*map(put, (first, second, target))]
    with pytest.raises(ValueError, match=r"^target\[4\] is 3"):
        nl.Contrastive()(*given)
    given[2], weight = put(target % 2), put(-np.ones(6))
    value = nl.CosineEmbedding()(*given, sample_weight=weight, wait=False)
    with pytest.raises(ValueError, match=r"^6 numbers are out of range"):
        float(value)
