"""Steps of optimisers, clipping and norms on a GPU."""

from __future__ import annotations

import numpy as np

import numbaloss.train as tr

from .common import Library, as_kind, check, computed, epsilon

CASES = [
    (make, kind)
    for make in (tr.SGD, tr.Adam, tr.Lion)
    for kind in ("float32", "float64", "float16", "bfloat16")
]


@check("training", CASES)
def steps(library: Library, number: int, case: tuple[type, str]) -> None:
    make, kind = case
    rng = np.random.default_rng(number)

    def tree() -> dict[str, np.ndarray]:
        return {name: as_kind(rng.normal(size=size), kind) for name, size in sizes.items()}

    sizes = {"weight": (61, 83), "bias": (7,)}
    options = {"momentum": 0.9} if make is tr.SGD else {}
    own, other, here = make(0.1, **options), make(0.1, **options), tree()
    there = {name: library.put(one) for name, one in here.items()}
    seen = tr.Monitor(), tr.Monitor()
    for step in range(3):
        gradients = tree()
        given = {name: library.put(one) for name, one in gradients.items()}
        watch = seen if step == 1 else (None, None)
        limit = 3.0 if step == 2 else None
        own.step(here, gradients, max_norm=limit, monitor=watch[0])
        other.step(there, given, max_norm=limit, monitor=watch[1])
        _same(library, there, here, kind)
    for column in ("gradient_norm", "update_ratio"):
        for layer, numbers in seen[0].history[column].items():
            np.testing.assert_allclose(seen[1].history[column][layer], numbers, rtol=1e-3)
    norms = tr.clip_by_global_norm(here, 1.0), tr.clip_by_global_norm(there, 1.0)
    np.testing.assert_allclose(*norms, rtol=100 * epsilon(kind))
    _same(library, there, here, kind)


def _same(
    library: Library, there: dict[str, object], here: dict[str, np.ndarray], kind: str
) -> None:
    eps = epsilon(kind) if computed(kind) != kind else 20 * epsilon(kind)
    for name, one in here.items():
        found = library.get(there[name], kind).astype(np.float64)
        expected = one.astype(np.float64)
        atol = 2 * eps * np.abs(expected).max()
        # A sign that rounding decides: Lion's steps are all of one length.
        apart = np.abs(found - expected) > atol
        assert apart.mean() < 0.002, (name, np.abs(found - expected).max())
