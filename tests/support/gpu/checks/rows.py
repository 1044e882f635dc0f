"""Checks of losses of rows on a GPU."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, ROW_CASES, row_inputs, with_class_weights
from tests.support.gpu.checks.common import (
    HALVES,
    Library,
    as_kind,
    assert_close,
    assert_results,
    check,
    compare,
    kind_of,
    reference,
)
from tests.support.gpu.kernels import Mellow
from tests.support.own_losses import MellowValue

REDUCTIONS = ("mean", "weighted_mean", "sum", "none")
ALL_PATHS = "registers", "staged", "long", "split"
# Losses of different paths through the kernels: by shared memory, by label of long rows, by any
# class.
OF_PATHS: list[Any] = [
    nl.CrossEntropy(),
    nl.CrossEntropy(label_smoothing=0.1, z_loss=0.01, temperature=0.7),
    nl.Brier(),
    nl.MultiMargin(1.1),
]


def tolerance(loss: Any) -> float:
    """Units of rounding: sums of losses cancel, and so does what is near a one-hot target."""
    return 400.0 if "Shannon" in repr(loss) or " - " in repr(loss) else 100.0


def inputs(loss: Any, form: str, rows: int, classes: int, kind: str, seed: int = 0) -> Any:
    logits, target = row_inputs(loss, form, rows, classes, seed)
    if form == "dense":
        target = as_kind(target, kind)
    return as_kind(logits, kind), target


@check("rows", ROW_CASES)
def every_loss_at_every_width(library: Library, number: int, case: Any) -> None:
    loss, form = case
    for classes in library.widths:
        weighted = with_class_weights(loss, classes, 1) if number % 2 else loss
        p, t = inputs(weighted, form, library.rows, classes, "float32")
        compare(library, weighted, p, t, factor=tolerance(loss))


@check("rows of all dtypes", [*EACH_ROW_CASE, (Mellow(), "labels"), (MellowValue(), "dense")])
def every_loss_of_every_dtype(library: Library, number: int, case: Any) -> None:
    loss, form = case
    kinds = library.kinds[1:]
    for kind in kinds if number < 4 else kinds[number % 3 : number % 3 + 1]:
        for classes in (5, 40):
            p, t = inputs(loss, form, library.rows, classes, kind)
            compare(library, loss, p, t, factor=tolerance(loss))


@check("rows of all dtypes", [Mellow(), MellowValue(0.25) - 0.5 * nl.CrossEntropy()])
def losses_of_users_and_sums(library: Library, number: int, case: Any) -> None:
    for form in ("labels", "dense"):
        compare(library, case, *inputs(case, form, 4, 37, "float32"), factor=400.0)


def options_of(loss: Any, rows: int, classes: int, number: int) -> tuple[Any, Any, dict[str, Any]]:
    """Labels, some of them ignored, with weights, a mask, class weights: by turns and together."""
    rng = np.random.default_rng([number, rows, classes])
    labels, options = rng.integers(0, classes, rows), {}
    if number in (1, 4):
        labels[::3] = -100
    if number in (2, 4):
        options["sample_weight"] = rng.random(rows) * (rng.random(rows) < 0.8)
    if number in (3, 4):
        options["mask"] = rng.random(rows) < 0.7
    if number in (3, 4):
        loss = with_class_weights(loss, classes, number)
    return loss, labels, options


def compare_options(library: Library, loss: Any, turn: int, shapes: Any) -> None:
    """Options one at a time and together; ``turn`` counts, so that all dtypes have theirs."""
    for place, (rows, classes) in enumerate(shapes):
        for number in (4,) if place else range(5):
            own, labels, options = options_of(loss, rows, classes, number)
            turn += 1
            kind = library.kinds[turn % len(library.kinds)]
            p = as_kind(np.random.default_rng(turn).normal(0, 2, (rows, classes)), kind)
            for reduction in REDUCTIONS if place else [REDUCTIONS[turn % 4]]:
                compare(
                    library, own, p, labels, 1 + turn % 2, 100.0, reduction=reduction, **options
                )


@check("rows with options", OF_PATHS)
def every_option(library: Library, number: int, case: Any) -> None:
    compare_options(library, case, 6 * number, ((5, 33), (37, 5)))


OF_DENSE = (nl.CrossEntropy(label_smoothing=0.2), nl.KLDivergence(), nl.Distillation())


@check("rows with options", OF_DENSE)
def dense_targets_with_every_option(library: Library, number: int, case: Any) -> None:
    for which in range(2, 5):
        own, _, options = options_of(case, 6, 9, which)
        p, t = inputs(case, "dense", 6, 9, "float32")
        for reduction in REDUCTIONS[which - 2 : which]:
            compare(library, own, p, t, 2, 200.0, reduction=reduction, **options)


@check("rows with options", OF_PATHS)
def rows_that_do_not_count_may_hold_anything(library: Library, number: int, case: Any) -> None:
    p = np.random.default_rng(0).normal(size=(6, 11)).astype("f4")
    p[1], p[3, 2], p[4] = np.nan, np.inf, np.nan
    labels = np.array([1, -100, 2, 3, 4, 5])
    mask = np.array([True, True, True, False, True, True])
    weight = np.array([1.0, 1.0, 2.0, 1.0, 0.0, 0.5])
    for reduction in REDUCTIONS:
        options: dict[str, Any] = {"mask": mask, "sample_weight": weight}
        compare(library, case, p, labels, 2, 100.0, reduction=reduction, **options)
    # None at all.
    for reduction in REDUCTIONS:
        compare(library, case, p, np.full(6, -100), 2, reduction=reduction)


@check("rows of all dtypes", ALL_PATHS)
def nan_and_infinity(library: Library, number: int, case: Any) -> None:
    p = np.random.default_rng(0).normal(size=(6, 20)).astype("f4")
    p[0, 1], p[1, :], p[2, 0], p[3, 5], p[4, :6] = np.nan, -np.inf, -np.inf, np.inf, 1e37
    labels = np.array([1, 2, 0, 5, 7, 3])
    with library.rows_as(case):
        for loss in OF_PATHS if case in ("registers", "staged") else OF_PATHS[:2]:
            compare(library, loss, p, labels, 2, 200.0, reduction="none")


@check("rows with options", (OF_PATHS[1], OF_PATHS[3]))
def every_layout(library: Library, number: int, case: Any) -> None:
    shape = (3, 2, 21)
    for kind in library.kinds[:3]:
        p = as_kind(np.random.default_rng(0).normal(size=shape), kind)
        labels = np.random.default_rng(1).integers(0, 21, shape[:-1])
        weight, mask = np.arange(3.0), np.array([True, True, False])
        wide = np.full((6, 2, 45), 3, p.dtype)
        wide[::2, :, 1:43:2] = p
        put, transpose = library.put, library.transpose
        predictions = {
            "C order": put(p),
            "Fortran order": transpose(put(p.transpose(2, 1, 0)), (2, 1, 0)),
            "mixed order": transpose(put(p.transpose(1, 0, 2)), (1, 0, 2)),
            "gaps": put(wide)[::2, :, 1:43:2],
            "shifted": put(np.concatenate([p[:, :, :1], p], axis=2))[:, :, 1:],
        }
        if library.reverses:
            predictions["reversed"] = put(p[::-1, :, ::-1])[::-1, :, ::-1]
        of_labels = {
            "C order": put(labels),
            "Fortran order": transpose(put(labels.T), (1, 0)),
        }
        options = {"sample_weight": weight, "mask": mask, "reduction": "none"}
        expected = reference(case, 2, p, labels, **options)
        for turn, (name, prediction) in enumerate(predictions.items(), start=len(kind)):
            for path in ALL_PATHS if library.thorough else ALL_PATHS[turn % 4 : turn % 4 + 1]:
                with library.rows_as(path):
                    found = case.value_grad_hess(
                        prediction, of_labels.get(name, of_labels["C order"]),
                        sample_weight=put(weight), mask=put(mask), reduction="none",
                    )  # fmt: skip
                assert_results(library, found, expected, kind, 100.0)


@check("rows of all dtypes")
def every_dtype_of_labels_and_targets(library: Library) -> None:
    p = np.random.default_rng(0).normal(size=(2, 3, 7)).astype("f4")
    labels = np.arange(6).reshape(2, 3)
    for kind in library.integers:
        for loss in (nl.CrossEntropy(), OF_PATHS[3]):
            compare(library, loss, p, labels.astype(kind), 1)
    for kind in ("bool", *library.integers, *library.kinds):
        dense, weight = as_kind(np.eye(7)[labels], kind), as_kind(labels[:, 0] + 1, kind)
        compare(library, nl.CrossEntropy(), p, dense, 1, sample_weight=weight)


@check("rows")
def rows_of_one_dimension_and_empty_ones(library: Library) -> None:
    for loss in OF_PATHS:
        for shape in ((4,), (1, 1), (0, 4), (3, 0, 4), (0, 0)):
            p, labels = np.ones(shape, "f4"), np.zeros(shape[:-1], "i8")
            for reduction in REDUCTIONS:
                compare(library, loss, p, labels, 2, reduction=reduction)


@check("long rows", [*product(("long", "split"), [*OF_PATHS[:2], nl.CategoricalFocal(1.5)])])
def rows_that_do_not_fit_into_shared_memory(library: Library, number: int, case: Any) -> None:
    path, loss = case
    shapes = {
        "long": ((3, library.long_width), (4, 33)),
        "split": ((2, library.split_width), (2, 33)),
    }
    with library.rows_as(path):
        compare_options(library, loss, 6 * (number % 3), shapes[path])


@check("long rows", ALL_PATHS)
def results_go_where_they_are_asked_to(library: Library, number: int, case: Any) -> None:
    widths = {
        "registers": 33,
        "staged": 33,
        "long": library.long_width,
        "split": library.split_width,
    }
    classes = widths[case]
    for loss in OF_PATHS if case in ("registers", "staged") else OF_PATHS[:3]:
        kind = library.kinds[len(case) % len(library.kinds)]
        p, labels = inputs(loss, "labels", 3, classes, kind)
        with library.rows_as(case):
            expected = loss.value_and_grad(library.put(p), library.put(labels))
            own = library.put(p)
            value, inside = loss.value_and_grad(own, library.put(labels), out=own)
            again = loss.value_and_grad(library.put(p), library.put(labels))
            apart = library.put(np.zeros((6, classes + 1), p.dtype))
            out = apart[::2, 1:]
            found = loss.value_and_grad(library.put(p), library.put(labels), out=out)
        assert inside is own
        assert found[1] is out
        # The same to the last bit in every run, and nearly the same wherever it goes.
        assert value == again[0] == expected[0]
        gradient = library.get(expected[1], kind)
        for one in (own, again[1]):
            np.testing.assert_array_equal(library.get(one, kind), gradient)
        assert found[0] == pytest.approx(value, rel=1e-6)
        assert_close(library.get(apart, kind)[::2, 1:], gradient.astype("f8"), kind, 20.0)
        assert not library.get(apart, kind)[1::2].astype("f4").any()


@check("errors", OF_PATHS)
def labels_out_of_range_are_named(library: Library, number: int, case: Any) -> None:
    p = np.random.default_rng(0).normal(size=(4, 3, 9)).astype("f4")
    for wrong in (9, -1, 2**40):
        labels = np.ones((4, 3), "i8")
        labels[2, 1] = labels[3, 0] = wrong
        for path in ALL_PATHS:
            for reduction, in_place in (("mean", True), ("sum", True), ("none", False)):
                own = library.put(p)
                with (
                    library.rows_as(path),
                    pytest.raises(ValueError, match=rf"^target\[2, 1\] is {wrong}; labels"),
                ):
                    case.value_and_grad(
                        own, library.put(labels), out=own if in_place else None,
                        reduction=reduction,
                    )  # fmt: skip
                np.testing.assert_array_equal(library.get(own, "float32"), p)


@check("errors")
def rows_with_labels_out_of_range_are_nan_where_nobody_waits(library: Library) -> None:
    p = np.random.default_rng(0).normal(size=(4, 9)).astype("f4")
    labels = np.array([1, 9, 2, -5])
    for reduction in ("mean", "sum"):
        value, gradient = nl.CrossEntropy().value_and_grad(
            library.put(p), library.put(labels), wait=False, reduction=reduction
        )
        assert np.isnan(library.number(value))
        with pytest.raises(ValueError, match=r"^2 numbers are out of range \(labels from 0 to 8\)"):
            float(value)
        bad = np.isnan(library.get(gradient, "float32"))
        np.testing.assert_array_equal(bad, bad.any(axis=1, keepdims=True) | np.zeros_like(bad))
        np.testing.assert_array_equal(bad.any(axis=1), [False, True, False, True])
    value = nl.CrossEntropy()(library.put(p), library.put(labels.clip(0, 8)), wait=False)
    assert float(value) == pytest.approx(nl.CrossEntropy()(p, labels.clip(0, 8)), rel=1e-5)


@check("errors")
def what_does_not_fit_rows_is_an_error(library: Library) -> None:
    p, labels = np.ones((4, 9), "f4"), np.ones(4, "i8")
    own, loss = library.put(p), nl.CrossEntropy()
    with pytest.raises(ValueError, match="target must have the shape"):
        loss(own, library.put(labels[1:]))
    with pytest.raises(TypeError, match="labels are integers"):
        loss(own, library.put(labels.astype("f4")))
    with pytest.raises(ValueError, match="class_weight has 3 numbers"):
        nl.CrossEntropy(class_weight=[1, 2, 3])(own, library.put(labels))
    with pytest.raises(TypeError, match="mask must be an array of bool"):
        loss(own, library.put(labels), mask=library.put(np.ones(4)))
    with pytest.raises(ValueError, match="not labels"):
        nl.Distillation()(own, library.put(labels))
    with pytest.raises(ValueError, match=r"prediction lives on .*target on"):
        loss(own, labels)
    with pytest.raises(ValueError, match=r"prediction lives on .*mask on"):
        loss(own, library.put(labels), mask=np.ones(4, bool))
    for weight in (np.array([1.0, -2.0, 1.0, 1.0]), np.array([1.0, np.nan, 1.0, 1.0])):
        for reduction in REDUCTIONS:
            with pytest.raises(ValueError, match=r"^sample_weight\[1\] is (-2|nan)"):
                loss.value_and_grad(
                    own, library.put(labels), sample_weight=library.put(weight),
                    reduction=reduction, out=own,
                )  # fmt: skip
            np.testing.assert_array_equal(library.get(own, "float32"), p)
    dense = np.full((4, 9), 0.25, "f4")
    dense[3, 2] = -2.0
    for out in (None, own):
        with pytest.raises(ValueError, match=r"^target\[3, 2\] is -2;"):
            loss.value_and_grad(own, library.put(dense), out=out)
        np.testing.assert_array_equal(library.get(own, "float32"), p)
    assert kind_of(p) not in HALVES
