"""What every metric has: ``update``, ``merge``, ``compute``, ``reset``, a state to send."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar, Self

import numba
import numpy as np

from .. import arrays

# Rows that are looked at at a time: their arrays stay in the second cache.
CHUNK = 1 << 15


class Accumulator:
    """What is kept of the rows that came by; metrics of the same rows share one."""

    def key(self) -> Hashable:
        """Equal for accumulators that may take each other's place."""
        raise NotImplementedError

    def update(self, prediction: Any, target: Any, weight: Any) -> None:
        """Add rows."""
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        """Add the rows of another."""
        raise NotImplementedError

    def fresh(self) -> Any:
        """Another of the same kind, without rows."""
        raise NotImplementedError

    def state(self) -> Any:
        """Plain numbers, lists and dicts."""
        raise NotImplementedError

    def load(self, state: Any) -> None:
        """Take the rows that :meth:`state` has described."""
        raise NotImplementedError

    def joined(self, other: Any) -> Any:
        """One that serves both, of the same key; itself where it does already."""
        return self


class Metric:
    """A number that tells how good predictions are, of rows that come in any number of parts.

    ``update`` takes rows, ``compute`` says what all of them come to, ``merge`` adds the rows of
    another metric of the same kind and options (another worker's), ``reset`` forgets them.
    ``state`` is made of plain lists and numbers that JSON takes; ``from_state`` reads it.

    Totals are exact, so that the result is the same, bit for bit, however rows were cut into
    batches, threads, files and workers.
    """

    # Metrics for which less is better.
    lower_is_better: ClassVar[bool] = False
    # Whether totals may be those of other metrics too: not where `update` makes something of rows.
    shared: bool = True

    def __init__(self, **options: Any) -> None:
        cls: Any = type(self)
        known = _options_of(cls)
        for name in options:
            if name not in known:
                raise TypeError(
                    f"{type(self).__name__} has no option {name!r}; its options: "
                    f"{', '.join(known) or 'none at all'}"
                )
        # As plain numbers: states travel as JSON, and equal options are equal.
        self.options = {name: _plain(value) for name, value in options.items()}
        self.validate()
        self.rows = self.accumulator()

    def validate(self) -> None:
        """Raise where options make no sense."""

    def accumulator(self) -> Any:
        """What keeps the rows, without any."""
        raise NotImplementedError

    def update(self, prediction: Any, target: Any, sample_weight: Any = None) -> Self:
        """Add rows; the metric itself, for chains of calls."""
        self.rows.update(prediction, target, sample_weight)
        return self

    def merge(self, other: Metric) -> Self:
        """Add the rows of another metric of the same class and options."""
        if type(other) is not type(self) or other.options != self.options:
            raise TypeError(f"{self!r} cannot be merged with {other!r}: they must be alike")
        self.rows.merge(other.rows)
        return self

    def compute(self) -> Any:
        """What the rows come to; NaN where that is not defined."""
        raise NotImplementedError

    def is_mean(self) -> bool:
        """Whether it is a weighted mean over rows, of what :meth:`of_each_row` gives."""
        return False

    def of_each_row(self, prediction: Any, target: Any) -> np.ndarray | None:
        """The values (n,) whose mean the metric is; None where it is no mean over rows."""
        return None

    def reset(self) -> Self:
        """Forget all rows."""
        self.rows = self.rows.fresh()
        return self

    def state(self) -> dict[str, Any]:
        """All that there is to know, as plain lists and numbers."""
        return {
            "metric": type(self).__name__,
            "options": dict(self.options),
            "rows": self.rows.state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """The metric that :meth:`state` has described."""
        if state.get("metric") != cls.__name__:
            raise ValueError(f"the state is that of {state.get('metric')}, not of {cls.__name__}")
        names = inspect.signature(cls).parameters
        made = cls(**{name: value for name, value in state["options"].items() if name in names})
        made.rows.load(state["rows"])
        return made

    def __repr__(self) -> str:
        given = inspect.signature(type(self)).parameters
        said = [
            f"{name}={value!r}"
            for name, value in self.options.items()
            if name in given and value != given[name].default
        ]
        return f"{type(self).__name__}({', '.join(said)})"


def named(name: str) -> type[Metric]:
    """The class of metrics of a name."""
    waiting: list[type[Metric]] = [Metric]
    for cls in waiting:
        if cls.__name__ == name:
            return cls
        waiting += cls.__subclasses__()
    raise ValueError(f"no metric has a class that is called {name!r}")


@cache
def _options_of(cls: type) -> list[str]:
    """The names that constructors of a class and its bases take."""
    found: dict[str, None] = {}
    for base in cls.__mro__:
        if "__init__" in vars(base):
            for one in inspect.signature(base.__init__).parameters.values():  # type: ignore[misc]
                if one.kind is one.KEYWORD_ONLY or one.name == "loss":
                    found[one.name] = None
    return list(found)


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def one_shot(metric: type[Metric], name: str) -> Callable[..., Any]:
    """The function that makes a metric, updates it once and computes it."""

    keyword = inspect.Parameter.KEYWORD_ONLY
    # What rows bring along beside their weights: the groups of documents.
    beside = [
        one for one in inspect.signature(metric.update).parameters.values() if one.kind is keyword
    ]

    def function(prediction: Any, target: Any, *, sample_weight: Any = None, **options: Any) -> Any:
        more = {one.name: options.pop(one.name) for one in beside if one.name in options}
        return metric(**options).update(prediction, target, sample_weight, **more).compute()

    summary, _, rest = (metric.__doc__ or "").partition("\n")
    function.__name__ = function.__qualname__ = name
    function.__module__ = metric.__module__.rpartition(".")[0]
    function.__doc__ = (
        f"{summary}\n\n    ``{name}(prediction, target, sample_weight=None, **options)`` in one "
        f"call: see :class:`{metric.__name__}`.\n{rest}"
    )
    options = inspect.signature(metric).parameters.values()
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("prediction", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("target", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("sample_weight", keyword, default=None),
            *beside,
            *[one.replace(kind=keyword) for one in options if one.kind is not one.VAR_KEYWORD],
        ]
    )
    return function


def on_host(given: Any, name: str) -> np.ndarray:
    """An array of any library, on any device, as one of NumPy's; of numbers or of texts."""
    if not hasattr(given, "__cuda_array_interface__") and not hasattr(given, "__dlpack_device__"):
        given = np.asarray(given)
    texts = isinstance(given, np.ndarray) and given.dtype.kind in "USO"
    if texts and not isinstance(given, np.ma.MaskedArray):
        if given.dtype.kind == "O" and not all(isinstance(one, str) for one in given.flat):
            raise TypeError(f"{name} must be an array of numbers, or of texts, not of objects")
        return given.astype(str)
    view, family = arrays.operand(given, name)
    if view.device is not None:
        return np.asarray(family.to_host(given))
    return np.asarray(arrays.numbers(view, view.array))


def real(given: Any, name: str) -> np.ndarray:
    """An array of real numbers."""
    array = on_host(given, name)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(f"{name} must be an array of real numbers, not of {array.dtype}")
    return array


def weights(given: Any, rows: int) -> np.ndarray | None:
    """Weights of rows: finite numbers >= 0."""
    if given is None:
        return None
    array = real(given, "sample_weight")
    if array.shape != (rows,):
        raise ValueError(f"sample_weight must have the shape ({rows},), not {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < np.inf):
        raise ValueError("sample_weight must hold finite numbers >= 0")
    return array


def pair(prediction: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Real numbers of one shape, (n,) or (n, outputs)."""
    p, t = real(prediction, "prediction"), real(target, "target")
    if p.shape != t.shape:
        raise ValueError(
            f"prediction and target must have one shape, not {p.shape} and {t.shape}; shapes are "
            f"never broadcast"
        )
    if p.ndim not in (1, 2):
        raise ValueError(f"prediction must have one dimension or two, not {p.ndim}")
    return p, t


def float64(array: np.ndarray) -> np.ndarray:
    """The numbers in float64, side by side."""
    return np.ascontiguousarray(array, np.float64)


def least_of(array: np.ndarray) -> Any:
    """The smallest number, NaN aside; infinity of none."""
    if not array.size:
        return np.inf
    least = array.min()  # in vectors, unlike `fmin`
    return least if least == least else np.fmin.reduce(array, axis=None)


def largest_of(array: np.ndarray) -> Any:
    """The largest number, NaN aside; minus infinity of none."""
    if not array.size:
        return -np.inf
    largest = array.max()
    return largest if largest == largest else np.fmax.reduce(array, axis=None)


def in_threads(rows: int, work: Callable[[int, int], None], chunk: int = CHUNK) -> None:
    """Call ``work(start, stop)`` for chunks of rows, on as many threads as Numba has.

    What it calls lets go of Python's lock, and its results do not depend on their order.
    """
    starts = range(0, rows, chunk)
    threads = min(numba.get_num_threads(), len(starts))
    if threads < 2:
        for start in starts:
            work(start, min(start + chunk, rows))
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda start: work(start, min(start + chunk, rows)), starts):
            pass
