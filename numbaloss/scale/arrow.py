"""Scores of streams of record batches, one batch in memory at a time.

>>> import numbaloss as nl
>>> import pyarrow as pa
>>> from numbaloss.scale.arrow import score
>>> table = pa.table({"prediction": [1.0, 2.0, 4.0], "target": [1.0, 2.0, 3.0]})
>>> score(table, nl.Scorer(losses=["mse"], metrics=["mae"])).compute()
{'mse': 0.3333333333333333, 'mae': 0.3333333333333333}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError('pyarrow is not installed: python -m pip install "numbaloss[cli]"') from error

from ..metrics import Scorer

__all__ = ["columns", "score"]


def score(
    source: Any,
    scorer: Scorer,
    *,
    prediction: str | Sequence[str] = "prediction",
    target: str = "target",
    sample_weight: str | None = None,
    by: str | None = None,
) -> Scorer:
    """Add the rows of a stream to a scorer.

    Parameters
    ----------
    source : stream, table, or iterable of record batches
        Whatever has ``__arrow_c_stream__``: tables, readers and scanners of pyarrow, frames of
        polars (lazy ones in a stream) and pandas, relations of DuckDB
        (``duckdb.sql("select ...")``); or record batches.
    scorer : Scorer
        What to compute; it is updated and returned.
    prediction : name, or names of the columns of a row of classes
    target, sample_weight, by : names of columns
    """
    wanted = prediction, target, sample_weight, by
    for batch in _batches(source):
        p, t, w, keys = columns(batch, *wanted)
        scorer.update(p, t, w, by=keys)
    return scorer


def columns(
    batch: Any,
    prediction: str | Sequence[str],
    target: str,
    sample_weight: str | None = None,
    by: str | None = None,
) -> tuple[Any, Any, Any, Any]:
    """The arrays of a record batch that metrics take; null is NaN among numbers."""
    names = [prediction] if isinstance(prediction, str) else list(prediction)
    found = [_numpy(batch, name) for name in names]
    p = found[0] if isinstance(prediction, str) else np.stack(found, axis=1)
    w, keys = [None if name is None else _numpy(batch, name) for name in (sample_weight, by)]
    if by is not None and batch.column(batch.schema.get_field_index(by)).null_count:
        raise ValueError(f"the column {by!r} of groups holds nulls; give them a name")
    return p, _numpy(batch, target), w, keys


def _numpy(batch: Any, name: str) -> np.ndarray:
    place = batch.schema.get_field_index(name)
    if place < 0:
        raise ValueError(f"there is no column {name!r}; there are {', '.join(batch.schema.names)}")
    column = batch.column(place)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = column.to_numpy(zero_copy_only=False)
    if found.dtype == object and column.null_count:
        kind = "booleans" if pa.types.is_boolean(column.type) else "texts"
        raise ValueError(
            f"the column {name!r} of {kind} holds nulls, which are no labels: fill them, or leave "
            f"their rows out"
        )
    return found


def _batches(source: Any) -> Iterator[Any]:
    if hasattr(source, "collect_batches"):  # a lazy frame of polars
        for frame in source.collect_batches():
            yield from _batches(frame)
        return
    if hasattr(source, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(source)
        return
    if isinstance(source, pa.RecordBatch):
        yield source
        return
    yield from source
