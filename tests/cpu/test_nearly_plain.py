"""Arrays that are nearly plain have the results of the general path, bit for bit, and its errors.

``device="cpu"`` takes the general path, whatever the arrays are.
"""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import numbaloss as nl
from numbaloss.call import near

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_JAX = importlib.util.find_spec("jax") is not None


def strided(array):
    room = np.full((*array.shape, 2), 77, array.dtype)
    room[..., 0] = array
    return room[..., 0]


def backwards(array):
    return array[::-1].copy()[::-1]


def inside(array):
    room = np.zeros([n + 1 for n in array.shape], array.dtype)
    room[tuple(slice(n) for n in array.shape)] = array
    return room[tuple(slice(n) for n in array.shape)]


def unaligned(array):
    room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
    room[:] = array.ravel()
    return room.reshape(array.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def swapped(array):
    return array.astype(array.dtype.newbyteorder())


def in_pandas(array):
    makers = {1: pd.Series, 2: pd.DataFrame}
    return makers[array.ndim](array) if array.ndim in makers else array


def as_tensor(array):
    import torch

    return torch.from_numpy(array.copy())


def turned_tensor(array):
    import torch

    return torch.from_numpy(np.asfortranarray(array).T.copy()).permute(*range(array.ndim)[::-1])


def in_jax(array):
    import jax

    return jax.numpy.asarray(array)


LAYOUTS = [
    np.ascontiguousarray, np.asfortranarray, strided, backwards, inside, unaligned, read_only,
    swapped, in_pandas, np.ndarray.tolist,
]  # fmt: skip
LAYOUTS += [as_tensor, turned_tensor] * HAS_TORCH + [in_jax] * HAS_JAX


def outcome(call):
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        return type(error).__name__, str(error)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert type(one) is type(other), (one, other)
        if isinstance(one, str):
            assert one == other
            continue
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
        for name in ("dtype", "strides"):
            assert getattr(one, name, None) == getattr(other, name, None)
        if hasattr(one, "stride"):
            assert one.stride() == other.stride()


def options_of(rng, samples, real):
    """Weights, masks and reductions, as they may come."""
    options = {"reduction": str(rng.choice(["mean", "weighted_mean", "batchmean", "sum", "none"]))}
    shapes = [samples, samples, samples[:1], (1,) * (len(samples) - 1) + samples[-1:]]
    if rng.random() < 0.6:
        shape = shapes[rng.integers(4)]
        kind = rng.choice([real, "float64", "float32"])
        options["sample_weight"] = rng.random(shape).astype(kind)
        if rng.random() < 0.1:
            options["sample_weight"].flat[:1] = -1.0
    if rng.random() < 0.5:
        options["mask"] = rng.random(shapes[rng.integers(3)]) < 0.7
    if rng.random() < 0.2:
        options["check"] = False
    for name in ("sample_weight", "mask"):
        if name in options:
            options[name] = LAYOUTS[rng.integers(len(LAYOUTS))](options[name])
    return options


def compare(rng, loss, prediction, target, options):
    # In all they went by the plain path, or none did: which, the counts below tell.
    assert_same(
        outcome(lambda: (loss(prediction, target, **options),)),
        outcome(lambda: (loss(prediction, target, **options, device="cpu"),)),
    )
    options["gradient_scale"] = 2.5
    found = outcome(lambda: loss.value_grad_hess(prediction, target, **options))
    wanted = outcome(lambda: loss.value_grad_hess(prediction, target, **options, device="cpu"))
    assert_same(found, wanted)
    if isinstance(wanted[0], str) or not hasattr(wanted[1], "strides") or rng.random() < 0.5:
        return
    out, hess_out = np.full((2, *wanted[1].shape), 5.0, wanted[1].dtype)
    if rng.random() < 0.3:
        out = strided(out)
    again = loss.value_grad_hess(prediction, target, **options, out=out, hess_out=hess_out)
    assert again[1] is out
    np.testing.assert_array_equal(again[0], wanted[0])
    np.testing.assert_array_equal(out, wanted[1])
    np.testing.assert_array_equal(hess_out, wanted[2])


@pytest.fixture
def taken(monkeypatch):
    """How many calls the path of nearly plain arrays took."""
    counts = {"elements": 0, "rows": 0}
    for name in counts:
        function = getattr(near, name)

        def watched(*arguments, name=name, function=function):
            found = function(*arguments)
            counts[name] += found is not None
            return found

        monkeypatch.setattr(near, name, watched)
    return counts


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda one: one.__name__)
def test_layouts(taken, layout):
    rng = np.random.default_rng(2)
    targets = rng.normal(size=(60, 4)).astype("f4"), rng.integers(0, 4, 60)
    for loss, target in zip((nl.Huber(), nl.CrossEntropy()), targets):
        given = layout(rng.normal(size=(60, 4)).astype("f4")), layout(target)
        weight = layout(rng.random(60).astype("f4"))
        for options in ({}, {"sample_weight": weight, "reduction": "weighted_mean"}):
            found = outcome(lambda: loss.value_and_grad(*given, **options))  # noqa: B023
            wanted = outcome(lambda: loss.value_and_grad(*given, **options, device="cpu"))  # noqa: B023
            assert_same(found, wanted)


