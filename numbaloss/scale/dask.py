"""Losses and metrics of arrays and frames of Dask, lazily, chunk by chunk, on threads and clusters.

>>> import dask.array as da
>>> import numbaloss as nl
>>> from numbaloss.scale.dask import score, value_and_grad
>>> prediction, target = da.ones(10, chunks=4), da.zeros(10, chunks=4)
>>> score(nl.Scorer(losses=["mse"]), prediction, target).compute().compute()
{'mse': 1.0}
>>> value, gradient = value_and_grad(nl.SquaredError(), prediction, target)
>>> float(value.compute()), gradient.chunks
(1.0, ((4, 4, 2),))
"""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError('Dask is not installed: python -m pip install "numbaloss[dask]"') from error

from ..metrics import Mean, Scorer

__all__ = ["score", "value", "value_and_grad", "values"]

# Scores of so many chunks are merged by one task.
_FAN_IN = 16


def values(loss: Any, prediction: Any, target: Any) -> Any:
    """The values of rows, in chunks as the prediction has them.

    Parameters
    ----------
    loss : loss
        Of numbers or of rows.
    prediction, target : dask arrays of numbers or rows
        In chunks of the same rows; a row is never cut.
    """
    prediction, target = _arrays(prediction, target)
    of_rows = _checked(loss, prediction, target)
    drop = [prediction.ndim - 1] if of_rows else []
    kind = np.float64 if prediction.dtype == np.float64 else np.float32
    return da.map_blocks(
        _values, loss, *_blocks(prediction, target), dtype=kind, drop_axis=drop,
        meta=np.empty((0,) * (prediction.ndim - len(drop)), kind),
    )  # fmt: skip


def value(
    loss: Any, prediction: Any, target: Any, sample_weight: Any = None, reduction: str = "mean"
) -> Any:
    """The mean, the weighted mean or the sum of a loss, as a delayed number.

    It is rounded once, whatever the chunks are.
    """
    of_chunks = score(
        Scorer(losses={"loss": Mean(loss, reduction=reduction)}), prediction, target, sample_weight
    )
    return dask.delayed(_value)(of_chunks)


def value_and_grad(
    loss: Any, prediction: Any, target: Any, sample_weight: Any = None, reduction: str = "mean"
) -> tuple[Any, Any]:
    """A loss, delayed, and its gradient, in chunks as the prediction has them.

    Parameters
    ----------
    loss : loss
        Of numbers or of rows. With ``reduction="mean"`` one without labels that do not count:
        chunks do not know of each other's.
    prediction, target : dask arrays of numbers or rows
        In chunks of the same rows; a row is never cut.
    sample_weight : dask array, optional
    reduction : {"mean", "sum"}
    """
    prediction, target, sample_weight = _arrays(prediction, target, sample_weight)
    of_rows = _checked(loss, prediction, target, sample_weight)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', not {reduction!r}")
    ignored = loss.row_options().ignore_index if of_rows else None
    scale = 1.0
    if reduction == "mean":
        shape = prediction.shape[: prediction.ndim - of_rows]
        if any(math.isnan(size) for size in shape):
            raise ValueError("the number of rows must be known: prediction.compute_chunk_sizes()")
        scale = 1.0 / max(1, math.prod(shape))
    blocks = _blocks(prediction, target, *([] if sample_weight is None else [sample_weight]))
    gradient = da.map_blocks(
        _gradient, loss, *blocks, scale=scale, ignored=ignored if reduction == "mean" else None,
        dtype=prediction.dtype, meta=np.empty((0,) * prediction.ndim, prediction.dtype),
    )  # fmt: skip
    return value(loss, prediction, target, sample_weight, reduction), gradient


