"""Losses of many classes whose predictions are probabilities: `from_logits=False`."""

import math
import pickle

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import numbaloss as nl

EPSILON = 2.0**-52
LOSSES = [
    nl.CrossEntropy(from_logits=False),
    nl.CategoricalFocal(from_logits=False),
    nl.CategoricalFocal(0.5, from_logits=False),
    nl.GeneralizedCrossEntropy(from_logits=False),
    nl.SymmetricCrossEntropy(0.7, 0.4, -3.0, from_logits=False),
    nl.Poly1(-0.6, from_logits=False),
    nl.KLDivergence(from_logits=False),
    nl.JensenShannon(from_logits=False),
    nl.Brier(from_logits=False),
]
CE = LOSSES[0]
FORMS = ["labels", "dense"]
# Narrow rows, wide ones, rows of several pieces.
WIDTHS = [1, 2, 5, 17, 130, 5000]


def number(x, m):
    return m.mpf(float(x)) if m is mpmath else x


def phi(loss, p, t, m):
    """What a class adds to its row, as docstrings say, in NumPy or mpmath."""
    log_t = m.log(t) if t > 0 else number(-math.inf, m)
    log_p = m.log(p)
    entropy = t * log_t if t > 0 else 0 * t
    if isinstance(loss, nl.CrossEntropy):
        return -t * log_p
    if isinstance(loss, nl.CategoricalFocal):
        return -t * (1 - p) ** number(loss.gamma, m) * log_p
    if isinstance(loss, nl.GeneralizedCrossEntropy):
        q = number(loss.q, m)
        return t * (1 - p**q) / q
    if isinstance(loss, nl.SymmetricCrossEntropy):
        alpha, beta = number(loss.alpha, m), number(loss.beta, m)
        return -alpha * t * log_p - beta * p * max(log_t, number(loss.log_zero, m))
    if isinstance(loss, nl.Poly1):
        return t * (-log_p + number(loss.epsilon, m) * (1 - p))
    if isinstance(loss, nl.KLDivergence):
        return entropy - t * log_p
    if isinstance(loss, nl.JensenShannon):
        middle = m.log((p + t) / 2)
        return (p * (log_p - middle) + entropy - t * middle) / 2
    return (p - t) ** 2


def exact(loss, p, t):
    """φ and its two derivatives at one point, in mpmath."""
    with mpmath.workdps(60):
        return [mpmath.diff(lambda x: phi(loss, x, mpf(t), mpmath), mpf(p), n) for n in range(3)]


def rows(form, count, classes, seed=0):
    rng = np.random.default_rng([seed, classes])
    p = rng.dirichlet(np.ones(classes), count) * 0.98 + 0.02 / classes
    if form == "labels":
        return p, rng.integers(0, classes, count)
    target = rng.dirichlet(np.ones(classes), count)
    target[:, -1:] = 0.0
    return p, target


def one_hot(labels, classes):
    return (labels[:, None] == np.arange(classes)).astype(np.float64)


def everything(loss, p, target, **options):
    return loss.value_grad_hess(p, target, reduction="none", **options)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_points_are_exact_to_a_few_ulp_from_tail_to_tail(loss):
    ps = [1e-11, 1e-6, 0.003, 0.25, 0.5 + 2.0**-20, 0.75, 1 - 1e-3, 1 - 1e-9, 1 - 2.0**-53]
    ts = [0.0, 0.25, 0.7, 1.0]
    p, t = (np.ravel(one)[:, None] for one in np.meshgrid(ps, ts))
    found = everything(loss, p, t)
    for row in range(len(p)):
        wanted = exact(loss, p[row, 0], t[row, 0])
        for n, got in enumerate(found):
            error = abs(mpf(float(got.ravel()[row])) - wanted[n])
            size = abs(wanted[n])
            if isinstance(loss, (nl.KLDivergence, nl.JensenShannon, nl.SymmetricCrossEntropy)):
                size = max(size, abs(mpf(p[row, 0])), mpf(0.1) * mpf(t[row, 0]))  # sums cancel
            if isinstance(loss, nl.Poly1) and n == 0:
                size = max(size, mpf(1))
            assert error <= 16 * EPSILON * size + mpf(10) ** -300, (p[row], t[row], n, got[row])


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("form", FORMS)
def test_rows_are_sums_of_points_at_every_width(loss, form):
    by_point = type(loss)(*loss.values())
    for classes in WIDTHS:
        p, target = rows(form, 3 if classes > 200 else 19, classes)
        p = np.minimum(p, 0.97)  # at 1 powers of 1 - p are steep, and float32 numbers few
        dense = one_hot(target, classes) if form == "labels" else target
        weight = np.ones(classes)
        of_width = loss
        if hasattr(loss, "class_weight"):
            weight = np.random.default_rng(1).uniform(0.0, 3.0, classes).round()
            of_width = loss.replace(class_weight=weight)
        value, *slopes = everything(of_width, p, target)
        alone = everything(by_point, p.reshape(-1, 1), dense.reshape(-1, 1))
        apart = [one.reshape(p.shape) * weight for one in alone[1:]]
        expected = (alone[0].reshape(p.shape) * weight).sum(axis=-1)
        np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-15)
        for one, other in zip(slopes, apart):
            np.testing.assert_allclose(one, other, rtol=1e-14, atol=0.0)
        # And one row of float32 after the other, within its own roundings.
        single = everything(of_width, p.astype("f4"), target)
        assert single[0].dtype == np.float32
        np.testing.assert_allclose(single[0], value, rtol=3e-6, atol=3e-6)
        for one, other in zip(single[1:], slopes):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("form", FORMS)
