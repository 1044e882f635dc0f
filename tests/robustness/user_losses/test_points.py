"""What a point may be written with."""

import math
import textwrap
import types

import numpy as np
import pytest

import numbaloss as nl
from tests.support.defined import ONES, TWOS, outcome

MODULE_FACTOR = 0.1
MODULE_WHOLE = 3


def module_helper(x):
    return second_helper(x) * MODULE_FACTOR


def second_helper(x):
    return math.exp(x) if x < 1.0 else np.exp(x) + 0.5


def with_math(self, prediction, target):
    both = math.exp(prediction) + math.log1p(target) + math.sqrt(target)
    return both, math.pow(target, 1.5), math.tanh(prediction)


def with_numpy(self, prediction, target):
    both = np.exp(prediction) + np.log1p(target) + np.sqrt(target)
    return both, np.power(target, 1.5), np.tanh(prediction)


def with_numbaloss(self, prediction, target):
    both = nl.exp(prediction) + nl.log1p(target) + nl.sqrt(target)
    return both, nl.pow(target, 1.5), nl.tanh(prediction)


def with_module_names(self, prediction, target):
    return module_helper(prediction), MODULE_FACTOR, MODULE_FACTOR * target


def _closure():
    factor, function = 0.3, module_helper

    def with_closure(self, prediction, target):
        return factor * function(prediction) + factor, factor, -factor

    return with_closure


def with_other_names(this, yhat, prediction):
    return yhat - 2.0 * prediction, 0.1 * prediction, 0.7


def with_branches(self, prediction, target):
    if prediction > 1.0:
        return prediction, 1.0, 0.0
    elif prediction > target:
        return 0.1 * prediction, 0.1, 0.2
    total = 0.0
    for _ in range(3):
        total += 0.1 * prediction
    return total, 0.3, 0.0


SPELLINGS = [
    with_math,
    with_numpy,
    with_numbaloss,
    with_module_names,
    _closure(),
    with_other_names,
    with_branches,
]


@pytest.mark.every(2)
@pytest.mark.parametrize("point", SPELLINGS, ids=lambda point: point.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_point_computes_what_python_does_and_stays_in_its_dtype(point, dtype):
    # A point that left float32 would warn, which is an error in this suite.
    loss = type("Spelled", (nl.Elementwise,), {"point": point})()
    prediction, target = np.array([-1.5, 0.25, 2.5], dtype), np.array([0.5, 0.0, 3.0], dtype)
    got = loss.value_grad_hess(prediction, target, reduction="none")
    pairs = zip(prediction.tolist(), target.tolist())
    expected = np.array([point(loss, p, t) for p, t in pairs], np.float64).T
    for one, wanted in zip(got, expected):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, wanted, rtol=20 * np.finfo(dtype).eps)


def test_functions_of_math_and_numpy_become_those_that_vectorise(same_bits):
    """To the last bit: the libraries' own would differ here and there."""
    random = np.random.default_rng(0)
    prediction = random.normal(size=5000).astype(np.float32)
    target = random.random(5000).astype(np.float32)
    ours, *others = (
        type("Spelled", (nl.Elementwise,), {"point": point})().value_grad_hess(
            prediction, target, reduction="none"
        )
        for point in (with_numbaloss, with_math, with_numpy)
    )
    for theirs in others:
        assert all(map(same_bits, ours, theirs))


def test_integers_in_a_point_are_right_and_their_price_is_told():
    class Whole(nl.Elementwise):
        def point(self, prediction, target):
            residual = MODULE_WHOLE * (prediction - target)
            return residual**2 // 1 - 2, 2 * residual, 2

    prediction, target = np.array([1.25, 3.5], np.float32), np.array([0.5, 1.0], np.float32)
    with pytest.warns(RuntimeWarning, match=r"Whole\.point turns float32 into float64"):
        value, gradient, hessian = Whole().value_grad_hess(prediction, target, reduction="none")
    np.testing.assert_array_equal(value, np.float32([3.0, 54.0]))
    np.testing.assert_array_equal(gradient, np.float32([4.5, 15.0]))
    np.testing.assert_array_equal(hessian, np.float32([2.0, 2.0]))


def by_keyword(x, *, factor, power=2.0):
    return factor * x**power


helpers = types.ModuleType("helpers")
exec("FACTOR = 3.0\ndef twice(x, *, k=2.0):\n    return k * x\n", vars(helpers))


def _with_keywords(self, prediction, target):
    return by_keyword(prediction - target, factor=3.0)


def _with_module_function(self, prediction, target):
    return helpers.FACTOR * helpers.twice(prediction, k=0.5) - target


def _with_chosen_exponents(self, prediction, target):
    power = self.width if prediction > target else 3.0
    return abs(prediction - target) ** power + abs(target) ** (1.5 if target > 0.0 else 2.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(_with_keywords, 3.0), (_with_module_function, -0.5), (_with_chosen_exponents, 1 + 2**1.5)],
)
def test_helpers_of_modules_keywords_and_chosen_exponents_work(value, expected):
    loss = type("Own", (nl.Elementwise,), {"value": value, "__annotations__": {"width": float}})(
        2.0
    )
    for kind in (np.float32, np.float64):
        found = loss.value_and_grad(ONES.astype(kind), TWOS.astype(kind), reduction="sum")
        assert found[0] / ONES.size == pytest.approx(expected, rel=1e-6)
        twin = loss.point(kind(1.0), kind(2.0))
        assert found[1][0] == pytest.approx(twin[1], rel=1e-6)


def test_a_formula_may_print_what_it_computes(capfd):
    class Chatty(nl.Elementwise):
        def value(self, prediction, target):
            print("at", prediction, target)
            return (prediction - target) ** 2

    assert Chatty()(np.array([1.5]), np.array([0.5])) == 1.0
    assert Chatty().point(1.5, 0.5)[0] == 1.0
    assert capfd.readouterr().out == "at 1.5 0.5\n" * 2


def test_nan_is_nan_in_plain_python_too():
    class Masked(nl.Elementwise):
        def value(self, prediction, target):
            return 0.0 * prediction if math.isnan(target) else (prediction - target) ** 2

    for prediction, target in ((1.0, math.nan), (math.nan, 1.0)):
        assert np.isnan(Masked().point(prediction, target)).all()
        assert np.isnan(Masked()(np.array([prediction]), np.array([target])))


@pytest.mark.parametrize("name", ["index", "count", "_epsilon", "loss_class", "self", "prediction"])
def test_a_parameter_may_have_any_name(name):
    body = f"""
    class Named(nl.Elementwise):
        {name}: float = 3.0

        def point(this, yhat, target):
            return this.{name} * yhat, this.{name}, 0.0
    """
    namespace = {"nl": nl}
    exec(textwrap.dedent(body), namespace)
    assert outcome(namespace["Named"]()) == (3.0, 3.0)
