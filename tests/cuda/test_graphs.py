"""Calls in a CUDA graph: nothing asks the driver for what a capture forbids."""

from __future__ import annotations

import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, results
from tests.support.gpu.stub import Array, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no driver")

STREAM = 7
# The rest asks for memory, waits, or cannot be told apart from what does.
ALLOWED = {"cuStreamIsCapturing", "cuLaunchKernel"}
CALLS = [
    (nl.Huber(), (1000,), (1000,), "f4", 1),
    (nl.BinaryCrossEntropy(), (100, 10), (100, 10), "u1", 1),
    (nl.CrossEntropy(), (1000, 10), (1000,), "i8", 2),
    (nl.CrossEntropy(class_weight=[1.0] * 30), (64, 30), (64,), "i4", 2),
    (nl.CrossEntropy(), (2, 100_000), (2,), "i4", 3),
    (nl.CrossEntropy(), (20, 30), (20, 30), "f4", 1),
]


def arrays(shape, of_target, kind, stream=None):
    return (
        Array(shape, "f4", stream=stream),
        Array(of_target, kind, stream=stream),
        Array(shape, "f4", stream=stream),
    )


@pytest.mark.parametrize("warm_up", [1, 5])
@pytest.mark.parametrize(("loss", "shape", "of_target", "kind", "launches"), CALLS)
def test_a_capture_takes_launches_alone(loss, shape, of_target, kind, launches, warm_up):
    with stub_gpu() as driver:
        p, t, g = arrays(shape, of_target, kind)
        for _ in range(warm_up):  # known, or known so well that it is repeated
            loss.value_and_grad(p, t, out=g, wait=False)
        p, t, g = arrays(shape, of_target, kind, STREAM)
        driver.captured.add(STREAM)
        for _ in range(warm_up):
            driver.calls.clear()
            loss.value_and_grad(p, t, out=g, wait=False)
            assert set(driver.calls) == ALLOWED
            assert driver.calls.count("cuLaunchKernel") == launches


def test_where_a_graph_leaves_sums_nobody_else_does():
    loss = nl.Huber()
    with stub_gpu() as driver:
        loss.value_and_grad(*arrays((99,), (99,), "f4")[:2], wait=False)
        given = arrays((99,), (99,), "f4", STREAM)
        driver.captured.add(STREAM)
        inside = loss(*given[:2], wait=False)
        address = inside.__cuda_array_interface__["data"][0]
        del inside  # the graph goes on writing there
        driver.captured.clear()
        for _ in range(300):
            outside = loss(*given[:2], wait=False)
            assert outside.__cuda_array_interface__["data"][0] != address


def test_a_call_that_has_not_been_made_says_what_to_do():
    loss = nl.Huber()
    with stub_gpu() as driver:
        driver.captured.add(STREAM)
        p, t, _ = arrays((99,), (99,), "f4", STREAM)
        with pytest.raises(RuntimeError, match=r"make the same call, .* before the capture"):
            loss(p, t, wait=False)
        driver.captured.clear()
        loss(p, t, wait=False)
        driver.captured.add(STREAM)
        strided = Array((99,), "f4", p.address + 4, stream=STREAM)  # whose layout has to be sent
        with pytest.raises(RuntimeError, match="before the capture"):
            loss(strided, t, wait=False)


def test_a_number_of_a_graph_is_read_anew(monkeypatch):
    class Sums:
        out_of_range, value = 0.0, 1.0

    waits = []
    monkeypatch.setattr(backend, "synchronize_all", waits.append)
    monkeypatch.setattr(backend, "read_words", lambda address, count, place: Sums)
    sums_of = results.LaunchSums
    monkeypatch.setattr(results, "LaunchSums", lambda words: words)
    results.LaunchSums.memory = sums_of.memory
    sums = results.DeviceSums.__new__(results.DeviceSums)
    sums.workspace = type("Workspace", (), {"place": backend.Place(0, STREAM)})
    sums.captured, sums._slab, sums._row, sums.address = True, [None], 0, 16
    value = nl.device_value.DeviceValue(sums, "")
    with stub_gpu() as driver:
        assert float(value) == 1.0
        Sums.value = 2.0  # the graph ran once more
        assert float(value) == 2.0
        assert waits == [0, 0]
        driver.captured.add(STREAM)
        with pytest.raises(RuntimeError, match="being captured"):
            float(value)
