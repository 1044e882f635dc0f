"""Clipping, norms, accumulation, schedules, monitors, trees."""

import collections
import math
import pickle
import warnings
from fractions import Fraction

import ml_dtypes
import numba
import numpy as np
import pytest

import numbaloss.train as tr


def tree_of(rng, dtype=np.float32):
    shapes = {"a": (50, 30), "b": (7,), "c": ()}
    return {name: np.asarray(rng.normal(size=one)).astype(dtype) for name, one in shapes.items()}


def flat(tree):
    return np.concatenate([one.astype(np.float64).ravel() for one in tr.trees.leaves(tree)])


@pytest.mark.every(2)
@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16, np.float32, np.float16])
def test_the_global_norm_is_cut(dtype):
    g = tree_of(np.random.default_rng(0), dtype)
    before = flat(g)
    norm = tr.clip_by_global_norm(g, 1.0)
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-14)
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(flat(g), before / norm, atol=2e-7 + eps * np.abs(before).max())
    after = flat(g)
    assert tr.clip_by_global_norm(g, 100.0) == pytest.approx(1.0, rel=1e-6 + eps)
    np.testing.assert_array_equal(flat(g), after)


@pytest.mark.exhaustive
def test_clipping_is_pytorchs():
    torch = pytest.importorskip("torch")
    g = tree_of(np.random.default_rng(1), np.float64)

    def tensors():
        made = [
            torch.nn.Parameter(torch.zeros(one.shape, dtype=torch.float64)) for one in g.values()
        ]
        for one, other in zip(made, g.values()):
            one.grad = torch.from_numpy(other.copy())
        return made

    for clip, other in (
        (tr.clip_by_global_norm, torch.nn.utils.clip_grad_norm_),
        (tr.clip_by_value, torch.nn.utils.clip_grad_value_),
    ):
        for limit in (0.3, 5.0, 1e3):
            own, its = tr.trees.mapped(np.copy, g), tensors()
            clip(own, limit)
            other(its, limit)
            for one, tensor in zip(own.values(), its):
                np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-14)


def test_squares_neither_overflow_nor_vanish():
    for size in (1e300, 1e-300, 5e-324, 1.7e308):
        g = [np.full(4, size), np.full(5, size / 2)]
        expected = math.sqrt(4 + 1.25) * size
        assert tr.clip_by_global_norm(g, math.inf) == pytest.approx(expected, rel=1e-12) or (
            size == 5e-324  # half of it is 0
        )
    # Squares that are finite, whose sum is not: of two leaves, of two pieces of one.
    two, long = [np.full(1, 1.2e154), np.full(1, 1.2e154)], np.full(65_536, 6e151)
    assert tr.clip_by_global_norm(two, math.inf) == pytest.approx(math.sqrt(2) * 1.2e154, rel=1e-14)
    assert tr.clip_by_global_norm(long, math.inf) == pytest.approx(256 * 6e151, rel=1e-14)
    monitor = tr.Monitor(on_finding="ignore")
    tr.SGD(0.0).step(np.zeros(65_536), long, monitor=monitor)
    assert monitor.history["gradient_norm"]["array"] == [math.inf]
    assert tr.clip_by_global_norm([np.zeros(3)], 1.0) == 0.0
    assert tr.clip_by_global_norm([np.full(3, 3e38, np.float32)], 1.0) == pytest.approx(
        math.sqrt(3) * 3e38, rel=1e-6
    )
    assert tr.clip_by_global_norm({}, 1.0) == 0.0


def test_norms_have_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(2)
    g = [rng.normal(size=size).astype(np.float32) for size in (300_001, 5, 90_000)]
    before = numba.get_num_threads()
    try:
        found = set()
        for threads in {1, before}:
            numba.set_num_threads(threads)
            found.add(tr.clip_by_global_norm(g, math.inf))
        assert len(found) == 1
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite(bad):
    g = {"x": np.ones(4), "y": np.array([1.0, bad])}
    for clip in (tr.clip_by_global_norm, tr.clip_by_norm, lambda g, c: tr.clip_adaptive(g, g, c)):
        with pytest.raises(FloatingPointError, match="gradient of y holds NaN or an infinity"):
            clip(g, 0.5)
        np.testing.assert_array_equal(g["x"], 1.0)
    assert not math.isfinite(tr.clip_by_global_norm(g, 0.5, on_nonfinite="skip"))
    np.testing.assert_array_equal(g["x"], 1.0)
    tr.clip_by_global_norm(g, 0.5, on_nonfinite="propagate")
    assert np.isnan(g["y"][1])
    values = np.array([np.nan, 5.0, -np.inf])
    tr.clip_by_value(values, 2.0)
    np.testing.assert_array_equal(values, [np.nan, 2.0, -2.0])


