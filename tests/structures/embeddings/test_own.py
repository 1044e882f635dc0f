"""Losses of vectors that users define."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.own_losses import Decoupled, LabelledPairs, SoftTriplet, SquaredPairs
from tests.support.reference.embeddings import differences
from tests.support.vectors import both, drawn


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


@pytest.mark.every(6)
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

    rows = drawn(3, 5, 4)
    found = Manhattan().value_and_grad(*rows)
    expected = nl.Triplet(p=1.0).value_and_grad(*rows)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


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

    a = drawn(4, 3)
    with pytest.raises(TypeError, match=r"NoSlope\.term must return two numbers"):
        NoSlope()(a, a, np.ones(4))
    with pytest.raises(TypeError, match=r"point must take \(self, similarity, log_sum\)"):
        OneArgument()(a, a)
    with pytest.raises(TypeError, match="it must return three numbers: the value, and its slopes"):
        TwoResults()(a, a)
    with pytest.raises(TypeError, match=r"has neither value\(self, positive, negative"):
        Nothing()(a, [0, 0, 1, 1])
