"""Learning with a loss: optimisers, schedules, clipping.

>>> import numpy as np
>>> import numbaloss.train as tr
>>> w = np.array([1.0, 2.0])
>>> tr.SGD(0.1).step(w, np.array([1.0, -1.0]))
True
>>> w
array([0.9, 2.1])
"""

from .base import Optimizer
from .clipping import clip_by_global_norm
from .optimizers import SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from .schedules import constant

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
    "constant",
]
