"""Losses of rows of one's own."""

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import identify, row_inputs
from tests.support.rows import CE, FEW_WIDTHS, FORMS, assert_same, everything, rows


class Mellow(nl.Softmax):
    """The generalized cross-entropy, as the documentation writes it."""

    q: float = 0.5
    class_weight: np.ndarray | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0
    sparse = True

    def point(self, log_probability, target):
        power = nl.exp(self.q * log_probability)
        return target * (1.0 - power) / self.q, -target * power, -target * self.q * power


class Squares(nl.Softmax):
    """Brier's score without the shortcut for labels."""

    class_weight: np.ndarray | None = None
    label_smoothing: float = 0.0

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        return (p - target) ** 2.0, 2.0 * p * (p - target), 2.0 * p * (2.0 * p - target)


class Entropic(nl.Softmax):
    """Minus the entropy of the prediction, plus a term in the log of the sum."""

    scale: float = 0.1

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        finite = log_probability if p > 0.0 else 0.0
        return p * finite, p * (finite + 1.0), p * (finite + 2.0)

    def label_point(self, log_probability):
        raise NotImplementedError  # not a function of the label

    def normalizer(self, log_sum):
        return self.scale * log_sum**2.0, 2.0 * self.scale * log_sum, 2.0 * self.scale


class WithLabelPoint(nl.Softmax):
    """1 - p of the label plus the sum of all p: the same as a sum over classes."""

    label_smoothing: float = 0.0
    class_weight: np.ndarray | None = None

    def point(self, log_probability, target):
        p = nl.exp(log_probability)
        return 2.0 * p - target * p, 2.0 * p - target * p, 2.0 * p - target * p

    def label_point(self, log_probability):
        p = nl.exp(log_probability)
        return 2.0 - p, -p, -p


def of_mellow(x, t, m, q, class_weight, label_smoothing, temperature):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m, temperature)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * t * (1 - m.exp(q * log_p)) / q, axis=-1)


def of_squares(x, t, m, class_weight, label_smoothing):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * (m.exp(log_p) - t) ** 2, axis=-1)


def of_with_label_point(x, t, m, label_smoothing, class_weight):
    from tests.support.reference import rows as reference

    log_p, _ = reference.log_softmax(x, m)
    t = reference.smoothed(t, m, label_smoothing)
    return np.sum(reference.of_class(class_weight) * (2 - t) * m.exp(log_p), axis=-1)


OWN = [
    Mellow(),
    Mellow(temperature=2.0),
    Mellow(label_smoothing=0.2),
    Mellow(0.3, class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
    Mellow(0.3, class_weight=[0.5, 1.0, 0.0, 2.0, 1.0], label_smoothing=0.3, temperature=0.5),
    Squares(),
    Squares(class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
    Squares(label_smoothing=0.4),
    WithLabelPoint(),
    WithLabelPoint(label_smoothing=0.1),
    WithLabelPoint(class_weight=[0.5, 1.0, 0.0, 2.0, 1.0]),
]


@pytest.mark.parametrize("loss", OWN, ids=identify)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("classes", [5, 130, 2100])
def test_a_loss_of_ones_own_is_what_its_formula_says(loss, form, classes, monkeypatch):
    from tests.support.reference import rows as reference

    weights = loss.class_weight
    if weights is not None:
        loss = loss.replace(class_weight=np.resize(weights, classes))
    for formula in (of_mellow, of_squares, of_with_label_point):
        monkeypatch.setattr(reference, formula.__name__[3:], formula, raising=False)
    logits, target = row_inputs(loss, form, 4, classes, seed=9)
    dense = reference.one_hot(target, classes) if form == "labels" else target
    value, gradient, hessian = everything(loss, logits, target, reduction="none")
    expected = reference.value_of(loss, logits, dense, reference.NumPy)
    np.testing.assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    columns = list(range(min(classes, 20)))
    slopes = reference.gradient_at(loss, logits, dense, columns)
    curves = reference.hessian_at(loss, logits, dense, columns)
    np.testing.assert_allclose(gradient[:, columns], slopes, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(hessian[:, columns], curves, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_a_normalizer_of_ones_own_takes_part(form):
    class Pulled(nl.Softmax):
        sparse = True
        pull: float = 0.25

        def point(self, log_probability, target):
            return -target * log_probability, -target, 0.0

        def normalizer(self, log_sum):
            return self.pull * log_sum * log_sum, 2.0 * self.pull * log_sum, 2.0 * self.pull

    for classes in FEW_WIDTHS:
        logits, target = rows(form, 7, classes)
        got = everything(Pulled(), logits, target, reduction="none")
        wanted = everything(nl.CrossEntropy(z_loss=0.25), logits, target, reduction="none")
        for one, other in zip(got, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "base", [nl.CrossEntropy, nl.CategoricalFocal, nl.GeneralizedCrossEntropy, nl.Brier, nl.Poly1]
)
def test_a_subclass_that_gives_its_own_point_is_what_it_says(base):
    class Derived(base):
        sparse = True

        def point(self, log_probability, target):
            return 3.0 * target * log_probability, 3.0 * target, 0.0

    logits, labels = rows("labels", 6)
    values = everything(Derived(), logits, labels, reduction="none")
    wanted = everything(-3.0 * CE, logits, labels, reduction="none")
    for one, other in zip(values, wanted):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    plain = type("Plain", (base,), {})
    assert_same(everything(plain(), logits, labels), everything(base(), logits, labels))


def test_a_faulty_point_is_named_with_its_fault():
    class Empty(nl.Softmax):
        """No point."""

    class Two(nl.Softmax):
        def point(self, log_probability, target):
            return log_probability, target

    class Unknown(nl.Softmax):
        def point(self, log_probability, target):
            return log_probability * self.colour, 1.0, 0.0

    for cls, hint in ((Empty, "Empty.*point"), (Two, "Two"), (Unknown, "Unknown.*colour")):
        for target in ([0], [[0.5, 0.5]]):
            with pytest.raises((TypeError, NotImplementedError), match=f"(?s){hint}"):
                cls()([[1.0, 2.0]], target)


def test_parameters_of_rows_are_checked_in_losses_of_ones_own():
    with pytest.raises(ValueError, match="label_smoothing"):
        Mellow(label_smoothing=2.0)
    with pytest.raises(ValueError, match="temperature"):
        Mellow(temperature=0.0)
    with pytest.raises(ValueError, match=r"class_weight\[0\]"):
        Mellow(class_weight=[-1.0])
