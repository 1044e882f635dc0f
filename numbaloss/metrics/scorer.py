"""Many metrics and losses over the same rows, apart for each group of them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np

from ..core.loss import Loss
from ..registry import get, snake_case
from . import catalogue
from .base import CHUNK, Metric, on_host
from .means import Mean


class Scorer:
    """Losses and metrics of predictions that come in any number of parts.

    Metrics that need the same totals share them, and rows are taken in pieces that stay in the
    cache, so that several cost one trip over memory.

    Parameters
    ----------
    losses : losses, or names of losses, or a dict of them by the name of their result
        Their means. Names are those of ``numbaloss.losses()``.
    metrics : metrics, or names of metrics, or a dict of them
        Names are those of functions, ``"roc_auc"``. Each takes a prediction and a target.
    by : bool
        Whether ``update`` takes a key for each row, ``by=``, whose groups are scored apart.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaloss as nl
    >>> scorer = nl.Scorer(losses=["mse"], metrics=["mae"], by=True)
    >>> _ = scorer.update(np.array([1.0, 2.0, 4.0]), np.zeros(3), by=np.array(["a", "a", "b"]))
    >>> scorer.compute()
    {'a': {'mse': 2.5, 'mae': 1.5}, 'b': {'mse': 16.0, 'mae': 4.0}}
    """

    def __init__(self, losses: Any = (), metrics: Any = (), *, by: bool = False) -> None:
        self.by = by
        losses, metrics = [
            one if isinstance(one, Mapping) else _list(one) for one in (losses, metrics)
        ]
        self.template = {**_named(losses, _mean), **_named(metrics, _metric)}
        if not self.template:
            raise ValueError("a Scorer needs losses or metrics")
        count = len(losses) + len(metrics)
        if len(self.template) != count:
            raise ValueError("names of losses and metrics must differ: give dicts of them")
        self.groups: dict[Any, dict[str, Metric]] = {}
        if not by:
            self._group(None)

    def _group(self, key: Any) -> dict[str, Metric]:
        if key not in self.groups:
            made = {name: _again(metric) for name, metric in self.template.items()}
            _share(made.values())
            self.groups[key] = made
        return self.groups[key]

    def update(
        self, prediction: Any, target: Any, sample_weight: Any = None, *, by: Any = None
    ) -> Self:
        """Add rows; ``by`` holds a key a row, texts or integers, where groups are scored apart.

        After an error some metrics may have taken rows that others have not: ``reset``.
        """
        if (by is None) == self.by:
            raise ValueError("by= takes a key a row, of a Scorer that was made with by=True")
        p, t = on_host(prediction, "prediction"), on_host(target, "target")
        w = None if sample_weight is None else on_host(sample_weight, "sample_weight")
        for name, one in (("prediction", p), ("target", t), ("sample_weight", w)):
            if one is not None and (one.ndim < 1 or p.ndim < 1 or len(one) != len(p)):
                raise ValueError(
                    f"{name} must have a row for each of the prediction; the shapes are "
                    f"{p.shape} and {one.shape}"
                )
        if by is None:
            self._add(self._group(None), p, t, w)
            return self
        keys = on_host(by, "by")
        if keys.dtype.kind == "f":
            raise TypeError("by must hold texts or integers, not floats")
        if keys.shape != p.shape[:1]:
            raise ValueError(f"by must have the shape {p.shape[:1]}, not {keys.shape}")
        names, places = np.unique(keys, return_inverse=True)
        order = np.argsort(places.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(places.reshape(-1), minlength=len(names)))
        for name, start, end in zip(names.tolist(), [0, *ends[:-1].tolist()], ends.tolist()):
            rows = order[start:end]
            self._add(self._group(name), p[rows], t[rows], None if w is None else w[rows])
        return self

    def _add(self, metrics: dict[str, Metric], p: Any, t: Any, w: Any) -> None:
        # What shares its totals adds rows once, by whichever metric comes first.
        firsts = [metric for _, metric in _owners(metrics)]
        step = max(1, 8 * CHUNK * len(p) // max(1, p.size)) if p.ndim else 1
        for start in range(0, len(p), step):
            rows = slice(start, start + step)
            for metric in firsts:
                metric.update(p[rows], t[rows], None if w is None else w[rows])

    def compute(self) -> dict[Any, Any]:
        """Results by name; by group, and in it by name, where groups are scored apart."""
        found = {
            key: {name: metric.compute() for name, metric in group.items()}
            for key, group in sorted(self.groups.items(), key=lambda one: str(one[0]))
        }
        return found if self.by else found[None]

    def merge(self, other: Scorer) -> Self:
        """Add the rows of another scorer of the same losses and metrics."""
        alike = [
            {name: repr(metric) for name, metric in one.template.items()} for one in (self, other)
        ]
        if self.by != other.by or alike[0] != alike[1]:
            raise TypeError("only scorers of the same losses and metrics can be merged")
        for key, group in other.groups.items():
            mine = self._group(key)
            merged: set[int] = set()
            for name, metric in group.items():
                if id(mine[name].rows) not in merged:
                    merged.add(id(mine[name].rows))
                    mine[name].rows.merge(metric.rows)
        return self

    def reset(self) -> Self:
        """Forget all rows and groups."""
        self.groups = {}
        if not self.by:
            self._group(None)
        return self

    def state(self) -> dict[str, Any]:
        """All that there is to know, as plain lists and numbers."""
        # In lists, and rows by name: what sorts the keys of JSON changes nothing.
        template = [[name, metric.state()] for name, metric in self.template.items()]
        groups = [
            [key, {name: metric.rows.state() for name, metric in _owners(group)}]
            for key, group in self.groups.items()
        ]
        return {"by": self.by, "metrics": template, "groups": groups}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The scorer that :meth:`state` has described."""
        template = {
            name: _class(of_metric["metric"]).from_state(of_metric)
            for name, of_metric in state["metrics"]
        }
        made = cls(metrics=template, by=state["by"])
        for key, rows in state["groups"]:
            group = made._group(key)
            for name, of_rows in rows.items():
                group[name].rows.load(of_rows)
        return made


