"""A formula means what Python would compute by it now: a change to what it names is noticed."""

import sys
import textwrap
import types

import numba
import numpy as np
import pytest

import numbaloss as nl
from numbaloss.formulas.structure import Structure, formula_of

ONES = np.ones(3)


def module(name: str, text: str) -> types.ModuleType:
    """A module of a text."""
    made = types.ModuleType(name)
    exec(textwrap.dedent(text), vars(made))
    return made


def answers(loss) -> set[float]:
    """What a loss computes for predictions of 1 and targets of 0, by every path."""
    return {
        loss(ONES, np.zeros(3)),
        loss(ONES.astype(np.float32), np.zeros(3, np.float32)),
        loss.value_and_grad(ONES, np.zeros(3))[0],
        loss.value_grad_hess(ONES.reshape(3, 1), np.zeros((3, 1)))[0],
        float(loss.point(1.0, 0.0)[0]),
        (0.5 * loss + 0.5 * loss)(ONES, np.zeros(3)),
    }


CELL = """
class Cell(nl.Elementwise):
    def value(self, prediction, target):
        return 2.0 * (prediction - target) ** 2
"""


def define(cell: str) -> type:
    """The class of a cell of a notebook."""
    scope = {"nl": nl, "__name__": "__main__"}
    exec(cell, scope)
    return scope["Cell"]


@pytest.fixture
def kinds():
    """A module with a constant that formulas reach in every way."""
    text = """
    import numba
    import numpy as np
    import numbaloss as nl
    import sys

    K = 2.0
    TABLE = np.array([2.0, 7.0])
    inner = sys.modules[__name__ + "_inner"]

    def helper(x):
        return K * x

    def caller(x):
        return helper(x)

    @numba.njit
    def jitted(x):
        return K * x

    def make(k):
        class Closure(nl.Elementwise):
            def value(self, prediction, target):
                return k * (prediction - target) ** 2
        def change(new):
            nonlocal k
            k = new
        return Closure(), change

    class Global(nl.Elementwise):
        def value(self, prediction, target):
            return K * (prediction - target) ** 2

    class ByHand(nl.Elementwise):
        def point(self, prediction, target):
            return K * prediction, K, 0.0

    class Helped(nl.Elementwise):
        def value(self, prediction, target):
            return caller(prediction - target)

    class Jitted(nl.Elementwise):
        def value(self, prediction, target):
            return jitted(prediction - target)

    class Member(nl.Elementwise):
        def value(self, prediction, target):
            return inner.K * (prediction - target) ** 2

    class LookUp(nl.Elementwise):
        def value(self, prediction, target):
            return TABLE[0] * (prediction - target) ** 2
    """
    name = "module_of_kinds"
    sys.modules[f"{name}_inner"] = module(f"{name}_inner", "K = 2.0")
    made = types.ModuleType(name)
    exec(textwrap.dedent(text), vars(made))
    yield made
    del sys.modules[f"{name}_inner"]


@pytest.mark.every(8)
@pytest.mark.filterwarnings("ignore:Jitted.value turns float32 into float64")
@pytest.mark.parametrize("name", ["Global", "ByHand", "Helped", "Jitted", "Member", "LookUp"])
def test_a_changed_constant_is_noticed_by_every_path(kinds, name):
    loss = getattr(kinds, name)()
    assert answers(loss) == {2.0}
    kinds.K = kinds.inner.K = 5.0
    kinds.TABLE[0] = 5.0
    assert answers(loss) == {5.0}
    kinds.K = kinds.inner.K = 2.0
    kinds.TABLE = np.array([2.0, 7.0])
    assert answers(loss) == {2.0}


def test_a_changed_closure_is_noticed(kinds):
    loss, change = kinds.make(2.0)
    assert loss(ONES, 0 * ONES) == 2.0
    change(5.0)
    assert loss(ONES, 0 * ONES) == loss.point(1.0, 0.0)[0] == 5.0


