"""Rows that blocks of a cluster keep together, as far as a driver is told of them."""

from __future__ import annotations

import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numbaloss.cuda import backend, clusters, shared_memory
from tests.support.gpu.stub import Array, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no clusters")

LONG = 262_144
CALLS = [
    (nl.CrossEntropy(), (1000, LONG), "f4", 1, {}, 8),
    (nl.CrossEntropy(), (3, LONG), "f2", 1, {}, 4),
    (nl.CrossEntropy(class_weight=[1.0] * LONG), (3, LONG), "f4", 1, {}, 8),
    (nl.CrossEntropy(), (1000, 100_000), "f4", 1, {"masked": True}, 2),
    # One block keeps these; the others have no kernel for clusters.
    (nl.CrossEntropy(), (1000, 50_000), "f4", 1, {}, 0),
    (nl.CrossEntropy(), (1000, LONG), "f4", 0, {}, 0),
    (nl.CrossEntropy(), (1000, LONG), "f4", 2, {}, 0),
    (nl.CrossEntropy(label_smoothing=0.1), (1000, LONG), "f4", 1, {}, 0),
    (nl.CrossEntropy(), (1000, LONG + 1), "f4", 1, {}, 0),
]


@pytest.fixture
def enabled(monkeypatch):
    monkeypatch.setattr(clusters, "ENABLED", True)
    monkeypatch.setattr(clusters, "supported", lambda: True)


@pytest.mark.parametrize(("loss", "shape", "kind", "derivatives", "more", "cluster"), CALLS)
def test_long_rows_are_shared_by_a_cluster(enabled, loss, shape, kind, derivatives, more, cluster):
    with stub_gpu() as driver:
        vars(loss).get("_gpu_plans", {}).clear()
        p, t = Array(shape, kind), Array(shape[:1], "i8")
        outs = dict(zip(("out", "hess_out"), (Array(shape, kind) for _ in range(derivatives))))
        mask = {"mask": Array(shape[:1], "?")} if more else {}
        method = [loss, loss.value_and_grad, loss.value_grad_hess][derivatives]
        for _ in range(5):  # as a call that is known, and as one that is repeated
            driver.clusters.clear()
            driver.calls.clear()
            method(p, t, **outs, **mask, wait=False)
            assert driver.clusters == [{"x": cluster, "y": 1, "z": 1}] * (cluster > 0)
        if cluster:
            assert driver.calls == ["cuLaunchKernel", "cuLaunchKernelEx"]
            started = driver.started[-1]
            assert started.blocks % cluster == 0
            assert started.blocks // cluster == min(shape[0], 132 // cluster)
            most = shared_memory.most(0)
            assert most * 0.5 < started.shared <= most


def test_nobody_has_run_them_so_nobody_gets_them(monkeypatch):
    monkeypatch.setattr(clusters, "supported", lambda: True)
    assert not clusters.ENABLED
    loss = nl.CrossEntropy(z_loss=0.25)
    with stub_gpu() as driver:
        p, t, g = Array((1000, LONG), "f4"), Array((1000,), "i8"), Array((1000, LONG), "f4")
        loss.value_and_grad(p, t, out=g, wait=False)
        assert not driver.clusters
