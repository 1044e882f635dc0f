"""Losses for SciPy: objectives of linear models for ``minimize``, losses for ``least_squares``.

Needs SciPy: ``python -m pip install "numbaloss[scipy]"``.
"""

from .. import misuse

try:
    import scipy as _scipy  # noqa: F401
except ImportError as _error:
    raise misuse.missing_library("numbaloss.scipy", "SciPy", "scipy") from _error

from .objective import LinearObjective, objective
from .residuals import Rho, rho

__all__ = ["LinearObjective", "Rho", "objective", "rho"]
