"""The options of losses of rows that engines see to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class RowOptions(NamedTuple):
    """The parameters that mean the same in every softmax loss that has them."""

    class_weight: np.ndarray | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    temperature: float = 1.0