@pytest.mark.parametrize(("bad", "others"), [(np.nan, np.nan), (np.inf, 0.0)])
def test_what_propagates_is_what_the_formula_makes_of_it(bad, others):
    # 0.5 over a norm that is NaN or infinite, times each number; a step clips alike.
    g, p = {"x": np.ones(4), "y": np.array([bad])}, {"x": np.zeros(4), "y": np.zeros(1)}
    tr.SGD(1.0, on_nonfinite="propagate").step(p, g, max_norm=0.5)
    tr.clip_by_global_norm(g, 0.5, on_nonfinite="propagate")
    for found in (g, p):
        np.testing.assert_array_equal(found["x"], others)
        assert np.isnan(found["y"][0])


def test_each_norm_by_itself():
    g = {"x": np.array([3.0, 4.0]), "y": np.array([0.3])}
    assert tr.clip_by_norm(g, 1.0) == {"x": 5.0, "y": 0.3}
    np.testing.assert_allclose(g["x"], [0.6, 0.8], rtol=1e-6)
    assert g["y"][0] == 0.3


def test_adaptive_clipping_is_that_of_the_paper():
    rng = np.random.default_rng(3)
    g = {"w": rng.normal(size=(9, 4, 3)), "b": rng.normal(size=6), "zero": np.zeros((2, 2))}
    w = {"w": rng.normal(size=(9, 4, 3)), "b": np.zeros(6), "zero": np.ones((2, 2))}
    w["w"][4] *= 100.0
    before = tr.trees.mapped(np.copy, g)
    tr.clip_adaptive(g, w, 0.1)
    for unit in range(9):
        norm, limit = np.linalg.norm(before["w"][unit]), 0.1 * np.linalg.norm(w["w"][unit])
        np.testing.assert_allclose(g["w"][unit], before["w"][unit] * min(1.0, limit / norm))
    np.testing.assert_array_equal(g["w"][4], before["w"][4])
    np.testing.assert_allclose(np.linalg.norm(g["b"]), 0.1 * 1e-3, rtol=1e-12)
    np.testing.assert_array_equal(g["zero"], 0.0)
    huge = [np.full((2, 3), 1e300)]
    tr.clip_adaptive(huge, [np.ones((2, 3))], 0.1)
    np.testing.assert_allclose(huge[0], 0.1, rtol=1e-12)
    with pytest.raises(ValueError, match="gradient and parameter w differ"):
        tr.clip_adaptive({"w": np.ones(3)}, {"w": np.ones(4)})


@pytest.mark.every(3)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
def test_parts_are_the_whole_batch_rounded_once(dtype):
    rng = np.random.default_rng(4)
    counts = [3, 1, 10, 7, 2]
    parts = [
        {"w": (rng.normal(size=200) * 10.0 ** rng.integers(-9, 9, 200)).astype(dtype)}
        for _ in counts
    ]
    total = tr.Accumulator()
    for turn in (range(5), reversed(range(5))):  # in any order; memory is used again
        total.reset()
        for place in turn:
            total.add(parts[place], counts[place], loss=float(place))
        found = total.gradients()["w"]
        assert found.dtype == dtype
        for i in range(200):
            exact = sum(Fraction(float(p["w"][i])) * c for p, c in zip(parts, counts))
            assert found[i] == np.float64(float(exact / sum(counts))).astype(dtype)
        assert total.value() == pytest.approx(np.average(range(5), weights=counts))


def test_sums_of_parts_of_a_linear_model_are_the_full_batch():
    rng = np.random.default_rng(5)
    x, t, w = rng.integers(-9, 9, (100, 4)) / 8, rng.integers(-9, 9, 100) / 4, np.ones(4)
    whole = x.T @ (x @ w - t) / 100  # exact: small integers
    for mean in (True, False):
        total = tr.Accumulator(mean)
        for start, stop in ((0, 32), (32, 36), (36, 100)):
            part = x[start:stop]
            g = part.T @ (part @ w - t[start:stop])
            total.add(g / (stop - start) if mean else g, stop - start)
        np.testing.assert_allclose(total.gradients(), whole, rtol=0 if not mean else 1e-16)


