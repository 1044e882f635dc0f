"""What `score` prints as a table for programs: CSV, Parquet or JSON, by the ending of the name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .failures import writing
from .metrics import numbers
from .report import portable, scores_as_json
from .results import replacing
from .scoring import Options, Scores
from .specification import slug

ENDINGS = (".csv", ".parquet", ".json")


def write(
    path: Path,
    title: Path,
    scores: Scores,
    options: Options,
    by: str | None,
    names: tuple[str, str],
) -> None:
    """A row a group; without groups a row a loss and a metric. JSON has all that is known."""
    ending = path.suffix.lower()
    with replacing(path) as file:
        if ending == ".json":
            content = portable(scores_as_json(title, scores, options, None, names))
            with writing(path):
                file.write(json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")
            return
        import pyarrow as pa

        rows = _of_groups(scores, by) if by is not None else _of_all(scores)
        columns = list(dict.fromkeys(name for row in rows for name in row))
        table = pa.table({name: [row.get(name) for row in rows] for name in columns})
        with writing(path):
            if ending == ".csv":
                import pyarrow.csv

                pyarrow.csv.write_csv(table, file)
            else:
                import pyarrow.parquet

                pyarrow.parquet.write_table(table, file)


def _of_groups(scores: Scores, by: str) -> list[dict[str, Any]]:
    rows = []
    for key, found in scores.groups.items():
        row: dict[str, Any] = {by: key}
        for name, value in found.items():
            row |= numbers(slug(name), value)
        rows.append(row)
    return rows


def _of_all(scores: Scores) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "name": one.chosen.name, "kind": "loss", "value": one.value,
            "gradient_norm": one.gradient_norm,
        }
        for one in scores.scores
    ]  # fmt: skip
    for asked, found in scores.metrics:
        rows += [
            {"name": name, "kind": "metric", "value": value}
            for name, value in numbers(asked.name, found).items()
        ]
    if scores.reliability is not None:
        bins = scores.reliability
        for place, share in enumerate(bins["target"]):
            rows.append({"name": f"bin_{place}", "kind": "bin", "value": share, **{
                name: column[place] for name, column in bins.items() if name != "target"
            }})  # fmt: skip
    of_name = {one.name: one for one in scores.comparisons}
    for row in rows:
        one = of_name.get(row["name"])
        if one is not None:
            row |= {
                "other": one.other, "difference": one.difference,
                "standard_error": one.standard_error, "better": one.better,
            }  # fmt: skip
    return rows
