"""Quantiles of several models, which may cross."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Rearranged(NamedTuple):
    """Quantiles that do not cross."""

    quantiles: np.ndarray
    crossed: float  # the share of rows in which some did


def rearranged(predictions: Any) -> Rearranged:
    """Put the predicted quantiles of each row in order, and tell how often they were not.

    One model a quantile, or one output, knows nothing of the others: that of 0.5 may lie below that
    of 0.4. In order they are never farther from the quantiles that are meant, by the mean loss over
    all of them.

    Parameters
    ----------
    predictions : array of shape (n, quantiles)
        The quantiles of a row from the least to the largest probability.

    Returns
    -------
    quantiles : array of the same shape and dtype
        A new one, sorted along the last axis.
    crossed : float
        The share of rows, from 0 to 1, in which some were out of order.

    References
    ----------
    V. Chernozhukov, I. Fernández-Val and A. Galichon, *Quantile and probability curves without
    crossing*, 2010.

    Examples
    --------
    >>> quantiles, crossed = rearranged([[1.0, 2.0, 3.0], [1.0, 4.0, 3.0]])
    >>> quantiles.tolist(), crossed
    ([[1.0, 2.0, 3.0], [1.0, 3.0, 4.0]], 0.5)
    """
    given = np.asarray(predictions)
    if given.ndim != 2:
        raise ValueError(f"predictions must have the shape (n, quantiles), not {given.shape}")
    found = np.sort(given, axis=1)
    crossed = (np.diff(given, axis=1) < 0).any(axis=1)
    return Rearranged(found, float(crossed.mean()) if len(given) else 0.0)