def test_a_softmax_before_makes_them_the_losses_of_logits(loss, form):
    for classes in (4, 40):
        p, target = rows(form, 7, classes, seed=3)
        value, gradient, _ = everything(loss, p, target)
        wanted = everything(loss.replace(from_logits=True), np.log(p), target)
        np.testing.assert_allclose(value, wanted[0], rtol=1e-13, atol=1e-15)
        chained = p * (gradient - (p * gradient).sum(axis=-1, keepdims=True))
        np.testing.assert_allclose(chained, wanted[1], rtol=1e-11, atol=1e-14)


def test_values_are_those_of_scikit_learn_and_keras():
    p, labels = rows("labels", 40, 6)
    p /= p.sum(axis=-1, keepdims=True)
    keras = -np.log(np.clip(p, 1e-7, 1 - 1e-7))[np.arange(40), labels]  # by hand
    np.testing.assert_allclose(CE(p, labels, reduction="none"), keras, rtol=1e-14)
    smooth = one_hot(labels, 6) * 0.9 + 0.1 / 6
    keras = -(smooth * np.log(np.clip(p, 1e-7, 1 - 1e-7))).sum(axis=-1)
    got = CE.replace(label_smoothing=0.1)(p, labels, reduction="none")
    np.testing.assert_allclose(got, keras, rtol=1e-14)
    metrics = pytest.importorskip("sklearn.metrics")
    weight = np.arange(40.0)
    wanted = metrics.log_loss(labels, p, labels=range(6), sample_weight=weight)
    got = CE(p, labels, sample_weight=weight, reduction="weighted_mean")
    assert got == pytest.approx(wanted, rel=1e-13)
    # Rows need not sum to 1, and are not brought to it.
    assert CE([[0.5, 0.25]], [1]) == pytest.approx(math.log(4.0), rel=1e-15)
    assert CE([[0.0, 0.6], [0.5, 0.1]], [1, 0]) == pytest.approx(-0.5 * math.log(0.3), rel=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_certain_rows_have_finite_results(loss, dtype):
    p = np.array([[0.0, 1.0], [1.0, 0.0]], dtype)
    for target in (np.array([1, 1]), np.array([[0, 1], [0, 1]], dtype)):
        value, gradient, hessian = everything(loss, p, target)
        for result in (value, gradient, hessian):
            assert np.isfinite(result).all()
        mirror = isinstance(loss, nl.SymmetricCrossEntropy)
        assert value[0] == 0.0
        assert value[1] > 0.5
        if loss.sparse:
            assert not gradient[:, 0].any()
            assert not hessian[:, 0].any()
        assert gradient[1, 1] <= 0.0 or mirror
    value, gradient, hessian = everything(CE, p, np.array([1, 1]))
    np.testing.assert_allclose(value, [0.0, 100.0])
    np.testing.assert_allclose(gradient, [[0.0, -1.0], [0.0, -1e12]], rtol=1e-6)
    np.testing.assert_allclose(hessian, [[0.0, 1.0], [0.0, 1e24]], rtol=1e-6)
    worst = nl.GeneralizedCrossEntropy(0.05, from_logits=False)(p[1:], [1])
    assert worst == pytest.approx(20.0, rel=1e-6)


@pytest.mark.parametrize("classes", [3, 130, 5000])
@pytest.mark.parametrize("loss", [CE, nl.Brier(from_logits=False)], ids=repr)
@pytest.mark.parametrize("form", FORMS)
def test_nan_reaches_its_own_derivatives_and_the_value_of_its_row(loss, form, classes):
    p, target = rows(form, 6, classes)
    clean = everything(loss, p, target)
    p[2, 1] = math.nan
    found = everything(loss, p, target)
    np.testing.assert_array_equal(np.isnan(found[0]), np.arange(6) == 2)
    for one, before in zip(found[1:], clean[1:]):
        assert np.isnan(one[2, 1])
        one[2, 1] = before[2, 1]
        np.testing.assert_array_equal(one, before)
    assert math.isnan(loss(p, target))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 130, 5000])
