"""What all structures ask of the arrays of a call: a place for each result, clear targets."""

from itertools import product

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided, sliding_window_view

import numbaloss as nl
from numbaloss import arrays
from numbaloss.arrays import layouts

INT64 = np.iinfo(np.int64)
LOGITS = np.random.default_rng(0).normal(size=(3, 4))


# Outputs that overlap themselves


def _shares(array):
    """Whether some byte belongs to two elements, by counting all of them."""
    places = [
        sum(i * step for i, step in zip(index, array.strides)) + byte
        for index in np.ndindex(array.shape)
        for byte in range(array.itemsize)
    ]
    return len(set(places)) < len(places)


def test_arrays_that_share_memory_with_themselves_are_known():
    found = [0, 0]
    buffer = np.zeros(400, np.int16)[200:]
    for shape in product((1, 2, 3), (1, 2, 4), (1, 3)):
        for strides in product((0, 2, -4, 6), (1, 2, 6, 8), (3, 2, -14, 16)):
            array = as_strided(buffer, shape, strides)
            shared = _shares(array)
            assert layouts.overlaps_itself(array) == shared, (shape, strides)
            found[shared] += 1
    assert min(found) > 200
    # Neither axis steps over the other, and yet no element is met twice.
    assert not layouts.overlaps_itself(as_strided(buffer, (2, 3), (6, 4)))
    assert layouts.overlaps_itself(as_strided(buffer, (3, 4), (6, 4)))
    # The memory of a GPU must not be read: its addresses mean nothing here.
    there = arrays.gpu_view(0xDEAD0000, (2, 3), (24, 16), "float64", False, 0, "out")
    assert not layouts.overlaps_itself(there.array)


def _windows(shape):
    """Arrays of a shape whose elements share memory, over memory of numbers that tell."""
    size = 4 * int(np.prod(shape))
    last = shape[-1]
    yield as_strided(np.full(size, 7.0), shape, (0,) * (len(shape) - 1) + (8,))
    yield as_strided(np.full(size, 7.0), shape, (8,) * len(shape))
    if len(shape) > 1:
        window = sliding_window_view(np.full(shape[0] + last - 1, 7.0), last, writeable=True)
        assert window.shape == shape
        yield window


def _untouched(array):
    return (array == 7.0).all()


CALLS = {
    "elementwise": (nl.Huber(), (LOGITS, np.zeros((3, 4))), 0),
    "rows": (nl.CrossEntropy(), (LOGITS, np.array([0, 1, 2])), 0),
    "dense rows": (nl.Brier(), (LOGITS, np.full((3, 4), 0.25)), 0),
    "pairs": (nl.CosineEmbedding(), (LOGITS, LOGITS[::-1], np.ones(3)), 2),
    "triplets": (nl.Triplet(), (LOGITS, LOGITS[::-1], -LOGITS), 3),
    "keys": (nl.InfoNCE(), (LOGITS, LOGITS[::-1].copy()), 2),
    "labelled": (nl.NTXent(), (LOGITS, np.array([0, 0, 1])), 0),
    "linear": (nl.LinearCrossEntropy(), (LOGITS, np.ones((4, 5)), np.array([0, 1, 2])), 2),
}


@pytest.mark.parametrize("structure", CALLS)
def test_outputs_that_overlap_themselves_are_refused(structure):
    loss, arguments, parts = CALLS[structure]
    for which in range(parts or 1):
        for out in _windows(arguments[which].shape):
            given = out if not parts else tuple(out if i == which else None for i in range(parts))
            with pytest.raises(ValueError, match=r"^out.* has elements that share memory"):
                loss.value_and_grad(*arguments, out=given)
            assert _untouched(out)


@pytest.mark.parametrize("structure", ["elementwise", "rows"])
def test_hessians_and_predictions_that_overlap_themselves_are_refused(structure):
    loss, (_, target), _ = CALLS[structure]
    for array in _windows((3, 4)):
        with pytest.raises(ValueError, match="hess_out has elements that share memory"):
            loss.value_grad_hess(LOGITS, target, hess_out=array)
        for reduction in ("mean", "none"):
            with pytest.raises(ValueError, match="out has elements that share memory"):
                loss.value_and_grad(array, target, out=array, reduction=reduction)
        assert _untouched(array)
        # As inputs they are as good as any.
        expected = loss.value_and_grad(np.array(array), target)
        found = loss.value_and_grad(array, target)
        assert found[0] == expected[0]
        np.testing.assert_array_equal(found[1], expected[1])
        assert not layouts.overlaps_itself(found[1])


