"""Gradients and hessians for boosting with trees, whatever the loss.

What the adapters of XGBoost, LightGBM and CatBoost share; :func:`derivatives` is most of it, as
arrays.
"""

from .derivatives import MODES, derivatives, hessian_mode
from .quantiles import rearranged
from .row_hessian import row_hessian

__all__ = ["MODES", "derivatives", "hessian_mode", "rearranged", "row_hessian"]
