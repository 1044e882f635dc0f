"""Losses of vectors: batches with nothing to compare, errors, losses that users define."""

import pickle

import ml_dtypes
import numba
import numpy as np
import pytest

import numbaloss as nl
from tests.support.own_losses import Decoupled, LabelledPairs, SoftTriplet, SquaredPairs
from tests.support.reference.embeddings import differences, reference

PAIRS = [nl.Contrastive(), nl.CosineEmbedding()]
TRIPLETS = [nl.Triplet(), nl.Triplet(p=1.0), nl.Triplet(p=3.0, swap=True), nl.Triplet(squared=True)]
KEYED = [nl.InfoNCE(), nl.InfoNCE(symmetric=True), nl.SigLIP()]
MINED = [nl.BatchTriplet(mining=mining) for mining in ("hard", "semi-hard", "all")]
LABELLED = [nl.NTXent(), nl.SupervisedContrastive(), *MINED]
MINED_DIRECTIONS = [one.replace(normalize=True) for one in MINED]
EACH = [*PAIRS, *TRIPLETS, *KEYED, *LABELLED]


def inputs_of(loss):
    if isinstance(loss, nl.TripletEmbedding):
        return 3
    return 1 if isinstance(loss, nl.LabelledEmbedding) else 2


def batch(loss, count=9, length=4, dtype=np.float64, seed=0):
    """Vectors and the arguments behind them."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(count, length)).astype(dtype) for _ in range(inputs_of(loss))]
    if isinstance(loss, nl.PairEmbedding):
        return vectors, [np.arange(count) % 2]
    return vectors, [np.arange(count) % 3] if isinstance(loss, nl.LabelledEmbedding) else []


def both(loss, vectors, rows, **options):
    """Value and gradients, as a tuple in any case."""
    value, gradients = loss.value_and_grad(*vectors, *rows, **options)
    return value, gradients if isinstance(gradients, tuple) else (gradients,)


def assert_as_formula(loss, vectors, rows, **options):
    found = both(loss, vectors, rows, **options)
    wanted = reference(loss, *vectors, labels=rows[0] if rows else None, **options)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-10, atol=1e-13)
    for one, other in zip(found[1], wanted[1], strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    return found


# Batches with little to compare


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_no_rows_have_the_mean_nan_and_the_sum_0(loss):
    vectors, rows = batch(loss, 0)
    for reduction, expected in (("mean", np.nan), ("weighted_mean", np.nan), ("sum", 0.0)):
        for weight in (None, np.zeros(0)):
            options = {"reduction": reduction, "sample_weight": weight}
            value, gradients = both(loss, vectors, rows, **options)
            np.testing.assert_equal(value, expected)
            assert {one.shape for one in gradients} == {(0, 4)}
    assert loss(*vectors, *rows, reduction="none").shape == (0,)
    assert loss.diagnose(*vectors, *rows) == nl.Diagnosis(0, 0, 0, 0, 0, 0.0)


@pytest.mark.parametrize("loss", [nl.InfoNCE(), nl.SigLIP()], ids=repr)
def test_keys_without_queries_get_no_gradient(loss):
    out = np.full((0, 4), 7.0), np.full((3, 4), 7.0)
    value, gradients = loss.value_and_grad(
        np.zeros((0, 4)), np.ones((3, 4)), reduction="sum", out=out
    )
    assert value == 0.0
    assert gradients[1] is out[1]
    assert not out[1].any()


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_one_row_is_a_batch(loss):
    vectors, rows = batch(loss, 1)
    for reduction in ("mean", "weighted_mean", "sum", "none"):
        assert_as_formula(loss, vectors, rows, reduction=reduction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*LABELLED, *MINED_DIRECTIONS], ids=repr)
@pytest.mark.parametrize("labels", [[4], [3, 1, 2, 0], [7] * 5])
def test_a_mean_of_nothing_to_compare_is_nan_and_pulls_nowhere(loss, labels, dtype):
    vectors = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(dtype)
    if isinstance(loss, nl.SupervisedContrastive) and len(set(labels)) < len(labels):
        pytest.skip("positives are compared with each other")
    for reduction in ("mean", "weighted_mean", "sum"):
        for weight in (None, np.arange(len(labels)) / 2):
            out = np.full(vectors.shape, 7.0, dtype)
            value, gradient = loss.value_and_grad(
                vectors, labels, reduction=reduction, sample_weight=weight, out=out
            )
            # A pair without negatives is a term, worth nothing.
            terms = isinstance(loss, nl.NTXent) and len(set(labels)) < len(labels)
            wanted = 0.0 if terms or reduction == "sum" else np.nan
            np.testing.assert_equal(value, wanted)
            assert gradient is out
            assert not out.any()
    assert loss(vectors, labels, reduction="none").tolist() == [0.0] * len(labels)


@pytest.mark.parametrize("loss", [*LABELLED, *MINED_DIRECTIONS], ids=repr)
def test_classes_of_one_member_are_negatives_alone(loss):
    vectors = np.random.default_rng(1).normal(size=(7, 3))
    for labels in ([0, 1, 0, 2, 3, 0, 4], [0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 2, 2, 2]):
        for reduction in ("mean", "sum", "none"):
            found = assert_as_formula(loss, [vectors], [np.array(labels)], reduction=reduction)
        alone = [labels.count(label) == 1 for label in labels]
        assert not found[0][alone].any()


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_that_are_all_the_same_pull_nowhere(loss, dtype):
    vectors, rows = batch(loss, 12, 5, dtype)
    vectors = [np.repeat(vectors[0][:1], 12, axis=0)] * len(vectors)
    value, gradients = both(loss, vectors, rows)
    wanted, _ = reference(loss, *vectors, labels=rows[0] if rows else None)
    assert value == pytest.approx(wanted, rel=1e-5 if dtype == np.float32 else 1e-12, abs=1e-6)
    for one in gradients:
        assert np.isfinite(one).all()
        assert np.abs(one).max() < (1e-5 if dtype == np.float32 else 1e-12)
        if isinstance(loss, nl.Contrastive | nl.Triplet | nl.BatchTriplet):
            assert not one.any()
    assert loss.diagnose(*vectors, *rows).spread == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_zero_vectors_are_finite_and_have_no_direction(loss, dtype):
    vectors, rows = batch(loss, 9, 4, dtype)
    zero = np.arange(9) % 4 == 1
    for one in vectors[:2]:
        one[zero] = 0.0
    value, gradients = both(loss, vectors, rows)
    wanted = reference(loss, *vectors, labels=rows[0] if rows else None)
    precision = 1e-4 if dtype == np.float32 else 1e-11
    assert value == pytest.approx(wanted[0], rel=precision)
    for one, other in zip(gradients, wanted[1]):
        atol = precision * np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=precision, atol=atol)
        if getattr(loss, "normalize", isinstance(loss, nl.CosineEmbedding)):
            assert not one[zero].any()
    vectors = [np.zeros_like(one) for one in vectors]
    for one in both(loss, vectors, rows)[1]:
        assert not one.any()
    found = loss.diagnose(*vectors, *rows)
    assert (found.zero_vectors, found.spread) == (9 * len(vectors), 0.0)


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_vectors_of_no_length_are_zero_vectors(loss):
    vectors, rows = batch(loss, 6, 0)
    assert_as_formula(loss, vectors, rows)


@pytest.mark.parametrize("loss", [*PAIRS, *TRIPLETS], ids=repr)
def test_nan_stays_in_its_row(loss):
    vectors, rows = batch(loss)
    clean = both(loss, vectors, rows, reduction="none")
    for i in range(len(vectors)):
        moved = [one.copy() for one in vectors]
        moved[i][5, 2] = np.nan
        value, gradients = both(loss, moved, rows, reduction="none")
        assert np.isnan(value[5])
        np.testing.assert_array_equal(np.delete(value, 5), np.delete(clean[0], 5))
        for one, other in zip(gradients, clean[1]):
            np.testing.assert_array_equal(np.delete(one, 5, 0), np.delete(other, 5, 0))
        assert np.isnan(gradients[i][5]).any()
        assert np.isnan(loss(*moved, *rows))


@pytest.mark.parametrize("loss", [*KEYED, *LABELLED, *MINED_DIRECTIONS], ids=repr)
def test_nan_reaches_all_that_is_compared_with_it(loss):
    vectors, rows = batch(loss)
    vectors[-1][5, 2] = np.nan
    value, gradients = both(loss, vectors, rows)
    assert np.isnan(value)
    assert np.isnan(loss(*vectors, *rows, reduction="none")).all()
    assert np.isnan(gradients[0]).any(axis=1).all()
    assert np.isnan(gradients[-1][5]).any()


# What a batch holds

LINE = np.array([[0.0], [1.0], [3.0], [7.0]])


@pytest.mark.parametrize(
    ("mining", "terms", "active", "value"),
    [("hard", 4, 2, 1.0), ("semi-hard", 4, 2, 0.75), ("all", 8, 3, 6.5 / 8)],
)
def test_diagnosis_counts_triplets(mining, terms, active, value):
    loss = nl.BatchTriplet(margin=1.5, mining=mining)
    found = loss.diagnose(LINE, [0, 0, 1, 1])
    # The mean of 0, 1, 3 and 7 is 2.75, and that of their squares 14.75.
    spread = pytest.approx(1.0 - 2.75**2 / 14.75, rel=1e-14)
    assert found == nl.Diagnosis(4, 4, terms, active, 1, spread)
    assert loss(LINE, [0, 0, 1, 1]) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("mining", "terms", "active", "value"),
    [("hard", 4, 2, 1.0), ("semi-hard", 4, 1, 0.125), ("all", 12, 3, 6.5 / 12)],
)
def test_rows_without_a_positive_are_no_anchors(mining, terms, active, value):
    loss = nl.BatchTriplet(margin=1.5, mining=mining)
    line, labels = np.append(LINE, [[20.0]], axis=0), [0, 0, 1, 1, 5]
    found = loss.diagnose(line, labels)
    assert found[:5] == (5, 4, terms, active, 1)
    assert loss(line, labels) == pytest.approx(value, rel=1e-14)
    assert loss.diagnose(line, [3] * 5)[:4] == (5, 0, 0, 0)
    assert loss.diagnose(line, [*range(5)])[:4] == (5, 0, 0, 0)


def test_diagnosis_counts_rows_of_pairs_and_triplets():
    first = [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
    second = [[3.0, 4.0], [3.0, 4.0], [1.0, 1.0]]
    spread = pytest.approx(1.0 - (8.0**2 + 10.0**2) / 36.0 / 9.0, rel=1e-14)
    found = nl.Contrastive().diagnose(first, second, [1, 0, 1])
    assert found == nl.Diagnosis(3, 3, 3, 1, 2, spread)
    found = nl.Triplet().diagnose(first, second, [[0.0, 5.5], [0.0, 6.5], [9.0, 9.0]])
    assert found[:5] == (3, 3, 3, 1, 2)
    with pytest.raises(ValueError, match=r"target\[2\] is 3"):
        nl.Contrastive().diagnose(first, second, [1, 0, 3])


def test_diagnosis_counts_pairs_of_a_batch():
    rng = np.random.default_rng(0)
    queries, keys = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))
    keys[2] = 0.0
    assert nl.InfoNCE().diagnose(queries, keys)[:5] == (2, 2, 2, 2, 1)
    assert nl.SigLIP().diagnose(queries, keys)[:5] == (2, 2, 6, 6, 1)
    vectors = rng.normal(size=(6, 3))
    for loss in (nl.NTXent(), nl.SupervisedContrastive()):
        assert loss.diagnose(vectors, [0, 0, 0, 1, 2, 2])[:5] == (6, 5, 8, 8, 0)
        assert loss.diagnose(vectors, [*range(6)])[:5] == (6, 0, 0, 0, 0)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_spread_is_1_where_vectors_balance_each_other(dtype):
    rng = np.random.default_rng(0)
    half = rng.normal(size=(1300, 3)).astype(dtype)
    found = nl.NTXent().diagnose(np.concatenate([half, -half]), np.arange(2600) % 7)
    assert found.spread == pytest.approx(1.0, rel=1e-12)


# Losses that users define


class Cauchy(nl.PairEmbedding):
    scale: float = 1.0

    def point(self, distance, target):
        square = distance * distance / self.scale
        slope = 2.0 * distance / self.scale / (1.0 + square)
        return target * nl.log1p(square), target * slope


class Quartic(Cauchy):
    """Of the fourth root of the sum of fourth powers."""

    def term(self, difference):
        cube = difference * difference * difference
        return cube * difference, 4.0 * cube

    def root(self, total):
        distance = nl.sqrt(nl.sqrt(total))
        return distance, 0.25 * distance / total if total > 0.0 else 0.0


class Angle(nl.PairEmbedding):
    metric = "cosine"

    def point(self, distance, target):
        return target * distance * distance, 2.0 * target * distance


class Soft(nl.TripletEmbedding):
    swap: bool = False

    def point(self, positive, negative):
        difference = positive - negative
        slope = nl.sigmoid(difference)
        return nl.softplus(difference), slope, -slope


class SquaredSums(nl.LabelledEmbedding):
    against = "negatives"
    temperature: float = 2.0

    def point(self, similarity, log_sum):
        apart = log_sum - 0.5 * similarity
        return apart * apart, -apart, 2.0 * apart


class PairSums(SquaredSums):
    against = "all"
    average = "pairs"


def softplus(x):
    return np.logaddexp(0.0, x)


def length(x, order=2):
    return (np.abs(x) ** order).sum(axis=-1, keepdims=True) ** (1.0 / order)


def dense_rows(loss, target, first, second, third=None):
    if third is not None:
        near, far = length(first - second), length(first - third)
        if loss.swap:
            far = np.minimum(far, length(second - third))
        return softplus(near - far)[:, 0]
    if isinstance(loss, Angle):
        return target * ((first / length(first)) * (second / length(second))).sum(axis=1) ** 2
    d = length(first - second, 4 if isinstance(loss, Quartic) else 2)[:, 0]
    return target * np.log1p(d**2 / loss.scale)


def dense_keyed(loss, queries, keys):
    if isinstance(loss, SquaredPairs):
        return ((queries @ keys.T + loss.bias - np.eye(len(queries), len(keys))) ** 2).sum(axis=1)
    s = (queries / length(queries)) @ (keys / length(keys)).T / loss.temperature
    others = 1.0 - np.eye(*s.shape)
    values = np.log((others * np.exp(s)).sum(axis=1)) - np.diagonal(s)
    if loss.symmetric:
        back = np.log((others * np.exp(s)).sum(axis=0)) - np.diagonal(s)
        values = (values + back) / 2
    return values


def dense_labelled(loss, labels, x):
    """Values of rows, and the number of their terms."""
    if loss.batch_options().normalize:
        x = x / length(x)
    s = x @ x.T / loss.batch_options().temperature
    d = length(x[:, None] - x)[..., 0]
    if loss.batch_options().squared:
        d = d**2
    values, terms = [], []
    for i, label in enumerate(labels):
        same, other = labels == label, np.arange(len(x)) != i
        friends, strangers = same & other, ~same
        if loss.form == "pairs":
            values.append(((s[i] - same)[other] ** 2).sum())
            terms.append(1)
        elif loss.form == "softmax":
            summed = strangers if loss.against == "negatives" else other
            each = (np.log(np.exp(s[i][summed]).sum()) - 0.5 * s[i][friends]) ** 2
            pairs = loss.average == "pairs"
            values.append(each.sum() if pairs else each.mean() if len(each) else 0.0)
            terms.append(len(each) if pairs else len(each) > 0)
        else:
            near, far = d[i][friends], d[i][strangers]
            if loss.mining == "hard":
                each = [near.max() - far.min()] if len(near) else []
            else:
                each = [p - (far[far > p].min() if (far > p).any() else far.max()) for p in near]
            values.append(softplus(np.array(each)).sum())
            terms.append(len(each))
    return np.array(values), np.array(terms, float)


TARGET = np.array([0.5, 2.0, -1.0, 0.0, 3.0, 1.0])
LABELS = np.array([3, 3, 1, 3, 1, 8])
WEIGHT = np.array([1.0, 0.5, 2.0, 0.0, 1.5, 1.0])


def user_loss(loss):
    """Arrays of a call, and the dense form of its weighted mean."""
    rng = np.random.default_rng(0)
    count = 2 if isinstance(loss, nl.PairEmbedding | nl.KeyedEmbedding) else 3
    if isinstance(loss, nl.LabelledEmbedding):

        def dense(x):
            values, terms = dense_labelled(loss, LABELS, x)
            return (WEIGHT * values).sum() / (WEIGHT * terms).sum()

        return [rng.normal(size=(6, 3))], [LABELS], dense
    vectors = list(rng.normal(size=(count, 6, 3)))
    if isinstance(loss, nl.KeyedEmbedding):
        if not loss.batch_options().symmetric:
            vectors[1] = np.concatenate([vectors[1], rng.normal(size=(2, 3))])
        return vectors, [], lambda *x: (WEIGHT * dense_keyed(loss, *x)).sum() / WEIGHT.sum()
    target = [TARGET] if count == 2 else []

    def dense_of_rows(*x):
        return (WEIGHT * dense_rows(loss, TARGET, *x)).sum() / WEIGHT.sum()

    return vectors, target, dense_of_rows


@pytest.mark.parametrize(
    "loss",
    [
        Cauchy(),
        Cauchy(scale=3.0),
        Quartic(),
        Angle(),
        Soft(),
        Soft(swap=True),
        Decoupled(),
        Decoupled(symmetric=True),
        SquaredPairs(),
        SquaredSums(),
        PairSums(),
        LabelledPairs(),
        SoftTriplet(),
        SoftTriplet(mining="semi-hard"),
        SoftTriplet(mining="semi-hard", squared=True),
    ],
    ids=repr,
)
def test_user_losses_are_what_their_maths_says(loss):
    vectors, rows, dense = user_loss(loss)
    gradients = differences(dense, vectors)
    options = {"sample_weight": WEIGHT, "reduction": "weighted_mean"}
    for workspace in (None, 1, 300):
        if isinstance(loss, nl.KeyedEmbedding | nl.LabelledEmbedding):
            options["workspace"] = workspace
        elif workspace:
            break
        value, found = both(loss, vectors, rows, **options)
        assert value == pytest.approx(dense(*vectors), rel=1e-12)
        assert loss(*vectors, *rows, **options) == pytest.approx(value, rel=1e-13)
        for one, other in zip(found, gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)


def test_losses_without_maths_say_what_is_missing():
    class Pair(nl.PairEmbedding):
        pass

    class Of(nl.LabelledEmbedding):
        form = "pairs"

    with pytest.raises(TypeError, match=r"Pair has neither value\(self, distance, target\)"):
        Pair()(np.ones((2, 3)), np.ones((2, 3)), [0, 1])
    with pytest.raises(TypeError, match=r"Of has neither value\(self, similarity, positive\)"):
        Of()(np.ones((2, 3)), [0, 1])


@pytest.mark.parametrize(
    ("base", "names", "message"),
    [
        (nl.KeyedEmbedding, {"form": "rows"}, "form must be one of"),
        (nl.KeyedEmbedding, {"form": "triplets"}, "LabelledEmbedding"),
        (nl.LabelledEmbedding, {"against": "some"}, "against must be one of"),
        (nl.LabelledEmbedding, {"average": "rows"}, "average must be one of"),
    ],
)
def test_user_losses_of_unknown_forms_are_refused(base, names, message):
    with pytest.raises(ValueError, match=message):
        type("Unknown", (base,), names)()


def test_all_triplets_are_mined_of_hinges_alone():
    with pytest.raises(ValueError, match="mining='all' sums hinges"):
        SoftTriplet(mining="all")


def test_unknown_metrics_are_refused():
    class Odd(Cauchy):
        metric = "angle"

    with pytest.raises(ValueError, match=r"metric must be 'distance' or 'cosine', not 'angle'"):
        Odd()(np.ones((2, 3)), np.ones((2, 3)), [0, 1])


# Errors


@pytest.mark.parametrize(
    ("cls", "parameters", "message"),
    [
        (nl.Contrastive, {"margin": 0.0}, "margin must be in"),
        (nl.Contrastive, {"margin": -1.0}, "margin must be in"),
        (nl.CosineEmbedding, {"margin": 1.5}, "margin must be in"),
        (nl.Triplet, {"margin": -1.0}, "margin must be in"),
        (nl.Triplet, {"margin": np.nan}, "margin must not be NaN"),
        (nl.Triplet, {"p": 0.5}, "p must be in"),
        (nl.Triplet, {"p": np.inf}, "p must be in"),
        (nl.Triplet, {"p": 1.0, "squared": True}, "p must be 2"),
        (nl.InfoNCE, {"temperature": 0.0}, "temperature must be in"),
        (nl.InfoNCE, {"temperature": np.inf}, "temperature must be in"),
        (nl.SigLIP, {"temperature": -1.0}, "temperature must be in"),
        (nl.SigLIP, {"bias": -np.inf}, "bias must be"),
        (nl.NTXent, {"temperature": 0.0}, "temperature must be in"),
        (nl.SupervisedContrastive, {"temperature": 0.0}, "temperature must be in"),
        (nl.BatchTriplet, {"margin": -1.0}, "margin must be in"),
        (nl.BatchTriplet, {"mining": "foo"}, "mining must be one of .*semi-hard"),
        (Decoupled, {"temperature": 0.0}, "temperature must be in"),
    ],
)
def test_parameters_out_of_range_are_refused(cls, parameters, message):
    with pytest.raises(ValueError, match=message):
        cls(**parameters)


ONES = np.ones((4, 3))
CALLS = {
    nl.Contrastive(): {"first": ONES, "second": ONES, "target": np.zeros(4, int)},
    nl.Triplet(): {"anchor": ONES, "positive": ONES, "negative": ONES},
    nl.InfoNCE(): {"queries": ONES, "keys": np.ones((5, 3))},
    nl.NTXent(): {"embeddings": ONES, "labels": np.zeros(4, int)},
}
ROWS, VECTORS = [*CALLS][:2], [*CALLS][:3]


@pytest.mark.parametrize(
    ("losses", "change", "error", "message"),
    [
        ([*CALLS], {"reduction": "median"}, ValueError, "reduction must be one of"),
        ([*CALLS], {"device": "tpu"}, ValueError, "device must be one of"),
        # Without a GPU that is what is missing; with one, vectors on it are.
        ([*CALLS], {"device": "cuda"}, (RuntimeError, ValueError), "cuda|CUDA|GPU"),
        ([*CALLS], {0: np.ones((4, 3), int)}, TypeError, "{0} has dtype int64"),
        ([*CALLS], {0: np.ones((4, 3), complex)}, TypeError, "{0} has dtype complex128"),
        ([*CALLS], {0: np.float64(1.0)}, ValueError, "{0} must have|must have one shape"),
        ([*CALLS], {0: np.ma.ones((4, 3))}, TypeError, "{0} is a masked array"),
        ([*CALLS], {"sample_weight": [1.0, -1.0, 1.0, -2.0]}, ValueError,
         r"sample_weight\[1\] is -1"),
        ([*CALLS], {"sample_weight": [1.0, 1.0, 1.0, np.nan]}, ValueError,
         r"sample_weight\[3\] is nan"),
        ([*CALLS], {"sample_weight": np.ones(3)}, ValueError, "sample_weight must have the shape"),
        ([*CALLS], {"sample_weight": np.ones((4, 1))}, ValueError, "sample_weight must have"),
        (VECTORS, {1: np.ones((5, 3), np.float32)}, TypeError, "{1} has dtype float32 and {0}"),
        (VECTORS, {"out": ONES}, TypeError, "out must be a tuple of arrays"),
        (VECTORS, {"out": (ONES,)}, TypeError, "out must be a tuple of arrays"),
        (VECTORS, {"out": {0: np.ones((3, 3))}}, ValueError, r"out\[0\] must have the shape of"),
        (VECTORS, {"out": {0: np.ones((4, 3), "f4")}}, TypeError, r"out\[0\] must have {0}'s"),
        (VECTORS, {"out": {0: np.broadcast_to(1.0, (4, 3))}}, ValueError, r"out\[0\] is read-only"),
        (VECTORS, {"out": {0: [[1.0] * 3] * 4}}, TypeError, r"out\[0\] must be an array that"),
        (ROWS, {1: np.ones((4, 1))}, ValueError, r"must have one shape.*\(4, 3\).*\(4, 1\)"),
        (ROWS, {1: np.ones((1, 3))}, ValueError, "shapes are never broadcast"),
        (ROWS[:1], {"target": np.zeros((4, 1))}, ValueError, r"target must have the shape.*\(4,\)"),
        (ROWS[:1], {"target": [0, 1, 2, 3]}, ValueError, r"target\[2\] is 2"),
        (ROWS[:1], {"target": [0, 1, -1, 0.5]}, ValueError, r"target\[2\] is -1"),
        ([nl.InfoNCE()], {"keys": np.ones((3, 3))}, ValueError, "4 queries, 3 keys"),
        ([nl.InfoNCE()], {"keys": np.ones((4, 2))}, ValueError, r"\(4, 3\) and \(4, 2\)"),
        ([nl.InfoNCE()], {"keys": np.ones(3)}, ValueError, "keys must have two dimensions"),
        ([nl.InfoNCE()], {"queries": np.ones((2, 2, 3))}, ValueError, "queries must have two"),
        ([nl.NTXent()], {"embeddings": np.ones(3)}, ValueError, "embeddings must have two"),
        ([nl.NTXent()], {"labels": np.zeros(4, bool)}, TypeError, "labels are integers"),
        ([nl.NTXent()], {"labels": [0, 0, 0.5, 1]}, ValueError, r"labels\[2\] is 0.5; labels are"),
        ([nl.NTXent()], {"labels": np.zeros(3, int)}, ValueError, "labels must have the shape"),
        ([nl.NTXent()], {"labels": np.zeros((4, 1), int)}, ValueError, "labels must have the"),
        ([nl.NTXent()], {"labels": 0}, ValueError, "labels must have the shape"),
        ([nl.NTXent()], {"out": np.ones((3, 3))}, ValueError, "out must have the shape of embed"),
        ([nl.NTXent()], {"out": np.ones((4, 3), "f4")}, TypeError, "out must have embeddings's"),
        ([nl.NTXent()], {"out": np.broadcast_to(1.0, (4, 3))}, ValueError, "out is read-only"),
        ([nl.NTXent()], {"out": [[1.0] * 3] * 4}, TypeError, "out must be an array that can"),
        ([*CALLS][2:], {"workspace": 0}, ValueError, "workspace must be a number of bytes > 0"),
        ([*CALLS][2:], {"workspace": -5}, ValueError, "workspace must be a number of bytes > 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(losses, change, error, message):
    for loss in losses:
        arguments = dict(CALLS[loss])
        names = [*arguments][: inputs_of(loss)]
        changed = {names[key] if key in (0, 1) else key: what for key, what in change.items()}
        if isinstance(changed.get("out"), dict):
            ((place, array),) = changed["out"].items()
            changed["out"] = tuple(array if i == place else None for i in range(len(names)))
        text = message
        for i, name in enumerate(names):
            text = text.replace(f"{{{i}}}", name)
        copies = {name: np.array(one) for name, one in arguments.items()}
        with pytest.raises(error, match=text):
            loss.value_and_grad(**(arguments | changed))
        for name, one in copies.items():
            np.testing.assert_array_equal(arguments[name], one)


def test_a_symmetric_loss_takes_as_many_keys_as_queries():
    with pytest.raises(ValueError, match="as many keys as queries, not 5 and 4"):
        nl.InfoNCE(symmetric=True)(ONES, np.ones((5, 3)))


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_gradients_may_not_share_memory(loss):
    vectors, rows = batch(loss)
    if isinstance(loss, nl.LabelledEmbedding):
        with pytest.raises(ValueError, match="out shares memory with embeddings"):
            loss.value_and_grad(*vectors, *rows, out=vectors[0])
        space = np.zeros(9 * 4 + 9)
        with pytest.raises(ValueError, match="out shares memory with sample_weight"):
            loss.value_and_grad(
                *vectors, *rows, sample_weight=space[30:39], out=space[:36].reshape(9, 4)
            )
        return
    nothing = (None,) * (len(vectors) - 1)
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with"):
        loss.value_and_grad(*vectors, *rows, out=(vectors[0], *nothing))
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with"):
        loss.value_and_grad(*vectors, *rows, out=(vectors[1], *nothing))
    space = np.zeros((10, 4))
    with pytest.raises(ValueError, match=r"out\[0\] and out\[1\] share memory"):
        loss.value_and_grad(*vectors, *rows, out=(space[:9], space[1:], *nothing[1:]))


@pytest.mark.parametrize("place", [(0, 1), (1, 2)])
def test_the_first_number_out_of_range_is_named_in_rows_of_any_shape(place):
    vectors, target = np.random.default_rng(0).normal(size=(2, 2, 3, 4)), np.zeros((2, 3))
    target[place] = 0.5
    with pytest.raises(ValueError, match=rf"target\[{place[0]}, {place[1]}\] is 0.5"):
        nl.Contrastive()(*vectors, target)
    nl.Contrastive()(*vectors, target, check=False)
    weight = np.ones((2, 3))
    weight[place] = -2.0
    with pytest.raises(ValueError, match=rf"sample_weight\[{place[0]}, {place[1]}\] is -2"):
        nl.Triplet()(*vectors, vectors[0], sample_weight=weight)


# Losses as objects


@pytest.mark.parametrize("loss", [*EACH, *MINED_DIRECTIONS], ids=repr)
def test_losses_are_pickled_compared_and_found(loss):
    assert pickle.loads(pickle.dumps(loss)) == loss
    assert hash(pickle.loads(pickle.dumps(loss))) == hash(loss)
    for name in (type(loss).__name__, *loss.aliases):
        assert type(nl.get(name)) is type(loss)
    with pytest.raises(AttributeError):
        loss.margin = 3.0
    with pytest.raises(TypeError, match="sums"):
        loss + loss
    with pytest.raises(TypeError, match="sums"):
        2.0 * loss
    assert not hasattr(loss, "value_grad_hess")


@pytest.mark.parametrize("loss", [*EACH, nl.InfoNCE(normalize=False)], ids=repr)
def test_results_are_the_same_bits_for_any_number_of_threads(loss):
    in_batch = isinstance(loss, nl.KeyedEmbedding | nl.LabelledEmbedding)
    # Enough for several threads, and for several blocks.
    vectors, rows = batch(loss, 700 if in_batch else 7000, 33, np.float32)
    weight = np.random.default_rng(1).random(len(vectors[0]))
    options = {"sample_weight": weight}
    if in_batch:
        options["workspace"] = 200_000
    before = numba.get_num_threads()
    results = set()
    try:
        for threads in (1, 2, 1, 2, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            value, gradients = both(loss, vectors, rows, **options)
            values = loss(*vectors, *rows, reduction="none", **options)
            bits = [np.float64(value), values, *gradients]
            results.add(b"".join(one.tobytes() for one in bits))
    finally:
        numba.set_num_threads(before)
    assert np.isfinite(value)
    assert len(results) == 1


def _vectors(*shape):
    return np.random.default_rng(7).normal(size=shape)


def test_targets_and_labels_cannot_be_left_out():
    a = _vectors(4, 3)
    with pytest.raises(TypeError, match="Contrastive needs a target"):
        nl.Contrastive()(a, a, None)
    for call in (nl.NTXent(), nl.NTXent().diagnose):
        with pytest.raises(TypeError, match="NTXent needs labels"):
            call(a, None)


def test_a_parameter_called_mining_means_nothing_to_losses_of_numbers():
    class Weighted(nl.Elementwise):
        mining: float = 2.0

        def point(self, prediction, target):
            residual = prediction - target
            return self.mining * residual, self.mining, 0.0

    assert Weighted()([1.0, 2.0], [0.0, 0.0]) == 3.0


def test_a_map_in_the_place_of_the_hinge_does_not_mine_all_triplets():
    class Soft(nl.BatchTriplet):
        def point(self, positive, negative):
            slope = nl.sigmoid(positive - negative)
            return nl.softplus(positive - negative), slope, -slope

    Soft(mining="semi-hard")
    with pytest.raises(ValueError, match="sums hinges, not the map of Soft"):
        Soft(mining="all")


def test_a_distance_that_a_subclass_brings_replaces_the_inherited_one():
    class Manhattan(nl.Triplet):
        def term(self, difference):
            return abs(difference), (1.0 if difference > 0.0 else -1.0)

        def root(self, total):
            return total, 1.0

    rows = _vectors(3, 5, 4)
    found = Manhattan().value_and_grad(*rows)
    expected = nl.Triplet(p=1.0).value_and_grad(*rows)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("mining", ["hard", "semi-hard", "all"])
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e25])
def test_triplets_of_tiny_and_huge_vectors_have_the_same_gradients(mining, scale):
    rows, labels = _vectors(40, 6), np.arange(40) % 5
    value, gradient = nl.BatchTriplet(1.0, mining).value_and_grad(rows, labels)
    small = (rows * scale).astype(np.float32)
    found, slopes = nl.BatchTriplet(scale, mining).value_and_grad(small, labels)
    assert found / scale == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(slopes, gradient, atol=1e-7)


@pytest.mark.parametrize("mining", ["hard", "semi-hard", "all"])
def test_triplets_of_vectors_next_to_the_largest_number_are_found(mining):
    rows, labels = 1.0 + 0.02 * _vectors(12, 3), np.arange(12) % 4
    rows /= np.abs(rows).max()
    value, gradient = nl.BatchTriplet(0.0, mining).value_and_grad(rows, labels, reduction="none")
    found, slopes = nl.BatchTriplet(0.0, mining).value_and_grad(
        rows * 1.7e308, labels, reduction="none"
    )
    np.testing.assert_allclose(found / 1.7e308, value, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(slopes, gradient, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_directions_of_tiny_and_huge_vectors_are_what_they_are(scale):
    a, b = _vectors(2, 9, 4)
    value, gradients = nl.InfoNCE().value_and_grad(a, b)
    found, slopes = nl.InfoNCE().value_and_grad(a * scale, b * scale)
    assert found == pytest.approx(value, rel=1e-12)
    for one, other in zip(slopes, gradients):
        np.testing.assert_allclose(one * scale, other, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("temperature", [1e-2, 1e-3, 1e-5])
def test_a_sum_of_exponentials_is_never_below_its_largest(temperature):
    a = _vectors(64, 32).astype(np.float32)
    b = a + 0.05 * np.random.default_rng(8).normal(size=a.shape).astype(np.float32)
    for loss in (nl.InfoNCE(temperature), nl.InfoNCE(temperature, symmetric=True)):
        assert loss(a, b, reduction="none").min() >= 0.0


def test_a_nan_is_not_forgotten_from_block_to_block():
    a, b = _vectors(2, 30, 5)
    b[11] = np.nan
    labels = np.arange(30) % 3
    for loss in (nl.InfoNCE(), nl.InfoNCE(symmetric=True), nl.SigLIP()):
        assert np.isnan(loss(a, b, reduction="none", workspace=300)).all()
    for loss in (nl.NTXent(), nl.SupervisedContrastive(), nl.BatchTriplet()):
        assert np.isnan(loss(b, labels, reduction="none", workspace=300)).all()


def test_infinite_distances_stay_in_their_memory():
    x = np.zeros((6, 4), np.float32)
    x[:, 0] = np.array([1, -1, -1, -1, 1, 1]) * 1.5e19
    for mining in ("hard", "semi-hard", "all"):
        found = nl.BatchTriplet(mining=mining, squared=True)(x, [0, 0, 0, 0, 1, 1])
        assert found > 1e38 or not np.isfinite(found)  # of squared distances of 9e38
        loss = nl.BatchTriplet(mining=mining)
        expected = loss(x.astype(np.float64), [0, 0, 0, 0, 1, 1])
        assert loss(x, [0, 0, 0, 0, 1, 1]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("workspace", [None, 1])
@pytest.mark.parametrize(
    "loss",
    [
        nl.BatchTriplet(0.5, "hard", squared=True),
        nl.BatchTriplet(0.5, "semi-hard", squared=True),
        nl.BatchTriplet(0.5, "all", squared=True),
        nl.NTXent(),
        nl.SupervisedContrastive(),
    ],
    ids=repr,
)
def test_products_out_of_range_warn_of_nothing(loss, workspace):
    x = _vectors(6, 3).astype(np.float32)
    x[4, 0] = 3.4e38
    weight = np.float32([2, 0, 0, 0.4, 1, 1])
    loss.value_and_grad(
        x, [1, 1, 0, 1, 1, 0], sample_weight=weight, reduction="none", workspace=workspace
    )


def test_methods_that_return_or_take_something_else_are_explained():
    class NoSlope(nl.PairEmbedding):
        def term(self, difference):
            return difference * difference

        def point(self, distance, target):
            return distance, 1.0

    class OneArgument(nl.KeyedEmbedding):
        def point(self, similarity):
            return similarity, 1.0, 0.0

    class TwoResults(nl.KeyedEmbedding):
        def point(self, similarity, log_sum):
            return similarity, 1.0

    class Nothing(nl.LabelledEmbedding):
        form = "triplets"

    a = _vectors(4, 3)
    with pytest.raises(TypeError, match=r"NoSlope\.term must return two numbers"):
        NoSlope()(a, a, np.ones(4))
    with pytest.raises(TypeError, match=r"point must take \(self, similarity, log_sum\)"):
        OneArgument()(a, a)
    with pytest.raises(TypeError, match="it must return three numbers: the value, and its slopes"):
        TwoResults()(a, a)
    with pytest.raises(TypeError, match=r"has neither value\(self, positive, negative"):
        Nothing()(a, [0, 0, 1, 1])


def test_options_that_have_no_meaning_are_refused():
    a = _vectors(4, 3)
    with pytest.raises(TypeError, match="workspace must be a whole number of bytes"):
        nl.InfoNCE()(a, a, workspace="much")
    with pytest.raises(ValueError, match=r"temperature must be in \[1e-30, inf\)"):
        nl.InfoNCE(1e-39)
    repeated = np.lib.stride_tricks.as_strided(np.zeros(3), (4, 3), (0, 8))
    with pytest.raises(ValueError, match="elements that share memory"):
        nl.InfoNCE().value_and_grad(a, a, out=(repeated, None))

    class Both(nl.LabelledEmbedding):
        symmetric: bool = True

        def point(self, similarity, log_sum):
            return log_sum - similarity, -1.0, 1.0

    with pytest.raises(ValueError, match="symmetric is for losses of keys"):
        Both()


def test_vectors_without_elements_can_be_looked_at():
    found = nl.InfoNCE().diagnose(np.zeros((3, 0)), np.zeros((3, 0)))
    assert found == nl.Diagnosis(3, 3, 3, 3, 6, 0.0)


@pytest.mark.parametrize(
    ("loss", "rest"),
    [
        (nl.Contrastive(2.0), (np.array([0, 1, 0, 1, 0, 1]),)),
        (nl.Triplet(2.0), (_vectors(2, 6, 4)[1],)),
        (nl.InfoNCE(), ()),
        (nl.SupervisedContrastive(0.5), ()),
    ],
)
def test_gradients_of_vectors_are_checked_by_differences(loss, rest):
    a, b = _vectors(2, 6, 4)
    given = (a, [0, 0, 1, 1, 2, 2]) if isinstance(loss, nl.LabelledEmbedding) else (a, b, *rest)
    assert nl.check_gradient(loss, *given) < 1e-7
    with pytest.raises(TypeError, match="takes a prediction and a target, no more"):
        nl.check_gradient(nl.Huber(), [1.0], [0.0], [0.0])


@pytest.mark.parametrize("loss", MINED, ids=repr)
def test_a_nan_that_nothing_is_compared_with_stays_alone(loss):
    a = _vectors(5, 3)
    a[2] = np.nan
    for labels in (np.zeros(5, int), np.arange(5)):
        value, gradient = loss.value_and_grad(a, labels, reduction="sum")
        assert value == 0.0
        assert not np.delete(gradient, 2, axis=0).any()
        assert np.isnan(loss(a, labels))
