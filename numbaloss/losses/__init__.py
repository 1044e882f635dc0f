"""What the losses are: one class each, its maths and nothing else."""

# The registry, and so every table, has them in this order.
from . import regression  # isort: split

from . import robust  # isort: split

from . import exponential_family  # isort: split

from . import binary  # isort: split

from . import focal  # isort: split

from . import margin  # isort: split

from . import multiclass  # isort: split

from . import divergences  # isort: split

from . import language

__all__ = [
    "binary",
    "divergences",
    "exponential_family",
    "focal",
    "language",
    "margin",
    "multiclass",
    "regression",
    "robust",
]