def score(
    scorer: Scorer, prediction: Any, target: Any, sample_weight: Any = None, by: Any = None
) -> Any:
    """A scorer of all rows, delayed: ``score(...).compute()`` is a :class:`Scorer`.

    Parameters
    ----------
    scorer : Scorer
        What to compute; its rows stay where they are.
    prediction, target, sample_weight, by : dask arrays, or columns of dask frames
        In chunks, or partitions, of the same rows; a row is never cut.
    """
    given = _arrays(prediction, target, sample_weight, by)
    _checked(None, *given)
    empty = copy.copy(scorer).reset()
    parts: list[Any] = [None if one is None else one.to_delayed().ravel() for one in given]
    add = dask.delayed(_scored)
    found = [
        add(empty, *[None if part is None else part[place] for part in parts])
        for place in range(len(parts[0]))
    ]
    merge = dask.delayed(_merged)
    while len(found) > 1:
        found = [merge(found[i : i + _FAN_IN]) for i in range(0, len(found), _FAN_IN)]
    return found[0] if found else dask.delayed(empty)


def _arrays(*given: Any) -> list[Any]:
    """Columns and frames as arrays, whose chunks are the partitions."""
    with warnings.catch_warnings():
        # Texts become objects: metrics take those.
        warnings.filterwarnings("ignore", "Dask currently has limited support", UserWarning)
        return [one.to_dask_array() if hasattr(one, "to_dask_array") else one for one in given]


def _alike(chunks: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether chunks hold the same rows, as far as sizes are known: those of frames are not."""
    return len(chunks) == len(others) and all(
        a == b or math.isnan(a) or math.isnan(b) for a, b in zip(chunks, others)
    )


def _checked(loss: Any, prediction: Any, target: Any, *others: Any) -> bool:
    """Whether the loss takes rows; an error where chunks do not fit together."""
    of_rows = loss is not None and loss.contract.of_classes
    names = ["prediction", "target", "sample_weight", "by"]
    for name, one in zip(names, (prediction, target, *others)):
        if one is None:
            continue
        if not isinstance(one, da.Array):
            raise TypeError(
                f"{name} must be an array, a column or a frame of Dask, not {type(one).__name__}"
            )
        if not _alike(one.chunks[0], prediction.chunks[0]):
            raise ValueError(
                f"{name} has its rows in chunks {one.chunks[0][:4]}..., prediction in "
                f"{prediction.chunks[0][:4]}...: rechunk one of them"
            )
        if any(count > 1 for count in one.numblocks[1:]):
            raise ValueError(
                f"{name} is cut along axes beside the first; each row must be whole: "
                f"{name}.rechunk({{1: -1}})"
            )
    return bool(of_rows)


def _blocks(prediction: Any, *others: Any) -> list[Any]:
    """Arrays that `map_blocks` pairs by their rows: those of fewer axes get some of length 1."""
    return [prediction] + [
        one[(slice(None),) * one.ndim + (None,) * (prediction.ndim - one.ndim)] for one in others
    ]


def _like(block: np.ndarray, prediction: np.ndarray, of_rows: bool) -> np.ndarray:
    """A block without the axes that were added to it."""
    wanted = prediction.ndim - 1 if of_rows and block.shape != prediction.shape else None
    return block if wanted is None else block.reshape(block.shape[:wanted])


def _values(loss: Any, prediction: Any, target: Any) -> Any:
    target = _like(target, prediction, loss.contract.of_classes)
    return loss(prediction, target, reduction="none")


def _gradient(
    loss: Any, prediction: Any, target: Any, weight: Any = None, *, scale: float, ignored: Any
) -> Any:
    of_rows = loss.contract.of_classes
    target = _like(target, prediction, of_rows)
    if ignored is not None and target.ndim < prediction.ndim and (target == ignored).any():
        raise ValueError(
            f"labels of {ignored} do not count, and chunks do not know of each other's: "
            f"reduction='sum', divided by their number"
        )
    weight = (
        None if weight is None else weight.reshape(prediction.shape[: prediction.ndim - of_rows])
    )
    return loss.value_and_grad(
        prediction, target, sample_weight=weight, reduction="sum", gradient_scale=scale
    )[1]


def _scored(empty: Scorer, prediction: Any, target: Any, weight: Any, by: Any) -> Scorer:
    return copy.copy(empty).reset().update(prediction, target, weight, by=by)


def _merged(parts: list[Scorer]) -> Scorer:
    total = copy.copy(parts[0]).reset()
    for part in parts:
        total.merge(part)
    return total


def _value(scorer: Scorer) -> float:
    return float(scorer.compute()["loss"])
