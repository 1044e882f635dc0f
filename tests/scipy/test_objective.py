"""Linear models by ``scipy.optimize.minimize``, beside differences and scikit-learn."""

import pickle

import numpy as np
import pytest

import numbaloss as nl

optimize = pytest.importorskip("scipy.optimize")

from scipy import sparse  # noqa: E402

from numbaloss.scipy import objective  # noqa: E402


def data(seed=0, rows=60, features=4):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, features))
    return X, X @ rng.normal(size=features) + rng.normal(size=rows), rng.uniform(0.2, 2.0, rows)


X, Y, WEIGHT = data()
LABELS = np.digitize(Y, [-1.0, 1.0])
CASES = {
    "one model": (nl.PseudoHuber(), Y),
    "several models": (nl.PseudoHuber(), np.stack([Y, 2.0 - Y], axis=1)),
    "classes": (nl.CrossEntropy(label_smoothing=0.1, temperature=1.5), LABELS),
    "dense": (nl.CrossEntropy(), np.eye(3)[LABELS] * 0.8 + 0.05),
    "focal": (nl.CategoricalFocal(), LABELS),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_derivatives_are_those_of_the_value(case, intercept, reduction):
    loss, y = CASES[case]
    model = objective(loss, X, y, 0.3, WEIGHT, intercept=intercept, reduction=reduction)
    rng = np.random.default_rng(1)
    at, direction = rng.normal(size=(2, model.start.size))
    value, gradient = model.fun(at)
    assert type(value) is float
    assert gradient.shape == at.shape
    assert gradient.dtype == np.float64
    h = 1e-6
    slope = (model.value(at + h * direction) - model.value(at - h * direction)) / (2 * h)
    assert slope == pytest.approx(gradient @ direction, rel=1e-7)
    curved = (model.jac(at + h * direction) - model.jac(at - h * direction)) / (2 * h)
    np.testing.assert_allclose(model.hessp(at, direction), curved, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        model.hess(at) @ direction, model.hessp(at, direction), rtol=1e-6, atol=1e-7
    )
    gradient[:] = 0.0  # theirs to change
    assert model.jac(at).any()


def test_sparse_features_are_as_good():
    thin = np.where(np.abs(X) > 0.8, X, 0.0)
    for loss, y in (CASES["one model"], CASES["classes"]):
        dense = objective(loss, thin, y, 0.1, WEIGHT, intercept=True)
        model = objective(loss, sparse.csc_matrix(thin), y, 0.1, WEIGHT, intercept=True)
        at = np.random.default_rng(2).normal(size=dense.start.size)
        assert model.value(at) == pytest.approx(dense.value(at), rel=1e-12)
        np.testing.assert_allclose(model.jac(at), dense.jac(at), rtol=1e-10)
        np.testing.assert_allclose(model.hess(at), dense.hess(at), rtol=1e-10, atol=1e-14)


def test_coefficients_are_those_of_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")

    def minimum(model, method="trust-exact"):
        options = {"gtol": 1e-9}
        return optimize.minimize(
            model.fun, model.start, jac=True, hess=model.hess, method=method, options=options
        ).x

    ridge = linear.Ridge(alpha=0.7, tol=1e-12).fit(X, Y, WEIGHT)
    model = objective(nl.SquaredError(), X, Y, 1.4, WEIGHT, reduction="sum", intercept=True)
    np.testing.assert_allclose(minimum(model), [*ridge.coef_, ridge.intercept_], rtol=1e-6)

    poisson = linear.PoissonRegressor(alpha=0.2, tol=1e-12, solver="newton-cholesky")
    counts = np.floor(np.exp(0.3 * Y).clip(max=20))
    poisson.fit(X, counts, WEIGHT)
    model = objective(
        nl.Poisson(), X, counts, 0.2, WEIGHT, reduction="weighted_mean", intercept=True
    )
    np.testing.assert_allclose(minimum(model), [*poisson.coef_, poisson.intercept_], rtol=1e-6)

    logistic = linear.LogisticRegression(C=2.0, tol=1e-12, max_iter=10000, fit_intercept=False)
    logistic.fit(X, LABELS, WEIGHT)
    model = objective(nl.CrossEntropy(), X, LABELS, 0.5, WEIGHT, reduction="sum")
    expected = logistic.coef_.T
    for method in ("trust-exact", "trust-ncg"):
        found = optimize.minimize(
            model.value, model.start, jac=model.jac, hessp=model.hessp, method="trust-ncg",
            options={"gtol": 1e-9},
        ).x if method == "trust-ncg" else minimum(model)  # fmt: skip
        np.testing.assert_allclose(found.reshape(4, 3), expected, rtol=1e-6, atol=1e-7)


def test_objectives_go_to_other_processes():
    model = objective(*CASES["one model"][:1], X, Y)
    at = np.ones(4)
    assert pickle.loads(pickle.dumps(model)).value(at) == model.value(at)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"loss": nl.InfoNCE()}, TypeError, "a loss of numbers or of rows"),
        ({"l2": -1.0}, ValueError, "l2 must be in"),
        ({"y": Y[:5]}, ValueError, "X has 60 rows and y 5"),
        ({"X": Y}, ValueError, "two dimensions, not 1"),
        ({"reduction": "none"}, ValueError, "reduction must be"),
    ],
)
def test_errors_are_in_words(change, error, words):
    with pytest.raises(error, match=words):
        objective(**({"loss": nl.Huber(), "X": X, "y": Y} | change))


def test_coefficients_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"the shape \(4,\), not \(5,\)"):
        objective(nl.Huber(), X, Y).fun(np.zeros(5))
