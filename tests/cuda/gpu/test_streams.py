"""Work on the stream that is current."""

import math

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.streams import CYCLES, twice_on_a_stream

pytestmark = pytest.mark.gpu


def test_work_is_ordered_on_the_current_stream_of_torch_and_nobody_waits(torch):
    loss, size = nl.Huber(), 1 << 20
    prediction, target = (torch.zeros(size, device="cuda") for _ in range(2))
    logits, labels = torch.zeros(64, 32768, device="cuda"), torch.zeros(64, device="cuda").long()
    stream, ready = torch.cuda.Stream(), torch.cuda.Event()

    def body():
        torch.cuda._sleep(CYCLES)
        prediction.fill_(3.0)
        logits[:, 1] = 10.0
        value, gradient = loss.value_and_grad(prediction, target, wait=False)
        of_rows, _ = nl.CrossEntropy().value_and_grad(logits, labels, wait=False)
        twice = gradient * 2
        ready.record()
        return not ready.query(), value, of_rows, twice

    def clear():
        prediction.zero_()
        logits.zero_()

    torch.cuda.synchronize()
    on_its_way, value, of_rows, twice = twice_on_a_stream(
        body, clear, torch.cuda.stream(stream), torch.cuda.synchronize
    )
    assert on_its_way, "somebody has waited"
    assert float(value) == 2.5
    assert float(of_rows) == pytest.approx(math.log(math.exp(10) + 32767), rel=1e-6)
    stream.synchronize()
    assert (twice == 2.0 / size).all()


def test_a_value_and_a_gradient_are_there_when_a_call_returns_that_waits(torch):
    prediction, target = (torch.zeros(1 << 20, device="cuda") for _ in range(2))
    nl.Huber()(prediction, target)
    torch.cuda._sleep(CYCLES)
    prediction.fill_(3.0)
    assert nl.Huber()(prediction, target) == 2.5


def test_work_is_ordered_on_the_current_stream_of_cupy(cupy):
    loss, size = nl.Huber(), 1 << 20
    prediction, target = (cupy.zeros(size, np.float32) for _ in range(2))
    matrix = cupy.ones((4096, 4096), np.float32)
    product = cupy.empty_like(matrix)
    stream = cupy.cuda.Stream(non_blocking=True)

    def body():
        for _ in range(200):
            cupy.matmul(matrix, matrix, out=product)
        prediction.fill(3.0)
        value, gradient = loss.value_and_grad(prediction, target, wait=False)
        twice = gradient * 2
        return not stream.done, value, twice

    synchronize = cupy.cuda.Device().synchronize
    synchronize()
    on_its_way, value, twice = twice_on_a_stream(
        body, lambda: prediction.fill(0.0), stream, synchronize
    )
    assert on_its_way, "somebody has waited"
    assert float(value) == 2.5
    stream.synchronize()
    assert (twice == np.float32(2.0) / size).all()


def test_streams_do_not_share_their_sums(torch):
    streams = [torch.cuda.Stream() for _ in range(8)]
    given = [torch.full((100_003,), float(k), device="cuda") for k in range(8)]
    target = torch.zeros(100_003, device="cuda")
    torch.cuda.synchronize()
    values = []
    for _ in range(20):
        for stream, prediction in zip(streams, given):
            with torch.cuda.stream(stream):
                values.append(nl.SquaredError()(prediction, target, wait=False))
    assert list(map(float, values)) == [float(k * k) for k in range(8)] * 20


def test_many_threads_of_the_host_may_call_at_once(torch):
    from concurrent.futures import ThreadPoolExecutor

    given = [torch.full((10_007,), float(k), device="cuda") for k in range(16)]
    target = torch.zeros(10_007, device="cuda")

    def work(prediction):
        return {nl.SquaredError()(prediction, target) for _ in range(50)}

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, given)) == [{float(k * k)} for k in range(16)]
