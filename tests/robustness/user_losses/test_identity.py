"""Classes of one name, copies, pickles and scripts: which maths is whose."""

import copy
import math
import pickle
from itertools import permutations

import cloudpickle
import numpy as np
import pytest

import numbaloss as nl
from tests.support.defined import ONES, TWOS, define, outcome


@pytest.mark.every(2)
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


@pytest.mark.exhaustive
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
