"""Steps, norms and clipping on a GPU: the PTX itself, on a machine written in Python."""

import re
from importlib.util import find_spec

import ml_dtypes
import numpy as np
import pytest

if find_spec("numba_cuda") is None:
    pytest.skip("needs numba-cuda", allow_module_level=True)

import numbaloss.train as tr
from numbaloss.cuda import backend
from tests.support.gpu import machine
from tests.support.gpu.kernels import CAPABILITIES, KINDS, instructions, intrinsics, refused
from tests.support.gpu.kernels import without_gpu as on

if backend.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

OPTIMIZERS = [
    tr.SGD(0.1),
    tr.SGD(0.1, 0.9, nesterov=True, weight_decay=0.1),
    tr.Adam(0.1, weight_decay=0.1),
    tr.Adam(0.1, amsgrad=True),
    tr.AdamW(0.1, maximize=True),
    tr.RMSprop(0.1),
    tr.RMSprop(0.1, momentum=0.9),
    tr.RMSprop(0.1, centered=True),
    tr.RMSprop(0.1, centered=True, momentum=0.9),
    tr.Adagrad(0.1, lr_decay=0.1),
    tr.Lion(0.1, weight_decay=0.1),
]


def of_kind(array, kind):
    return array.astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)


@pytest.fixture
def gpu(monkeypatch):
    machine.installed(monkeypatch)
    monkeypatch.setattr(backend, "synchronize_all", lambda device: None)
    from numbaloss.train import cuda_kernels

    monkeypatch.setattr(cuda_kernels, "PIECE", 96)  # more pieces than blocks


def tree(rng, kind, sizes=(130, 7)):
    made = [of_kind(rng.normal(size=size), kind) for size in sizes]
    return {"layers": [{"weight": made[0]}, {"weight": made[1]}]}


def put(given):
    return tr.trees.mapped(machine.Array.copy, given)


def leaves_of(given):
    return [
        one.copy_to_host() if isinstance(one, machine.Array) else one
        for one in tr.trees.leaves(given)
    ]


def assert_same(found, expected, kind):
    """Equal but for products that a GPU adds without rounding them."""
    eps = {"float64": 1e-15, "float32": 5e-7, "float16": 2e-3, "bfloat16": 1.6e-2}[kind]
    for one, other in zip(leaves_of(found), leaves_of(expected), strict=True):
        one, other = one.astype(np.float64), other.astype(np.float64)
        np.testing.assert_allclose(one, other, rtol=0, atol=8 * eps * np.abs(other).max())


def cases():
    for place, one in enumerate(OPTIMIZERS):
        for turn, kind in enumerate(KINDS):
            few = (place, kind) in {(2, "float32")}
            marks = [] if few else [pytest.mark.exhaustive]
            yield pytest.param(place, kind, turn % 2 == 1, marks=marks, id=f"{one!r}-{kind}")


@pytest.mark.parametrize(("which", "kind", "watched"), list(cases()))
def test_steps_are_those_of_the_cpu(gpu, which, kind, watched):
    rng = np.random.default_rng(which)
    optimizer, options = OPTIMIZERS[which], vars(OPTIMIZERS[which])
    public = {k: v for k, v in options.items() if k[0] != "_"}
    for name in ("steps", "skipped", "gradient_norm"):
        public.pop(name)
    own, other = type(optimizer)(**public), type(optimizer)(**public)
    here, monitors = tree(rng, kind), (tr.Monitor(), tr.Monitor())
    there = put(here)
    for step in range(3):
        gradients = tree(rng, kind)
        watching = [one if watched else None for one in monitors]
        limit = 5.0 if step == 2 else None
        assert own.step(here, gradients, max_norm=limit, monitor=watching[0])
        assert other.step(there, put(gradients), max_norm=limit, monitor=watching[1])
        assert_same(there, here, kind)
    for name, array in own.state().items():
        if isinstance(array, np.ndarray):
            found = other.state()[name]
            assert found.dtype == array.dtype
            np.testing.assert_allclose(found, array, rtol=1e-4, atol=1e-5)
    if watched:
        for column in ("gradient_norm", "update_ratio"):
            for layer, numbers in monitors[0].history[column].items():
                found = monitors[1].history[column][layer]
                np.testing.assert_allclose(found, numbers, rtol=1e-2 if "16" in kind else 1e-5)


def test_what_is_not_finite_changes_nothing(gpu):
    rng = np.random.default_rng(0)
    here = put(tree(rng, "float32"))
    before = leaves_of(here)
    gradients = tree(rng, "float32")
    gradients["layers"][1]["weight"][3] = np.inf
    with pytest.raises(FloatingPointError, match=r"layers\.1\.weight holds NaN or an infinity"):
        tr.Adam().step(here, put(gradients))
    assert not tr.Adam(on_nonfinite="skip").step(here, put(gradients), max_norm=1.0)
    for one, other in zip(leaves_of(here), before):
        np.testing.assert_array_equal(one, other)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_clipping_is_that_of_the_cpu(gpu, kind):
    rng = np.random.default_rng(1)
    parameters = tree(rng, kind)
    for clip in (
        lambda g, p: tr.clip_by_global_norm(g, 1.0),
        lambda g, p: tr.clip_by_value(g, 0.5),
        lambda g, p: tr.clip_adaptive(g, p),
    ):
        here = tree(rng, kind)
        there = put(here)
        one, other = clip(here, parameters), clip(there, put(parameters))
        assert one is None or one == pytest.approx(other, rel=1e-14)
        assert_same(there, here, kind)


def test_states_move_between_cpu_and_gpu(gpu):
    rng = np.random.default_rng(2)
    here, other = tree(rng, "float32"), tr.Adam(0.1)
    both, optimizer = tr.trees.mapped(np.copy, here), tr.Adam(0.1)
    for step in range(4):
        gradients = tree(rng, "float32")
        optimizer.step(both, gradients)
        if step == 1:
            there = put(here)
            other.step(there, put(gradients))
            here = tr.trees.mapped(lambda one: one.copy_to_host(), there)
        else:
            other.step(here, gradients)
    assert_same(here, both, "float32")


def kernels():
    from numbaloss.train import cuda_kernels, rules

    few = {("adam", "float32"), ("lion", "bfloat16")}
    for kind in KINDS:
        for make in (cuda_kernels.squares, cuda_kernels.finite, cuda_kernels.clipping):
            marks = [] if kind == "float32" else [pytest.mark.exhaustive]
            yield pytest.param(make, (kind,), kind, marks=marks)
        for rule in rules.RULES:
            for watched in (False, True):
                marks = [] if (rule.name, kind) in few and not watched else [pytest.mark.exhaustive]
                given = rule.name, kind, watched
                yield pytest.param(cuda_kernels.step, given, kind, marks=marks)


@pytest.mark.parametrize(("make", "given", "kind"), list(kernels()))
def test_kernels_are_what_they_should_be(make, given, kind):
    capability = CAPABILITIES[len(given) % 2]
    with on(capability), intrinsics() as found:
        text = make(*given).ptx(capability)
    names = instructions(text)
    assert not re.search(r"\.local\b|\bcall", text)
    assert not refused(found)
    assert not [one for one in names if re.search(r"\.(approx|full|ftz)\b", one)]
    if len(given) == 3 and kind in ("float32", "float64") and not given[2]:
        width = "v4.f32" if kind == "float32" else "v2.f64"
        assert f"ld.global.{width}" in names
        assert f"st.global.{width}" in names
        if kind == "float32":
            assert not [one for one in names if ".f64" in one]
