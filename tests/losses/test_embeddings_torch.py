"""Losses of vectors against PyTorch: its own losses, and autograd of dense formulations."""

import functools

import numpy as np
import pytest

import numbaloss as nl
from tests.support.reference.embeddings import reference

torch = pytest.importorskip("torch")
functional = torch.nn.functional

PRECISION = 1e-10
REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]


# Values of rows, and the number of their terms, by formulas that autograd can follow.


def pair(loss, first, second, target):
    t = target.double()
    if isinstance(loss, nl.CosineEmbedding):
        c = functional.cosine_similarity(first, second, dim=-1, eps=0.0)
        return t * (1 - c) + (1 - t) * (c - loss.margin).clamp_min(0), torch.ones(len(c))
    d = torch.linalg.vector_norm(first - second, dim=-1)
    return t * d**2 + (1 - t) * (loss.margin - d).clamp_min(0) ** 2, torch.ones(len(d))


def triplet(loss, anchor, positive, negative):
    def distance(a, b):
        d = torch.linalg.vector_norm(a - b, ord=loss.p, dim=-1)
        return d**2 if loss.squared else d

    near, far = distance(anchor, positive), distance(anchor, negative)
    if loss.swap:
        far = torch.minimum(far, distance(positive, negative))
    return (near - far + loss.margin).clamp_min(0), torch.ones(len(near))


def similarities(loss, first, second):
    if loss.normalize:
        first, second = (functional.normalize(one, dim=-1, eps=0.0) for one in (first, second))
    return first @ second.T / loss.temperature


def keyed(loss, queries, keys):
    s = similarities(loss, queries, keys)
    count = len(s)
    if isinstance(loss, nl.SigLIP):
        z = 2 * torch.eye(*s.shape).double() - 1
        return -functional.logsigmoid(z * (s + loss.bias)).sum(1), torch.ones(count)
    values = functional.cross_entropy(s, torch.arange(count), reduction="none")
    if loss.symmetric:
        values = values + functional.cross_entropy(s.T, torch.arange(count), reduction="none")
        values = values / 2
    return values, torch.ones(count)


def labelled(loss, x, labels):
    if isinstance(loss, nl.BatchTriplet):
        return batch_triplet(loss, x, labels)
    s = similarities(loss, x, x)
    values, terms = [], []
    for i in range(len(x)):
        same = labels == labels[i]
        others = torch.arange(len(x)) != i
        positives = s[i][same & others]
        total = s.new_zeros(())
        if isinstance(loss, nl.NTXent):
            for one in positives:
                total = total + torch.logsumexp(torch.cat([one[None], s[i][~same]]), 0) - one
            terms.append(len(positives))
        else:
            if len(positives):
                total = torch.logsumexp(s[i][others], 0) - positives.mean()
            terms.append(int(len(positives) > 0))
        values.append(total)
    return torch.stack(values), torch.tensor(terms)


def batch_triplet(loss, x, labels):
    if loss.normalize:
        x = functional.normalize(x, dim=-1, eps=0.0)
    values, terms = [], []
    for i in range(len(x)):
        d = torch.linalg.vector_norm(x[i] - x, dim=-1)
        d = d**2 if loss.squared else d
        same = labels == labels[i]
        near, far = d[same & (torch.arange(len(x)) != i)], d[~same]
        if not len(near) or not len(far):
            over = d.new_zeros(0)
        elif loss.mining == "hard":
            over = (near.max() - far.min())[None]
        elif loss.mining == "all":
            over = (near[:, None] - far[None, :]).reshape(-1)
        else:
            farther = [far[far > one] for one in near]
            chosen = [some.min() if len(some) else far.max() for some in farther]
            over = near - torch.stack(chosen)
        values.append((over + loss.margin).clamp_min(0).sum())
        terms.append(len(over))
    return torch.stack(values), torch.tensor(terms)


def by_autograd(rows, vectors, weight, reduction):
    """Value and gradients of what ``rows`` makes of tensors."""
    tensors = [torch.tensor(one, requires_grad=True) for one in vectors]
    values, terms = rows(*tensors)
    weight = torch.ones(len(values)).double() if weight is None else torch.tensor(weight)
    total = (weight * values).sum()
    total = total / {"mean": terms.sum(), "weighted_mean": (weight * terms).sum()}.get(reduction, 1)
    total.backward()
    value = (weight * values).detach().numpy() if reduction == "none" else total.item()
    return value, tuple(one.grad.numpy() for one in tensors)


def assert_agree(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=PRECISION, atol=1e-13)
    for one, other in zip(found[1], expected[1], strict=True):
        # Derivatives by directions of one dimension cancel.
        atol = PRECISION * max(np.abs(other).max(), 0.01)
        np.testing.assert_allclose(one, other, rtol=PRECISION, atol=atol)


