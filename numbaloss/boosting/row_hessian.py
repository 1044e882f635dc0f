"""The full hessians of rows of classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..structures.softmax import Softmax
from .modes import linear


def row_hessian(loss: Any, prediction: Any, target: Any, sample_weight: Any = None) -> np.ndarray:
    r"""The hessian of every row's loss by its logits, a matrix a row.

    .. math:: H_{jk} = s\,\bigl(p_j \delta_{jk} - p_j p_k\bigr) / T^2

    with s the weight of the row, class weights and all, of which the diagonal is what
    ``value_grad_hess`` gives.

    Parameters
    ----------
    loss : Softmax
        ``CrossEntropy`` without a z-loss, ``KLDivergence``, ``Distillation``, their multiples and
        sums of one temperature, and own losses that are ``linear``.
    prediction : array of shape (..., C)
        Logits.
    target : array of shape (...) or (..., C)
        Labels or dense targets.
    sample_weight : array of the shape of the rows, optional
        Weights >= 0.

    Returns
    -------
    array of shape (..., C, C), of the prediction's dtype

    Raises
    ------
    ValueError
        For other losses.

    Examples
    --------
    >>> import numbaloss as nl
    >>> row_hessian(nl.CrossEntropy(), [[0.0, 0.0]], [1]).tolist()
    [[[0.25, -0.25], [-0.25, 0.25]]]
    """
    terms = getattr(loss, "terms", ((1.0, loss),))
    smooth = any(getattr(one, "z_loss", 0.0) != 0.0 for _, one in terms)
    if not isinstance(loss, Softmax) or not loss.takes_logits or smooth or not linear(loss):
        raise ValueError(f"the full hessian of {loss!r} is not that of a softmax")
    given = np.asarray(prediction)
    given = given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)
    p = loss.inverse_link(given)
    diagonal = loss.hess(given, target, sample_weight=sample_weight, reduction="sum")
    # All of a row's diagonal are the same multiple of p (1 - p): that of the largest is the best.
    spread = p * (1 - p)
    most = spread.argmax(axis=-1)[..., None]
    scale = np.take_along_axis(diagonal, most, -1)
    scale /= np.maximum(np.take_along_axis(spread, most, -1), np.finfo(given.dtype).tiny)
    found = -(scale * p)[..., :, None] * p[..., None, :]
    index = np.arange(given.shape[-1])
    found[..., index, index] = diagonal
    return found
