"""Losses that users define: each keeps its own maths, wherever and however often it is defined."""

import copy
import math
import pickle
import textwrap
import types
import warnings
from dataclasses import dataclass
from functools import wraps
from itertools import permutations

import cloudpickle
import numpy as np
import pytest

import numbaloss as nl

ONES = np.ones(3, np.float32)
TWOS = 2.0 * ONES


def define(factor: float, **namespace: object) -> type:
    """Run the text of a class as a notebook cell or a script would."""
    source = f"""
    class Scaled(nl.Elementwise):
        width: float = 1.0

        def point(self, prediction, target):
            return {factor!r} * prediction / self.width, {factor!r} / self.width, 0.0
    """
    namespace |= {"nl": nl}
    exec(textwrap.dedent(source), namespace)
    return namespace["Scaled"]


def outcome(loss: nl.Elementwise, prediction: np.ndarray = ONES) -> tuple[float, float]:
    value, gradient = loss.value_and_grad(prediction, np.zeros_like(prediction), reduction="sum")
    return value / prediction.size, float(gradient[0])


# Identity


@pytest.mark.parametrize("modules", [("one", "other"), ("__main__", "__main__")])
def test_classes_of_one_name_keep_their_own_maths_in_any_order(modules):
    classes = {2.0 + n: define(2.0 + n, __name__=module) for n, module in enumerate(modules)}
    classes[5.0] = define(5.0, __name__=modules[0])
    for order in permutations(classes):
        for factor in order:
            assert outcome(classes[factor]()) == (factor, factor)
            # A loss of its own, whose plan is not known yet.
            assert outcome(classes[factor](width=2.0)) == (factor / 2, factor / 2)
            assert classes[factor]()(ONES, TWOS) == factor


def test_a_class_defined_again_has_its_new_maths_and_its_objects_keep_the_old():
    old = define(3.0)()
    assert outcome(old) == (3.0, 3.0)
    new = define(4.0)()
    assert outcome(new) == (4.0, 4.0)
    assert outcome(old) == (3.0, 3.0)
    assert outcome(type(old)(width=3.0)) == (1.0, 1.0)
    assert old != new


def test_many_short_lived_classes_never_meet_the_code_of_a_dead_one():
    for factor in map(float, range(1, 7)):
        assert define(factor)()(ONES, TWOS) == factor


def test_a_registered_class_defined_again_is_what_its_name_means(monkeypatch):
    # What the test registers does not outlive it.
    monkeypatch.setattr(nl.registry, "_classes", dict(nl.registry._classes))
    monkeypatch.setattr(nl.registry, "_names", dict(nl.registry._names))
    nl.register(define(3.0, __name__="cell"))
    assert nl.get("scaled")(ONES, TWOS) == 3.0
    nl.register(define(4.0, __name__="cell"))
    assert nl.get("scaled")(ONES, TWOS) == 4.0


# Inheritance

PREDICTION = np.linspace(-3.0, 3.0, 13)
TARGET = (PREDICTION > 1.0).astype(np.float64)


class _Override:
    def point(self, prediction, target):
        return 3.0 * prediction - target, 3.0, 0.5


@pytest.mark.parametrize("base", [nl.Huber, nl.BinaryCrossEntropy, nl.Focal, nl.Tweedie])
def test_a_plain_subclass_is_its_base(base):
    derived = type("Derived", (base,), {})
    both = [cls().value_grad_hess(PREDICTION, TARGET, reduction="none") for cls in (derived, base)]
    for got, wanted in zip(*both):
        np.testing.assert_array_equal(got, wanted)


def overriding_subclass(base: type) -> type:
    return type("Derived", (base,), {"point": _Override.point})


def overriding_mixin(base: type) -> type:
    return type("Derived", (_Override, base), {})


@pytest.mark.parametrize("derive", [overriding_subclass, overriding_mixin])
@pytest.mark.parametrize(
    ("base", "parameters"),
    # With and without a lower() of the base, which knows nothing of the new maths.
    [
        (nl.Huber, {}),
        (nl.SmoothL1, {"beta": 0.0}),
        (nl.BinaryCrossEntropy, {}),
        (nl.Focal, {"alpha": 0.25}),
    ],
)
def test_a_subclass_that_gives_its_own_point_is_what_it_says(base, parameters, derive):
    loss = derive(base)(**parameters)
    value, gradient, hessian = loss.value_grad_hess(PREDICTION, TARGET, reduction="sum")
    assert value == pytest.approx(float(np.sum(3.0 * PREDICTION - TARGET)))
    assert set(gradient) == {3.0}
    assert set(hessian) == {0.5}


def test_none_where_a_point_needs_a_number_is_named():
    with pytest.raises(TypeError, match=r"Derived.*alpha"):
        overriding_subclass(nl.Focal)(alpha=None)(PREDICTION, TARGET)


