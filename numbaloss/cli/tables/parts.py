"""Several files that are read as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..failures import Failure
from . import keys
from .columns import Batch, Form, Kind, Table, find_columns
from .sources import Source


class PartsTable:
    """The rows of one file after those of another, whatever their formats are."""

    # Parts do not know how many rows are before them.
    apart = True

    def __init__(self, path: Path, files: list[Source], opened: Callable[[Source], Table]) -> None:
        self.path, self._files, self._opened = path, files, opened
        first = opened(files[0])
        self.numbered = first.numbered
        self._keys = keys.common(files, first.names)
        self.names = [*first.names, *self._keys]
        self.pieces = len(files)

    def kinds(self, columns: tuple[str, ...]) -> tuple[Kind, ...]:
        if not self.numbered:
            find_columns(columns, self.names, self._files[0].path)
        stored = tuple(name for name in columns if name not in self._keys)
        found: dict[str, Kind] = {key: keys.kind(self._files, key) for key in self._keys}
        for file in self._files:
            table = self._opened(file)
            if not self.numbered:
                find_columns(stored, table.names, file.path)
            for name, kind in zip(stored, table.kinds(stored), strict=True):
                first = found.setdefault(name, kind)
                if (kind.text is None, kind.width) != (first.text is None, first.width):
                    raise Failure(
                        f"{file.path}: column {name!r} is of another type than in other files"
                    )
                # Files of both precisions: the wider one serves all rows alike.
                found[name] = first._replace(
                    real=max(first.real, kind.real), whole=first.whole and kind.whole
                )
        return tuple(found[name] for name in columns)

    def batches(self, forms: tuple[Form, ...]) -> Iterator[Batch]:
        start = 0
        for piece in range(self.pieces):
            rows = 0
            for batch in self.batches_of(forms, piece):
                rows += len(batch.arrays[0])
                done = (piece + batch.done) / self.pieces
                yield batch._replace(start=start + batch.start_in_part, done=done)
            start += rows

    def batches_of(self, forms: tuple[Form, ...], piece: int) -> Iterator[Batch]:
        """The rows of one file, which count from its first."""
        file = self._files[piece]
        stored = tuple(form for form in forms if form.column not in self._keys)
        try:
            for batch in self._opened(file).batches(stored):
                found = iter(batch.arrays)
                rows = len(batch.arrays[0])
                arrays = tuple(
                    keys.column(file.keys[form.column], form, rows, file.path)
                    if form.column in self._keys
                    else next(found)
                    for form in forms
                )
                yield batch._replace(
                    arrays=arrays, start=-1, part=str(file.path), start_in_part=batch.start
                )
        except Failure as failure:
            named = str(file.path) in str(failure)
            raise failure if named else type(failure)(f"{file.path}: {failure}") from None
