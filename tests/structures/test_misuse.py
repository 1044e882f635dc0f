"""Mistakes that people make, and the errors that tell them what to write."""

import sys
from functools import wraps
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import numbaloss as nl
from numbaloss import arrays
from numbaloss.structures import elementwise

ROWS = np.random.default_rng(0).normal(size=(3, 4))
LABELS = np.array([0, 1, 2])
CALLS = {
    "elementwise": (nl.Huber(), (ROWS, np.zeros((3, 4)))),
    "rows": (nl.CrossEntropy(), (ROWS, LABELS)),
    "pairs": (nl.CosineEmbedding(), (ROWS, ROWS[::-1], np.ones(3))),
    "triplets": (nl.Triplet(), (ROWS, ROWS[::-1], -ROWS)),
    "keys": (nl.InfoNCE(), (ROWS, ROWS[::-1].copy())),
    "labelled": (nl.NTXent(), (ROWS, np.array([0, 0, 1]))),
    "linear": (nl.LinearCrossEntropy(), (ROWS, np.ones((4, 5)), LABELS)),
}


@pytest.mark.parametrize("structure", CALLS)
def test_gradient_scales_are_real_numbers(structure):
    loss, arguments = CALLS[structure]
    calls = [loss.value_and_grad]
    if structure in ("elementwise", "rows"):
        calls.append(loss.value_grad_hess)
    for call in calls:
        for scale in (1j, np.complex128(1 + 0j), "2", np.ones(3), [1.0], None):
            for options in ({}, {"reduction": "weighted_mean"}):
                with pytest.raises(TypeError, match="gradient_scale must be a real number, not"):
                    call(*arguments, gradient_scale=scale, **options)
        expected = call(*arguments, gradient_scale=2.0)
        for scale in (2, np.float32(2), np.array(2.0), np.int8(2)):
            found = call(*arguments, gradient_scale=scale)
            assert found[0] == expected[0]
            for one, other in zip(found[1:], expected[1:], strict=True):
                for part, wanted in zip(one, other, strict=True):
                    np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("structure", CALLS)
def test_unknown_keywords_are_answered_with_the_right_ones(structure):
    loss, arguments = CALLS[structure]
    methods = ["__call__", "value_and_grad", "grad"]
    if structure in ("elementwise", "rows"):
        methods += ["value_grad_hess", "hess"]
    for method in methods:
        call = getattr(loss, method)
        with pytest.raises(TypeError, match=r"has no argument 'weights': did you mean sample_wei"):
            call(*arguments, weights=None)
        with pytest.raises(TypeError, match=r"has no argument 'reduktion': did you mean reduction"):
            call(*arguments, reduktion="mean")
        with pytest.raises(TypeError, match=r"has no argument 'zzz'. It takes .*sample_weight"):
            call(*arguments, zzz=1)


def test_names_of_other_libraries_are_translated():
    huber, target = nl.Huber(), np.zeros((3, 4))
    with pytest.raises(TypeError, match="'y_true': it is called target here, and comes second"):
        huber(ROWS, target, y_true=target)
    with pytest.raises(TypeError, match="'y_pred': it is called prediction here, and comes first"):
        huber(ROWS, target, y_pred=ROWS)
    # Where both are missing Python itself says what they are called.
    with pytest.raises(TypeError, match=r"missing 2 required .* 'prediction' and 'target'"):
        huber(y_true=target, y_pred=ROWS)
    with pytest.raises(TypeError, match=r"it is a parameter of the loss: Huber\(delta=...\)"):
        huber(ROWS, target, delta=2.0)
    with pytest.raises(TypeError, match="did you mean axis"):
        nl.CrossEntropy()(ROWS, LABELS, dim=1)


def test_exchanged_arguments_are_named():
    labels, scores = np.array([0, 1, 1]), np.array([0.1, 0.9, 0.8])
    with pytest.raises(TypeError, match=r"prediction has dtype int64.*are the two exchanged"):
        nl.BinaryCrossEntropy()(labels, scores)
    with pytest.raises(TypeError, match="are the two exchanged"):
        nl.BinaryCrossEntropy().value_and_grad(labels.astype(bool), scores.tolist())
    with pytest.raises(TypeError, match="are the two exchanged"):
        nl.CrossEntropy()(LABELS, ROWS)
    with pytest.raises(TypeError, match=r"gradients of integers do not exist. Cast it"):
        nl.BinaryCrossEntropy()(labels, labels)


def test_class_weights_come_from_any_library():
    pandas = pytest.importorskip("pandas")
    weights = [1.0, 2.0, 0.5, 3.0]
    expected = nl.CrossEntropy(class_weight=weights)
    for given in (
        np.array(weights, "f2"),
        pandas.Series(weights),
        pandas.Series(weights, dtype="Float64"),
        tuple(weights),
    ):
        assert nl.CrossEntropy(class_weight=given) == expected
    assert nl.CrossEntropy(class_weight=[1, 2, 3]).class_weight.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match=r"class_weight must be an array.*\[weights\[0\]"):
        nl.CrossEntropy(class_weight={0: 1.0, 1: 2.0})
    with pytest.raises(TypeError, match=r"class_weight must be an array.*numpy.bincount"):
        nl.CrossEntropy(class_weight="balanced")
    with pytest.raises(ValueError, match=r"class_weight\[1\] is nan"):
        nl.CrossEntropy(class_weight=pandas.Series([1.0, None]))


