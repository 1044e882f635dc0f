"""What engines with workers of their own are given, and the merge of what comes back.

Each worker scores the rows that it holds, and hands on a small text, the state of its scorer.

Ray Data::

    parts = data.map_batches(Partial(scorer, "prediction", "target"), batch_format="numpy")
    total = merged(scorer, [row["state"] for row in parts.take_all()])

Spark::

    parts = frame.mapInArrow(Partial(scorer, "prediction", "target").over_arrow, "state string")
    total = merged(scorer, [row.state for row in parts.collect()])

Sums do not round, so that the result is the same bits for any number of workers; areas under curves
with weights depend on the order of rows by one part in 10^15.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..metrics import Scorer

__all__ = ["Partial", "merged"]


class Partial:
    """Scores a part of the rows, wherever it is sent.

    Parameters
    ----------
    scorer : Scorer
        What to compute; its rows stay where they are.
    prediction : name, or names of the columns of a row of classes
    target, sample_weight, by : names of columns
    """

    def __init__(
        self,
        scorer: Scorer,
        prediction: str | Sequence[str] = "prediction",
        target: str = "target",
        sample_weight: str | None = None,
        by: str | None = None,
    ) -> None:
        self.names = prediction, target, sample_weight, by
        self.empty = json.dumps(copy.copy(scorer).reset().state())

    def scorer(self) -> Scorer:
        """One without rows."""
        return Scorer.from_state(json.loads(self.empty))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The state of the scores of a dict of columns, as a column of one text."""
        prediction, target, sample_weight, by = self.names
        p: Any = (
            batch[prediction]
            if isinstance(prediction, str)
            else np.stack([batch[name] for name in prediction], axis=1)
        )
        w = None if sample_weight is None else batch[sample_weight]
        found = self.scorer().update(p, batch[target], w, by=None if by is None else batch[by])
        return {"state": np.array([json.dumps(found.state())])}

    def over_arrow(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The state of the scores of all record batches of a partition, as one record batch."""
        import pyarrow as pa

        from .arrow import score

        prediction, target, sample_weight, by = self.names
        found = score(
            batches, self.scorer(), prediction=prediction, target=target,
            sample_weight=sample_weight, by=by,
        )  # fmt: skip
        yield pa.RecordBatch.from_pydict({"state": [json.dumps(found.state())]})


def merged(scorer: Scorer, states: Iterable[str]) -> Scorer:
    """A scorer of the rows of all states."""
    total = copy.copy(scorer).reset()
    for state in states:
        total.merge(Scorer.from_state(json.loads(state)))
    return total