def _class(name: str) -> type[Metric]:
    return catalogue.CLASSES[name]


def _owners(group: dict[str, Metric]) -> list[tuple[str, Metric]]:
    """One metric for each of the totals that are kept."""
    firsts: dict[int, tuple[str, Metric]] = {}
    for name, metric in group.items():
        firsts.setdefault(id(metric.rows), (name, metric))
    return list(firsts.values())


def _share(metrics: Iterable[Metric]) -> None:
    """Let metrics that keep the same totals keep them once."""
    kept: dict[Any, Any] = {}
    chosen = list(metrics)
    for metric in chosen:
        if not metric.shared:
            continue
        key = type(metric.rows), metric.rows.key()
        kept[key] = metric.rows if key not in kept else kept[key].joined(metric.rows)
    for metric in chosen:
        if metric.shared:
            metric.rows = kept[type(metric.rows), metric.rows.key()]


def _again(metric: Metric) -> Metric:
    """A metric of the same options, without rows."""
    made = copy.copy(metric)
    made.rows = metric.rows.fresh()
    return made


def _list(given: Any) -> list[Any]:
    return [given] if isinstance(given, (str, Loss, Metric)) else list(given)


def _named(given: Any, make: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {name: make(one) for name, one in given.items()}
    return {one if isinstance(one, str) else _name(one): make(one) for one in _list(given)}


def _name(one: Any) -> str:
    if isinstance(one, Mean):
        one = one.loss
    if isinstance(one, Loss):
        return repr(one) if one.values() else snake_case(type(one).__name__)
    return catalogue.NAMES.get(type(one), snake_case(type(one).__name__))


def _mean(one: Any) -> Metric:
    mean = one if isinstance(one, Mean) else Mean(get(one) if isinstance(one, str) else one)
    if mean.loss.contract.name not in ("elementwise", "rows"):
        raise TypeError(f"a Scorer takes losses of numbers and of rows, not {mean.loss!r}")
    return mean


def _metric(one: Any) -> Metric:
    if isinstance(one, str):
        return catalogue.find(one)()
    if not isinstance(one, Metric):
        raise TypeError(f"metrics= takes metrics and their names, not {one!r}")
    return one
