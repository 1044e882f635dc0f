"""Where rows of few classes lie in shared memory: apart, and without two accesses in one bank."""

from __future__ import annotations

from collections import defaultdict

import pytest

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, narrow_rows, shared_rows
from numbaloss.cuda.dtypes import VECTOR_BYTES, itemsize
from numbaloss.cuda.reduce import WARP
from numbaloss.cuda.shared_rows import layout

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no banks")

BANKS, BANK_BYTES = 32, 4
CLASSES = range(1, narrow_rows.MOST_IN_VECTORS + 1)


def in_one_bank(first_bytes, size):
    """Most words of one bank that lanes ask for at a time, with so many bytes each."""
    lanes = BANKS * BANK_BYTES // size  # a quarter of a warp has 16 bytes a lane, at a time
    worst = 0
    for start in range(0, WARP, lanes):
        words = defaultdict(set)
        for first in first_bytes[start : start + lanes]:
            for word in range(first // BANK_BYTES, (first + size) // BANK_BYTES):
                words[word % BANKS].add(word)
        worst = max(worst, *(len(one) for one in words.values()))
    return worst


@pytest.fixture
def in_python(monkeypatch):
    """The functions of a layout as Python."""
    monkeypatch.setattr(shared_rows, "device_function", lambda function: function)
    return shared_rows.places.__wrapped__


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_no_two_lanes_meet_in_a_bank(in_python, real):
    size = itemsize(real)
    for classes in CLASSES:
        own = layout(real, classes)
        of_unit, of_row, _ = in_python(own)
        for piece in range(0, classes, own.width):
            bytes_ = [(int(of_row(row)) + piece) * size for row in range(WARP)]
            assert all(one % (own.width * size) == 0 for one in bytes_)
            assert in_one_bank(bytes_, own.width * size) == 1, classes
        for first in range(0, 4 * WARP, WARP):
            bytes_ = [int(of_unit(first + lane)) * size for lane in range(WARP)]
            assert in_one_bank(bytes_, VECTOR_BYTES) == 1, classes


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_rows_units_and_numbers_lie_at_the_same_places(in_python, real):
    for classes in CLASSES:
        own = layout(real, classes)
        of_unit, of_row, of_number = in_python(own)
        count = 4 * WARP * classes
        found = [int(of_number(k)) for k in range(count)]
        assert found == [int(of_row(k // classes)) + k % classes for k in range(count)]
        assert found == [int(of_unit(k // own.each)) + k % own.each for k in range(count)]
        assert len(set(found)) == count
        assert max(found) < own.room(4 * WARP)
