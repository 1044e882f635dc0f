"""Derivatives of formulas of all supported operations, against mpmath."""

import numpy as np
import pytest

from tests.support.formulas import FORMULAS, as_loss, exact


@pytest.mark.parametrize(("function", "low", "high"), FORMULAS)
def test_formulas_agree_with_mpmath(function, low, high):
    rng = np.random.default_rng(len(function.__name__))
    p, t = rng.uniform(low, high, 6), rng.uniform(0.05, 0.95, 6)
    found = np.array(as_loss(function).value_grad_hess(p, t, reduction="none"))
    wanted = np.array([exact(function, *pair) for pair in zip(p, t)]).T
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)
    twin = np.array([as_loss(function).point(*pair) for pair in zip(p, t)]).T
    np.testing.assert_allclose(twin, wanted, rtol=1e-12, atol=1e-14)
