"""Losses of rows against formulas written a second time, at every width of the kernels."""

import math

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import numbaloss as nl
from catalogue.cases import ROW_CASES, identify, row_inputs, with_class_weights
from tests.support.reference import rows as reference

# Around vectors of 8 and 16, the ways of narrow rows, and pieces of 2048 and 4096.
WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 15, 16, 17, 31, 33, 64, 65, 100, 128, 129, 200, 257]
WIDTHS += [1000, 4100]
EPSILON = 2.0**-52


def some_columns(classes, labels, seed):
    """All columns of short rows; of long ones the edges, the labels and a few others."""
    if classes <= 17:
        return list(range(classes))
    edges = [0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 2047, 2048, 4095, 4096, classes - 1]
    drawn = np.random.default_rng([seed, classes]).integers(0, classes, 6).tolist()
    found = {*edges, *drawn, *labels.tolist()}
    return sorted(column for column in found if column < classes)


def by_label_alone(loss):
    """Whether a row with a label is computed from that label's log-probability."""
    terms = [term for _, term in loss.terms] if hasattr(loss, "terms") else [loss]
    smooth = [term.row_options().label_smoothing > 0.0 and not term.linear for term in terms]
    if any(smooth):
        return False
    own = [term.sparse or type(term).label_point is not nl.Softmax.label_point for term in terms]
    return all(own)


def norm(rows):
    return np.max(np.abs(rows), axis=-1, keepdims=True)


@pytest.mark.every(4)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "class weights"])
def test_results_agree_with_naive_formulas_at_every_width(loss, form, weighted):
    if weighted and with_class_weights(loss, 2, 0) is loss:
        pytest.skip("has no class weights")
    wrong = []
    for classes in WIDTHS:
        # More rows than a register holds, so that narrow rows come in whole groups and in parts.
        rows = 2 if classes > 300 else 5 if classes > 17 else 19
        of_width = with_class_weights(loss, classes, 1) if weighted else loss
        logits, target = row_inputs(loss, form, rows, classes, seed=11)
        dense = reference.one_hot(target, classes) if form == "labels" else target
        got = of_width.value_grad_hess(logits, target, reduction="none")
        value = reference.value_of(of_width, logits, dense, reference.NumPy)
        columns = some_columns(classes, dense.argmax(axis=-1), 5)
        gradient = reference.gradient_at(of_width, logits, dense, columns)
        hessian = reference.hessian_at(of_width, logits, dense, columns)
        largest = np.maximum(norm(got[1]), norm(gradient))
        errors = [np.abs(got[0] - value), np.abs(got[1][:, columns] - gradient)]
        errors.append(np.abs(got[2][:, columns] - hessian))
        # Of naive formulas, 1 - p is right to rounding and no better: hence the absolute part.
        # Differences of gradients keep ten digits.
        bounds = [3e-14 * np.abs(value) + 1e-14, 3e-14 * largest + 3e-15]
        bounds.append(1e-10 * np.maximum(norm(got[2]), largest) + 1e-12)
        for name, error, bound in zip(("value", "gradient", "hessian"), errors, bounds):
            if not (error <= bound).all():  # and not >, for NaN
                wrong.append((classes, name, float(np.max(error / bound))))
    assert not wrong


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
@pytest.mark.parametrize("spread", [1.5, 12.0], ids=["centre", "tails"])
def test_float64_results_are_exact_to_a_few_ulp_of_their_row(loss, form, spread):
    worst = 0.0
    for classes in (2, 3, 5):
        of_width = with_class_weights(loss, classes, 2)
        logits, target = row_inputs(loss, form, 4, classes, seed=23, spread=spread)
        # Multiples of 1/8: their differences are exact, so that no conditioning is an excuse.
        logits = np.round(8.0 * logits) / 8.0
        dense = reference.one_hot(target, classes) if form == "labels" else target
        found = of_width.value_grad_hess(logits, target, reduction="none")
        for row in range(len(logits)):
            exact = reference.exact(of_width, logits[row], dense[row])
            for n, wanted in enumerate(exact):
                wanted = [wanted] if n == 0 else wanted
                got = np.atleast_1d(found[n][row])
                size = max(abs(one) for one in wanted)
                if form == "dense" or n == 2 or not by_label_alone(of_width):
                    # 1 - p is a difference where no label says which class to leave out.
                    size = max(size, mpf(1))
                error = max(abs(mpf(float(a)) - b) for a, b in zip(got, wanted))
                worst = max(worst, float(error / (size + mpf(10) ** -300) / EPSILON))
    print(f"worst {worst:.2f}")
    # A power of 1 - p below 1 is steep where p is almost 1, and dense targets know p alone.
    steep = isinstance(loss, nl.CategoricalFocal) and 0.0 < loss.gamma < 1.0 and form == "dense"
    assert worst < (256 if steep else 64)


@pytest.mark.every(3)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
def test_float32_follows_float64(loss, form):
    wrong = []
    for classes in WIDTHS:
        of_width = with_class_weights(loss, classes, 3)
        logits, target = row_inputs(loss, form, 40 if classes < 300 else 3, classes, seed=8)
        if form == "dense":
            target = target.astype(np.float32)
        logits = logits.astype(np.float32)
        single = of_width.value_grad_hess(logits, target, reduction="none")
        wide = target.astype(np.float64) if form == "dense" else target
        double = of_width.value_grad_hess(logits.astype(np.float64), wide, reduction="none")
        assert {one.dtype for one in single} == {np.dtype(np.float32)}
        size = np.maximum(norm(double[1]), norm(double[2]))
        # The logarithms of the symmetric cross-entropy's targets weigh 4 and cancel.
        slack = 4.0 if isinstance(loss, nl.SymmetricCrossEntropy) else 1.0
        for n, (got, exact) in enumerate(zip(single, double)):
            bound = 1e-5 * np.abs(exact) + 4e-6 if n == 0 else slack * (1e-5 * size + 2e-7)
            if not (np.abs(got - exact) <= bound).all():
                wrong.append((classes, n, float(np.max(np.abs(got - exact) / bound))))
    assert not wrong