def test_a_subclass_may_add_parameters_and_change_defaults():
    class Shifted(nl.Huber):
        delta = 2.0
        shift: float = 10.0

        def point(self, prediction, target):
            return self.delta * prediction + self.shift, self.delta, 0.0

    assert repr(Shifted()) == "Shifted(delta=2.0, shift=10.0)"
    assert Shifted()(ONES, ONES) == 12.0
    assert Shifted(3, shift=1)(ONES, ONES) == 4.0
    assert nl.Huber().delta == 1.0


# Copies, pickles, comparison

KEPT = [
    nl.SquaredError(),
    nl.Huber(delta=0.5),
    nl.Focal(gamma=1.5, alpha=0.25),
    nl.BinaryCrossEntropy(from_logits=False),
    nl.GeneralRobust(-math.inf),
    nl.Huber() + 0.1 * nl.LogCosh(),
    -(2.0 * nl.SquaredError()) + nl.Quantile(0.9),
]


@pytest.mark.parametrize("loss", KEPT, ids=str)
def test_losses_survive_copies_and_pickles_before_and_after_use(loss):
    inside = np.linspace(0.1, 0.9, 5)
    for _ in range(2):
        twins = [copy.copy(loss), copy.deepcopy(loss), cloudpickle.loads(cloudpickle.dumps(loss))]
        twins += [pickle.loads(pickle.dumps(loss, protocol)) for protocol in range(2, 6)]
        for twin in twins:
            assert twin == loss
            assert hash(twin) == hash(loss)
            assert repr(twin) == repr(loss)
            assert twin(inside, inside[::-1]) == loss(inside, inside[::-1])


def test_losses_are_equal_where_class_and_parameters_are():
    distinct = [*KEPT, nl.Huber(), nl.PseudoHuber(), nl.Huber() + nl.LogCosh(), define(1.0)()]
    distinct.append(define(1.0)())
    for i, one in enumerate(distinct):
        assert [one == other for other in distinct] == [i == j for j in range(len(distinct))]
    assert len({*distinct, *KEPT, nl.Huber(delta=1)}) == len(distinct)


def test_use_leaves_a_loss_immutable_and_its_pickle_unchanged():
    loss = nl.Huber(delta=0.5)
    before = pickle.dumps(loss)
    loss.value_and_grad(ONES, TWOS)
    assert pickle.dumps(loss) == before
    with pytest.raises(AttributeError, match="immutable"):
        loss.delta = 2.0


def test_a_class_of_a_script_travels_to_other_processes(run, tmp_path, shared_cache):
    send = """
        import sys
        import cloudpickle
        import numpy as np
        import numbaloss as nl

        FACTOR = 5.0

        def helper(x):
            return FACTOR * x

        class Mine(nl.Elementwise):
            scale: float = 1.0

            def point(self, prediction, target):
                return self.scale * helper(prediction - target), FACTOR, 0.0

        loss = Mine(2.0)
        assert loss(np.ones(3), np.zeros(3)) == 10.0  # compiled code stays behind
        with open(sys.argv[1], "wb") as file:
            cloudpickle.dump([loss, loss + nl.Huber()], file)
        print("null")
    """
    receive = """
        import json, sys
        import cloudpickle
        import numpy as np

        with open(sys.argv[1], "rb") as file:
            received = cloudpickle.load(file)
        print(json.dumps([loss(3.0 * np.ones(3), np.ones(3)) for loss in received]))
    """
    run(send, tmp_path / "loss.pickle", NUMBALOSS_CACHE_DIR=shared_cache)
    received = run(receive, tmp_path / "loss.pickle", NUMBALOSS_CACHE_DIR=shared_cache)
    assert received == [20.0, 21.5]


def test_a_script_edited_between_two_runs_computes_what_it_says_now(run, tmp_path, shared_cache):
    script = """
        import json
        import numpy as np
        import numbaloss as nl

        class Mine(nl.Elementwise):
            def point(self, prediction, target):
                residual = prediction - target
                return 2.0 * residual * residual, 4.0 * residual, 4.0

        ones = np.ones(4, np.float32)
        print(json.dumps([Mine()(3.0 * ones, ones)]))
    """
    assert run(script, NUMBALOSS_CACHE_DIR=shared_cache) == [8.0]
    changed = script.replace("2.0 * residual *", "3.0 * residual *")
    assert run(changed, NUMBALOSS_CACHE_DIR=shared_cache) == [12.0]


# What a point may be written with

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


# What a point may not be


def _no_point():
    return {}


def _unknown_attribute():
    def point(self, prediction, target):
        return prediction * self.colour, 0.0, 0.0

    return {"point": point}


def _unknown_name():
    def point(self, prediction, target):
        return prediction * undefined_colour, 0.0, 0.0  # noqa: F821

    return {"point": point}


def _two_results():
    def point(self, prediction, target):
        return prediction, target

    return {"point": point}


def _four_results():
    def point(self, prediction, target):
        return prediction, target, prediction, target

    return {"point": point}


def _one_result():
    def point(self, prediction, target):
        return prediction - target

    return {"point": point}


def _tuple_result():
    def point(self, prediction, target):
        return (prediction, target), 1.0, 0.0

    return {"point": point}


