"""Every function that formulas may call, in every form of its arguments: compiled as in Python.

The expressions of a function are added up, each by a factor of its own, so that one compilation
tells whether any differs.
"""

import builtins
import math

import numba
import numpy as np
import pytest

import numbaloss as nl
from numbaloss.formulas.points import point
from numbaloss.formulas.structure import formula_of
from numbaloss.jets import recipes
from numbaloss.vmath.overloads import install
from tests.support.formulas import as_loss

SCOPE = {"np": np, "math": math, "nl": nl}
# At a kink of p, near 1, and in between; what takes another number says so below.
PLACES = (0.25, 0.5, 0.75)
TARGET = 0.5

FORMS = {
    "clip": [
        "np.clip(p, 0.3, 0.6)", "np.clip(p, 0.3, None)", "np.clip(p, None, 0.6)",
        "np.clip(p, a_min=0.3, a_max=0.6)", "np.clip(p, a_min=0.3, a_max=None)",
        "np.clip(p, a_min=None, a_max=0.6)", "np.clip(p, a_max=0.6, a_min=t)",
        "np.clip(p, min=0.3, max=0.6)", "np.clip(p, min=0.3)", "np.clip(p, max=t)",
        "np.clip(p, 0, 1)", "np.clip(p, t, 1.0)", "np.clip(0.4, p, 1.0)", "np.clip(t, 0.0, p)",
        "np.clip(t, None, p)", "np.clip(t, p, None)", "np.clip(p, p - 1.0, 2.0 * p)",
        "p * np.clip(t, 0.0, 0.4)", "p * np.clip(t, None, 0.4)",
        "p * np.clip(t, a_min=0.6, a_max=None)",
    ],
    "where": [
        "np.where(p > t, p, 2.0 * p)", "np.where(p > 0.3, p, t)", "np.where(p > 0.3, t, p)",
        "np.where(p > 0.3, 1.0, p)", "np.where(p > 0.3, p, 1)", "p * np.where(t > 0.3, 1.0, 2.0)",
        "np.where(t > 0.3, p * p, p)", "np.where(p, p, t)",
    ],
    "max": [
        "max(p, 0.4)", "max(0.4, p)", "max(p, t)", "max(t, p)", "max(p, 0)", "max(1, p)",
        "max(0.4, 0.3, p)", "max(0.4, p, 0.3)", "max(p, -p, 2.0 * p)", "max(t, 0.1, 0.2, p)",
        "p * max(t, 0.4)", "p * max(0.1, t, 0.4)", "max(p, p * p)", "max(t, 0.0) * max(p, t)",
    ],
    "min": [
        "min(p, 0.4)", "min(0.4, p)", "min(p, t)", "min(t, p)", "min(p, 0)", "min(1, p)",
        "min(0.4, 0.3, p)", "min(0.4, p, 0.3)", "min(p, -p, 2.0 * p)", "min(t, 0.1, 0.2, p)",
        "p * min(t, 0.4)", "p * min(0.1, t, 0.4)", "min(p, p * p)",
    ],
    "powers": [
        "p ** 2", "p ** 2.0", "p ** 3", "p ** -1", "p ** -2.0", "p ** 0", "p ** 1", "p ** 0.5",
        "p ** 1.7", "p ** t", "p ** -t", "2 ** p", "2.0 ** p", "t ** p", "p ** p", "pow(p, 2)",
        "pow(p, 2.5)", "pow(p, t)", "math.pow(p, 2.0)", "math.pow(t, p)", "np.power(p, 2.0)",
        "np.power(p, t)", "np.float_power(p, 2.5)", "nl.pow(p, 1.5)", "nl.pow(t, p)", "p * t ** 2",
        "p * t ** 2.0", "p * t ** 0.5", "p ** (1.5 if t > 0.3 else 2.0)",
        "p ** (2.0 if t > 0.3 else 1.5)", "p ** (2.0 if t > 0.6 else 3.0)",
        "p ** (t if p > 0.3 else 2.0)", "p * abs(t) ** (1.5 if t > 0.3 else 2.0)",
    ],
    "operators": [
        "p + 1", "1 - p", "p - t", "t - p", "p * 2", "t * p", "p / 2", "1 / p", "t / p",
        "p // 0.2 + p",
        "p % 0.2", "1 % p", "-p", "+p", "abs(p - t)", "(p > t) * p", "p * (p == t)", "p * (p != t)",
        "p if p else t * p", "p * (not p) + p", "p if p >= t and t > 0 else -p", "p * (t <= p)",
    ],
}  # fmt: skip
# The argument, where it is not p.
PLACED = {"acosh": "1.5 + p", "arccosh": "1.5 + p"}
TWO = ("hypot", "atan2", "arctan2", "copysign", "fmod", "logaddexp", "maximum", "minimum", "fmax",
       "fmin", "add", "remainder", "subtract", "multiply", "divide", "mod",
       "floor_divide")  # fmt: skip
