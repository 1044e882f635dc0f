"""Every gradient and hessian of the registry once more, by the value of the loss alone.

What is computed by hand and what the library makes of a value have nothing in common but the value:
two independent paths to one number.
"""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import (
    EMBEDDING_ROW_LOSSES,
    KEYED_LOSSES,
    LABELLED_LOSSES,
    LOSSES,
    ROW_CASES,
    identify,
    inputs,
    row_inputs,
    with_class_weights,
)
from catalogue.value_twins import VALUES, as_written, twin_of
from numbaloss.core.composition import Sum
from numbaloss.formulas.structure import lower

SINGLE = [loss for loss in LOSSES if not isinstance(lower(loss), Sum)]


def derivatives(loss, prediction, target):
    found = loss.value_grad_hess(prediction, target, reduction="none", check=False)
    return [np.asarray(one, np.float64) for one in found]


def conditions(loss, prediction, target):
    """By how much each result may be off if both inputs are off by one part in one."""
    near = 1.0 - 1e-4
    here = derivatives(loss, prediction, target)
    moved = [
        derivatives(loss, prediction * near, target),
        derivatives(loss, prediction, target * near),
    ]
    return [
        abs(x) + sum(np.nan_to_num(abs(other[order] - x)) for other in moved) / 1e-4
        for order, x in enumerate(here)
    ]


# One of those that are the same class to kernels.
EACH_OF_ROWS = list(
    {
        (type(lower(loss)), form): (loss, form)
        for loss, form in ROW_CASES
        if not isinstance(lower(loss), Sum)
    }.values()
)
IN_FLOAT32 = (
    nl.Huber,
    nl.PseudoHuber,
    nl.GeneralRobust,
    nl.SquaredLogError,
    nl.BinaryCrossEntropy,
    nl.Focal,
    nl.Tweedie,
)
# Units in the last place where a value's own formula, or its second derivative, cancels: of a root
# less the delta it began at, of 1e9 to the power of half of 2e-9, of a power by the chain rule, of
# a probability less the margin that it is near.
LOOSE = {
    (nl.AsymmetricFocal, "gradient"): 20,
    (nl.AsymmetricFocal, "hessian"): 20,
    (nl.PseudoHuber, "value"): np.inf,
    (nl.GeneralRobust, "gradient"): 20,
    (nl.GeneralRobust, "hessian"): 200,
}


@pytest.mark.every(18)
@pytest.mark.parametrize(
    ("loss", "twin"),
    [(loss, twin_of(loss)) for loss in SINGLE]
    + [(loss, as_written(loss)) for loss in SINGLE if as_written(loss)],
    ids=identify,
)
def test_elementwise_losses_are_the_derivatives_of_their_values(loss, twin):
    """To a few units in the last place of the inputs and of the result."""
    lowered = lower(loss)
    # The same formulas in another type: some will do.
    kinds = ("float64", "float32") if isinstance(loss, IN_FLOAT32) else ("float64",)
    for kind in kinds:
        prediction, target = (x.astype(kind) for x in inputs(loss, 2000, 5))
        scales = conditions(lowered, prediction.astype("f8"), target.astype("f8"))
        by_hand = derivatives(lowered, prediction, target)
        by_value = derivatives(twin, prediction, target)
        eps, tiny = float(np.finfo(kind).eps), float(np.finfo(kind).tiny)
        for order, name in enumerate(("value", "gradient", "hessian")):
            error = abs(by_hand[order] - by_value[order]) / (eps * scales[order] + tiny)
            assert error.max() <= LOOSE.get((type(loss), name), 8), (kind, name, error.max())


@pytest.mark.every(6)
@pytest.mark.parametrize(("loss", "form"), EACH_OF_ROWS, ids=identify)
def test_losses_of_rows_are_the_derivatives_of_their_values(loss, form):
    """φ and its derivatives, through the softmax."""
    loss = with_class_weights(loss, 13, 3)
    twin = twin_of(loss)
    given = row_inputs(loss, form, 40, 13, 3)
    for one, other in zip(loss.value_grad_hess(*given), twin.value_grad_hess(*given)):
        np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-14 * np.abs(one).max())


def of_vectors(loss):
    """Inputs for a loss of vectors."""
    rng = np.random.default_rng(7)
    a, b, c = rng.normal(size=(3, 30, 7))
    if isinstance(loss, nl.TripletEmbedding):
        return a, b, c
    if isinstance(loss, nl.PairEmbedding):
        return a, b, rng.integers(0, 2, 30)
    return (a, b) if isinstance(loss, nl.KeyedEmbedding) else (a, rng.integers(0, 6, 30))


@pytest.mark.every(4)
@pytest.mark.parametrize(
    "loss",
    [
        loss
        for kind, loss in {
            type(lower(loss)): loss
            for loss in (*EMBEDDING_ROW_LOSSES, *KEYED_LOSSES, *LABELLED_LOSSES)
        }.items()
        if kind in VALUES
    ],
    ids=identify,
)
def test_losses_of_vectors_have_the_slopes_of_their_values(loss):
    """One slope an input; distances of its own a loss still brings by hand."""
    given = of_vectors(loss)
    (value, by_hand), (same_value, by_value) = (
        one.value_and_grad(*given) for one in (loss, twin_of(loss))
    )
    assert same_value == pytest.approx(value, rel=1e-14)
    for one, other in zip(np.atleast_3d(by_hand), np.atleast_3d(by_value)):
        np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-15)


def test_every_loss_of_the_registry_has_a_twin():
    losses = [*LOSSES, *(loss for loss, _ in ROW_CASES), *EMBEDDING_ROW_LOSSES, *KEYED_LOSSES]
    kinds = {type(lower(loss)) for loss in (*losses, *LABELLED_LOSSES)}
    without = {kind for kind in kinds if not issubclass(kind, Sum) and kind not in VALUES}
    # Distances of their own, by term and root: their points are those of the Euclidean one.
    assert {kind.__name__ for kind in without} == {
        "Triplet",
        "_SquaredTriplet",
        "_ManhattanTriplet",
    }
