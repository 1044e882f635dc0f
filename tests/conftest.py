"""Which cases of tests run, and how many threads wait."""

import gc
import os
from collections import Counter

import pytest

# As many processes run tests as there are processors, and each has as many threads: threads of
# OpenMP that spin while they wait take a fifth of the time from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Compilers make millions of small objects that stay: looking for garbage among them so often as
# Python does takes 7 % of the time.
gc.set_threshold(50_000, 20, 50)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave every n-th case of a test with many, and mark the others as exhaustive."""
    counts: Counter[str] = Counter()
    for item in items:
        mark = item.get_closest_marker("every")
        if mark is not None:
            name = item.nodeid.partition("[")[0]
            if counts[name] % mark.args[0]:
                item.add_marker(pytest.mark.exhaustive)
            counts[name] += 1