def test_missing_values_are_named():
    pandas = pytest.importorskip("pandas")
    truth = pandas.Series([True, None, False], dtype="boolean")
    for target in (truth, truth.astype(object), np.array([1.0, None, 0.0])):
        with pytest.raises(TypeError, match=r"target has dtype object, with a missing .*\[1\]"):
            nl.BinaryCrossEntropy()(np.zeros(3), target)
    with pytest.raises(TypeError, match=r"sample_weight has dtype object, with a missing .*\[1\]"):
        nl.CrossEntropy()(ROWS, LABELS, sample_weight=truth)
    with pytest.raises(ValueError, match=r"target\[1\] is nan"):
        nl.CrossEntropy()(ROWS, pandas.Series([0, None, 2], dtype="Int64"))
    with pytest.raises(TypeError, match=r"holds texts.*numpy.unique\(target, return_inverse"):
        nl.CrossEntropy()(ROWS, pandas.Series(["a", "b", "a"], dtype="category"))
    with pytest.raises(TypeError, match="target has dtype <U1, which holds texts"):
        nl.CrossEntropy()(ROWS, np.array(["a", "b", "a"]))
    with pytest.raises(TypeError, match="target has dtype object; expected real numbers"):
        nl.Huber()(np.zeros(2), np.array([object(), 1.0]))
    # Without any they are numbers.
    whole = pandas.Series([0, 1, 2], dtype="Int64")
    assert nl.CrossEntropy()(ROWS, whole) == nl.CrossEntropy()(ROWS, LABELS)
    assert nl.Huber()(np.zeros(2), truth.dropna()) == nl.Huber()(np.zeros(2), [1.0, 0.0])


class Tensor:
    """As much of a tensor of PyTorch as a call asks for."""

    device = SimpleNamespace(type="cpu")
    layout = dtype = "strided"

    def __init__(self, array, requires_grad):
        self.array, self.requires_grad = array, requires_grad

    def detach(self):
        return Tensor(self.array, False)

    def resolve_neg(self):
        return self

    def numpy(self):
        return self.array


@pytest.fixture
def torch(monkeypatch):
    found = ModuleType("torch")
    found.Tensor, found.strided, found.bfloat16 = Tensor, "strided", "bfloat16"
    found.nn = SimpleNamespace(Parameter=None)
    for name in arrays.TORCH_NUMBERS:
        setattr(found, name, name)
    found.enabled = True
    found.is_grad_enabled = lambda: found.enabled
    monkeypatch.setitem(sys.modules, "torch", found)
    return found


@pytest.mark.parametrize("structure", CALLS)
def test_a_value_alone_does_not_take_tensors_that_require_gradients(torch, structure):
    loss, arguments = CALLS[structure]
    floats = [one.dtype.kind == "f" and one.ndim > 1 for one in arguments]
    tensors = [Tensor(a, f) if f else a for a, f in zip(arguments, floats, strict=True)]
    if structure == "elementwise":
        tensors[1] = arguments[1]
    for reduction in ("mean", "weighted_mean"):
        with pytest.raises(TypeError, match=r"loss.value_and_grad.*detach\(\).*no_grad"):
            loss(*tensors, reduction=reduction)
    expected = loss(*arguments)
    plain = [one.detach() if isinstance(one, Tensor) else one for one in tensors]
    assert loss(*plain) == expected
    torch.enabled = False
    assert loss(*tensors) == expected


def test_class_weights_may_be_a_tensor_that_requires_gradients(torch):
    weights = np.array([1.0, 2.0])
    assert nl.CrossEntropy(class_weight=Tensor(weights, True)) == nl.CrossEntropy([1.0, 2.0])


def test_traced_arrays_of_jax_are_refused_with_the_way_out(monkeypatch):
    class Tracer:
        def devices(self):
            raise AssertionError("nobody should ask")

    jax = ModuleType("jax")
    jax.Array, jax.core = Tracer, SimpleNamespace(Tracer=Tracer)
    monkeypatch.setitem(sys.modules, "jax", jax)
    for call in (nl.Huber(), nl.Huber().value_and_grad):
        with pytest.raises(TypeError, match=r"prediction is traced by JAX.*numbaloss.jax.evaluate"):
            call(Tracer(), np.zeros(3))


def test_losses_have_the_name_of_their_class():
    assert nl.Huber().__name__ == nl.Huber.__name__ == "Huber"
    assert (nl.Huber() + nl.LogCosh()).__name__ == "ElementwiseSum"
    assert wraps(nl.Huber())(lambda: None).__name__ == "Huber"


def test_losses_are_metrics_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    dummy = pytest.importorskip("sklearn.dummy").DummyRegressor(strategy="constant", constant=0.0)
    scorer = metrics.make_scorer(nl.SquaredError(), greater_is_better=False)
    assert "SquaredError" in repr(scorer)
    target = np.array([1.0, -2.0])
    assert scorer(dummy.fit(np.zeros((2, 1)), target), np.zeros((2, 1)), target) == -2.5


@pytest.mark.parametrize("kind", ["i8", "u1", "?", "i4", "f2", "f8"])
def test_plain_targets_of_another_dtype_take_the_short_way(kind, monkeypatch):
    rng = np.random.default_rng(1)
    loss = nl.BinaryCrossEntropy()
    for count in (5, 3000):
        logits, target = rng.normal(size=count).astype("f4"), rng.integers(0, 2, count)
        weight = rng.random(count).astype("f4")
        for options in ({}, {"sample_weight": weight}, {"reduction": "sum"}):
            expected = loss.value_grad_hess(logits, target.astype("f4"), **options)
            values = loss(logits, target.astype("f4"), **options)
            with monkeypatch.context() as patch:
                patch.setattr(elementwise, "evaluate", None)
                found = loss.value_grad_hess(logits, target.astype(kind), **options)
                assert loss(logits, target.astype(kind), **options) == values
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    target = target.astype("f8" if kind == "?" else kind)
    target[7] = 3
    with pytest.raises(ValueError, match=r"target\[7\] is 3;"):
        loss.value_and_grad(logits, target)
