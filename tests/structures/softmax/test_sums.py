"""Sums of losses of rows."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.rows import FEW_WIDTHS, FORMS, REDUCTIONS, everything, rows


def test_sums_are_the_sums_of_their_terms():
    terms = [
        (1.0, nl.CrossEntropy()),
        (0.5, nl.Brier()),
        (-0.25, nl.GeneralizedCrossEntropy(0.3)),
        (2.0, nl.CrossEntropy(z_loss=0.1)),
        (1.5, nl.SymmetricCrossEntropy()),
    ]
    loss = sum(weight * term for weight, term in terms)
    for form in FORMS:
        for classes in FEW_WIDTHS:
            logits, target = rows(form, 9, classes)
            parts = [everything(term, logits, target, reduction="none") for _, term in terms]
            found = everything(loss, logits, target, reduction="none")
            for n, got in enumerate(found):
                wanted = sum(weight * part[n] for (weight, _), part in zip(terms, parts))
                np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13)


def test_shared_options_of_a_sum_apply_to_all_of_it():
    weights = [1.0, 2.0, 0.5]
    one, other = nl.CrossEntropy(weights), nl.CategoricalFocal(class_weight=weights)
    logits, labels = rows("labels", 20, 3)
    labels[4] = -100
    for reduction in REDUCTIONS:
        got = (one + 3.0 * other)(logits, labels, reduction=reduction)
        wanted = one(logits, labels, reduction=reduction)
        wanted = wanted + 3.0 * other(logits, labels, reduction=reduction)
        np.testing.assert_allclose(got, wanted, rtol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nl.CrossEntropy(temperature=2.0) + nl.Brier(), "same temperature"),
        (lambda: nl.CrossEntropy(label_smoothing=0.1) + nl.Brier(), "same label_smoothing"),
        (lambda: nl.CrossEntropy([1.0, 2.0]) + nl.Brier(), "same class_weight"),
        (lambda: nl.CrossEntropy(ignore_index=0) + nl.Brier(), "same ignore_index"),
    ],
)
def test_terms_of_a_sum_must_read_rows_alike(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sums_of_different_readings_are_refused():
    for make in (
        lambda: nl.CrossEntropy() + nl.MultiMargin(),
        lambda: nl.Distillation(1.0) + nl.CrossEntropy(),
        lambda: nl.CrossEntropy() + nl.Huber(),
        lambda: nl.Huber() + nl.CrossEntropy(),
    ):
        with pytest.raises(TypeError):
            make()
