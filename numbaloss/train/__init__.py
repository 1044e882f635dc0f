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
from .checking import check_model
from .checkpoint import CheckpointError
from .clipping import clip_by_global_norm
from .fitting import Checkpoint, fit
from .history import History
from .layers import Dropout, Embedding, Linear
from .models import MLP, predict
from .optimizers import SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from .schedules import constant
from .stopping import EarlyStopping

__all__ = [
    "MLP",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "CheckpointError",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "History",
    "Linear",
    "Lion",
    "Optimizer",
    "RMSprop",
    "check_model",
    "clip_by_global_norm",
    "constant",
    "fit",
    "predict",
]
