"""The benchmark for GPUs, as far as it runs without one."""

import json

import numpy as np
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import (
    cases,
    clock,
    figures,
    libraries,
    race,
    reference,
    report,
    summary,
    tables,
    wheels,
)
from benchmarks.gpu.cases import Case


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (Case("elementwise", "huber", (1000,)), 12_000),
        (Case("elementwise", "huber", (1000,), method="value"), 8_000),
        (Case("elementwise", "huber", (1000,), method="value_grad_hess"), 16_000),
        (Case("elementwise", "huber", (1000,), dtype="bfloat16"), 6_000),
        (Case("elementwise", "huber", (1000,), dtype="float64", weighted=True), 32_000),
        (Case("elementwise", "huber", (10, 100), layout="columns"), 12_000),
        (Case("rows", "cross_entropy", (10, 100), targets="labels"), 8_080),
        (Case("rows", "cross_entropy", (10, 100), targets="dense"), 12_000),
        (Case("rows", "cross_entropy", (10, 100), dtype="float16", targets="labels"), 4_080),
    ],
)
def test_inputs_count_once_and_outputs_count_once(case, expected):
    assert case.bytes == expected


@pytest.mark.parametrize("quick", [False, True])
def test_no_case_is_measured_twice(quick):
    found = [*cases.elementwise(quick), *cases.rows(quick)]
    assert len(set(found)) == len(found)
    assert all(1 <= case.bytes <= 2**34 for case in found)