def test_expanded_tensors_are_refused_as_outputs():
    torch = pytest.importorskip("torch")
    out = torch.full((1, 4), 7.0, dtype=torch.float64).expand(3, 4)
    for structure in ("elementwise", "rows"):
        loss, (_, target), _ = CALLS[structure]
        with pytest.raises(ValueError, match="out has elements that share memory"):
            loss.value_and_grad(torch.from_numpy(LOGITS), target, out=out)
    assert bool((out == 7.0).all())


# Targets that could mean two things


@pytest.mark.parametrize("kind", ["i8", "u1", "?", "i4"])
def test_integers_are_no_dense_targets_of_a_single_row(kind):
    logits, hidden, weight = LOGITS[0], np.ones(2), np.ones((2, 4))
    target = np.array([0, 1, 0, 1], kind)
    for call in (
        lambda t: nl.CrossEntropy()(logits, t),
        lambda t: nl.Brier().value_and_grad(logits, t),
        lambda t: nl.KLDivergence()(logits, t),
        lambda t: nl.LinearCrossEntropy()(hidden, weight, t),
    ):
        with pytest.raises(TypeError, match=r"target of shape \(\).*\(n, C\).*astype"):
            call(target)
        with pytest.raises(TypeError, match=r"target of shape \(\).*\(n, C\).*astype"):
            call(target.tolist())
        call(target.astype(np.float32))
    # A label of the row; one row of a matrix; and a teacher's logits are clear.
    one = nl.CrossEntropy()(logits, 1)
    assert one == nl.CrossEntropy()(logits, np.array([0.0, 1.0, 0.0, 0.0]))
    assert one == nl.CrossEntropy()(logits[None], np.array([[0, 1, 0, 0]], kind))
    teacher = nl.Distillation(2.0)
    assert teacher(logits, target) == teacher(logits, target.astype(float))


def test_masked_arrays_are_told_what_their_mask_says():
    values = np.ma.array([0.0, 5.0, 1.0], mask=[False, True, False])
    target = np.zeros(3)
    for arguments in ((values, target), (target, values)):
        with pytest.raises(TypeError, match=r"True where data is invalid.*mask=~mask"):
            nl.Huber()(*arguments)
    mask = np.ma.getmaskarray(values)
    # The ways that the message names.
    kept = nl.Huber()(values[~mask].compressed(), target[~mask])
    weighed = nl.Huber()(values.data, target, sample_weight=~mask, reduction="weighted_mean")
    counted = nl.Huber()(values.data, target, mask=~mask)
    assert kept == weighed == counted == 0.25


def test_masked_arrays_of_gpus_have_it_the_other_way_round():
    class Masked:
        @property
        def __cuda_array_interface__(self):
            return {"mask": object()}

    with pytest.raises(TypeError, match=r"True where data is valid.*the mask as mask"):
        nl.Huber()(Masked(), np.zeros(3))


# Labels that no class has


class Plain(nl.Softmax):
    """A loss without a label to ignore."""

    sparse = True
    linear = True

    def point(self, log_probability, target):
        return -target * log_probability, -target, 0.0


@pytest.mark.parametrize("loss", [Plain(), nl.CrossEntropy()], ids=str)
def test_nan_cast_to_integers_is_no_label(loss):
    """NaN becomes the least integer where labels are cast; such a row must not be left out."""
    labels = np.array([1, INT64.min, 0])
    for options in ({}, {"reduction": "sum"}, {"sample_weight": np.ones(3)}, {"mask": [True] * 3}):
        with pytest.raises(ValueError, match=rf"target\[1\] is {INT64.min}"):
            loss(LOGITS, labels, **options)
    assert loss(LOGITS, labels, mask=[True, False, True]) == loss(LOGITS[::2], labels[::2])


def test_the_least_integer_may_be_the_label_to_ignore():
    labels = np.array([1, INT64.min, 0])
    loss = nl.CrossEntropy(ignore_index=INT64.min)
    assert loss(LOGITS, labels) == nl.CrossEntropy()(LOGITS[::2], labels[::2])
