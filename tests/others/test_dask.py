"""Objectives on workers of Dask, which get them pickled. Tried with dask 2026.8."""

import numpy as np
import pytest

import numbaloss as nl

pytest.importorskip("distributed")
array = pytest.importorskip("dask.array")

from distributed import Client, LocalCluster  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4))
SIGNAL = 10.0 * (X[:, 0] + 0.5 * X[:, 1] ** 2)
WEIGHT = RNG.random(600) + 0.5


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as found,
    ):
        yield found


def parts(array_):
    chunks = (300, *array_.shape[1:])
    return array.from_array(array_, chunks=chunks)


@pytest.mark.filterwarnings("ignore")  # of Dask and its servers
def test_xgboost_sums_over_the_workers(client):
    xgb = pytest.importorskip("xgboost")
    dask = pytest.importorskip("xgboost.dask")
    from numbaloss.xgboost import objective, params

    for loss in (nl.Huber(), nl.PseudoHuber()):
        # One worker sees the far residuals: its mean hessian is another.
        target = np.where(np.arange(600) < 300, SIGNAL, 5.0 * SIGNAL)
        given = params(loss, target, WEIGHT) | {"max_depth": 3, "tree_method": "hist"}
        data = dask.DaskDMatrix(client, parts(X), parts(target), weight=parts(WEIGHT))
        booster = dask.train(client, given, data, 10, obj=objective(loss, 1e-3))["booster"]
        alone = xgb.train(
            given, xgb.DMatrix(X, target, weight=WEIGHT), 10, obj=objective(loss, 1e-3)
        )
        found, expected = (one.inplace_predict(X) for one in (booster, alone))
        assert abs(found - expected).mean() < 0.1 * abs(expected - expected.mean()).mean()
        secant = dask.train(client, given, data, 10, obj=objective(loss))["booster"]
        start = loss(np.full(600, loss.best_constant(target)), target)
        assert loss(secant.inplace_predict(X).astype(float), target) < 0.8 * start


@pytest.mark.filterwarnings("ignore")
def test_workers_of_lightgbm_have_one_unit(client):
    lgb = pytest.importorskip("lightgbm")
    from numbaloss.lightgbm import SklearnObjective, sklearn_objective

    of = SklearnObjective(nl.Huber())
    far, near = (np.zeros(50), 0.1 * SIGNAL[:50], None), (np.zeros(50), SIGNAL[:50], None)
    here = [of(*one)[1].mean() for one in (far, near)]
    np.testing.assert_allclose(here, 1.0)
    there = [client.submit(of, *one).result()[1] for one in (far, near)]
    assert there[0].mean() > 2.0 * there[1].mean()
    model = lgb.DaskLGBMRegressor(
        objective=sklearn_objective(nl.Huber()),
        n_estimators=20,
        min_child_weight=0.0,
        client=client,
    )
    model.fit(parts(X), parts(SIGNAL), sample_weight=parts(WEIGHT))
    found = model.predict(parts(X)).compute()
    assert nl.Huber()(found, SIGNAL) < 0.6 * nl.Huber()(np.full(600, np.median(SIGNAL)), SIGNAL)
