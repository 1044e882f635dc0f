"""Derivatives of formulas of all supported operations, against mpmath."""

import numpy as np
import pytest

from tests.support.formulas import FORMULAS, as_loss, at, exact


def of_kernel(function, p, t):
    return np.array(as_loss(function).value_grad_hess(p, t, reduction="none"))


def of_point(function, p, t):
    """By the same code, in half the time: without loops."""
    return np.array([at(function, x, target=y, near=1e-12) for x, y in zip(p, t)])[:, :, 0].T


@pytest.mark.every(6)
@pytest.mark.parametrize(("function", "low", "high"), FORMULAS)
@pytest.mark.parametrize(
    "compute", [of_point, pytest.param(of_kernel, marks=pytest.mark.exhaustive)]
)
def test_formulas_agree_with_mpmath(function, low, high, compute):
    rng = np.random.default_rng(len(function.__name__))
    p, t = rng.uniform(low, high, 6), rng.uniform(0.05, 0.95, 6)
    found = compute(function, p, t)
    wanted = np.array([exact(function, *pair) for pair in zip(p, t)]).T
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    twin = np.array([as_loss(function).point(*pair) for pair in zip(p, t)]).T
    np.testing.assert_allclose(twin, wanted, rtol=1e-12, atol=1e-14)