def test_a_replaced_helper_method_or_code_is_noticed(kinds):
    loss = kinds.Helped()
    assert loss(ONES, 0 * ONES) == 2.0
    kinds.helper = lambda x: 7.0 * x
    assert loss(ONES, 0 * ONES) == loss.point(1.0, 0.0)[0] == 7.0
    kinds.caller.__code__ = (lambda x: 3.0 * x).__code__
    assert loss(ONES, 0 * ONES) == loss.point(1.0, 0.0)[0] == 3.0
    kinds.Helped.value = lambda self, prediction, target: 4.0 * (prediction - target)
    assert loss(ONES, 0 * ONES) == loss.point(1.0, 0.0)[0] == 4.0
    hand = kinds.ByHand()
    assert hand(ONES, 0 * ONES) == 2.0
    kinds.ByHand.point = lambda self, prediction, target: (9.0 * prediction, 9.0, 0.0)
    assert hand(ONES, 0 * ONES) == 9.0


def test_a_replaced_method_of_the_library_is_noticed_and_taken_back(monkeypatch):
    loss, total = nl.AbsoluteError(), nl.AbsoluteError() + nl.Huber()
    rows, labels = np.zeros((3, 2)), np.zeros(3, np.int64)
    of_rows = nl.CrossEntropy()
    assert loss(2 * ONES, 0 * ONES) == 2.0
    assert total(2 * ONES, 0 * ONES) == 3.5
    assert of_rows(rows, labels) == pytest.approx(np.log(2))
    with monkeypatch.context() as patch:
        patch.setattr(nl.AbsoluteError, "point", lambda self, p, t: (7.0 * p, 7.0, 0.0))
        patch.setattr(nl.CrossEntropy, "label_point", lambda self, p: (5.0 + 0.0 * p, 0.0, 0.0))
        assert loss(2 * ONES, 0 * ONES) == 14.0
        assert total(2 * ONES, 0 * ONES) == 15.5
        assert of_rows(rows, labels) == 5.0
    assert loss(2 * ONES, 0 * ONES) == 2.0
    assert total(2 * ONES, 0 * ONES) == 3.5
    assert of_rows(rows, labels) == pytest.approx(np.log(2))


def test_what_says_the_same_is_compiled_once(kinds):
    before = Structure.of(kinds.Global())
    kinds.K = 5.0
    assert Structure.of(kinds.Global()) != before
    kinds.K = 1.0 + 1.0
    assert Structure.of(kinds.Global()) == before
    # As a notebook cell that runs again, or a class that came from another process.
    first, again, other = (define(text) for text in (CELL, CELL, CELL.replace("2.0", "3.0")))
    assert first is not again
    assert formula_of(first) is formula_of(again)
    assert formula_of(first) is not formula_of(other)
    kinds.K = -0.0
    zero = Structure.of(kinds.Global())
    kinds.K = 0.0
    assert Structure.of(kinds.Global()) != zero


def test_a_large_table_is_read_where_it_lies():
    table = np.full(200_000, 2.0)

    class Large(nl.Elementwise):
        def value(self, prediction, target):
            return table[int(target)] * prediction

    loss = Large()
    assert loss(ONES, 0 * ONES) == 2.0
    table[0] = 3.0
    assert loss(ONES, 0 * ONES) == loss.point(1.0, 0.0)[0] == 3.0


def test_rows_notice_too():
    scope = {"nl": nl, "K": 2.0}
    text = """
    class Scaled(nl.Softmax):
        def value(self, log_probability, target):
            return -K * target * log_probability
    """
    exec(textwrap.dedent(text), scope)
    loss, rows, labels = scope["Scaled"](), np.zeros((3, 2)), np.zeros(3, np.int64)
    assert loss(rows, labels) == pytest.approx(2.0 * np.log(2))
    scope["K"] = 5.0
    assert loss(rows, labels) == pytest.approx(5.0 * np.log(2))
    assert loss.value_and_grad(rows, labels)[0] == pytest.approx(5.0 * np.log(2))


def test_a_jitted_helper_that_did_not_change_is_used_as_it_is():
    @numba.njit
    def twice(x):
        return 2.0 * x

    class Loss(nl.Elementwise):
        def point(self, prediction, target):
            return twice(prediction), 2.0, 0.0

    assert Loss()(ONES, 0 * ONES) == 2.0
    assert twice.signatures
