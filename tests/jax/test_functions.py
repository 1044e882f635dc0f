"""Losses inside of JAX's transformations, beside JAX's own functions and differences."""

import pickle

import numpy as np
import pytest

import numbaloss as nl

jax = pytest.importorskip("jax")

from numbaloss.jax import Loss, evaluate  # noqa: E402

jnp = jax.numpy
LABELS = np.array([0, 2, 1, 3, 3, 2])


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def randoms(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def cross_entropy(logits, labels):
    rows = jax.nn.logsumexp(logits, axis=-1) - logits[jnp.arange(len(labels)), labels]
    return rows


def pseudo_huber(p, t):
    return jnp.sqrt(1.0 + (p - t) ** 2) - 1.0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_values_and_gradients_are_those_of_jax(dtype, reduction):
    logits, target = jnp.asarray(randoms(6, 4), dtype), jnp.asarray(randoms(6, 4, seed=1), dtype)
    weight = jnp.asarray(randoms(6, seed=2) ** 2, dtype)
    factor = jnp.arange(1.0, 7.0, dtype=dtype)
    reduce = {"mean": jnp.mean, "sum": jnp.sum, "none": lambda x: x}[reduction]
    cases = [
        (
            lambda x: evaluate(
                nl.CrossEntropy(), x, LABELS, sample_weight=weight, reduction=reduction
            ),
            lambda x: reduce(weight * cross_entropy(x, LABELS)),
        ),
        (
            lambda x: Loss(nl.PseudoHuber(), reduction)(x, target),
            lambda x: reduce(pseudo_huber(x, target)),
        ),
    ]
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for ours, native in cases:

        def total(function, x):
            value = function(x)
            if value.ndim == 2:
                value = value.sum(axis=1)
            return 3.0 * value if value.ndim == 0 else value @ factor

        for transform in (lambda f: f, jax.jit):
            value, gradient = transform(jax.value_and_grad(lambda x: total(ours, x)))(logits)  # noqa: B023
            expected, slopes = jax.value_and_grad(lambda x: total(native, x))(logits)  # noqa: B023
            assert value.dtype == gradient.dtype == dtype
            np.testing.assert_allclose(value, expected, rtol=tolerance)
            np.testing.assert_allclose(gradient, slopes, rtol=tolerance, atol=0.1 * tolerance)


def test_elementwise_losses_have_second_derivatives():
    with jax.enable_x64(True):
        p, t = jnp.asarray(randoms(5)), jnp.asarray(randoms(5, seed=1))
        for reduction in ("mean", "none"):

            def ours(p):
                return (Loss(nl.PseudoHuber(), reduction)(p, t) ** 2).sum()  # noqa: B023

            def native(p):
                values = pseudo_huber(p, t)
                return ((values.mean() if reduction == "mean" else values) ** 2).sum()  # noqa: B023

            found = jax.jacrev(jax.jacrev(ours))(p)
            np.testing.assert_allclose(found, jax.hessian(native)(p), rtol=1e-10, atol=1e-14)
        logits = jnp.asarray(randoms(6, 4))
        with pytest.raises(NotImplementedError, match="no second derivatives"):
            jax.jacrev(jax.jacrev(lambda x: Loss(nl.CrossEntropy())(x, LABELS)))(logits)


def test_mapped_calls():
    p, t = jnp.asarray(randoms(3, 5), "float32"), jnp.asarray(randoms(3, 5, seed=1), "float32")
    loss = Loss(nl.PseudoHuber())
    expected = pseudo_huber(p, t).mean(axis=1)
    np.testing.assert_allclose(jax.vmap(loss)(p, t), expected, rtol=1e-5)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(jax.grad(loss), (0, None)))(p, t[0]),
        jax.vmap(jax.grad(lambda p: pseudo_huber(p, t[0]).mean()))(p),
        rtol=1e-5,
    )


