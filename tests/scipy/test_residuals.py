"""Losses for ``least_squares``, beside SciPy's own and beside mpmath."""

import pickle

import mpmath
import numpy as np
import pytest

import numbaloss as nl

optimize = pytest.importorskip("scipy.optimize")

from numbaloss.scipy import rho  # noqa: E402

Z = np.concatenate([[0.0], 10.0 ** np.arange(-30.0, 7.0), np.linspace(0.5, 2.0, 11)])
OWN = {
    "linear": 0.5 * nl.SquaredError(),
    "huber": nl.Huber(),
    "soft_l1": nl.PseudoHuber(),
    "cauchy": nl.Cauchy(),
}


@pytest.mark.parametrize("name", ["huber", "soft_l1", "cauchy"])
def test_rows_are_those_of_scipy(name):
    from scipy.optimize._lsq.least_squares import IMPLEMENTED_LOSSES

    expected = np.empty((3, Z.size))
    IMPLEMENTED_LOSSES[name](Z, expected, cost_only=False)
    found = rho(OWN[name])(Z)
    # At the edge of Huber's loss SciPy's second derivative is 0.
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-12)
    # SciPy takes sqrt(1 + z) - 1 as a difference.
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("method", ["trf", "dogbox"])
@pytest.mark.parametrize("name", OWN)
def test_fits_are_those_of_scipy(name, method):
    rng = np.random.default_rng(0)
    t = np.linspace(0.0, 10.0, 60)
    y = 3.0 * np.exp(-0.4 * t) + 0.5 + 0.05 * rng.normal(size=60)
    y[::9] += 2.0

    def residuals(x):
        return x[0] * np.exp(-x[1] * t) + x[2] - y

    # Differences in the place of slopes would magnify rounding.
    def slopes(x):
        power = np.exp(-x[1] * t)
        return np.stack([power, -x[0] * t * power, np.ones_like(t)], axis=1)

    start, options = [1.0, 1.0, 0.0], {"f_scale": 0.1, "method": method}
    fits = [
        optimize.least_squares(residuals, start, slopes, loss=one, **options)
        for one in (name, rho(OWN[name]))
    ]
    assert fits[0].nfev == fits[1].nfev
    np.testing.assert_allclose(fits[1].x, fits[0].x, rtol=1e-8)
    assert fits[1].cost == pytest.approx(fits[0].cost, rel=1e-12)


FORMULAS = {
    nl.PseudoHuber(0.3): lambda z: 2 * mpmath.mpf(0.3) ** 2 * (mpmath.sqrt(1 + z / 0.3**2) - 1),
    nl.LogCosh(): lambda z: 2 * mpmath.log(mpmath.cosh(mpmath.sqrt(z))),
    nl.Cauchy(2.0): lambda z: 4 * mpmath.log(1 + z / 4),
    nl.GeneralRobust(1.0, 0.5): lambda z: 2 * (mpmath.sqrt(z / mpmath.mpf(0.25) + 1) - 1),
    nl.GeneralRobust(-2.0): lambda z: -4 * ((z / 4 + 1) ** -1 - 1),
    nl.GeneralRobust(3.0): lambda z: mpmath.mpf(2) / 3 * ((z + 1) ** mpmath.mpf(1.5) - 1),
    nl.GeneralRobust(0.0, 2.0): lambda z: 2 * mpmath.log(1 + z / 8),
    nl.GeneralRobust(-np.inf): lambda z: 2 * (1 - mpmath.exp(-z / 2)),
}


@pytest.mark.parametrize("loss", FORMULAS, ids=repr)
def test_derivatives_are_exact_near_zero_too(loss):
    z = np.concatenate([[0.0], 10.0 ** np.arange(-20.0, 2.0)])
    found = rho(loss)(z)
    with mpmath.workdps(120):
        for derivative in range(3):
            expected = [
                # Below 0 a square root takes its way through complex numbers.
                float(
                    mpmath.re(mpmath.diff(FORMULAS[loss], one, derivative, h=mpmath.mpf("1e-40")))
                )
                for one in z
            ]
            np.testing.assert_allclose(found[derivative], expected, rtol=1e-12, err_msg=derivative)


class Own(nl.Elementwise):
    """Geman and McClure's, r² / (1 + r²), which the library has no closed second derivative of."""

    scale: float = 1.0

    def value(self, prediction, target):
        square = ((prediction - target) / self.scale) ** 2
        return square / (1.0 + square)


def test_losses_of_ones_own_have_their_limits():
    for scale in (1e-3, 1.0, 50.0):
        z = np.concatenate([[0.0], scale**2 * 10.0 ** np.arange(-20.0, 3.0)])
        x = z / scale**2
        found = rho(Own(scale))(z)
        np.testing.assert_allclose(found[0], 2.0 * x / (1.0 + x), rtol=1e-12)
        np.testing.assert_allclose(found[1], 2.0 / scale**2 / (1.0 + x) ** 2, rtol=1e-12)
        np.testing.assert_allclose(found[2], -4.0 / scale**4 / (1.0 + x) ** 3, rtol=1e-3)


def test_arrays_are_new_and_losses_travel():
    one = rho(nl.Huber(0.5))
    z = np.linspace(0.0, 3.0, 5)
    first = one(z)
    first[:] = 7.0
    assert one(z)[0, 0] == 0.0
    assert z[-1] == 3.0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one))(z), one(z))
    assert repr(one) == "rho(Huber(delta=0.5))"


@pytest.mark.parametrize(
    ("loss", "error", "words"),
    [
        (nl.CrossEntropy(), TypeError, "a loss of numbers"),
        (nl.Poisson(), ValueError, "of the residual alone"),
        (nl.SquaredLogError(), ValueError, "of the residual alone"),
        (nl.Quantile(0.2), ValueError, "other values for r and -r"),
        (nl.AbsoluteError(), ValueError, "a kink at 0"),
        (nl.SmoothL1(0.0), ValueError, "a kink at 0"),
    ],
)
def test_what_is_no_smooth_even_function_of_the_residual_is_refused(loss, error, words):
    with pytest.raises(error, match=words):
        rho(loss)
