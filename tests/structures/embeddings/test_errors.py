"""What losses of vectors refuse."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.own_losses import Decoupled
from tests.support.vectors import EACH, batch, drawn, inputs_of


@pytest.mark.parametrize(
    ("cls", "parameters", "message"),
    [
        (nl.Contrastive, {"margin": 0.0}, "margin must be in"),
        (nl.Contrastive, {"margin": -1.0}, "margin must be in"),
        (nl.CosineEmbedding, {"margin": 1.5}, "margin must be in"),
        (nl.Triplet, {"margin": -1.0}, "margin must be in"),
        (nl.Triplet, {"margin": np.nan}, "margin must not be NaN"),
        (nl.Triplet, {"p": 0.5}, "p must be in"),
        (nl.Triplet, {"p": np.inf}, "p must be in"),
        (nl.Triplet, {"p": 1.0, "squared": True}, "p must be 2"),
        (nl.InfoNCE, {"temperature": 0.0}, "temperature must be in"),
        (nl.InfoNCE, {"temperature": np.inf}, "temperature must be in"),
        (nl.SigLIP, {"temperature": -1.0}, "temperature must be in"),
        (nl.SigLIP, {"bias": -np.inf}, "bias must be"),
        (nl.NTXent, {"temperature": 0.0}, "temperature must be in"),
        (nl.SupervisedContrastive, {"temperature": 0.0}, "temperature must be in"),
        (nl.BatchTriplet, {"margin": -1.0}, "margin must be in"),
        (nl.BatchTriplet, {"mining": "foo"}, "mining must be one of .*semi-hard"),
        (Decoupled, {"temperature": 0.0}, "temperature must be in"),
    ],
)
def test_parameters_out_of_range_are_refused(cls, parameters, message):
    with pytest.raises(ValueError, match=message):
        cls(**parameters)


ONES = np.ones((4, 3))
CALLS = {
    nl.Contrastive(): {"first": ONES, "second": ONES, "target": np.zeros(4, int)},
    nl.Triplet(): {"anchor": ONES, "positive": ONES, "negative": ONES},
    nl.InfoNCE(): {"queries": ONES, "keys": np.ones((5, 3))},
    nl.NTXent(): {"embeddings": ONES, "labels": np.zeros(4, int)},
}
ROWS, VECTORS = [*CALLS][:2], [*CALLS][:3]


@pytest.mark.parametrize(
    ("losses", "change", "error", "message"),
    [
        ([*CALLS], {"reduction": "median"}, ValueError, "reduction must be one of"),
        ([*CALLS], {"device": "tpu"}, ValueError, "device must be one of"),
        # Without a GPU that is what is missing; with one, vectors on it are.
        ([*CALLS], {"device": "cuda"}, (RuntimeError, ValueError), "cuda|CUDA|GPU"),
        ([*CALLS], {0: np.ones((4, 3), int)}, TypeError, "{0} has dtype int64"),
        ([*CALLS], {0: np.ones((4, 3), complex)}, TypeError, "{0} has dtype complex128"),
        ([*CALLS], {0: np.float64(1.0)}, ValueError, "{0} must have|must have one shape"),
        ([*CALLS], {0: np.ma.ones((4, 3))}, TypeError, "{0} is a masked array"),
        ([*CALLS], {"sample_weight": [1.0, -1.0, 1.0, -2.0]}, ValueError,
         r"sample_weight\[1\] is -1"),
        ([*CALLS], {"sample_weight": [1.0, 1.0, 1.0, np.nan]}, ValueError,
         r"sample_weight\[3\] is nan"),
        ([*CALLS], {"sample_weight": np.ones(3)}, ValueError, "sample_weight must have the shape"),
        ([*CALLS], {"sample_weight": np.ones((4, 1))}, ValueError, "sample_weight must have"),
        (VECTORS, {1: np.ones((5, 3), np.float32)}, TypeError, "{1} has dtype float32 and {0}"),
        (VECTORS, {"out": ONES}, TypeError, "out must be a tuple of arrays"),
        (VECTORS, {"out": (ONES,)}, TypeError, "out must be a tuple of arrays"),
        (VECTORS, {"out": {0: np.ones((3, 3))}}, ValueError, r"out\[0\] must have the shape of"),
        (VECTORS, {"out": {0: np.ones((4, 3), "f4")}}, TypeError, r"out\[0\] must have {0}'s"),
        (VECTORS, {"out": {0: np.broadcast_to(1.0, (4, 3))}}, ValueError, r"out\[0\] is read-only"),
        (VECTORS, {"out": {0: [[1.0] * 3] * 4}}, TypeError, r"out\[0\] must be an array that"),
        (ROWS, {1: np.ones((4, 1))}, ValueError, r"must have one shape.*\(4, 3\).*\(4, 1\)"),
        (ROWS, {1: np.ones((1, 3))}, ValueError, "shapes are never broadcast"),
        (ROWS[:1], {"target": np.zeros((4, 1))}, ValueError, r"target must have the shape.*\(4,\)"),
        (ROWS[:1], {"target": [0, 1, 2, 3]}, ValueError, r"target\[2\] is 2"),
        (ROWS[:1], {"target": [0, 1, -1, 0.5]}, ValueError, r"target\[2\] is -1"),
        ([nl.InfoNCE()], {"keys": np.ones((3, 3))}, ValueError, "4 queries, 3 keys"),
        ([nl.InfoNCE()], {"keys": np.ones((4, 2))}, ValueError, r"\(4, 3\) and \(4, 2\)"),
        ([nl.InfoNCE()], {"keys": np.ones(3)}, ValueError, "keys must have two dimensions"),
        ([nl.InfoNCE()], {"queries": np.ones((2, 2, 3))}, ValueError, "queries must have two"),
        ([nl.NTXent()], {"embeddings": np.ones(3)}, ValueError, "embeddings must have two"),
        ([nl.NTXent()], {"labels": np.zeros(4, bool)}, TypeError, "labels are integers"),
        ([nl.NTXent()], {"labels": [0, 0, 0.5, 1]}, ValueError, r"labels\[2\] is 0.5; labels are"),
        ([nl.NTXent()], {"labels": np.zeros(3, int)}, ValueError, "labels must have the shape"),
        ([nl.NTXent()], {"labels": np.zeros((4, 1), int)}, ValueError, "labels must have the"),
        ([nl.NTXent()], {"labels": 0}, ValueError, "labels must have the shape"),
        ([nl.NTXent()], {"out": np.ones((3, 3))}, ValueError, "out must have the shape of embed"),
        ([nl.NTXent()], {"out": np.ones((4, 3), "f4")}, TypeError, "out must have embeddings's"),
        ([nl.NTXent()], {"out": np.broadcast_to(1.0, (4, 3))}, ValueError, "out is read-only"),
        ([nl.NTXent()], {"out": [[1.0] * 3] * 4}, TypeError, "out must be an array that can"),
        ([*CALLS][2:], {"workspace": 0}, ValueError, "workspace must be a number of bytes > 0"),
        ([*CALLS][2:], {"workspace": -5}, ValueError, "workspace must be a number of bytes > 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(losses, change, error, message):
    for loss in losses:
        arguments = dict(CALLS[loss])
        names = [*arguments][: inputs_of(loss)]
        changed = {names[key] if key in (0, 1) else key: what for key, what in change.items()}
        if isinstance(changed.get("out"), dict):
            ((place, array),) = changed["out"].items()
            changed["out"] = tuple(array if i == place else None for i in range(len(names)))
        text = message
        for i, name in enumerate(names):
            text = text.replace(f"{{{i}}}", name)
        copies = {name: np.array(one) for name, one in arguments.items()}
        with pytest.raises(error, match=text):
            loss.value_and_grad(**(arguments | changed))
        for name, one in copies.items():
            np.testing.assert_array_equal(arguments[name], one)


def test_a_symmetric_loss_takes_as_many_keys_as_queries():
    with pytest.raises(ValueError, match="as many keys as queries, not 5 and 4"):
        nl.InfoNCE(symmetric=True)(ONES, np.ones((5, 3)))


@pytest.mark.parametrize("loss", EACH, ids=repr)
def test_gradients_may_not_share_memory(loss):
    vectors, rows = batch(loss)
    if isinstance(loss, nl.LabelledEmbedding):
        with pytest.raises(ValueError, match="out shares memory with embeddings"):
            loss.value_and_grad(*vectors, *rows, out=vectors[0])
        space = np.zeros(9 * 4 + 9)
        with pytest.raises(ValueError, match="out shares memory with sample_weight"):
            loss.value_and_grad(
                *vectors, *rows, sample_weight=space[30:39], out=space[:36].reshape(9, 4)
            )
        return
    nothing = (None,) * (len(vectors) - 1)
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with"):
        loss.value_and_grad(*vectors, *rows, out=(vectors[0], *nothing))
    with pytest.raises(ValueError, match=r"out\[0\] shares memory with"):
        loss.value_and_grad(*vectors, *rows, out=(vectors[1], *nothing))
    space = np.zeros((10, 4))
    with pytest.raises(ValueError, match=r"out\[0\] and out\[1\] share memory"):
        loss.value_and_grad(*vectors, *rows, out=(space[:9], space[1:], *nothing[1:]))


@pytest.mark.parametrize("place", [(0, 1), (1, 2)])
def test_the_first_number_out_of_range_is_named_in_rows_of_any_shape(place):
    vectors, target = np.random.default_rng(0).normal(size=(2, 2, 3, 4)), np.zeros((2, 3))
    target[place] = 0.5
    with pytest.raises(ValueError, match=rf"target\[{place[0]}, {place[1]}\] is 0.5"):
        nl.Contrastive()(*vectors, target)
    nl.Contrastive()(*vectors, target, check=False)
    weight = np.ones((2, 3))
    weight[place] = -2.0
    with pytest.raises(ValueError, match=rf"sample_weight\[{place[0]}, {place[1]}\] is -2"):
        nl.Triplet()(*vectors, vectors[0], sample_weight=weight)


def test_targets_and_labels_cannot_be_left_out():
    a = drawn(4, 3)
    with pytest.raises(TypeError, match="Contrastive needs a target"):
        nl.Contrastive()(a, a, None)
    for call in (nl.NTXent(), nl.NTXent().diagnose):
        with pytest.raises(TypeError, match="NTXent needs labels"):
            call(a, None)


def test_options_that_have_no_meaning_are_refused():
    a = drawn(4, 3)
    with pytest.raises(TypeError, match="workspace must be a whole number of bytes"):
        nl.InfoNCE()(a, a, workspace="much")
    with pytest.raises(ValueError, match=r"temperature must be in \[1e-30, inf\)"):
        nl.InfoNCE(1e-39)
    repeated = np.lib.stride_tricks.as_strided(np.zeros(3), (4, 3), (0, 8))
    with pytest.raises(ValueError, match="elements that share memory"):
        nl.InfoNCE().value_and_grad(a, a, out=(repeated, None))

    class Both(nl.LabelledEmbedding):
        symmetric: bool = True

        def point(self, similarity, log_sum):
            return log_sum - similarity, -1.0, 1.0

    with pytest.raises(ValueError, match="symmetric is for losses of keys"):
        Both()