def test_every_vector_has_its_gradient():
    with jax.enable_x64(True):
        first, second, third = (jnp.asarray(randoms(6, 4, seed=i)) for i in range(3))
        weight, bias = jnp.asarray(randoms(4, 5, seed=4)), jnp.asarray(randoms(5, seed=5))
        factor = jnp.arange(1.0, 7.0)
        cases = [
            (nl.Triplet(2.0), (first, second, third), (), {}),
            (nl.InfoNCE(), (first, second), (), {}),
            (nl.SupervisedContrastive(), (first,), (LABELS,), {}),
            (nl.LinearCrossEntropy(), (first, weight), (LABELS,), {"bias": bias}),
        ]
        for loss, inputs, target, options in cases:
            for reduction in ("mean", "none"):

                def call(*inputs, loss=loss, target=target, options=options, reduction=reduction):
                    value = evaluate(loss, *inputs, *target, reduction=reduction, **options)
                    return (value * factor).sum() if reduction == "none" else value

                gradients = jax.grad(call, tuple(range(len(inputs))))(*inputs)
                for which, gradient in enumerate(gradients):
                    direction = randoms(*gradient.shape, seed=9)
                    h = 1e-6
                    ends = [
                        call(
                            *inputs[:which],
                            inputs[which] + sign * h * direction,
                            *inputs[which + 1 :],
                        )
                        for sign in (1, -1)
                    ]
                    slope = (ends[0] - ends[1]) / (2 * h)
                    assert float((gradient * direction).sum()) == pytest.approx(
                        float(slope), rel=1e-5, abs=1e-8
                    )


def test_half_precisions():
    p, t = randoms(6, 4), randoms(6, 4, seed=1)
    for dtype, precision in (("float16", 2e-3), ("bfloat16", 2e-2)):
        prediction = jnp.asarray(p, dtype)
        value, gradient = jax.value_and_grad(Loss(nl.PseudoHuber()))(prediction, jnp.asarray(t))
        assert value.dtype == "float32"
        assert gradient.dtype == dtype
        expected = jax.grad(lambda p: pseudo_huber(p, t).mean())(prediction.astype("float32"))
        np.testing.assert_allclose(gradient.astype("float32"), expected, rtol=precision)


def test_large_arrays_do_not_block():
    p = jnp.ones((1000, 1000), "float32")
    value, gradient = jax.jit(jax.value_and_grad(Loss(nl.SquaredError())))(p, 0.0 * p)
    assert value == 1.0
    assert (gradient == 2e-6).all()


def test_traced_arrays_are_refused_in_words_by_plain_calls():
    for transform in (jax.jit, jax.grad, jax.vmap):
        with pytest.raises(TypeError, match=r"numbaloss\.jax"):
            transform(lambda p: nl.Huber()(p, np.zeros(3)))(jnp.ones(3))
    with pytest.raises(TypeError, match="target is traced"):
        jax.jit(lambda t: nl.Huber()(np.zeros(3), t))(jnp.ones(3))


def test_errors_reach_the_caller():
    with pytest.raises(Exception, match="label"):
        jax.jit(Loss(nl.CrossEntropy()))(jnp.ones((2, 3)), np.array([0, 7])).block_until_ready()
    with pytest.raises(TypeError, match="takes 2 arrays, not 1"):
        Loss(nl.Huber())(jnp.ones(3))
    with pytest.raises(TypeError, match="takes a loss of numbaloss"):
        Loss("huber")
    with pytest.raises(ValueError, match="reduction must be one of"):
        evaluate(nl.Huber(), jnp.ones(3), jnp.ones(3), reduction="average")


def test_functions_are_values():
    assert Loss(nl.Huber(0.5)) == pickle.loads(pickle.dumps(Loss(nl.Huber(0.5))))
    assert len({Loss(nl.Huber()), Loss(nl.Huber()), Loss(nl.Huber(), "sum")}) == 2
    assert repr(Loss(nl.Huber(0.5))) == "Loss(Huber(delta=0.5), reduction='mean')"


def test_several_outputs_a_sample():
    prediction = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2)))
    target = jnp.asarray(np.random.default_rng(1).normal(size=9))
    module = Loss(nl.GaussianNLL())
    found = jax.jit(jax.value_and_grad(module))(prediction, target)
    value, gradient = nl.GaussianNLL().value_and_grad(np.asarray(prediction), np.asarray(target))
    np.testing.assert_allclose(found[0], value, rtol=1e-6)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-6)