BARE = {"abs", "round"}


ORIGINALS = [
    one
    for table in (recipes.RECIPES, recipes.FUNCTIONS)
    for group in table.values()
    for one in group
]


def spellings(name):
    """The ways to write a function of math, NumPy, numbaloss or Python itself."""
    homes = {"math.": math, "np.": np, "nl.": nl} | ({"": builtins} if name in BARE else {})
    return [
        f"{home}{name}"
        for home, module in homes.items()
        if any(getattr(module, name, None) is one for one in ORIGINALS)
    ]


def known():
    """The names of all functions of one or two numbers that jets know."""
    names = {one.__name__ for one in ORIGINALS}
    return sorted(
        name for name in names if spellings(name) and name not in ("clip", "where", "pow")
    )


for _name in known():
    if _name in TWO:
        FORMS.setdefault("of two numbers", []).extend(
            form.replace("f(", f"{_spelled}(")
            for _spelled in spellings(_name)
            for form in ("f(p, t)", "f(t, p)", "f(p, 0.3)", "f(0.3, p)", "p * f(t, 0.3)")
        )
    else:
        _x = PLACED.get(_name, "p")
        FORMS.setdefault(f"of one number, from {_name[0]}", []).extend(
            form
            for _spelled in spellings(_name)
            for form in (f"{_spelled}({_x})", f"p * {_spelled}({_x.replace('p', 't')})")
        )


def summed(forms):
    """A function of the sum of expressions, each by a factor of its own."""
    text = " + ".join(f"{1.0 + 0.37 * i} * ({form})" for i, form in enumerate(forms))
    return eval(f"lambda p, t: p + {text}", SCOPE)


def differs(function):
    """Whether compiled code and plain Python say different things of a formula."""
    install()
    loss = as_loss(function)
    record = formula_of(type(loss)).record()
    compiled = numba.njit(lambda p, t: point(record, p, t))
    for place in PLACES:
        found, twin = compiled(place, TARGET), loss.point(place, TARGET)
        if not np.allclose(found, twin, rtol=1e-12, atol=1e-12, equal_nan=False):
            return True
    return False


@pytest.mark.every(4)
@pytest.mark.parametrize("name", list(FORMS))
def test_compiled_code_and_plain_python_agree_on_every_form(name):
    forms = FORMS[name]
    assert forms
    if differs(summed(forms)):
        wrong = [form for form in forms if differs(summed([form]))]
        pytest.fail(f"compiled code and plain Python differ: {wrong or forms}")


def test_clip_without_a_bound_has_the_slope_of_what_it_clips():
    for form in (
        "np.clip(p, 0.0, None)",
        "np.clip(p, a_min=0.0, a_max=None)",
        "np.clip(p, min=0.0)",
    ):
        loss = as_loss(eval(f"lambda p, t: {form}", SCOPE))
        assert loss.point(2.0, 0.0)[1] == 1.0
