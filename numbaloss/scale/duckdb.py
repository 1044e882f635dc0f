"""Losses of rows as functions of DuckDB's SQL.

>>> import duckdb
>>> import numbaloss as nl
>>> from numbaloss.scale.duckdb import register
>>> connection = duckdb.connect()
>>> register(connection, "huber", nl.Huber(delta=1.0))
>>> connection.sql("select huber(3.0, 1.0)").fetchall()
[(1.5,)]

Relations go through a :class:`numbaloss.Scorer` by :func:`numbaloss.scale.arrow.score`, batch by
batch: ``score(connection.sql("select ... from 'rows/*.parquet'"), scorer)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    import duckdb  # noqa: F401 - for a clear error
    import pyarrow as pa
except ImportError as error:
    raise ImportError(
        f"{error.name} is not installed: python -m pip install duckdb pyarrow"
    ) from error

__all__ = ["register"]


def register(connection: Any, name: str, loss: Any, gradient: bool = False) -> None:
    """Let SQL on a connection call a loss: ``name(prediction, target)``, a DOUBLE a row.

    Parameters
    ----------
    connection : of ``duckdb.connect()``
    name : str
        What the function is called in SQL; an existing one of that name is an error of DuckDB's.
    loss : loss
        Of a number a row. Rows with a NULL come to NULL.
    gradient : bool
        The derivative by the prediction instead of the value.
    """
    if loss.contract.name != "elementwise":
        raise TypeError(f"a function of SQL takes a loss of a number a row, not {loss!r}")

    def function(prediction: Any, target: Any) -> Any:
        p, t = [np.asarray(one.to_numpy(), np.float64) for one in (prediction, target)]
        if gradient:
            found = loss.value_and_grad(p, t, reduction="none")[1]
        else:
            found = loss(p, t, reduction="none")
        return pa.chunked_array([pa.array(found)])

    arrow: Any = "arrow"
    connection.create_function(name, function, ["DOUBLE", "DOUBLE"], "DOUBLE", type=arrow)