@pytest.mark.exhaustive
@pytest.mark.parametrize("calls", [500])
def test_numbers(taken, calls):
    rng = np.random.default_rng(0)
    loss = nl.BinaryCrossEntropy()
    for _ in range(calls):
        real = str(rng.choice(["float32", "float64"]))
        shape = ((7,), (60,), (1,), (5, 4), (3, 1, 4), (0, 3), (40, 300))[rng.integers(7)]
        prediction = rng.normal(size=shape).astype(real)
        target = rng.integers(0, 2, shape).astype(str(rng.choice(["float32", "float64", "int64"])))
        if target.size and rng.random() < 0.05:
            target.flat[-1] = 7
        first, second = (LAYOUTS[k] for k in rng.integers(0, len(LAYOUTS), 2))
        options = options_of(rng, shape, real)
        compare(rng, loss, first(prediction), second(target), options)
    assert taken["elements"] > 0.6 * calls


@pytest.mark.exhaustive
@pytest.mark.parametrize("calls", [500])
def test_rows(taken, calls):
    rng = np.random.default_rng(1)
    losses = [
        nl.CrossEntropy(label_smoothing=0.1, ignore_index=2),
        nl.CrossEntropy(np.linspace(0.5, 2.0, 10), label_smoothing=0.1, ignore_index=2),
    ]
    for _ in range(calls):
        rows = ((7,), (1,), (2, 3), (700,))[rng.integers(4)]
        which = int(rng.integers(2))
        classes = 700 if which == 0 and len(rows) == 2 else 10
        prediction = rng.normal(size=(*rows, classes)).astype("f4")
        target = rng.integers(0, 4, rows).astype(str(rng.choice(["int64", "int32", "float32"])))
        if rng.random() < 0.05:
            target.flat[-1] = classes
        first, second = (LAYOUTS[k] for k in rng.integers(0, len(LAYOUTS), 2))
        options = options_of(rng, rows, "float32")
        compare(rng, losses[which], first(prediction), second(target), options)
    assert taken["rows"] > 0.4 * calls


def test_outputs_that_share_memory_with_what_was_copied_are_refused():
    room = np.ones(40, "f4")
    prediction, target = room[::2], np.zeros(20, "f4")
    loss = nl.Huber()
    with pytest.raises(ValueError, match="out shares memory with prediction"):
        loss.value_and_grad(prediction, target, out=room[1:21])
    with pytest.raises(ValueError, match="hess_out shares memory with target"):
        loss.value_grad_hess(prediction, target, hess_out=target)
    found = loss.grad(prediction.copy(), target)
    # In place it may be.
    assert loss.value_and_grad(prediction, target, out=prediction)[1] is prediction
    np.testing.assert_array_equal(prediction, found)
    assert (room[1::2] == 1.0).all()