@pytest.mark.parametrize("loss", cases.ELEMENTWISE)
def test_reference_of_single_elements_is_its_own_derivative(loss):
    rng = np.random.default_rng(0)
    p, t, step = rng.normal(size=50), rng.integers(0, 2, 50).astype(float), 1e-6
    _, gradient, hessian = reference.elementwise(np, loss, p, t)
    below, above = (reference.elementwise(np, loss, p + h, t) for h in (-step, step))
    np.testing.assert_allclose(gradient, (above[0] - below[0]) / (2 * step), atol=1e-8)
    if hessian is not None:
        np.testing.assert_allclose(hessian, (above[1] - below[1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [("cross_entropy", "labels"), ("cross_entropy", "dense"), ("brier", "labels"),
     ("distillation", "logits")],
)  # fmt: skip
def test_reference_of_rows_is_its_own_derivative(loss, targets):
    rng = np.random.default_rng(0)
    x, every, step = rng.normal(size=(5, 4)), np.arange(5), 1e-6
    t = rng.integers(0, 4, 5) if targets == "labels" else rng.dirichlet(np.ones(4), 5)
    _, gradient, _ = reference.rows(np, loss, x, t, every)
    for place in range(4):
        move = step * (np.arange(4) == place)
        below, above = (reference.rows(np, loss, x + h, t, every)[0] for h in (-move, move))
        np.testing.assert_allclose(gradient[:, place], (above - below) / (2 * step), atol=1e-8)


def test_a_result_that_is_not_a_number_is_wrong():
    case = Case("elementwise", "huber", (10,))
    assert reference.complaint(case, {"value": 1e-8, "gradient": 1e-7}) is None
    assert "gradient" in reference.complaint(case, {"value": 1e-8, "gradient": float("nan")})
    assert "value" in reference.complaint(case, {"value": 1e-3, "gradient": 1e-7})


class Simulation:
    """A library with one device, which works through its queue in simulated time."""

    def __init__(self, monkeypatch):
        self.now = self.idle_from = 0.0
        monkeypatch.setattr(clock, "perf_counter", lambda: self.now)

    def work(self, host, device):
        self.now += host
        self.idle_from = max(self.now, self.idle_from) + device

    def empty(self, shape, dtype):
        return None

    def fill(self, array, number):
        pass

    def copy(self, target, source):
        self.work(5e-6, 1e-4)

    def event(self):
        return [0.0]

    def record(self, event):
        self.work(2e-6, 0.0)
        event[0] = self.idle_from

    def is_over(self, event):
        return self.now >= event[0]

    def seconds(self, start, end):
        return end[0] - start[0]

    def synchronize(self):
        self.now = max(self.now, self.idle_from)


def test_times_of_the_device_hold_no_time_of_the_host(monkeypatch):
    device = Simulation(monkeypatch)
    watch = clock.EventClock(device, 0.01)
    times = watch.time(lambda index: device.work(200e-6, 5e-6), 4)
    assert times.median == pytest.approx(5e-6)
    assert not times.host_bound
    assert times.count >= clock.FEWEST


def test_calls_that_wait_for_the_device_are_marked(monkeypatch):
    device = Simulation(monkeypatch)

    def step(index):
        device.work(200e-6, 5e-6)
        device.synchronize()

    assert clock.EventClock(device, 0.01).time(step, 1).host_bound


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(libraries, "obstacle", lambda name: f"{name} sees no GPU")
    assert command.main([]) == command.NO_GPU == 3
    printed = capsys.readouterr()
    assert printed.err == "no CUDA GPU is usable: torch sees no GPU, cupy sees no GPU\n"
    assert printed.out == ""


def seconds(median):
    return clock.Times(median, 0.9 * median, 1.1 * median, 20).plain()


def results():
    """What a run might have written."""
    large = Case("elementwise", "huber", (2**26,), target=0.92)
    rows = Case("rows", "cross_entropy", (32768, 4096), targets="labels", target=0.88)
    wrong = Case("rows", "brier", (10, 100), targets="labels")
    linear = {"part": "linear", "title": "weight (C, H)", "shape": [8, 4, 16], "dtype": "bfloat16"}
    batch = {"part": "embeddings", "title": "InfoNCE", "shape": [100, 8], "plain": 3}
    pairs = {"part": "embeddings", "title": "Triplet", "shape": [64, 8], "target": 0.92}
    calls = {"part": "calls", "library": "torch", "kind": "async", "target": 60e-6}
    return {
        "device": {"name": "a GPU", "compute_capability": "9.0", "driver": "1.2"},
        "versions": {"numba": "3.4"},
        "copy": {"before": {"bytes_per_second": 3e12}, "after": {"bytes_per_second": 2.9e12}},
        "results": [
            large.plain()
            | {"seconds": seconds(300e-6), "bytes_per_second": large.bytes / 300e-6}
            | {"peers": {"torch": {"seconds": seconds(900e-6)}, "cupy": {"error": "no"}}},
            rows.plain() | {"seconds": seconds(1e-3), "bytes_per_second": rows.bytes / 1e-3},
            wrong.plain() | {"error": "gradient is off"},
            linear
            | {"seconds": seconds(0.04), "products": seconds(0.039), "extra_bytes": 2**29}
            | {"target": 0.05, "target_bytes": 2**30},
            Case("elementwise", "huber", (1000,)).plain() | calls | {"seconds": seconds(30e-6)},
            large.plain()
            | {"part": "hosts", "target": None, "seconds": seconds(0.1)}
            | {"peers": {"pinned": {"seconds": seconds(0.2)}}},
            batch
            | {"seconds": seconds(0.02), "products": seconds(0.016), "extra_bytes": 10**9}
            | {"peers": {"torch": {"seconds": seconds(0.06), "extra_bytes": 4 * 10**9}}},
            pairs | {"seconds": seconds(1e-3), "bytes_per_second": 2.85e12},
            {"part": "rows", "shape": [], "error": "could not begin"},
        ],
        "notes": ["CuPy is not installed"],
    }


def test_shares_are_of_the_faster_copy():
    found = results()
    figures.finish(found)
    assert found["copy"]["bytes_per_second"] == 3e12
    assert found["results"][0]["share"] == pytest.approx(2**26 * 12 / 300e-6 / 3e12)
    met = [one.get("met") for one in found["results"]]
    assert met == [False, False, None, True, True, None, None, True, None]


def test_tables_show_what_was_measured(capsys):
    found = results()
    figures.finish(found)
    text = tables.render(found)
    assert "| Huber | 64 Mi |  | 300 | 2,684 | 89% | 92% no | 3.00 |" in text
    assert "| CE | 32,768 x 4,096 |  | 1,000 | 1,074 | 36% | 88% no |" in text
    assert "| weight (C, H) | 40.00 | 39.00 | 2.5% | 5% ok | 537 | - | - |" in text
    assert "| InfoNCE | 20.00 | 1.25 of 3 | - | - | 1,000 | 3.00 | 4,000 |" in text
    assert "| Triplet | 1.00 | - | 95% | 92% ok | - | - | - |" in text
    assert "| Huber | PyTorch | 30.0 | 60 ok | - | - |" in text
    assert "3,000 GB/s before and 2,900 GB/s after" in text
    tables.show(found)
    printed = capsys.readouterr().out
    assert "ERROR: rows, Brier, 10 x 100: gradient is off" in printed
    assert "3 of 5 targets are met" in printed
    assert all(len(line) <= tables.WIDTH for line in printed.splitlines())


def test_the_report_runs_without_a_gpu_and_fits_a_terminal(tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(report, "tests", lambda *given: 1 / 0)
    file = tmp_path / "report.json"
    assert command.main(["--report", "--dry-run", "--json", str(file), "--seed", "1"]) == 1
    found = json.loads(file.read_text())
    names = ["copy", "compile", "checks", "pytest", "rows", "elementwise", "calls", "linear",
             "embeddings", "hosts", "first call", "clusters", "copy again"]  # fmt: skip
    assert list(found["steps"]) == names
    # The one that fails is told, and keeps no other from running.
    assert "ZeroDivisionError" in found["steps"].pop("pytest")["traceback"]
    assert not any("traceback" in step for step in found["steps"].values())
    assert [one for one in found["results"] if "error" in one] == []
    parts = {one["part"] for one in found["results"]}
    assert parts == {"checks", "rows", "elementwise", "calls", "linear", "embeddings", "hosts",
                     "first call", "clusters"}  # fmt: skip
    printed = capsys.readouterr().out
    assert "3 of 3 agree with the CPU" in printed
    assert all(len(line) <= tables.WIDTH for line in printed.splitlines())
    assert "| Huber |" in tables.render(found)  # for the README


def test_the_report_takes_seven_minutes():
    pytest.importorskip("torch")
    work = race.Run(libraries.Torch("cpu"), None, 0, print, print)
    boxes = [step.seconds for step in report.steps(work, ["torch"], 0)]
    copies = 2 * 5
    assert sum(boxes) + copies <= 420 < report.LAST


def test_targets_of_rows_depend_on_how_often_they_are_read():
    found = {(case.shape[1], case.dtype): case.target for case in cases.report_rows()}
    assert found[256, "float32"] == 0.70
    assert found[1024, "bfloat16"] == found[32768, "float32"] == found[65536, "bfloat16"] == 0.90
    assert found[65536, "float32"] == found[262144, "bfloat16"] == 0.62
    assert {case.target for case in cases.report_elementwise()} == {0.95}


def test_wheels_are_those_of_missing_packages(tmp_path, monkeypatch):
    for name in ("numpy-2.0-py3-none-any", "no_such.package-1.0-py3-none-any"):
        (tmp_path / f"{name}.whl").touch()
    assert [path.name[:7] for path in wheels.missing(tmp_path)] == ["no_such"]
    started = []
    monkeypatch.setattr(wheels.subprocess, "run", lambda command, **_: started.append(command))
    monkeypatch.setattr(wheels, "missing", lambda folder: [])
    wheels.install(["--report"], tmp_path)
    assert started == []


def test_calls_of_the_driver_are_counted_by_kind():
    pytest.importorskip("numba_cuda")
    import numbaloss as nl
    from benchmarks.gpu.calls import driver_calls
    from tests.support.gpu.stub import Array, stub_gpu

    loss = nl.CrossEntropy()
    with stub_gpu():
        given = Array((99, 10), "f4"), Array((99,), "i8")
        out = Array((99, 10), "f4")
        for made in range(6):  # by the general path, and repeated
            found = driver_calls(lambda: loss.value_and_grad(*given, out=out, wait=False))
            assert found["launch"] == 2
            assert sum(found.values()) == 2 or made == 0


def test_the_report_says_what_came_of_each_figure():
    found = results()
    found["results"][4]["driver_calls"] = {"launch": 1, "empty": 1}
    found["results"][4]["queued"] = seconds(12e-6)
    failed = {"seconds": 2.0, "box": 80.0, "traceback": "x\nValueError: bad\n"}
    found["steps"] = {"copy": {"seconds": 1.0, "box": 5.0}, "pytest": failed}
    figures.finish(found)
    whole, steps = summary.tables(found)
    rows_ = {row[0]: row[1:] for row in whole.rows}
    assert rows_["Huber"] == ["64 Mi", "100 ms", "-", "-", "pinned", "2.00"]
    assert rows_["CE"] == ["32768x4096", "1.00 ms", "36%", "88% no", "-", "-"]
    assert rows_["weight (C, H) bf16"][2] == "1.03 x mm"
    assert rows_["Huber, async"] == ["PyTorch", "30.0 µs", "2 calls", "60.0 µs ok", "-", "-"]
    assert steps.rows[1][-1] == "ValueError: bad"