BY_ROW = [
    nl.Contrastive(),
    nl.Contrastive(margin=4.5),
    nl.CosineEmbedding(),
    nl.CosineEmbedding(margin=-0.3),
    nl.Triplet(),
    nl.Triplet(margin=0.2, swap=True),
    nl.Triplet(margin=3.0, p=1.0, swap=True),
    nl.Triplet(p=2.5),
    nl.Triplet(p=3.0, swap=True),
    nl.Triplet(squared=True, swap=True),
]
KEYED = [
    nl.InfoNCE(),
    nl.InfoNCE(temperature=2.0, normalize=False),
    nl.InfoNCE(symmetric=True),
    nl.SigLIP(),
    nl.SigLIP(temperature=1.5, bias=-0.5, normalize=False),
]
LABELLED = [
    nl.NTXent(),
    nl.NTXent(temperature=3.0, normalize=False),
    nl.SupervisedContrastive(),
    nl.SupervisedContrastive(temperature=3.0, normalize=False),
    *[nl.BatchTriplet(mining=mining) for mining in ("hard", "semi-hard", "all")],
    nl.BatchTriplet(margin=0.2, mining="semi-hard", squared=True, normalize=True),
    nl.BatchTriplet(margin=0.3, mining="all", normalize=True),
]


def batch(loss, seed):
    """Vectors, keywords of the call, and the formula for tensors."""
    rng = np.random.default_rng(seed)
    length = rng.choice([1, 2, 5, 19])
    count = int(rng.integers(2, 14))
    if isinstance(loss, nl.TripletEmbedding):
        return list(rng.normal(size=(3, count, length))), {}, functools.partial(triplet, loss)
    if isinstance(loss, nl.PairEmbedding):
        target = rng.integers(0, 2, count)
        rows = functools.partial(pair, loss, target=torch.tensor(target))
        return list(rng.normal(size=(2, count, length))), {"target": target}, rows
    if isinstance(loss, nl.KeyedEmbedding):
        more = 0 if getattr(loss, "symmetric", False) else int(rng.integers(0, 5))
        queries, keys = rng.normal(size=(count, length)), rng.normal(size=(count + more, length))
        return [queries, keys], {}, functools.partial(keyed, loss)
    labels = rng.integers(0, 4, count)
    labels[:3] = 0, 0, 1  # at least one term
    labels = labels[: max(3, count)]
    rows = functools.partial(labelled, loss, labels=torch.tensor(labels))
    return [rng.normal(size=(len(labels), length))], {"labels": labels}, rows


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", [*BY_ROW, *KEYED, *LABELLED], ids=repr)
def test_values_and_gradients_are_those_of_autograd(loss, reduction):
    for seed in range(4):
        vectors, of_rows, rows = batch(loss, seed)
        weight = None
        if seed % 2:
            rng = np.random.default_rng(seed)
            weight = rng.uniform(0.5, 2.0, len(vectors[0])) * (rng.random(len(vectors[0])) < 0.8)
            weight[:1] = 1.0
        expected = by_autograd(rows, vectors, weight, reduction)
        given = [*of_rows.values()]
        options = {"sample_weight": weight, "reduction": reduction}
        assert_agree(
            reference(loss, *vectors, labels=given[0] if given else None, **options), expected
        )
        value, gradients = loss.value_and_grad(*vectors, *given, **options)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        assert_agree((value, gradients), expected)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_triplets_are_those_of_pytorch_without_its_epsilon(p, swap):
    vectors = np.random.default_rng(7).normal(size=(3, 11, 6))

    def own(*tensors):
        values = functional.triplet_margin_loss(
            *tensors, margin=0.7, p=p, swap=swap, eps=0.0, reduction="none"
        )
        return values, torch.ones(len(values))

    expected = by_autograd(own, list(vectors), None, "mean")
    assert_agree(nl.Triplet(0.7, p, swap).value_and_grad(*vectors), expected)


def test_cosines_are_those_of_pytorch():
    rng = np.random.default_rng(8)
    vectors, target = list(rng.normal(size=(2, 11, 6))), rng.integers(0, 2, 11)

    def own(first, second):
        values = torch.nn.CosineEmbeddingLoss(margin=0.1, reduction="none")(
            first, second, torch.tensor(2 * target - 1)
        )
        return values, torch.ones(len(values))

    expected = by_autograd(own, vectors, None, "mean")
    assert_agree(nl.CosineEmbedding(0.1).value_and_grad(*vectors, target), expected)


def test_distances_of_tensors_give_gradients_that_are_tensors():
    vectors = [torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    value, gradients = nl.InfoNCE().value_and_grad(*vectors)
    assert isinstance(value, float)
    assert all(isinstance(one, torch.Tensor) for one in gradients)
    rows = functools.partial(keyed, nl.InfoNCE())
    arrays = [one.detach().numpy() for one in vectors]
    expected = by_autograd(rows, arrays, None, "mean")
    assert_agree((value, [one.numpy() for one in gradients]), expected)
