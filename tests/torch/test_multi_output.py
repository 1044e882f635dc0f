"""Losses of several outputs as modules of PyTorch."""

import pytest

import numbaloss as nl

torch = pytest.importorskip("torch")

from numbaloss.torch import Loss  # noqa: E402


def randoms(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_gradients_are_those_of_differences(reduction):
    prediction, target = randoms(20, 2).requires_grad_(), randoms(20, seed=1)
    module = Loss(nl.GaussianNLL(), reduction=reduction)
    assert torch.autograd.gradcheck(lambda given: module(given, target), (prediction,))


def test_values_are_those_of_torch():
    prediction, target = randoms(20, 2), randoms(20, seed=1)
    mean, log_scale = prediction.T
    native = torch.distributions.Normal(mean, log_scale.exp())
    found = Loss(nl.GaussianNLL())(prediction, target)
    torch.testing.assert_close(found, -native.log_prob(target).mean())


def test_losses_without_targets_take_none():
    scores = randoms(6, 2).requires_grad_()
    Loss(nl.SimPO())(scores).backward()
    margin = 1.0 - 2.0 * (scores[:, 0] - scores[:, 1])
    (wanted,) = torch.autograd.grad(torch.nn.functional.softplus(margin).mean(), scores)
    torch.testing.assert_close(scores.grad, wanted)


def test_compiled_graphs_hold_the_whole_call():
    prediction, target = randoms(6, 2).requires_grad_(), randoms(6, seed=1)
    module = Loss(nl.GaussianNLL())
    found = torch.compile(module, fullgraph=True, backend="aot_eager")(prediction, target)
    torch.testing.assert_close(found, module(prediction, target))
    torch.testing.assert_close(
        *[torch.autograd.grad(one, prediction)[0] for one in (found, module(prediction, target))]
    )
