"""The hessians of the boosters' own losses, where they are not the second derivative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..losses.exponential_family import Poisson
from ..losses.multiclass import CrossEntropy
from ..losses.regression import AbsoluteError, Quantile, SquaredLogError
from ..losses.robust import Huber

# How far both let Poisson's predictions move, which they prepare for in its hessian.
_DELTA_STEP = 0.7


def of_library(call: Any, hessian: np.ndarray, library: str) -> np.ndarray:
    """What a booster itself takes for the hessian of a loss, of the exact one.

    XGBoost 3.2 takes 2 p (1 - p) for classes, e^(f + 0.7) for Poisson, 1 for absolute errors and
    quantiles, and no less than 1e-6 for squared logarithms; LightGBM 4.7 takes
    K/(K - 1) p (1 - p), e^(f + 0.7), and 1 for absolute errors, quantiles and Huber's loss.
    CatBoost takes the exact ones.
    """
    loss = call.loss
    factor = 1.0
    if isinstance(loss, CrossEntropy) and library != "catboost":
        classes = hessian.shape[-1]
        factor = 2.0 if library == "xgboost" else classes / (classes - 1.0)
    elif isinstance(loss, Poisson) and library != "catboost":
        factor = math.exp(_DELTA_STEP)
    flat = (AbsoluteError, Quantile) if library == "xgboost" else (AbsoluteError, Quantile, Huber)
    if isinstance(loss, flat) and library != "catboost":
        hessian.fill(1.0)
        weight = call.weight_of(hessian)
        if weight is not None:
            hessian *= weight
    elif isinstance(loss, SquaredLogError) and library == "xgboost":
        np.maximum(hessian, 1e-6, out=hessian)
    if factor != 1.0:
        hessian *= hessian.dtype.type(factor)
    return hessian
