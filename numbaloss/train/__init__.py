"""Learning with a loss: optimisers, schedules, clipping, accumulation, monitors.

>>> import numpy as np
>>> import numbaloss.train as tr
>>> w = np.array([1.0, 2.0])
>>> tr.SGD(0.1).step(w, np.array([1.0, -1.0]))
True
>>> w
array([0.9, 2.1])
"""

from .accumulation import Accumulator
from .base import Optimizer
from .checking import check_model
from .checkpoint import CheckpointError
from .clipping import clip_adaptive, clip_by_global_norm, clip_by_norm, clip_by_value
from .fitting import Checkpoint, fit
from .history import History
from .layers import Dropout, Embedding, Linear
from .models import MLP, predict
from .monitors import Finding, LayerNumbers, Monitor, TrainingError, TrainingWarning
from .optimizers import SGD, Adagrad, Adam, AdamW, Lion, RMSprop
from .schedules import ReduceOnPlateau, constant, cosine, exponential, one_cycle, step_decay
from .stopping import EarlyStopping

__all__ = [
    "MLP",
    "SGD",
    "Accumulator",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoint",
    "CheckpointError",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "Finding",
    "History",
    "LayerNumbers",
    "Linear",
    "Lion",
    "Monitor",
    "Optimizer",
    "RMSprop",
    "ReduceOnPlateau",
    "TrainingError",
    "TrainingWarning",
    "check_model",
    "clip_adaptive",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "constant",
    "cosine",
    "exponential",
    "fit",
    "one_cycle",
    "predict",
    "step_decay",
]
