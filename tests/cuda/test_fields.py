"""Records as GPUs get them: filled in by name on the host, named tuples in kernels."""

from __future__ import annotations

import numpy as np
import pytest

from numbaloss.jobs.launch import LaunchSums, Tail
from numbaloss.jobs.record import Bit, Flags, Real, Record

pytest.importorskip("numba_cuda")

from numba import types

from numbaloss.cuda import fields
from numbaloss.cuda.kernel import _as_tuples
from numbaloss.cuda.packing import Packing


class Scales(Record):
    up: Real
    down: Real


def test_fields_are_0_until_they_are_filled_in_and_come_in_their_order():
    tail = fields.new(Tail)
    tail.divisor, tail.result = 2.5, 7
    assert tail.get(tail) == (2.5, 0, 0, 0, 0.0, 0, 0, 7)
    assert fields.new(Tail).result == 0
    again = fields.copied(tail)
    again.result = 8
    assert (tail.result, again.result, again.divisor) == (7, 8, 2.5)


def test_kernels_see_named_tuples_in_the_types_of_a_launch():
    assert isinstance(fields.kernel_type(Scales, "float32"), types.NamedUniTuple)
    assert list(fields.kernel_type(Tail))[:2] == [types.float64, types.int64]
    assert not fields.is_record(types.UniTuple(types.int64, 3))
    scales = fields.new(Scales)
    scales.up = 0.1
    (seen,) = _as_tuples((scales,), (fields.kernel_type(Scales, "float32"),))
    assert seen.up == np.float32(0.1)
    assert type(seen.up) is type(seen.down) is np.float32


@pytest.mark.parametrize(("record", "real"), [(Tail, "float64"), (Scales, "float32")])
def test_a_launch_gets_the_numbers_of_a_record_one_behind_the_other(record, real):
    filled = fields.new(record)
    names = list(record.memory.place)
    for number, name in enumerate(names):
        setattr(filled, name, number)
    packing = Packing([types.int64, fields.kernel_type(record, real)])
    assert packing.flat([5, filled]) == [5, *range(len(names))]


def test_positions_are_those_in_memory():
    sums = LaunchSums(np.arange(4.0).view(np.int64))
    for name, place in LaunchSums.memory.place.items():
        assert getattr(fields.positions(LaunchSums), name) == place == getattr(sums, name)


def test_flags_are_bits_of_one_number():
    class Asked(Flags):
        weighted: Bit
        masked: Bit

    assert (Asked.bit.weighted, Asked.bit.masked) == (1, 2)
