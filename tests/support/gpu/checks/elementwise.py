"""Checks of elementwise losses on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH, LOSSES, inputs
from numbaloss.core.loss import domain
from tests.support.gpu.checks.common import (
    HALVES,
    Library,
    as_kind,
    assert_results,
    call,
    check,
    compare,
    computed,
    kind_of,
    reference,
)
from tests.support.gpu.kernels import Quartic
from tests.support.own_losses import Branching

REDUCTIONS = ("mean", "weighted_mean", "sum", "none")


def numbers(loss: Any, size: int, kind: str, seed: int = 0) -> tuple[Any, Any]:
    """Predictions and targets that are inside the domains in any dtype."""
    prediction, target = inputs(loss, size, seed, spread=1.0)
    if domain(loss.prediction_domain).high == 1.0:
        prediction = np.clip(prediction, 0.02, 0.98)
    return as_kind(prediction, kind), as_kind(target, kind)


@check("elementwise", LOSSES)
def every_loss_at_several_sizes(library: Library, number: int, case: Any) -> None:
    sizes = library.sizes
    if number and not library.thorough:
        # Other parameters of a loss run the same code.
        both = sizes[number % 6], sizes[(number + 3) % 6]
        sizes = both if case in EACH else (min(both),)
    for size in sizes:
        # Of magnitude |α - 2| / α, with what that takes of the digits.
        nearly = isinstance(case, nl.GeneralRobust) and 0 < abs(case.alpha - 2) < 0.1
        compare(library, case, *numbers(case, size, "float32"), factor=2000 if nearly else 50)


@check("elementwise", EACH)
def every_loss_of_every_dtype(library: Library, number: int, case: Any) -> None:
    for kind in library.kinds[1:]:
        compare(library, case, *numbers(case, 67, kind, seed=1))


OF_USERS = (
    Quartic(),
    Quartic(0.5) - 2.0 * nl.LogCosh(),
    nl.Huber() + 0.1 * nl.LogCosh(),
    Branching(),
    Branching(0.7, 1.5) - 0.5 * nl.Huber(),
)


@check("elementwise", OF_USERS)
def losses_of_users_and_sums(library: Library, number: int, case: Any) -> None:
    for kind in library.kinds:
        compare(library, case, *numbers(nl.Huber(), 131, kind))


@check("elementwise", EACH)
def nan_and_infinity_stay_where_they_are(library: Library, number: int, case: Any) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 1e37, -1e37, 1e-40])
    p, t = numbers(case, 40, "float32")
    p[:9] = odd
    t[9] = np.nan
    options = {"reduction": "none", "check": domain(case.prediction_domain).everything}
    expected = case.value_grad_hess(p, t, **options)
    found = case.value_grad_hess(library.put(p), library.put(t), **options)
    for one, other in zip(found, expected):
        got = library.get(one, "float32")
        np.testing.assert_array_equal(np.isnan(got), np.isnan(other), repr(case))
        np.testing.assert_array_equal(np.isnan(got)[10:], False)
        infinite = np.isinf(other)
        np.testing.assert_array_equal(got[infinite], other[infinite], repr(case))


@check("elementwise")
def scalars_and_empty_arrays(library: Library) -> None:
    loss = nl.Huber()
    for shape in ((), (1,), (0,), (0, 3), (3, 0, 2), (1, 1, 1)):
        p, t = np.full(shape, 2.5, "f4"), np.zeros(shape, "f4")
        for reduction in REDUCTIONS:
            for derivatives in range(3):
                compare(library, loss, p, t, derivatives, reduction=reduction)


@check("options")
def every_reduction_and_weight(library: Library) -> None:
    loss, shape = nl.BinaryCrossEntropy(), (6, 7, 3)
    p, t = (one.reshape(shape) for one in numbers(loss, 126, "float32"))
    rng = np.random.default_rng(0)
    weights: list[Any] = [None, rng.random(shape), rng.random((6, 7)), np.arange(6), np.zeros(6)]
    p[weights[1] < 0.3] = np.nan
    weights[1][weights[1] < 0.3] = 0.0
    for number, weight in enumerate(weights):
        plain = p if number == 1 else np.nan_to_num(p)
        for reduction in REDUCTIONS:
            for derivatives in (0, 2) if number else (0, 1, 2):
                options = {"gradient_scale": 3.0} if derivatives else {}
                compare(
                    library, loss, plain, t, derivatives,
                    sample_weight=weight, reduction=reduction, **options,
                )  # fmt: skip


def laid_out(library: Library, array: np.ndarray) -> dict[str, Any]:
    """The same numbers on the GPU, in all kinds of order."""
    wide = np.full((2 * array.shape[0], array.shape[1] + 3, array.shape[2]), 7, array.dtype)
    wide[::2, 1:-2] = array
    found = {
        "C order": library.put(array),
        "gaps": library.put(wide)[::2, 1:-2],
        "Fortran order": library.transpose(library.put(array.transpose(2, 1, 0)), (2, 1, 0)),
        "mixed order": library.transpose(library.put(array.transpose(1, 2, 0)), (2, 0, 1)),
        # Not where a vector may begin.
        "shifted": library.put(np.concatenate([array[:1], array]))[1:],
    }
    if library.reverses:
        found["reversed"] = library.put(array[::-1, :, ::-1])[::-1, :, ::-1]
    return found


@check("options")
def every_layout(library: Library) -> None:
    loss, shape = nl.BinaryCrossEntropy(), (5, 6, 7)
    for kind in library.kinds:
        p, t = (one.reshape(shape) for one in numbers(loss, 210, kind))
        weight = np.random.default_rng(0).random((5, 6)).astype("f8")
        expected = reference(loss, 2, p, t, sample_weight=weight)
        predictions, targets = laid_out(library, p), laid_out(library, t)
        for name, prediction in predictions.items():
            for target in (targets[name], targets["C order"]):
                weights = library.put(weight)
                found = loss.value_grad_hess(prediction, target, sample_weight=weights)
                assert_results(library, found, expected, kind)


@check("options")
def every_dtype_of_targets_and_weights(library: Library) -> None:
    loss = nl.BinaryCrossEntropy()
    for number, kind in enumerate(("bool", *library.integers, *library.kinds)):
        p, t = numbers(loss, 45, library.kinds[number % len(library.kinds)])
        t = as_kind(np.asarray(t, "f4") > 0.5, kind)
        weight = as_kind(np.arange(45) % 3, kind)
        compare(library, loss, p, t, sample_weight=weight, reduction="weighted_mean")


@check("options")
def results_go_where_they_are_asked_to(library: Library) -> None:
    loss = nl.BinaryCrossEntropy()
    for kind in library.kinds:
        p, t = (one.reshape(9, 15) for one in numbers(loss, 135, kind))
        expected = reference(loss, 2, p, t)
        room = library.put(np.full((9, 32), 7, p.dtype)), library.put(np.full((9, 15), 7, p.dtype))
        out, hess_out = room[0][:, 1:31:2], room[1]
        found = loss.value_grad_hess(library.put(p), library.put(t), out=out, hess_out=hess_out)
        assert found[1] is out
        assert found[2] is hess_out
        for one, other in zip((out, hess_out), expected[1:]):
            np.testing.assert_array_equal(
                library.get(one, kind),
                library.get(call(loss, 2, *map(library.put, (p, t)))[1 + (one is hess_out)], kind),
            )
            assert other.shape == (9, 15)
        between = np.asarray(library.get(room[0], kind), "f4")
        assert (np.delete(between, np.s_[1:31:2], axis=1) == 7).all()
        own = library.put(p)
        value, inside = loss.value_and_grad(own, library.put(t), out=own)
        assert inside is own
        assert value == pytest.approx(expected[0], rel=1e-4)
        np.testing.assert_array_equal(library.get(own, kind), library.get(out, kind))


@check("options")
def runs_are_the_same_to_the_last_bit(library: Library) -> None:
    loss = nl.LogCosh()
    p, t = map(library.put, numbers(loss, library.sizes[-1], "float32"))
    assert len({loss(p, t) for _ in range(3)}) == 1


@check("errors")
def what_does_not_fit_is_an_error(library: Library) -> None:
    loss, (p, t) = nl.BinaryCrossEntropy(), numbers(nl.BinaryCrossEntropy(), 12, "float32")
    own, other = library.put(p), library.put(t)
    with pytest.raises(ValueError, match=r"\(12,\) and \(11,\)"):
        loss(own, library.put(t[1:]))
    with pytest.raises(ValueError, match="sample_weight"):
        loss(own, other, sample_weight=library.put(np.ones(3)))
    with pytest.raises(TypeError, match="gradients of integers"):
        loss(library.put(np.arange(12)), other)
    with pytest.raises(ValueError, match="shape of the prediction"):
        loss.value_and_grad(own, other, out=library.put(np.ones(11, "f4")))
    with pytest.raises(TypeError, match="dtype"):
        loss.value_and_grad(own, other, out=library.put(np.ones(12)))
    with pytest.raises(ValueError, match="shares memory with target"):
        loss.value_and_grad(own, other, out=other)
    with pytest.raises(ValueError, match="shares memory with prediction"):
        loss.value_and_grad(own[1:], other[1:], out=own[:-1])
    with pytest.raises(ValueError, match="reduction must be one of"):
        loss(own, other, reduction="median")


@check("errors")
def arrays_on_two_devices_are_an_error(library: Library) -> None:
    loss, (p, t) = nl.Huber(), numbers(nl.Huber(), 12, "float32")
    own, other = library.put(p), library.put(t)
    for one, two in ((own, t), (p, other)):
        with pytest.raises(ValueError, match=r"prediction lives on .*target on .*one device"):
            loss.value_and_grad(one, two)
    with pytest.raises(ValueError, match="sample_weight on"):
        loss(own, other, sample_weight=np.ones(12))
    with pytest.raises(ValueError, match="out lives on"):
        loss.value_and_grad(own, other, out=np.empty(12, "f4"))
    with pytest.raises(ValueError, match="device='cpu', but prediction lives on"):
        loss(own, other, device="cpu")
    assert loss(own, other, device="cuda") == pytest.approx(loss(p, t))


@check("errors")
def numbers_out_of_range_are_named(library: Library) -> None:
    loss, (p, t) = nl.BinaryCrossEntropy(), numbers(nl.BinaryCrossEntropy(), 60, "float32")
    p, t = p.reshape(5, 12), t.reshape(5, 12)
    bad = t.copy()
    bad[2, 11] = bad[4, 0] = 1.5
    for out in (False, True):
        own, other = library.put(p), library.put(bad)
        with pytest.raises(ValueError, match=r"^target\[2, 11\] is 1.5; Binary"):
            loss.value_and_grad(own, other, out=own if out else None)
        np.testing.assert_array_equal(library.get(own, "float32"), p)
    assert loss(own, other, check=False) == pytest.approx(loss(p, bad, check=False), rel=1e-5)
    for wrong in (-1.0, np.nan):
        weight = np.ones(5)
        weight[3] = wrong
        for reduction in REDUCTIONS:
            with pytest.raises(ValueError, match=r"^sample_weight\[3\] is (-1|nan)"):
                loss.value_and_grad(
                    own, library.put(t), out=own, sample_weight=library.put(weight),
                    reduction=reduction,
                )  # fmt: skip
            np.testing.assert_array_equal(library.get(own, "float32"), p)
    with pytest.raises(ValueError, match=r"^prediction\[1\] is -3"):
        nl.SquaredLogError()(*map(library.put, (np.array([0.0, -3.0]), np.ones(2))))


@check("errors")
def values_that_are_not_waited_for(library: Library) -> None:
    loss, (p, t) = nl.BinaryCrossEntropy(), numbers(nl.BinaryCrossEntropy(), 60, "float32")
    expected = reference(loss, 1, p, t)
    value, gradient = loss.value_and_grad(library.put(p), library.put(t), wait=False)
    assert type(value) is nl.DeviceValue
    assert library.number(value) == float(value) == value.item()
    assert float(value) == pytest.approx(expected[0], rel=1e-6)
    assert_results(library, (float(value), gradient), expected, kind_of(p))
    # Records that nobody holds any more are used again, others are not.
    values = [loss(library.put(p * k), library.put(t), wait=False) for k in (0, 1, 2)]
    assert list(map(float, values)) == [loss(*map(library.put, (p * k, t))) for k in (0, 1, 2)]
    t[3] = 2.0
    value = loss(library.put(p), library.put(t), wait=False)
    assert np.isnan(library.number(value))
    with pytest.raises(ValueError, match=r"^1 numbers are out of range \(targets in \[0, 1\]\)"):
        float(value)
    # Values apart are there to be read.
    found = loss(library.put(p), library.put(t), wait=False, reduction="none")
    assert library.is_result(found, computed(kind_of(p)))


__all__ = ["HALVES", "laid_out", "numbers"]
