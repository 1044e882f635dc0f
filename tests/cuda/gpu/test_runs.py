"""The same results in every run."""

import pytest

import numbaloss as nl
from catalogue.cases import (
    EACH,
    EACH_ROW_CASE,
    EMBEDDING_ROW_LOSSES,
    identify,
    inputs,
    row_inputs,
)

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("loss", EACH, ids=identify)
def test_elementwise_losses_are_the_same_in_every_run(torch, loss):
    prediction, target = inputs(loss, 1_000_003, 0)
    given = [torch.tensor(one, dtype=torch.float32, device="cuda") for one in (prediction, target)]
    value, *arrays = loss.value_grad_hess(*given)
    for _ in range(3):
        again, *others = loss.value_grad_hess(*given)
        assert again == value
        assert all(torch.equal(one, other) for one, other in zip(arrays, others))


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
def test_losses_of_rows_are_the_same_in_every_run(torch, loss, form):
    for rows, classes in ((4099, 10), (300, 1000), (2, 100_000)):
        logits, target = row_inputs(loss, form, rows, classes, 0)
        given = (
            torch.tensor(logits, dtype=torch.float32, device="cuda"),
            torch.tensor(target, device="cuda"),
        )
        value, gradient = loss.value_and_grad(*given)
        for _ in range(3):
            again, other = loss.value_and_grad(*given)
            assert again == value
            assert torch.equal(gradient, other)


@pytest.mark.parametrize("loss", EMBEDDING_ROW_LOSSES, ids=identify)
def test_losses_of_vectors_are_the_same_in_every_run(torch, loss):
    pairs = isinstance(loss, nl.PairEmbedding)
    for rows, length in ((4099, 10), (3000, 128), (5, 100_000)):
        torch.manual_seed(0)
        given = [torch.randn(rows, length, device="cuda") for _ in range(2 if pairs else 3)]
        if pairs:
            given.append(torch.arange(rows, device="cuda") % 2)
        value, gradients = loss.value_and_grad(*given)
        for _ in range(3):
            again, others = loss.value_and_grad(*given)
            assert again == value
            assert all(torch.equal(one, other) for one, other in zip(gradients, others))
