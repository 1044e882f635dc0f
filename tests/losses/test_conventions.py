"""What docstrings say of conventions: where libraries differ, or a formula leaves a choice."""

import numpy as np
import pytest

import numbaloss as nl

RNG = np.random.default_rng(7)
LOGITS, TARGETS = RNG.normal(size=(6, 4)), RNG.dirichlet(np.ones(4), 6)
VECTORS = RNG.normal(size=(5, 3))


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def test_divergence_takes_logits_and_means_over_rows():
    log_p, terms = log_softmax(LOGITS), TARGETS * np.log(TARGETS)
    # PyTorch's kl_div: of log-probabilities, term by term.
    terms = terms - TARGETS * log_p
    value, gradient = nl.KLDivergence().value_and_grad(LOGITS, TARGETS)
    assert value == pytest.approx(terms.sum() / len(LOGITS), rel=1e-13)  # its "batchmean"
    assert value == pytest.approx(4 * terms.mean(), rel=1e-13)  # its "mean"
    again, of_logs = nl.KLDivergence().value_and_grad(log_p, TARGETS)
    assert again == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(of_logs, gradient, rtol=1e-12)
    np.testing.assert_allclose(gradient, (np.exp(log_p) - TARGETS) / 6, rtol=1e-11)


def test_divergence_is_what_pytorch_calls_batchmean():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    log_p = functional.log_softmax(torch.tensor(LOGITS), -1)
    wanted = functional.kl_div(log_p, torch.tensor(TARGETS), reduction="batchmean").item()
    assert nl.KLDivergence()(LOGITS, TARGETS) == pytest.approx(wanted, rel=1e-13)


@pytest.mark.parametrize("index", [-100, 0, 1])
def test_no_row_of_dense_targets_is_ignored(index):
    loss, one_hot = nl.CrossEntropy(ignore_index=index), np.eye(4)[[0, 1, 0, 3, 1, 2]]
    value = -(one_hot * log_softmax(LOGITS)).sum(axis=-1)
    np.testing.assert_allclose(loss(LOGITS, one_hot, reduction="none"), value, rtol=1e-12)
    assert loss(LOGITS, one_hot) == pytest.approx(value.mean(), rel=1e-12)
    counts = one_hot[:, 0] == 0
    assert loss(LOGITS, one_hot, mask=counts) == pytest.approx(value[counts].mean(), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8])
def test_hessian_of_an_expectile_at_its_kink_is_that_of_the_low_side(alpha):
    given = np.array([3.0, 3.0 - 1e-9, 3.0 + 1e-9]), np.full(3, 3.0)
    value, gradient, hessian = nl.Expectile(alpha).value_grad_hess(*given, reduction="none")
    assert value[0] == gradient[0] == 0.0
    np.testing.assert_allclose(hessian, [2 * alpha, 2 * alpha, 2 * (1 - alpha)], rtol=1e-15)


def test_anchors_alone_of_their_label_are_no_terms_of_hard_triplets():
    labels = np.array([0, 0, 1, 2, 0])
    loss = nl.BatchTriplet(margin=2.0)
    distance = np.linalg.norm(VECTORS[:, None] - VECTORS, axis=-1)
    like = labels[:, None] == labels
    nearest = np.where(like, np.inf, distance).min(axis=1)
    value = np.maximum(np.where(like, distance, 0.0).max(axis=1) - nearest + 2.0, 0.0)
    anchors = labels == 0
    np.testing.assert_allclose(
        loss(VECTORS, labels, reduction="none"), np.where(anchors, value, 0.0), rtol=1e-12
    )
    assert loss(VECTORS, labels) == pytest.approx(value[anchors].mean(), rel=1e-12)
    # Those that take a missing positive for one at distance 0, and divide by all rows.
    assert loss(VECTORS, labels) != pytest.approx(value.mean(), rel=1e-2)


def test_positives_without_negatives_compete_with_each_other():
    like = np.zeros(5, int)
    unit = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    logits = unit @ unit.T / 0.5
    logits = logits[~np.eye(5, dtype=bool)].reshape(5, 4)
    value = nl.SupervisedContrastive(0.5)(VECTORS, like, reduction="none")
    np.testing.assert_allclose(value, -log_softmax(logits).mean(axis=-1), rtol=1e-12)
    assert (value >= np.log(4.0)).all()
    alike = nl.SupervisedContrastive(0.5)(np.ones((5, 3)), like)
    assert alike == pytest.approx(np.log(4.0), rel=1e-12)
    assert nl.NTXent(0.5)(VECTORS, like, reduction="sum") == 0.0


def test_moved_anchors_have_the_distances_of_pytorch():
    anchor, positive, negative = RNG.normal(size=(3, 6, 4))

    def distance(one, other):
        return np.linalg.norm(one - other + 1e-6, axis=-1)  # PyTorch's pairwise_distance

    value = np.maximum(distance(anchor, positive) - distance(anchor, negative) + 1.0, 0.0)
    found = nl.Triplet()(anchor + 1e-6, positive, negative, reduction="none")
    np.testing.assert_allclose(found, value, rtol=1e-13)
    plain = nl.Triplet()(anchor, positive, negative, reduction="none")
    assert np.abs(plain - value).max() > 1e-8
    # As far as the docstring says, for each of the two distances.
    assert np.abs(plain - value).max() <= 2 * 1e-6 * 4**0.5