@pytest.mark.every(12)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_order_of_the_classes_does_not_matter(loss, form, dtype):
    """Every column of a wide row, where formulas are compared at some of them alone."""
    precision = 4e-13 if dtype is np.float64 else 1e-4
    for classes in (3, 17, 40, 129, 700, 4100, 9000):
        of_width = with_class_weights(loss, classes, 4)
        logits, target = row_inputs(loss, form, 3, classes, seed=31)
        logits = logits.astype(dtype)
        order = np.random.default_rng(classes).permutation(classes)
        moved = np.argsort(order)[target] if form == "labels" else target[:, order]
        weights = of_width.row_options().class_weight
        turned = of_width if weights is None else of_width.replace(class_weight=weights[order])
        got = of_width.value_grad_hess(logits, target, reduction="none")
        other = turned.value_grad_hess(logits[:, order], moved, reduction="none")
        np.testing.assert_allclose(other[0], got[0], rtol=precision, atol=precision)
        for one, wanted in zip(other[1:], got[1:]):
            assert (np.abs(one - wanted[:, order]) <= precision * (norm(wanted) + 1e-3)).all()


@pytest.mark.every(10)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_agree_whatever_is_computed_beside_them(loss, form, dtype):
    for classes in (2, 5, 17, 130):
        of_width = with_class_weights(loss, classes, 6)
        logits, target = row_inputs(loss, form, 50, classes, seed=5)
        logits = logits.astype(dtype)
        value, gradient, _ = of_width.value_grad_hess(logits, target)
        precision = 1e-14 if dtype is np.float64 else 1e-6
        assert of_width(logits, target) == pytest.approx(value, rel=precision, abs=precision)
        twice = of_width.value_and_grad(logits, target)
        assert twice[0] == pytest.approx(value, rel=precision, abs=precision)
        assert (np.abs(twice[1] - gradient) <= precision * norm(gradient)).all()
        apart = of_width(logits, target, reduction="none")
        assert apart.mean(dtype=np.float64) == pytest.approx(value, rel=precision, abs=precision)


# Relative accuracy in the tails, where p of the label is almost 1


@pytest.mark.every(4)
@pytest.mark.parametrize(
    "loss",
    [
        nl.CrossEntropy(),
        nl.CategoricalFocal(),
        nl.CategoricalFocal(1.0),
        nl.GeneralizedCrossEntropy(),
        nl.GeneralizedCrossEntropy(1.0),
        nl.SymmetricCrossEntropy(),
        nl.Poly1(),
        nl.KLDivergence(),
    ],
    ids=identify,
)
@pytest.mark.parametrize("distance", [5.0, 20.0, 37.0, 60.0, 200.0, 300.0])
def test_certain_and_right_keeps_all_digits(loss, distance):
    for classes in (2, 3, 8, 17, 40, 129):
        logits = np.zeros((3, classes))
        labels = np.array([0, classes // 2, classes - 1])
        logits[np.arange(3), labels] = distance
        found = loss.value_grad_hess(logits, labels, reduction="none")
        # Classes beside the label are alike: a row of two, one of which stands for all others.
        pair = np.array([distance, np.log(classes - 1.0)])
        if classes > 2:
            pair = np.array([distance - np.log(classes - 1.0), 0.0])
        with mpmath.workdps(300):
            value, slopes, curves = reference.exact(loss, pair, np.array([1.0, 0.0]))
        rounding = 16 * EPSILON * max(1.0, abs(pair[0]))  # of the logarithm above
        own = [float(value), float(slopes[0]), float(curves[0])]
        for got, wanted in zip((found[0], *(one[range(3), labels] for one in found[1:])), own):
            np.testing.assert_allclose(got, wanted, rtol=rounding, atol=0.0)
        others = found[1][0, 1:]
        np.testing.assert_allclose(others, float(slopes[1]) / (classes - 1), rtol=rounding)


@pytest.mark.every(4)
@pytest.mark.parametrize(("loss", "form"), ROW_CASES, ids=identify)
def test_gradient_agrees_with_central_differences(loss, form):
    for classes in (1, 2, 7, 40, 130):
        of_width = with_class_weights(loss, classes, 7)
        logits, target = row_inputs(loss, form, 6, classes, seed=13)
        logits, target = logits.reshape(2, 3, classes), target.reshape(2, 3, *target.shape[1:])
        assert nl.check_gradient(of_width, logits, target) < 1e-8


def test_gradient_check_notices_a_wrong_gradient_of_rows():
    class Wrong(nl.Softmax):
        sparse = True

        def point(self, log_probability, target):
            return -target * log_probability, -1.001 * target, 0.0

    assert nl.check_gradient(Wrong(), [[1.0, 2.0, 0.5]], [0]) > 4e-4
    assert nl.check_gradient(Wrong(), [[1.0, 2.0, 0.5]], [[0.5, 0.5, 0.0]]) > 1e-4
    assert nl.check_gradient(nl.CrossEntropy(), [1.0, 2.0, 0.5], 0) < 1e-9
    assert nl.check_gradient(nl.CrossEntropy(), np.empty((0, 3)), np.empty(0, int)) == 0.0
    assert math.isnan(nl.check_gradient(nl.CrossEntropy(), [[math.nan, 1.0]], [0]))
