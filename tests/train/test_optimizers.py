"""Optimisers against the published formulas and PyTorch, and what may become of trees."""

import copy
import math
import pickle
import platform
import re

import ml_dtypes
import numba
import numpy as np
import pytest

import numbaloss as nl
import numbaloss.train as tr
from numbaloss.train import cpu_steps, passes, rules

# What a rule makes of a parameter, written from the papers, one step after another.


def sgd(p, g, s, t, lr, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * p
    if momentum:
        s["b"] = g if t == 1 else momentum * s["b"] + (1 - dampening) * g
        g = g + momentum * s["b"] if nesterov else s["b"]
    return p - lr * g


def adam(
    p, g, s, t, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, apart=False
):
    if apart:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    s["m"] = betas[0] * s.get("m", 0.0) + (1 - betas[0]) * g
    s["v"] = betas[1] * s.get("v", 0.0) + (1 - betas[1]) * g * g
    v = s["top"] = np.maximum(s.get("top", 0.0), s["v"]) if amsgrad else s["v"]
    m, v = s["m"] / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m / (np.sqrt(v) + eps)


def adamw(p, g, s, t, lr, weight_decay=0.01, **options):
    return adam(p, g, s, t, lr, weight_decay=weight_decay, apart=True, **options)


def rmsprop(p, g, s, t, lr, alpha=0.99, eps=1e-8, momentum=0.0, weight_decay=0.0, centered=False):
    g = g + weight_decay * p
    v = s["v"] = alpha * s.get("v", 0.0) + (1 - alpha) * g * g
    if centered:
        s["a"] = alpha * s.get("a", 0.0) + (1 - alpha) * g
        v = v - s["a"] ** 2
    g = g / (np.sqrt(v) + eps)
    if momentum:
        g = s["b"] = momentum * s.get("b", 0.0) + g
    return p - lr * g


def adagrad(
    p, g, s, t, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10
):
    g = g + weight_decay * p
    s["v"] = s.get("v", initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["v"]) + eps)


def lion(p, g, s, t, lr, betas=(0.9, 0.99), weight_decay=0.0):
    m = s.get("m", 0.0)
    p = p - lr * (np.sign(betas[0] * m + (1 - betas[0]) * g) + weight_decay * p)
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return p


