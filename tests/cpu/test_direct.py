"""Plain arrays take a path of their own, and what is nearly plain too: the results are those of the
general one, which ``device="cpu"`` takes whatever the arrays are."""

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cpu import threads
from numbaloss.jobs.rows import RowCall

SIZES = [0, 1, 100, threads.PARALLEL_SIZE - 1, threads.PARALLEL_SIZE]


GENERAL = {"device": "cpu"}


def same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_elements(size, real, kind, reduction):
    rng = np.random.default_rng(size)
    loss, options = nl.BinaryCrossEntropy(), {"reduction": reduction}
    p, t = rng.normal(size=size).astype(real), rng.integers(0, 2, size).astype(kind)
    w = rng.random(size).astype(real)
    np.testing.assert_array_equal(loss(p, t, **options), loss(p, t, **options, **GENERAL))
    for more in ({}, {"sample_weight": w}, {"sample_weight": w - 0.5, "check": False}):
        options = {"reduction": reduction, "gradient_scale": 2.5, **more}
        wanted = loss.value_grad_hess(p, t, **options, **GENERAL)
        same(loss.value_grad_hess(p, t, **options), wanted)
        same(loss.value_and_grad(p, t, **options), wanted[:2])
        np.testing.assert_array_equal(loss.hess(p, t, **options), wanted[2])
        out = np.empty_like(p)
        assert loss.value_and_grad(p, t, out=out, **options)[1] is out
        np.testing.assert_array_equal(out, wanted[1])


@pytest.mark.every(16)
@pytest.mark.parametrize(
    "shape", [(1, 3), (10, 10), (4000, 10), (40, 700), (2, 9000), (33, 9000), (3, 90_000)]
)
@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows(shape, real, reduction):
    rng = np.random.default_rng(1)
    loss = nl.CrossEntropy(label_smoothing=0.1, ignore_index=2)
    z, t = rng.normal(size=shape).astype(real), rng.integers(0, shape[1], shape[0])
    t[0] = 1
    options = {"reduction": reduction, "gradient_scale": 2.5}
    wanted = loss.value_grad_hess(z, t, **options, **GENERAL)
    np.testing.assert_array_equal(loss(z, t, reduction=reduction), wanted[0])
    same(loss.value_grad_hess(z, t, **options), wanted)
    same(loss.value_and_grad(z, t, **options), wanted[:2])
    out = np.empty_like(z)
    assert loss.value_and_grad(z, t, out=out, **options)[1] is out
    np.testing.assert_array_equal(out, wanted[1])
    hessian = np.empty_like(z)
    found = loss.value_grad_hess(z, t, out=out, hess_out=hessian, **options)
    assert found[2] is hessian
    same(found, wanted)
    if shape[1] < 100:
        for kind in ("int8", "uint8", "int32", "uint32"):
            same(loss.value_and_grad(z, t.astype(kind), **options), wanted[:2])
    if reduction == "none":
        values = np.empty(shape[0], real)
        assert loss(z, t, reduction="none", values_out=values) is values
        np.testing.assert_array_equal(values, wanted[0])


@pytest.mark.parametrize("make", [nl.CrossEntropy, lambda: nl.CrossEntropy(label_smoothing=0.1)])
def test_values_of_rows_are_there_after_a_sum_and_before_one(make):
    z, t = np.random.default_rng(2).normal(size=(30, 5)).astype("f4"), np.arange(30) % 5
    wanted = make().value_and_grad(z, t, reduction="none", **GENERAL)
    for order in (("sum", "none"), ("none", "sum")):
        loss = make()
        for reduction in order:
            value, gradient = loss.value_and_grad(z, t, reduction=reduction)
            np.testing.assert_array_equal(gradient, wanted[1])
            if reduction == "none":
                np.testing.assert_array_equal(value, wanted[0])
            else:
                assert value == pytest.approx(wanted[0].sum(), rel=1e-6)


def test_outputs_that_share_memory_are_refused():
    p, t, out = np.ones(9, "f4"), np.zeros(9, "f4"), np.ones(9, "f4")
    z, y = np.ones((3, 3), "f4"), np.zeros(3, np.int64)
    for loss, given, other in ((nl.Huber(), (p, t), out), (nl.CrossEntropy(), (z, y), z.copy())):
        for outs in ({"hess_out": given[0]}, {"out": other, "hess_out": other}):
            with pytest.raises(ValueError, match="share"):
                loss.value_grad_hess(*given, **outs)
    with pytest.raises(ValueError, match="values_out shares memory with target"):
        nl.Huber()(p, t, reduction="none", values_out=t)
    with pytest.raises(ValueError, match="values_out receives"):
        nl.Huber()(p, t, values_out=out)


def test_tensors_have_the_results_of_their_arrays():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    p, t = rng.normal(size=(20, 5)).astype("f4"), rng.integers(0, 2, (20, 5))
    y = rng.integers(0, 5, 20)
    for loss, given in ((nl.BinaryCrossEntropy(), (p, t)), (nl.CrossEntropy(), (p, y))):
        tensors = [torch.from_numpy(one) for one in given]
        for reduction in ("mean", "sum", "none"):
            wanted = loss.value_grad_hess(*given, reduction=reduction)
            found = loss.value_grad_hess(*tensors, reduction=reduction)
            assert all(type(one) is torch.Tensor for one in found[1:])
            same(found, wanted)
        out = tensors[0].clone()
        assert loss.value_and_grad(out, tensors[1], out=out)[1] is out
        np.testing.assert_array_equal(out, loss.grad(*given))


def test_calls_share_nothing_that_they_write_to():
    loss = nl.CrossEntropy()
    z = np.random.default_rng(0).normal(size=(3, 90_000)).astype(np.float32)
    loss(z, np.zeros(3, np.int64))
    ready = loss.__dict__["_plans"][z.dtype, 0, z.shape[1], False]
    assert RowCall(ready.reals.view(np.int64)).pieces == 0


def test_a_bad_number_is_named_and_nothing_is_returned():
    p, t = np.zeros(100, np.float32), np.zeros(100, np.float32)
    t[7] = 2.0
    with pytest.raises(ValueError, match=r"target\[7\]"):
        nl.BinaryCrossEntropy()(p, t)
    assert nl.BinaryCrossEntropy()(p, t, check=False) != 0
    with pytest.raises(ValueError, match=r"sample_weight\[3\]"):
        nl.SquaredError()(p, t, sample_weight=np.where(np.arange(100) == 3, -1, 1).astype("f4"))
    with pytest.raises(ValueError, match="label"):
        nl.CrossEntropy()(p.reshape(10, 10), np.arange(1, 11))
