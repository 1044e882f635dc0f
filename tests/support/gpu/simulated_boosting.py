"""Rounds of XGBoost in the simulator, with arrays that pass for CuPy's. Tried with XGBoost 3.2."""

from __future__ import annotations

import json
from unittest import mock

import numpy as np
import pytest
import xgboost

import numbaloss as nl
from numbaloss.boosting import derivatives
from numbaloss.xgboost import Classifier, Regressor, metric, objective, params, sklearn_objective
from tests.support.gpu import simulated_cupy
from tests.support.gpu.checks import check

BOOSTED = (
    (nl.Huber(0.7), "auto"), (nl.Huber(0.7), 0.1), (nl.Quantile(0.8), "secant"),
    (nl.BinaryCrossEntropy(pos_weight=3.0), "exact"), (nl.Focal(), "auto"),
    (nl.Poisson(), "library"), (nl.Poisson(), "fisher"), (nl.Tweedie(1.5), "absolute"),
    (nl.SquaredHinge(targets="binary"), "upper"), (nl.Huber() + nl.SquaredError(), "auto"),
    (nl.CrossEntropy(), "auto"), (nl.CrossEntropy(), "library"), (nl.CrossEntropy(), "fisher"),
)  # fmt: skip


@check("boosting")
def rounds_on_a_gpu_are_those_on_the_host(library):
    rng = np.random.default_rng(0)
    weight = (rng.random(70) + 0.5).astype("f4")
    for loss, hessian in BOOSTED:
        rows = isinstance(loss, nl.CrossEntropy)
        margin = rng.normal(size=(70, 3) if rows else 70).astype("f4")
        # As XGBoost keeps labels.
        target = rng.integers(0, 3 if rows else 2, 70).astype("f4")
        for given in (None, weight):
            data = xgboost.DMatrix(np.zeros((70, 1)), target, weight=given)
            of = objective(loss, hessian)
            expected = of(margin.copy(), data)
            value = metric(loss)(margin, data)[1]
            arguments, options = (target, given), {"hessian": hessian, "library": "xgboost"}
            plain = derivatives(loss, margin.copy(), *arguments, **options)
            with simulated_cupy.installed() as cupy:
                there = cupy.asarray(margin)
                results = (
                    (of(there, data), expected),
                    (sklearn_objective(loss, hessian)(target, there, given), expected),
                    (derivatives(loss, there, *arguments, **options), plain),
                )
                for found, wanted in results:
                    assert [type(one) for one in found] == [cupy.ndarray] * 2
                    for one, other in zip(found, wanted):
                        # What XGBoost reads them by.
                        told = one.__cuda_array_interface__
                        assert (told["shape"], told["typestr"]) == (margin.shape, "<f4")
                        np.testing.assert_allclose(one.get(), other, rtol=3e-6, atol=1e-6)
                assert metric(loss)(there, data)[1] == pytest.approx(value, rel=1e-5)
                np.testing.assert_array_equal(there.get(), margin)


@check("boosting")
def trees_of_a_gpu_take_gradients_as_they_lie(library):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    target = x[:, 0] + rng.normal(size=200)
    data, told, alive = xgboost.DMatrix(x, target), [], []
    loss, options = objective(nl.Huber(0.5)), {"max_depth": 3, "base_score": 0.0}
    expected = xgboost.train(options, data, 5, obj=loss)
    read = xgboost.core._grad_arrinf

    def described(array, rows):
        # XGBoost's own reading of the array; this build of it then has one on the host.
        told.append(json.loads(read(array, rows)))
        alive.append(array.get())
        return read(alive[-1], rows)

    with (
        simulated_cupy.installed() as cupy,
        mock.patch.object(xgboost.core, "_grad_arrinf", described),
    ):
        found = xgboost.train(
            options, data, 5, obj=lambda margin, dtrain: loss(cupy.asarray(margin), dtrain)
        )
    assert len(told) == 10
    assert all((one["shape"], one["stream"]) == ([200], 1) for one in told)
    np.testing.assert_allclose(found.predict(data), expected.predict(data), rtol=1e-5, atol=1e-6)


@check("boosting")
def labels_in_fractions_on_a_gpu_are_named(library):
    with simulated_cupy.installed() as cupy:
        margin, target = np.zeros((4, 3), "f4"), np.array([0, 1, 1.5, 2], "f4")
        with pytest.raises(ValueError, match=r"target\[2\] is 1.5; labels are whole numbers"):
            sklearn_objective(nl.CrossEntropy())(cupy.asarray(target), cupy.asarray(margin))


@check("boosting")
def estimators_take_targets_from_a_gpu(library):
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(60, 3)), rng.normal(size=60), rng.random(60)
    options = {"n_estimators": 4, "n_jobs": 1}
    for model, loss, target in (
        (Regressor, nl.Huber(), y), (Classifier, nl.BinaryCrossEntropy(), (y > 0).astype("f4")),
    ):  # fmt: skip
        expected = model(loss, **options).fit(x, target, sample_weight=weight).predict(x)
        start = params(loss, target, weight)
        with simulated_cupy.installed() as cupy:
            given = cupy.asarray(target), cupy.asarray(weight)
            found = model(loss, **options).fit(x, given[0], sample_weight=given[1]).predict(x)
            assert params(loss, *given) == start
        np.testing.assert_array_equal(found, expected)