@pytest.mark.parametrize("form", FORMS)
def test_predictions_outside_are_named_and_nothing_is_written(form, classes, dtype):
    p, target = rows(form, 6, classes)
    p, shape = p.astype(dtype).reshape(2, 3, classes), (2, 3, classes)
    target = target.reshape((2, 3) if form == "labels" else shape)
    for wrong in (-0.25, 1.5):
        p[1, 1, 2] = p[1, 2, 0] = wrong
        held = p.copy()
        message = rf"prediction\[1, 1, 2\] is {wrong}; .*takes predictions in \[0, 1\]"
        for call in (CE, CE.value_and_grad, CE.value_grad_hess):
            with pytest.raises(ValueError, match=message):
                call(p, target)
        with pytest.raises(ValueError, match=message):
            CE.value_and_grad(held, target, out=held)
        np.testing.assert_array_equal(held, p)
        # Rows that do not count may hold anything.
        counts = np.array([[True, True, True], [True, False, False]])
        for options in ({"mask": counts}, {"sample_weight": counts.astype(dtype)}):
            value = CE(p, target, reduction="sum", **options)
            assert value == pytest.approx(CE(p[0], target[0], reduction="sum") + CE(
                p[1, 0], target[1, 0], reduction="sum"), rel=1e-6)  # fmt: skip
        if form == "labels":
            ignored = np.where(counts, target, -100)
            assert math.isfinite(CE(p, ignored))
        assert CE(p, target, check=False).__class__ is float


def test_a_rounding_beyond_one_is_one():
    for dtype in (np.float32, np.float64):
        beyond = np.array([[np.nextafter(dtype(1), dtype(2)), 0.0]], dtype)
        for loss in LOSSES:
            one = everything(loss, beyond, [0])
            other = everything(loss, np.array([[1.0, 0.0]], dtype), [0])
            for a, b in zip(one, other):
                np.testing.assert_array_equal(a, b)


def test_results_do_not_depend_on_layout_and_may_replace_predictions():
    p, labels = rows("labels", 12, 5)
    wanted = CE.value_and_grad(p, labels)
    strided = np.repeat(np.asfortranarray(p), 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(CE.value_and_grad(strided, labels)[1], wanted[1])
    half = p.astype(np.float16)
    of_single = CE.value_and_grad(half.astype(np.float32), labels)[1]
    np.testing.assert_array_equal(CE.value_and_grad(half, labels)[1], of_single.astype("f2"))
    value, gradient = CE.value_and_grad(p, labels, out=p)
    assert gradient is p
    assert value == wanted[0]
    np.testing.assert_array_equal(p, wanted[1])


def test_parameters_that_belong_to_logits_are_refused():
    with pytest.raises(ValueError, match="z_loss is of logits"):
        nl.CrossEntropy(z_loss=0.1, from_logits=False)
    with pytest.raises(ValueError, match="no logits that a temperature could divide"):
        nl.CrossEntropy(temperature=2.0, from_logits=False)
    for make in (lambda: CE + nl.CrossEntropy(), lambda: nl.Brier() - CE):
        with pytest.raises(TypeError, match="read rows in different ways"):
            make()


def test_losses_of_probabilities_are_losses_like_others():
    p, labels = rows("labels", 9, 4)
    for loss in LOSSES:
        twin = pickle.loads(pickle.dumps(loss))
        assert twin == loss != loss.replace(from_logits=True)
        assert hash(twin) == hash(loss)
        assert repr(loss).endswith("from_logits=False)")
    total = LOSSES[0] + 0.5 * LOSSES[-1]
    wanted = LOSSES[0](p, labels) + 0.5 * LOSSES[-1](p, labels)
    assert total(p, labels) == pytest.approx(wanted, rel=1e-14)
    with pytest.raises(ValueError, match=r"prediction\[0, 1\] is 2; .*Brier"):
        total([[0.0, 2.0]], [1])
    inside = p * 0.8 + 0.05
    assert nl.check_gradient(total, inside, labels, step=1e-3) < 1e-7
    assert nl.get("ce", from_logits=False) == LOSSES[0]


class Absolute(nl.Softmax):
    """A loss of one's own of rows as they are."""

    class_weight: np.ndarray | None = None
    takes_logits = False
    prediction_domain = "[-2, 3]"
    target_domain = "(-inf, inf)"

    def value(self, prediction, target):
        if prediction < -5.0:
            raise ArithmeticError("padding")
        return abs(prediction - target)


def test_rows_as_they_are_for_losses_of_ones_own():
    rng = np.random.default_rng(0)
    for classes in (3, 130):
        x, t = rng.uniform(-2.0, 3.0, (5, classes)), rng.normal(size=(5, classes))
        weight = rng.random(classes)
        value, gradient = Absolute(weight).value_and_grad(x, t, reduction="sum")
        assert value == pytest.approx((weight * np.abs(x - t)).sum(), rel=1e-13)
        np.testing.assert_array_equal(gradient, weight * np.sign(x - t))
    with pytest.raises(ValueError, match=r"prediction\[0, 0\] is 4; .* in \[-2, 3\]"):
        Absolute()([[4.0, 1.0]], [[0.0, 0.0]])
