"""Batches of vectors on a GPU."""

import math

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import (
    KEYED_LOSSES,
    LABELLED_LOSSES,
    identify,
)
from tests.support.gpu.streams import CYCLES, twice_on_a_stream

pytestmark = pytest.mark.gpu


IN_BATCH = [*KEYED_LOSSES, *LABELLED_LOSSES]


def batch(loss, count, length, dtype):
    """Vectors, and labels for losses that take them."""
    rng = np.random.default_rng(count)
    given = [rng.normal(size=(count, length)).astype(dtype) for _ in range(2)]
    if isinstance(loss, nl.LabelledEmbedding):
        given[1] = rng.integers(0, count // 10, count)
    return given


def paired(found, expected):
    """Gradients, which may be a single one, with those of another call."""
    return zip(found, expected) if isinstance(found, tuple) else [(found, expected)]


@pytest.mark.parametrize("loss", IN_BATCH, ids=identify)
def test_losses_of_batches_are_the_same_in_every_run(torch, loss):
    given = [torch.tensor(one, device="cuda") for one in batch(loss, 1000, 33, np.float32)]
    for workspace in (None, 1 << 18):
        results = [loss.value_and_grad(*given, workspace=workspace) for _ in range(4)]
        value, gradients = results[0]
        for again, others in results[1:]:
            assert again == value
            assert all(torch.equal(*pair) for pair in paired(gradients, others))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", IN_BATCH, ids=identify)
def test_losses_of_large_batches_agree_with_the_cpu(torch, loss, dtype):
    given = batch(loss, 3000, 64, dtype)
    value, *expected = loss.value_and_grad(*given)
    arrays = [torch.tensor(one, device="cuda") for one in given]
    double = dtype is np.float64
    # A positive and a negative equally far away change places by rounding: a jump.
    jumps = getattr(loss, "mining", None) == "semi-hard" and not double
    for workspace in (None, 4 << 20):
        again, *found = loss.value_and_grad(*arrays, workspace=workspace)
        assert again == pytest.approx(value, rel=1e-11 if double else 1e-3 if jumps else 2e-5)
        for one, other in paired(found[0], expected[0]):
            off = one.cpu().numpy().astype("f8") - other
            # Of distances that are equal but for rounding, either may be the nearest.
            most = 1e-10 if double else 0.1 if jumps else 1e-3
            assert np.linalg.norm(off) <= most * np.linalg.norm(other)


def test_batches_are_ordered_on_the_current_stream_of_torch_and_nobody_waits(torch):
    loss, count = nl.InfoNCE(0.5), 2048
    queries, keys = (torch.zeros(count, 32, device="cuda") for _ in range(2))
    stream, ready = torch.cuda.Stream(), torch.cuda.Event()

    def body():
        torch.cuda._sleep(CYCLES)
        queries[:, 0] = keys[:, 0] = 1.0
        keys[:1, 0] = -1.0  # a single element would be set by a copy that waits
        value, (of_queries, _) = loss.value_and_grad(queries, keys, wait=False)
        twice = of_queries * 2
        ready.record()
        return not ready.query(), value, twice

    def clear():
        queries.zero_()
        keys.zero_()

    torch.cuda.synchronize()
    on_its_way, value, twice = twice_on_a_stream(
        body, clear, torch.cuda.stream(stream), torch.cuda.synchronize
    )
    assert on_its_way, "somebody has waited"
    whole = (count - 1) * math.exp(2) + math.exp(-2)
    expected = math.log(whole) - ((count - 1) * 2 - 2) / count
    assert float(value) == pytest.approx(expected, rel=1e-5)
    stream.synchronize()
    assert torch.isfinite(twice).all()


def test_memory_of_batches_is_that_of_the_workspace(torch):
    count, length, workspace = 20_000, 64, 16 << 20
    vectors = torch.randn(count, length, device="cuda")
    labels = torch.arange(count, device="cuda") // 4
    for loss in (nl.NTXent(), nl.BatchTriplet(), nl.BatchTriplet(mining="semi-hard")):
        loss.value_and_grad(vectors[:100], labels[:100])
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss.value_and_grad(vectors, labels, workspace=workspace)
        taken = torch.cuda.max_memory_allocated() - before
        assert taken <= workspace + 4 * vectors.nbytes + 200 * count + (1 << 20)
