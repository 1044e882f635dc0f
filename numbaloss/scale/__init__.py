"""Losses and metrics over data that other engines hold: each module imports its own when asked for.

- :mod:`numbaloss.scale.arrow`: streams of record batches, of pyarrow, polars, DuckDB, pandas and
  whatever else speaks Arrow's C stream.
- :mod:`numbaloss.scale.polars`: expressions, ``pl.col("prediction").numbaloss``.
- :mod:`numbaloss.scale.duckdb`: losses as functions of SQL.
- :mod:`numbaloss.scale.dask`: lazily, on arrays in chunks and clusters.
- :mod:`numbaloss.scale.workers`: what to hand to Ray Data's ``map_batches`` and Spark's
  ``mapInArrow``, and the merge of what comes back.
"""