def test_accumulators_refuse_what_does_not_belong_together():
    total = tr.Accumulator()
    with pytest.raises(ValueError, match="nothing was added"):
        total.gradients()
    assert math.isnan(total.value())
    total.add({"a": np.ones(3)}, 2)
    for bad, message in (
        ({"a": np.ones(4)}, r"gradient a is float64 of shape \(4,\); it was"),
        ({"a": np.ones(3), "b": np.ones(1)}, "there are 2 gradients"),
    ):
        with pytest.raises(ValueError, match=message):
            total.add(bad, 1)
    for count in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="count must be positive"):
            total.add({"a": np.ones(3)}, count)
    with pytest.raises(TypeError, match="loss must be a real number"):
        total.add({"a": np.full(3, 7.0)}, 1, loss="small")
    np.testing.assert_array_equal(total.gradients()["a"], 1.0)


SCHEDULES = [
    (tr.constant(0.3), lambda s, o: s.ConstantLR(o, 1.0)),
    (tr.step_decay(0.3, 7, 0.5), lambda s, o: s.StepLR(o, 7, 0.5)),
    (tr.exponential(0.3, 0.9), lambda s, o: s.ExponentialLR(o, 0.9)),
    (tr.cosine(0.3, 50, final=0.01), lambda s, o: s.CosineAnnealingLR(o, 50, 0.01)),
    (tr.one_cycle(0.3, 50), lambda s, o: s.OneCycleLR(o, 0.3, 50, cycle_momentum=False)),
    (
        tr.one_cycle(0.3, 50, 0.5, 10.0, 100.0),
        lambda s, o: s.OneCycleLR(
            o, 0.3, 50, pct_start=0.5, div_factor=10, final_div_factor=100, cycle_momentum=False
        ),
    ),
]


