"""What losses of rows refuse, and their parameters."""

import math
import pickle

import numpy as np
import pytest

import numbaloss as nl
from tests.support.rows import CE, FORMS, rows


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.ones((3, 2)), np.zeros((3, 3))), {}, ValueError, r"\(3, 2\), or, for labels, \(3,\)"),
        ((np.ones((3, 2)), np.zeros(2, int)), {}, ValueError, r"for labels, \(3,\); not \(2,\)"),
        ((np.ones((3, 2)), np.zeros((3, 1), int)), {}, ValueError, r"not \(3, 1\)"),
        ((np.ones((3, 2)), 0), {}, ValueError, r"not \(\)"),
        ((np.ones((3, 2), int), np.zeros(3, int)), {}, TypeError, "prediction has dtype int64"),
        ((np.ones((3, 2)), ["a", "b", "c"]), {}, TypeError, "target has dtype <U1"),
        ((np.ones((3, 2)), [None] * 3), {}, TypeError, "target has dtype object"),
        ((np.ma.ones((3, 2)), np.zeros(3, int)), {}, TypeError, "prediction is a masked array"),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"reduction": "avg"},
            ValueError,
            "reduction must be one of",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"sample_weight": [1, -1, 1]},
            ValueError,
            r"sample_weight\[1\] is -1",
        ),
        (
            (np.ones((3, 2)), np.full((3, 2), 0.5)),
            {"sample_weight": [1, 1, np.nan]},
            ValueError,
            r"sample_weight\[2\] is nan",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"mask": np.ones(3)},
            TypeError,
            "mask must be an array of bool, not float64",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"out": np.ones((3, 3))},
            ValueError,
            "shape of the prediction",
        ),
        (
            (np.ones((3, 2)), np.zeros(3, int)),
            {"out": np.ones((3, 2), "i8")},
            TypeError,
            "float64, or another floating one, not int64",
        ),
    ],
)
def test_errors_name_the_argument(arguments, options, error, message):
    with pytest.raises(error, match=message):
        CE.value_and_grad(*arguments, **options)


def test_read_only_outputs_are_refused():
    out = np.zeros((3, 2))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        CE.value_and_grad(np.ones((3, 2)), [0, 1, 0], out=out)


def test_negative_weights_leave_in_place_logits_alone():
    for form in FORMS:
        logits, target = rows(form, 50_000, 3, dtype=np.float32)
        before = logits.copy()
        weight = np.ones(50_000, np.float32)
        weight[-1] = -1
        with pytest.raises(ValueError, match=r"sample_weight\[49999\] is -1"):
            CE.value_and_grad(logits, target, sample_weight=weight, out=logits)
        np.testing.assert_array_equal(logits, before)


def test_targets_of_the_other_kind_are_refused_with_the_right_one():
    with pytest.raises(ValueError, match="MultiMargin takes integer labels, not dense targets"):
        nl.MultiMargin()(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="Distillation takes dense targets"):
        nl.Distillation()(np.ones((2, 3)), [0, 1])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nl.CrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing must be in"),
        (lambda: nl.CrossEntropy(label_smoothing=-0.1), ValueError, "label_smoothing must be in"),
        (lambda: nl.CrossEntropy(z_loss=-1.0), ValueError, "z_loss must be in"),
        (lambda: nl.CrossEntropy(temperature=0.0), ValueError, "temperature must be in"),
        (lambda: nl.CrossEntropy(temperature=math.inf), ValueError, "temperature must be in"),
        (lambda: nl.CrossEntropy(temperature=math.nan), ValueError, "must not be NaN"),
        (lambda: nl.CrossEntropy(ignore_index=1.5), TypeError, "ignore_index must be a int"),
        (lambda: nl.CrossEntropy(class_weight=[1, -1]), ValueError, r"class_weight\[1\] is -1"),
        (lambda: nl.CrossEntropy([1, math.nan]), ValueError, r"class_weight\[1\] is nan"),
        (lambda: nl.CrossEntropy([math.inf]), ValueError, r"class_weight\[0\] is inf"),
        (lambda: nl.CrossEntropy([[1.0]]), ValueError, "must have one dimension, not 2"),
        (lambda: nl.CrossEntropy(1.0), ValueError, "must have one dimension, not 0"),
        (lambda: nl.CrossEntropy("ab"), TypeError, "class_weight must be an array of numbers"),
        (lambda: nl.CategoricalFocal(-1.0), ValueError, "gamma must be in"),
        (lambda: nl.GeneralizedCrossEntropy(0.0), ValueError, "q must be in"),
        (lambda: nl.GeneralizedCrossEntropy(1.1), ValueError, "q must be in"),
        (lambda: nl.SymmetricCrossEntropy(log_zero=0.0), ValueError, "log_zero must be in"),
        (lambda: nl.SymmetricCrossEntropy(-1.0), ValueError, "alpha must be in"),
        (lambda: nl.MultiMargin(p=3), ValueError, "p must be 1 or 2, not 3"),
        (lambda: nl.Distillation(-2.0), ValueError, "temperature must be in"),
    ],
)
def test_bad_parameters_are_refused_at_construction(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_class_weights_must_be_as_many_as_classes():
    loss = nl.CrossEntropy(class_weight=[1.0, 2.0])
    for target in ([0], [[0.5, 0.5, 0.0]]):
        with pytest.raises(ValueError, match="class_weight has 2 numbers, the prediction 3"):
            loss([[1.0, 2.0, 3.0]], target)


def test_losses_with_class_weights_compare_hash_and_survive_pickle():
    one, other = (nl.CrossEntropy(class_weight=np.array([1.0, 2.0])) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one == nl.CrossEntropy([1, 2])
    assert one != nl.CrossEntropy([1, 3])
    assert one != nl.CrossEntropy([1, 2, 0])
    assert one != nl.CrossEntropy()
    assert one != nl.CategoricalFocal(class_weight=[1, 2])
    assert (one + nl.CrossEntropy([1, 2])) == (other + nl.CrossEntropy([1, 2]))
    before = one([[1.0, 2.0]], [1])
    for loss in (one, 2.0 * one):
        twin = pickle.loads(pickle.dumps(loss))
        assert twin == loss
        assert hash(twin) == hash(loss)
        assert twin([[1.0, 2.0]], [1]) == loss([[1.0, 2.0]], [1])
    assert one([[1.0, 2.0]], [1]) == before
    assert not one.class_weight.flags.writeable
    assert one.replace(class_weight=None) == nl.CrossEntropy()
    assert repr(one).startswith("CrossEntropy(class_weight=[1.0, 2.0], ")
    assert "1000 numbers" in repr(nl.CrossEntropy(np.ones(1000)))