FORMULAS = {
    tr.SGD: sgd, tr.Adam: adam, tr.AdamW: adamw, tr.RMSprop: rmsprop, tr.Adagrad: adagrad,
    tr.Lion: lion,
}  # fmt: skip
CASES = [
    (tr.SGD, {}),
    (tr.SGD, {"weight_decay": 0.1}),
    (tr.SGD, {"momentum": 0.9}),
    (tr.SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    (tr.SGD, {"momentum": 0.8, "nesterov": True}),
    (tr.Adam, {}),
    (tr.Adam, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}),
    (tr.Adam, {"amsgrad": True}),
    (tr.AdamW, {}),
    (tr.AdamW, {"amsgrad": True, "weight_decay": 0.2}),
    (tr.RMSprop, {}),
    (tr.RMSprop, {"momentum": 0.9, "alpha": 0.9, "weight_decay": 0.1}),
    (tr.RMSprop, {"centered": True, "eps": 1e-3}),
    (tr.RMSprop, {"centered": True, "momentum": 0.5, "eps": 1e-3}),
    (tr.Adagrad, {}),
    (tr.Adagrad, {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    (tr.Lion, {}),
    (tr.Lion, {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
]
LONG = pytest.mark.exhaustive  # compilations, most of the time
NAMES = [f"{make.__name__}-{options}" for make, options in CASES]


def tree_of(rng, dtype=np.float64, scale=1.0):
    def made(*shape):
        return np.asarray(scale * rng.normal(size=shape), dtype)

    return {
        "layers": [{"weight": made(5, 7), "bias": made(7)}, (made(3), made())],
        "last": made(40),
    }


@pytest.mark.every(2)
@pytest.mark.parametrize(("make", "options"), CASES, ids=NAMES)
def test_steps_are_those_of_the_published_formula(make, options):
    rng = np.random.default_rng(0)
    parameters = tree_of(rng)
    own = [one.copy() for one in tr.trees.leaves(parameters)]
    optimizer, states = make(0.01, **options), [{} for _ in own]
    for step in range(1, 31):
        gradients = tree_of(rng)
        rate = 0.01 if step < 20 else 0.02
        assert optimizer.step(parameters, gradients, None if step < 20 else rate)
        for place, g in enumerate(tr.trees.leaves(gradients)):
            own[place] = FORMULAS[make](own[place], g, states[place], step, rate, **options)
    for found, expected in zip(tr.trees.leaves(parameters), own):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_first_steps_in_numbers():
    # With g = 2 the first step of Adam is lr, but for eps; that of RMSprop lr / sqrt(1 - alpha).
    for optimizer, after in (
        (tr.SGD(0.1), 1 - 0.2),
        (tr.Adam(0.1, eps=0.5), 1 - 0.1 * 2 / 2.5),
        (tr.AdamW(0.1, eps=0.5), 0.999 - 0.1 * 2 / 2.5),
        (tr.RMSprop(0.1, alpha=0.75, eps=1.0), 1 - 0.1 * 2 / (1 + 1)),
        (tr.Adagrad(0.1, eps=0.0), 1 - 0.1),
        (tr.Lion(0.1, weight_decay=0.5), 1 - 0.05 - 0.1),
        (tr.Adam(0.1, maximize=True, eps=0.0), 1.1),
    ):
        p = np.ones(3)
        optimizer.step(p, np.full(3, 2.0))
        np.testing.assert_allclose(p, after, rtol=1e-14)


def test_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    names = {"learning_rate": "lr"}
    for cls in (tr.SGD, tr.Adam, tr.AdamW, tr.RMSprop, tr.Adagrad):
        other = getattr(torch.optim, cls.__name__)([torch.zeros(1)]).defaults
        for name, value in vars(cls()).items():
            if name[0] != "_" and name not in ("on_nonfinite", "steps", "skipped", "gradient_norm"):
                assert other[names.get(name, name)] == value, (cls, name)


@pytest.mark.parametrize(
    ("dtype", "steps"),
    [
        ("float64", 20),
        *(pytest.param(kind, 1000, marks=LONG) for kind in ("float64", "float32")),
    ],
)
@pytest.mark.parametrize(("make", "options"), CASES[:-2], ids=NAMES[:-2])
def test_steps_are_pytorchs(make, options, dtype, steps):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    # Gradients of a quadratic with noise, so that parameters come to rest and no error grows.
    parameters = tree_of(rng, dtype)
    leaves = tr.trees.leaves(parameters)
    tensors = [torch.nn.Parameter(torch.from_numpy(one.copy())) for one in leaves]
    options = {"eps": 1e-3, **options} if make is not tr.SGD else options
    own = make(0.01, **options)
    other = getattr(torch.optim, make.__name__)(tensors, 0.01, foreach=False, **options)
    worst = 0.0
    for _ in range(steps):
        noise = tree_of(rng, dtype, 0.1)
        for tensor, one in zip(tensors, tr.trees.leaves(noise)):
            tensor.grad = torch.from_numpy(one) + tensor.detach()
        own.step(parameters, tr.trees.mapped(lambda p, n: (p + n).astype(dtype), parameters, noise))
        other.step()
    for one, tensor in zip(leaves, tensors):
        expected = tensor.detach().numpy()
        worst = max(worst, float(np.abs(one - expected).max() / np.abs(expected).max()))
    assert worst < (1e-12 if dtype == "float64" else 3e-5 if steps > 100 else 3e-6), worst


@pytest.mark.parametrize("dtype", [np.float16, pytest.param(ml_dtypes.bfloat16, marks=LONG)])
def test_halves_are_stepped_by_a_copy_in_float32(dtype):
    rng = np.random.default_rng(2)
    p = rng.normal(size=1000).astype(dtype)
    full, own, other = p.astype(np.float32), tr.Adam(1e-3), tr.Adam(1e-3)
    for step in range(20):
        g = rng.normal(size=1000).astype(dtype)
        if step == 10:  # by somebody else: the copy knows
            p[:7] = full[:7] = 0.5
        own.step(p, g)
        other.step(full, g.astype(np.float32))
        np.testing.assert_array_equal(p, full.astype(dtype))
    # Steps of a thousandth are below the rounding of bfloat16; the copy adds them up.
    assert own.state()["array/master"].dtype == np.float32


def test_bits_do_not_depend_on_threads_or_trees():
    rng = np.random.default_rng(3)
    start = [rng.normal(size=size).astype(np.float32) for size in (200_000, 3, 70_001, 40_000)]
    gradients = [[rng.normal(size=one.shape).astype(np.float32) for one in start] for _ in range(3)]

    def learned(threads, together):
        numba.set_num_threads(threads)
        parameters = [one.copy() for one in start]
        optimizers = [tr.Adam(0.1) for _ in start]
        for step in gradients:
            if together:
                optimizers[0].step(parameters, step, max_norm=1e9)
            else:
                for optimizer, p, g in zip(optimizers, parameters, step):
                    optimizer.step(p, g)
        return [one.tobytes() for one in parameters], optimizers[0].gradient_norm

    before = numba.get_num_threads()
    try:
        expected = learned(1, True)
        assert learned(before, True) == expected
        assert learned(before, False)[0] == expected[0]
    finally:
        numba.set_num_threads(before)


def test_many_leaves_are_one_launch(monkeypatch):
    calls = []
    run = passes.Table._run
    monkeypatch.setattr(passes.Table, "_run", lambda self, code: calls.append(1) or run(self, code))
    parameters = [np.ones(10, np.float32) for _ in range(100)]
    optimizer = tr.SGD(0.1, on_nonfinite="propagate")
    optimizer.step(parameters, parameters and [np.ones(10, np.float32) for _ in parameters])
    assert len(calls) == 1
    for one in parameters:
        np.testing.assert_allclose(one, 0.9, rtol=1e-6)


def test_trees_may_change_between_steps():
    optimizer, expected = tr.Adam(0.1), tr.Adam(0.1)
    tree = {"a": np.ones(4), "b": np.full(4, 2.0)}
    plain = {"a": np.ones(4), "b": np.full(4, 2.0)}
    rng = np.random.default_rng(4)

    def step():
        g = {name: rng.normal(size=4) for name in ("a", "b")}
        optimizer.step(tree, {name: g[name].copy() for name in reversed(list(tree))})
        expected.step(plain, g)
        for name in plain:
            np.testing.assert_array_equal(tree[name], plain[name])

    step()
    tree["a"] = tree["a"].copy()  # another array of the same name
    step()
    tree = {"b": tree["b"].copy(), "a": tree["a"].copy()}  # another order: states go by names
    step()
    old = tree["a"]
    tree["a"] = tree["b"][:0]  # and back
    tree["a"] = old
    step()
    tree["a"].resize(8, refcheck=False)
    gradients = {"a": np.ones(8), "b": np.ones(4)}
    with pytest.raises(ValueError, match=r"parameter a has shape \(8,\).* its state is of shape"):
        optimizer.step(tree, gradients)
    tree["a"].resize(4, refcheck=False)
    step()
    tree["a"] = tree["a"].astype(np.float32)
    with pytest.raises(ValueError, match=r"parameter a has shape .* dtype float32, its state"):
        optimizer.step(tree, {"a": np.ones(4, np.float32), "b": np.ones(4)})


def test_leaves_without_a_gradient_stay_and_do_not_count():
    optimizer, one = tr.Adam(0.1), tr.Adam(0.1)
    tree, alone = {"a": np.ones(3), "b": [np.ones(3)], "c": None}, np.ones(3)
    for step in range(4):
        g = np.full(3, 1.0 + step)
        frozen = step % 2 == 1
        optimizer.step(tree, {"a": g.copy(), "b": None if frozen else [g], "c": None})
        if not frozen:
            one.step(alone, g)
        np.testing.assert_array_equal(tree["b"][0], alone)
    state = optimizer.state()
    assert (state["a/step"], state["b.0/step"]) == (4, 2)


def not_contiguous(n):
    return np.ones((n, 2))[:, 0]


def read_only(n):
    made = np.ones(n)
    made.flags.writeable = False
    return made


def unaligned(n):
    return np.frombuffer(bytearray(8 * n + 1), np.float64, n, 1)


@pytest.mark.parametrize(
    ("weight", "gradient", "error", "message"),
    [
        (read_only(3), np.ones(3), ValueError, "parameter layers.0.weight is read-only"),
        (not_contiguous(3), np.ones(3), ValueError, "parameter layers.0.weight is not contiguous"),
        (np.ones(3), not_contiguous(3), ValueError, "gradient layers.0.weight is not contiguous"),
        (unaligned(3), np.ones(3), ValueError, "parameter layers.0.weight is not aligned"),
        (np.ones(3, ">f8"), np.ones(3), ValueError, "parameter layers.0.weight is not aligned, or"),
        (np.ones(3, int), np.ones(3), TypeError, "parameter layers.0.weight has dtype int64"),
        (np.ones(3), np.ones(3, int), TypeError, "gradient layers.0.weight has dtype int64"),
        (np.ones(3), np.ones(3, "f4"), TypeError, "layers.0.weight has dtype float32, its par"),
        (np.ones(3), np.ones(4), ValueError, r"layers.0.weight has shape \(4,\), its parameter"),
        (2.0, np.ones(1), TypeError, "parameter layers.0.weight is 2.0, not an array"),
        (np.ones(3), "abc", TypeError, "gradient layers.0.weight is 'abc', not an array"),
        (
            np.ones(3),
            [1.0, 2.0, 3.0],
            TypeError,
            "gradient layers.0.weight is a list, not an array",
        ),
        (np.ma.masked_array(np.ones(3)), np.ones(3), TypeError, "layers.0.weight is a masked"),
    ],
)
def test_errors_name_the_leaf_and_nothing_is_written(weight, gradient, error, message):
    first = np.ones(5)
    tree = {"first": first, "layers": [{"weight": weight}]}
    with pytest.raises(error, match=message):
        tr.Adam(0.1).step(tree, {"first": np.ones(5), "layers": [{"weight": gradient}]})
    np.testing.assert_array_equal(first, 1.0)


def test_memory_that_is_shared_is_refused_also_later():
    x, rest = np.ones(10), np.ones(10)
    for tree, gradients in (
        ({"w": x[:6], "b": x[5:]}, {"w": np.ones(6), "b": np.ones(5)}),
        ({"w": x, "b": x}, {"w": np.ones(10), "b": np.ones(10)}),
        ({"w": x, "b": rest}, {"w": rest, "b": np.ones(10)}),
    ):
        with pytest.raises(ValueError, match="shares memory with"):
            tr.SGD(0.1).step(tree, gradients)
    optimizer = tr.SGD(0.1)
    optimizer.step({"w": x[:5], "b": x[5:]}, {"w": np.ones(5), "b": np.ones(5)})
    tree = {"w": x, "b": rest}
    optimizer = tr.SGD(0.1)
    optimizer.step(tree, {"w": np.ones(10), "b": np.ones(10)})
    for bad in (rest, x):
        with pytest.raises(ValueError, match="shares memory with"):
            optimizer.step(tree, {"w": bad, "b": np.ones(10)})
    shared = np.ones(10)  # gradients may be one
    assert optimizer.step(tree, {"w": shared, "b": shared})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "dtype",
    [
        np.float32,
        np.float16,
        *(pytest.param(one, marks=LONG) for one in (np.float64, ml_dtypes.bfloat16)),
    ],
)
def test_what_is_not_finite_stops_before_anything_is_written(bad, dtype):
    large = {"a": np.ones(70_000, dtype), "b": {"c": np.ones(9, dtype)}}
    gradients = tr.trees.mapped(np.ones_like, large)
    gradients["b"]["c"][7] = bad
    before = [one.tobytes() for one in tr.trees.leaves(large)]
    for options in ({}, {"max_norm": 1.0}):
        optimizer = tr.Adam(0.1)
        with pytest.raises(FloatingPointError, match=r"gradient of b\.c holds NaN .* at step 0"):
            optimizer.step(large, gradients, **options)
        optimizer.on_nonfinite = "skip"
        assert optimizer.step(large, gradients, **options) is False
        assert [one.tobytes() for one in tr.trees.leaves(large)] == before
        assert (optimizer.steps, optimizer.skipped, optimizer.state()["a/step"]) == (0, 1, 0)
    optimizer.on_nonfinite = "propagate"
    assert optimizer.step(large, gradients)
    assert np.isnan(large["b"]["c"][7].astype(np.float64))


def test_clipping_in_the_step_is_clipping_before_it():
    rng = np.random.default_rng(5)
    one, other, p, q = tr.Adam(0.1), tr.Adam(0.1), np.ones(1000), np.ones(1000)
    for _ in range(3):
        g = rng.normal(size=1000)
        kept = g.copy()
        one.step(p, g, max_norm=0.5)
        np.testing.assert_array_equal(g, kept)
        norm = tr.clip_by_global_norm(g, 0.5)
        other.step(q, g)
        assert one.gradient_norm == norm == pytest.approx(np.linalg.norm(kept), rel=1e-14)
        np.testing.assert_array_equal(p, q)


@pytest.mark.parametrize("way", ["state", "savez", "pickle", "deepcopy"])
@pytest.mark.parametrize(
    ("make", "options"),
    [CASES[5], *(pytest.param(*CASES[place], marks=LONG) for place in (3, 7, 13))],
)
def test_states_go_on_to_the_same_bits(make, options, way, tmp_path):
    rng = np.random.default_rng(6)
    tree = tree_of(rng, np.float32)
    tree["half"] = rng.normal(size=9).astype(np.float16)

    def gradients(step):
        own = np.random.default_rng(step)
        made = tree_of(own, np.float32)
        made["half"] = own.normal(size=9).astype(np.float16)
        return made

    optimizer = make(0.1, **options)
    for step in range(3):
        optimizer.step(tree, gradients(step))
    optimizer.learning_rate = 0.05
    other_tree = tr.trees.mapped(np.copy, tree)
    if way == "pickle":
        other = pickle.loads(pickle.dumps(optimizer))
    elif way == "deepcopy":
        other = copy.deepcopy(optimizer)
    else:
        other, state = make(0.1, **options), optimizer.state()
        if way == "savez":
            np.savez(tmp_path / "state.npz", **state)
            with np.load(tmp_path / "state.npz") as file:
                state = dict(file)
        other.load_state(state)
        for array in state.values():  # copied
            if isinstance(array, np.ndarray) and array.dtype == np.float32:
                array[...] = 7.0
    for step in range(3, 6):
        optimizer.step(tree, gradients(step))
        other.step(other_tree, gradients(step))
    assert other.steps == 6
    for one, two in zip(tr.trees.leaves(tree), tr.trees.leaves(other_tree)):
        assert one.tobytes() == two.tobytes()


def test_states_that_do_not_fit_are_refused():
    optimizer = tr.Adam(0.1)
    optimizer.step(np.ones(3), np.ones(3))
    state = optimizer.state()
    with pytest.raises(ValueError, match="this is the state of Adam, not of SGD"):
        tr.SGD().load_state(state)
    with pytest.raises(ValueError, match="the state lacks array/max_exp_avg_sq"):
        tr.Adam(amsgrad=True).load_state(state)
    with pytest.raises(ValueError, match=r"array/exp_avg has shape \(4,\), its leaf \(3,\)"):
        tr.Adam().load_state({**state, "array/exp_avg": np.ones(4)})
    other = tr.Adam()
    other.load_state(state)
    with pytest.raises(ValueError, match="use a new optimiser, or reset"):
        other.step(np.ones(4), np.ones(4))
    other.reset()
    assert other.step(np.ones(4), np.ones(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tr.SGD(-1.0), "learning_rate must be in"),
        (lambda: tr.SGD(math.nan), "learning_rate must be in"),
        (lambda: tr.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: tr.Adam(betas=(0.9, 1.0)), "betas must be two numbers"),
        (lambda: tr.Adam(betas=0.9), "betas must be two numbers"),
        (lambda: tr.Adam(eps=-1.0), "eps must be in"),
        (lambda: tr.RMSprop(alpha=1.0), "alpha must be in"),
        (lambda: tr.Adam(on_nonfinite="ignore"), "on_nonfinite must be one of"),
        (lambda: tr.Adam().step(np.ones(1), np.ones(1), -0.1), "learning_rate must be in"),
        (lambda: tr.Adam().step(np.ones(1), np.ones(1), max_norm=0.0), "max_norm must be pos"),
        (lambda: tr.Adam().step({"a": np.ones(1)}, {"b": np.ones(1)}), "must have the form of"),
        (lambda: tr.Adam().step([np.ones(1)], [np.ones(1)] * 2), "a list of 1 there, a list of 2"),
        (lambda: tr.Adam().step({1: np.ones(1), "1": np.ones(1)}, None), "two leaves are called 1"),
    ],
)
def test_wrong_options_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_may_change_between_steps():
    optimizer, p = tr.SGD(0.1), np.ones(3)
    optimizer.step(p, np.ones(3))
    optimizer.learning_rate, optimizer.momentum = 0.2, 0.5
    optimizer.step(p, np.ones(3))
    optimizer.step(p, np.ones(3))
    np.testing.assert_allclose(p, 1 - 0.1 - 0.2 - 0.2 * 1.5, rtol=1e-12)
    assert repr(optimizer).startswith("SGD(learning_rate=0.2, ")


def test_empty_leaves_and_trees():
    optimizer = tr.Adam()
    assert optimizer.step({}, {})
    assert optimizer.step(
        {"a": np.ones((0, 3)), "b": np.ones(2)}, {"a": np.ones((0, 3)), "b": np.ones(2)}
    )


def test_tensors_are_stepped_in_place():
    torch = pytest.importorskip("torch")
    p, q, own, other = torch.ones(5), np.ones(5, np.float32), tr.Adam(0.1), tr.Adam(0.1)
    h = torch.ones(5, dtype=torch.float16)
    for step in range(3):
        g = np.full(5, 1.0 + step, np.float32)
        own.step([p, h], [torch.from_numpy(g), torch.from_numpy(g).half()])
        other.step(q, g)
        np.testing.assert_array_equal(p.numpy(), q)
    assert float(h[0]) == pytest.approx(float(q[0]), abs=1e-3)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="looks for instructions of x86")
def test_steps_are_computed_in_vectors():
    text = cpu_steps.code(rules.ADAM, "float32", False, keep=False).assembly()
    loops = re.split(r"(?m)^(?=\.LBB\w+:)", text)
    found = [one for one in loops if re.search(r"\bv?sqrtps\b", one)]
    assert found
    for loop in found:  # as they come from memory, without spills
        body = loop.partition("\n\tj")[0]
        assert not re.search(r"\(%r[sb]p\)|\bv?(sqrt|div)ss\b", body)
        assert re.search(r"\bv?divps\b", body)


def test_reached_by_name():
    assert nl.train is tr
