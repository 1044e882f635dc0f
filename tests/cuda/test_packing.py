"""What reaches the driver of a GPU: one block of parameters, laid out as the kernel has them."""

from __future__ import annotations

import re
import struct
import threading

import numpy as np
import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numba import types

from numbaloss.cuda import backend, packing
from numbaloss.cuda.fields import kernel_type, new
from numbaloss.cuda.packing import Launch, Packing
from numbaloss.jobs.launch import Tail
from tests.support.gpu.kernels import kernel_of, of_one_loss, ptx
from tests.support.gpu.stub import Array, Driver, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no driver")

# Compiled by `test_ptx.py` too, in the same process.
FEW = [case for case, few in of_one_loss() if few][:4]
MIXED = [types.float32, types.int64, types.boolean, types.UniTuple(types.float32, 2), types.float64]


@pytest.mark.parametrize("case", FEW, ids=str)
def test_parameters_lie_where_the_kernel_reads_them(case):
    declared = re.search(r"\.entry [^(]*\((.*?)\)", ptx(case), re.S)[1]
    sizes = [int(bits) // 8 for bits in re.findall(r"\.param \.[a-z](\d+) ", declared)]
    places, end = [], 0
    for size in sizes:
        end = -(-end // size) * size
        places.append((end, size))
        end += size
    assert len(places) > 20
    assert Packing(kernel_of(case).arguments).places() == places


def test_numbers_are_packed_at_multiples_of_their_sizes():
    packed = Packing(MIXED)
    assert packed.places() == [(0, 4), (8, 8), (16, 1), (20, 4), (24, 4), (32, 8)]
    block = bytearray(packed.size)
    packed.pack_into(block, [0.1, -3, True, (np.float32(2.5), 1e300), 1e300])
    read = struct.unpack("@fq?ffd", block)
    assert read == (np.float32(0.1), -3, True, 2.5, np.inf, 1e300)


def test_a_launch_hands_the_driver_the_block_and_the_grid():
    driver, tail = Driver(), new(Tail)
    tail.divisor, tail.result = 0.5, 7
    start = Launch(driver, "kernel", Packing([kernel_type(Tail)]), 3, (20, 256, 1024))
    start(tail)
    (started,) = driver.started
    assert started[:4] == ("kernel", 20, 256, 1024)
    assert struct.unpack("@dqqqdqqq", started.parameters) == (0.5, 0, 0, 0, 0.0, 0, 0, 7)


def test_threads_that_share_a_launch_have_blocks_of_their_own():
    driver, here = Driver(), threading.Barrier(4)
    start = Launch(driver, "kernel", Packing([types.int64] * 2), 0, (1, 32, 0))

    def often(number):
        here.wait()
        for _ in range(200):
            start(number, number)

    threads = [threading.Thread(target=often, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    pairs = {struct.unpack("@qq", one.parameters) for one in driver.started}
    assert pairs == {(number, number) for number in range(4)}


def test_a_launch_that_the_driver_refuses_is_an_error():
    start = Launch(Driver(status=1), "kernel", Packing([types.int64]), 0, (1, 32, 0))
    with pytest.raises(RuntimeError, match="refused to start a kernel"):
        start(1)


def test_the_driver_is_asked_where_parameters_lie():
    places = Packing(MIXED).places()
    for known in (places, places[:-1], []):
        assert packing.places_of(Driver(known), "kernel") == known


CALLS = [
    (nl.Huber(), (1000,), (1000,), "f4", 1),
    (nl.BinaryCrossEntropy(), (100, 10), (100, 10), "u1", 1),
    (nl.CrossEntropy(), (1000, 10), (1000,), "i8", 2),
    (nl.CrossEntropy(), (64, 5000), (64,), "i4", 2),
]


@pytest.mark.parametrize(("loss", "shape", "of_target", "dtype", "launches"), CALLS)
def test_a_call_is_a_few_calls_of_the_driver_none_of_which_waits(
    loss, shape, of_target, dtype, launches
):
    with stub_gpu() as driver:
        prediction, gradient = Array(shape, "f4"), Array(shape, "f4")
        target, kept = Array(of_target, dtype), []
        for _ in range(2):  # the first one has memory to ask for
            driver.calls.clear()
            driver.started.clear()
            kept.append(loss.value_and_grad(prediction, target, out=gradient, wait=False))
        assert driver.calls == ["cuLaunchKernel"] * launches
        words = {started.parameters for started in driver.started}
        for array in (prediction, target):
            assert any(struct.pack("@q", array.address) in block for block in words)
        assert struct.pack("@q", gradient.address) in driver.started[-1].parameters
