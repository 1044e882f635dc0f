"""Calls of losses of vectors: drawn ones, and what they should give."""

import os

import ml_dtypes
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

import numbaloss as nl
from tests.support.reference.embeddings import reference

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
