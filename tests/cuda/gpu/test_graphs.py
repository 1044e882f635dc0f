"""Calls in CUDA graphs."""

import pytest

import numbaloss as nl

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("shape", [(1 << 20,), (512, 1000), (2, 200_000)])
def test_a_graph_computes_what_a_call_does(torch, shape):
    rows = len(shape) > 1
    loss = nl.CrossEntropy() if rows else nl.Huber()
    p = torch.zeros(shape, device="cuda")
    t = torch.zeros(shape[:1], device="cuda", dtype=torch.int64 if rows else torch.float32)
    gradient = torch.empty_like(p)
    for _ in range(3):
        loss.value_and_grad(p, t, out=gradient, wait=False)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value, _ = loss.value_and_grad(p, t, out=gradient, wait=False)
        doubled = torch.as_tensor(value, device="cuda") * 2
    for seed in range(3):
        torch.manual_seed(seed)
        p.copy_(torch.randn_like(p))
        expected, wanted = loss.value_and_grad(p, t)
        gradient.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        assert float(value) == pytest.approx(expected, rel=1e-6)
        assert float(doubled) == pytest.approx(2 * expected, rel=1e-6)
        torch.testing.assert_close(gradient, wanted)


def test_a_call_that_was_never_made_says_so(torch):
    p, t = torch.zeros(77, device="cuda"), torch.zeros(77, device="cuda")
    loss = nl.SquaredLogError()
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="before the capture"), torch.cuda.graph(graph):
        loss.value_and_grad(p, t, wait=False)