def _too_few_arguments():
    def point(self, prediction):
        return prediction, 1.0, 0.0

    return {"point": point}


def _decorated():
    def point(self, prediction, target):
        return prediction, 1.0, 0.0

    @wraps(point)
    def wrapper(*arguments):
        return point(*arguments)

    return {"point": wrapper}


def _string_parameter():
    def point(self, prediction, target):
        return prediction, 1.0, 0.0

    return {"point": point, "__annotations__": {"colour": str}, "colour": "red"}


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (_no_point, "point"),
        (_unknown_attribute, "colour"),
        (_unknown_name, "undefined_colour"),
        (_one_result, "three|value, gradient"),
        (_two_results, "three|value, gradient"),
        (_four_results, "three|value, gradient"),
        (_tuple_result, "point"),
        (_too_few_arguments, r"point must take \(self, prediction, target\)"),
        (_decorated, r"point must take \(self, prediction, target\)"),
        (_string_parameter, "colour"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_faulty_point_is_named_with_its_fault_and_harms_nobody_else(make, hint):
    body = make()
    if "point" in body:
        body["point"].__qualname__ = "Faulty.point"
    faulty = type("Faulty", (nl.Elementwise,), body)()
    # Twice: a failed attempt must not be remembered as a success.
    for _ in range(2):
        with pytest.raises((TypeError, NotImplementedError), match=f"(?s)Faulty.*({hint})"):
            faulty(ONES, TWOS)
        with pytest.raises((TypeError, NotImplementedError), match="Faulty"):
            faulty.value_and_grad(ONES, TWOS)
        assert nl.SquaredError()(ONES, 3.0 * ONES) == 4.0

    def point(self, prediction, target):
        return 7.0 * prediction, 7.0, 0.0

    mended = type("Faulty", (nl.Elementwise,), {"point": point})()
    assert outcome(mended) == (7.0, 7.0)


NAMES = {"a": 1.0}
NUMBERS = [1.0, 2.0]


class Settings:
    width = 2.0


def endless(x):
    return 1.0 if x < 1.0 else endless(x - 1.0)


def _imports(self, prediction, target):
    import math

    return math.exp(prediction - target)


def _of_a_method(self, prediction, target):
    return self.helper(prediction - target)


def _of_an_undeclared(self, prediction, target):
    return self.width * (prediction - target) ** 2


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (_imports, "put the import at the top"),
        (lambda self, prediction, target: NAMES["a"] * prediction, "NAMES is a dict"),
        (lambda self, prediction, target: NUMBERS[0] * prediction, "NUMBERS is a list"),
        (lambda self, prediction, target: Settings.width * prediction, "Settings is a class"),
        (lambda self, prediction, target: endless(prediction), "endless calls itself"),
        (_of_a_method, "write helper as a function outside the class"),
        (_of_an_undeclared, "declared with its type: width: float = 2.0"),
    ],
    ids=["import", "dict", "list", "class", "recursion", "method", "undeclared"],
)
def test_what_formulas_cannot_do_is_told_with_what_to_write_instead(value, hint):
    body = {"value": value, "helper": lambda self, x: x * x, "width": 2.0}
    with pytest.raises(TypeError, match=f"Tried.value does not compile: .*{hint}"):
        type("Tried", (nl.Elementwise,), body)()(ONES, TWOS)


def test_a_loss_has_no_init_of_its_own_and_is_no_dataclass():
    class OwnInit(nl.Elementwise):
        def __init__(self, width):
            self.width = width

        def value(self, prediction, target):
            return self.width * (prediction - target) ** 2

    with pytest.raises(AttributeError, match=r"annotated attributes of the class.*width: float"):
        OwnInit(2.0)

    @dataclass
    class Data(nl.Elementwise):
        width: float = 1.0

        def value(self, prediction, target):
            return self.width * (prediction - target) ** 2

    with pytest.raises(AttributeError, match="no @dataclass"):
        Data(2.0)
    with pytest.raises(AttributeError, match=r"loss.replace\(delta=2.0\)"):
        nl.Huber().delta = 2.0


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


def test_a_failed_compilation_leaves_no_warning_for_the_mended_class():
    def slow_and_faulty(self, prediction, target):
        return 2 * prediction, (target, target), 0.0

    def point(self, prediction, target):
        return 2.0 * prediction, 2.0, 0.0

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        with pytest.raises(TypeError):
            type("Cell", (nl.Elementwise,), {"point": slow_and_faulty})().value_and_grad(ONES, TWOS)
    # A warning would be an error.
    assert outcome(type("Cell", (nl.Elementwise,), {"point": point})()) == (2.0, 2.0)


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


def test_import_and_definition_do_not_load_numba(run):
    script = """
        import json, sys
        import numbaloss as nl

        class Mine(nl.Elementwise):
            scale: float = 1.0
            def point(self, prediction, target):
                return prediction, 1.0, 0.0

        hash(Mine(2.0) + nl.Huber())
        print(json.dumps(["numba" in sys.modules]))
    """
    assert run(script) == [False]
