"""Losses in scikit-learn: scorers, linear models and boosted trees that are fitted to any loss.

Needs scikit-learn: ``python -m pip install "numbaloss[sklearn]"``.
"""

from .. import misuse

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as _error:
    raise misuse.missing_library("numbaloss.sklearn", "scikit-learn", "sklearn") from _error

from .linear import LinearClassifier, LinearRegressor
from .scoring import LossScorer, scorer
from .trees import hist_gradient_boosting_loss

__all__ = [
    "LinearClassifier", "LinearRegressor", "LossScorer", "hist_gradient_boosting_loss", "scorer",
]  # fmt: skip
