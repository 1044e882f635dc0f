"""Shared memory that the driver has to be asked for, and rows that are kept there."""

from __future__ import annotations

import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, shared_memory
from tests.support.gpu.stub import Array, Driver, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no driver")

LIMIT = 227 * 1024


@pytest.fixture
def device(monkeypatch):
    """A driver whose limits nobody has asked for yet."""
    driver = Driver()
    monkeypatch.setattr(backend, "driver", lambda: driver)
    monkeypatch.setattr(shared_memory, "_known", {})
    return driver


def test_a_driver_is_asked_once_for_each_kernel_and_device(device):
    known = {}
    for shared, number in ((100_000, 0), (60_000, 0), (200_000, 0), (100_000, 1), (1000, 2)):
        found = shared_memory.granted(device, "kernel", number, shared, known)
        assert found == shared
    # For all that a block may have, less what reductions take; 1000 bytes need no question.
    assert device.asked == [("dynamic", LIMIT - 1024, f"device {number}") for number in (0, 1)]


def test_where_it_is_refused_blocks_get_what_they_may_have_unasked(device):
    device.refuses = True
    for shared, expected in ((100_000, 47 * 1024), (1000, 1000)):
        assert shared_memory.granted(device, "kernel", 0, shared, {}) == expected
    device.shared = 0  # it does not tell, now
    assert shared_memory.most(1) == 47 * 1024
    device.shared = LIMIT
    assert shared_memory.most(1) == LIMIT - 1024
    assert shared_memory.granted(object(), "kernel", 0, 100_000, {}) == 47 * 1024


def rows(kind, count, classes):
    """Arrays for a call, whose memory nobody reads."""
    logits, target = Array((count, classes), kind), Array((count,), "i8")
    return logits, target, Array((count, classes), kind)


@pytest.mark.parametrize(
    ("kind", "classes", "shared", "blocks"),
    [
        # Two blocks a multiprocessor, if rows leave room; as much of long ones as there is.
        ("f2", 50_000, 100_000, 264),
        ("f4", 50_000, 200_000, 132),
        ("f4", 131_072, LIMIT - 1024, 132),
        ("f8", 20_001, 160_016, 132),
    ],
)
def test_launches_ask_for_what_a_row_takes(kind, classes, shared, blocks):
    with stub_gpu() as driver:
        *given, out = rows(kind, 1000, classes)
        nl.CrossEntropy().value_and_grad(*given, out=out, wait=False, reduction="sum")
    started = driver.started[-1]
    assert started.kernel.function.__name__ == "softmax_kept"
    assert (started.shared, started.blocks) == (shared, blocks)


def test_dense_targets_take_as_much_again():
    with stub_gpu() as driver:
        logits, _, out = rows("f2", 1000, 40_000)
        target = Array((1000, 40_000), "f2")
        nl.CrossEntropy().value_and_grad(logits, target, out=out, wait=False)
    started = driver.started[-1]
    assert started.kernel.function.__name__ == "softmax_kept_classes"
    assert (started.shared, started.blocks) == (160_000, 132)


def test_values_alone_keep_nothing():
    with stub_gpu() as driver:
        nl.CrossEntropy()(*rows("f4", 1000, 50_000)[:2], wait=False, reduction="sum")
    assert driver.started[-1].shared == 0


def test_the_attribute_is_set_once_and_launches_have_their_bytes(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBALOSS_CACHE_DIR", str(tmp_path))
    with stub_gpu((9, 0)) as driver:
        for classes in (40_000, 50_000, 40_000):
            *given, out = rows("f4", 1000, classes)
            nl.CrossEntropy().value_and_grad(*given, out=out, wait=False, reduction="sum")
        assert [one.shared for one in driver.started] == [160_000, 200_000, 160_000]
        assert driver.asked == [("dynamic", LIMIT - 1024, "device 0")]