@pytest.mark.parametrize(("own", "make"), SCHEDULES, ids=[repr(one) for one, _ in SCHEDULES])
def test_schedules_are_pytorchs(own, make):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    schedule = make(torch.optim.lr_scheduler, optimizer)
    for step in range(50):
        assert own(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        if step < 49:
            schedule.step()
    assert pickle.loads(pickle.dumps(own)) == own


def test_schedules_in_numbers():
    warm = tr.cosine(1.0, 12, warm_up=4, final=0.2)
    assert [warm(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert warm(4) == 1.0
    assert warm(8) == pytest.approx(0.6)
    assert warm(12) == warm(1000) == pytest.approx(0.2)
    cycle = tr.one_cycle(1.0, 10)
    assert cycle(2) == 1.0
    assert cycle(9) == cycle(50) == pytest.approx(1 / 25e4)
    assert tr.step_decay(1.0, 3)(6) == pytest.approx(0.01)
    for make, message in (
        (lambda: tr.cosine(0.1, 10, warm_up=10), "warm_up must be in"),
        (lambda: tr.step_decay(0.1, 0), "every must be in"),
        (lambda: tr.exponential(-0.1, 0.5), "learning_rate must be in"),
        (lambda: tr.ReduceOnPlateau(0.1, factor=1.0), "factor must be in"),
        (lambda: tr.ReduceOnPlateau(0.1, mode="least"), "mode must be"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateaus_are_pytorchs(mode):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode=mode, factor=0.5, patience=3, cooldown=2, min_lr=1e-3
    )
    own = tr.ReduceOnPlateau(0.3, 0.5, 3, 2, 1e-3, mode=mode)
    values = np.abs(np.cumsum(np.random.default_rng(6).normal(size=300)))
    values[100] = np.nan
    for place, value in enumerate(values):
        other.step(value)
        if place == 50:
            state, own = own.state(), tr.ReduceOnPlateau(1.0, 0.5, 3, 2, 1e-3, mode=mode)
            own.load_state(state)
        assert own.update(value) == own(place) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert own.learning_rate < 0.3


def learn(monitor, norms, optimizer=None):
    """Steps with gradients of such norms, of two layers."""
    optimizer = optimizer or tr.SGD(1e-3)
    tree = {"layers": [{"w": np.ones(16)}, {"w": np.ones(16), "b": np.ones(9)}]}
    for first, second in norms:
        weights = np.full(16, first / 4.0), np.full(16, second / 4.0)
        layers = [{"w": weights[0]}, {"w": weights[1], "b": np.zeros(9)}]
        optimizer.step(tree, {"layers": layers}, monitor=monitor)
    return tree


def test_monitors_know_norms_and_ratios():
    monitor = tr.Monitor(every=2, on_finding="raise")
    monitor.loss(3.5)
    learn(monitor, [(1.0, 2.0)] * 3, tr.SGD(0.5))
    assert monitor.history["step"] == [0, 2]
    assert monitor.history["loss"][0] == 3.5
    np.testing.assert_allclose(monitor.history["gradient_norm"]["layers.1"], 2.0)
    assert monitor.history["update_ratio"]["layers.0"][0] == pytest.approx(0.5 / 4.0)
    assert monitor.history["update_ratio"]["layers.1"][0] == pytest.approx(1.0 / 5.0)
    apart = tr.Monitor(layers=False)
    learn(apart, [(1.0, 2.0)])
    assert list(apart.history["gradient_norm"]) == ["layers.0.w", "layers.1.w", "layers.1.b"]
    assert apart.history["gradient_norm"]["layers.1.b"] == [0.0]


def test_a_step_that_is_watched_is_the_same():
    rng = np.random.default_rng(7)
    p = rng.normal(size=70_000).astype(np.float32)
    q, one, other = p.copy(), tr.Adam(0.1), tr.Adam(0.1)
    for _ in range(2):
        g = rng.normal(size=70_000).astype(np.float32)
        one.step(p, g, monitor=tr.Monitor())
        other.step(q, g)
    np.testing.assert_array_equal(p, q)


def test_vanishing_and_exploding_gradients_are_named_with_step_numbers_and_remedy():
    monitor = tr.Monitor(patience=3)
    with pytest.warns(tr.TrainingWarning) as caught:
        learn(monitor, [(1e-9, 1.0)] * 6 + [(1e-9, 1e6)] * 2)
    messages = [str(one.message) for one in caught]
    assert len(messages) == 2  # once for each layer
    assert messages[0].startswith("step 2: the gradient of layers.0 is vanishing: its root mean")
    assert "2.5e-10" in messages[0]
    assert "He or Xavier" in messages[0]
    assert messages[1].startswith(
        "step 6: the gradient of layers.1 is exploding: its norm is 1e+06"
    )
    assert "clip_by_global_norm" in messages[1]
    assert caught[0].filename == __file__
    assert [(one.kind, one.layer, one.step) for one in monitor.findings[:2]] == [
        ("vanishing", "layers.0", 2), ("exploding", "layers.1", 6),
    ]  # fmt: skip
    assert monitor.findings[1].value == pytest.approx(1e6)
    lines = monitor.summary().splitlines()
    assert lines[0].startswith("layers.0")
    assert len(lines) == 2 + len(monitor.findings)


def test_findings_may_end_the_run_or_be_kept():
    with pytest.raises(tr.TrainingError, match="exploding"):
        learn(tr.Monitor(on_finding="raise"), [(1.0, 1.0)] * 6 + [(1e4, 1.0)])
    quiet = tr.Monitor(on_finding="ignore", patience=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn(quiet, [(1.0, 1.0)] * 3, tr.SGD(50.0))
        quiet.loss(math.nan)
    assert {one.kind for one in quiet.findings} == {"overshooting", "loss"}
    healthy = tr.Monitor(on_finding="raise")
    learn(healthy, [(1.0, 0.5), (0.7, 0.8), (2.0, 1.0)] * 20)
    with pytest.raises(ValueError, match="on_finding must be"):
        tr.Monitor(on_finding="print")
    with pytest.raises(ValueError, match="every must be at least 1"):
        tr.Monitor(every=0)


def test_trees_keep_their_form():
    Pair = collections.namedtuple("Pair", "left right")
    tree = {"a": [1.0, (2.0, None)], "b": Pair(3.0, {"c": 4.0})}
    names = [name for name, _ in tr.trees.named_leaves(tree)]
    assert names == ["a.0", "a.1.0", "b.0", "b.1.c"]
    assert tr.trees.mapped(lambda x: 2 * x, tree) == {
        "a": [2.0, (4.0, None)], "b": Pair(6.0, {"c": 8.0}),
    }  # fmt: skip
    assert tr.trees.leaves(3.0) == [3.0]
