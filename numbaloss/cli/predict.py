"""``numbaloss predict``: the rows of a table, as a trained model sees them."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from .failures import Failure, UsageFailure, writing
from .tables import Form, Table
from .tables.columns import find_columns
from .trained import Trained
from .training_data import feature_forms, is_binary

ENDINGS = (".parquet", ".csv")


def check_output(path: Path, source: Path) -> None:
    """Raise where ``path`` cannot become a file of predictions, before any work is done."""
    with writing(path):
        if path.is_dir():
            raise Failure(f"{path} is a folder; predictions go into a file")
        if path.suffix.lower() not in ENDINGS:
            raise UsageFailure(f"--output {path}: the name must end in .parquet or .csv")
        if not path.absolute().parent.is_dir():
            raise Failure(f"cannot write {path}: the folder {path.parent} does not exist")
        if path.exists() and source.is_file() and path.samefile(source):
            raise UsageFailure(f"--output {path} would replace the file that is read")
        if source.is_dir():
            place = path.absolute().parent.resolve()
            if any(source.samefile(one) for one in (place, *place.parents)):
                raise UsageFailure(f"--output {path} lies in the folder that is read, {source}")


def predict(
    table: Table, trained: Trained, output: Path, progress: Callable[[float], Any]
) -> tuple[int, list[str], bool]:
    """Write predictions; how many rows, the names of columns, whether the target is among them."""
    find_columns(trained.features, table.names, table.path)
    forms: tuple[Form, ...] = feature_forms(table, trained.features)
    with_target = table.names.count(trained.target) == 1
    if with_target:
        (kind,) = table.kinds((trained.target,))
        forms = (*forms, Form(trained.target, "float64", key=kind.text is not None))
    rows = 0
    names: list[str] = []
    with _writer(output) as write:
        for batch in table.batches(forms):
            inputs = np.column_stack(batch.arrays[: len(trained.features)])
            missing = np.isnan(inputs)
            if missing.any():
                row, column = np.argwhere(missing)[0]
                raise Failure(
                    f"{table.path}: column {trained.features[column]!r} is missing in "
                    f"{batch.place(int(row))}: fill it in, as in the rows that the model learned "
                    f"from"
                )
            found = columns(trained, inputs.astype(trained.real, copy=False))
            if with_target:
                found[trained.target] = batch.arrays[-1]
            names = list(found)
            write(found)
            rows += len(inputs)
            progress(batch.done)
        if not rows:
            raise Failure(f"{table.path} has no rows")
    return rows, names, with_target


def columns(trained: Trained, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of predictions: what the loss takes, and what that means."""
    loss = trained.loss
    prediction = trained.model.forward(trained.scaling(inputs))
    if trained.loss.contract.of_classes:
        assert trained.classes is not None
        found = {
            f"logit_{name}": np.ascontiguousarray(prediction[:, place])
            for place, name in enumerate(trained.classes)
        }
        found["label"] = _labels(trained.classes, prediction.argmax(axis=1))
        return found
    found = {"prediction": prediction}
    if is_binary(loss):
        probability = loss.inverse_link(prediction)
        found["probability"] = probability
        if trained.classes is not None:
            found["label"] = _labels(trained.classes, (probability > 0.5).astype(int))
    elif loss.link_function != "identity":
        found["mean"] = loss.inverse_link(prediction)
    return found


def _labels(names: tuple[str, ...], places: np.ndarray) -> np.ndarray:
    """The names of classes; numbers where all of them are."""
    try:
        values = np.array([float(name) for name in names])
        if (values == np.floor(values)).all() and np.abs(values).max() < 2**53:
            values = values.astype(np.int64)
    except ValueError:
        values = np.array(names)
    return values[places]


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[dict[str, np.ndarray]], None]]:
    """A function that writes columns to a file, which is there whole or not at all."""
    temporary = path.absolute().parent / f".numbaloss-{secrets.token_hex(8)}.tmp"
    opened: list[Any] = []

    def write(found: dict[str, np.ndarray]) -> None:
        with writing(path):
            arrays = [_arrow(one) for one in found.values()]
            table = pa.Table.from_arrays(arrays, names=list(found))
            if not opened:
                opened.append(_open(path, temporary, table.schema))
            opened[0].write_table(table)

    try:
        yield write
        with writing(path):
            while opened:
                opened.pop().close()
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError, ValueError):
            while opened:
                opened.pop().close()
        with contextlib.suppress(OSError):
            temporary.unlink()


def _open(path: Path, temporary: Path, schema: Any) -> Any:
    if path.suffix.lower() == ".csv":
        import pyarrow.csv

        return pyarrow.csv.CSVWriter(str(temporary), schema)
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(str(temporary), schema, use_dictionary=False)


def _arrow(values: np.ndarray) -> Any:
    """An Arrow array; by way of the buffer, for `pa.array` imports pandas."""
    if values.dtype.kind in "US":
        return pa.array(values.tolist(), pa.string())
    values = np.ascontiguousarray(values)
    kind = getattr(pa, values.dtype.name)()
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])
