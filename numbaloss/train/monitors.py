"""What is watched while a model learns, and what is said of it."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..misuse import real_number

if TYPE_CHECKING:
    from .plans import Plan

ON_FINDING = ("warn", "raise", "ignore")
# What a layer's gradient has been is a mean that forgets; before so many looks nothing is said.
_MEMORY, _LOOKS = 0.9, 5


def _outside() -> int:
    """How far up the caller of the library is, for warnings."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("numbaloss."):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    return level


class TrainingWarning(UserWarning):
    """Something that keeps a model from learning."""


class TrainingError(ArithmeticError):
    """The same, where it is to end the run."""


class Finding(NamedTuple):
    """What was found, where and when, by which number, and what can be done."""

    kind: str  # "vanishing", "exploding", "overshooting" or "loss"
    layer: str
    step: int
    value: float
    limit: float
    message: str

    def __str__(self) -> str:
        return self.message


class LayerNumbers(NamedTuple):
    """A layer at one step, in 2-norms over its numbers."""

    gradient: float
    parameter: float  # before the step
    update: float  # of what the step changed
    size: int

    @property
    def ratio(self) -> float:
        """Update over parameter; NaN for parameters that are 0."""
        return self.update / self.parameter if self.parameter else math.nan


class Monitor:
    """Watches loss, gradients and updates, layer by layer, and names what goes wrong.

    Given to ``optimizer.step(..., monitor=monitor)``, it costs no pass of its own: norms are taken
    where the step reads the numbers. Gradients are those given, before any clipping.

    Parameters
    ----------
    every : int > 0
        Looks at one step in so many.
    layers : bool
        Leaves of one layer (``layers.0.weight`` and ``layers.0.bias``) count together; otherwise
        each counts for itself.
    vanishing : float >= 0
        A gradient vanishes whose root mean square is less than this share of that of the layer
        where it is largest.
    exploding : float > 1
        A gradient explodes whose norm is so many times its own mean over earlier looks.
    overshooting : float > 0
        An update overshoots whose norm is more than this share of the parameters'.
    patience : int > 0
        So many looks in a row make a gradient that vanishes, or updates that overshoot.
    on_finding : {"warn", "raise", "ignore"}
        Each layer is warned of once for each kind; all is in ``findings``.

    Attributes
    ----------
    findings : list of Finding
    history : dict
        ``step`` and ``loss``: lists; ``gradient_norm`` and ``update_ratio``: dicts of lists, by
        layer.

    >>> import numpy as np
    >>> from numbaloss.train import SGD
    >>> monitor, w = Monitor(), {"first": np.array([3.0, 4.0])}
    >>> SGD(0.1).step(w, {"first": np.array([0.6, 0.8])}, monitor=monitor)
    True
    >>> monitor.history["gradient_norm"], round(monitor.history["update_ratio"]["first"][0], 9)
    ({'first': [1.0]}, 0.02)
    """

    def __init__(
        self,
        every: int = 1,
        *,
        layers: bool = True,
        vanishing: float = 1e-5,
        exploding: float = 100.0,
        overshooting: float = 0.5,
        patience: int = 5,
        on_finding: str = "warn",
    ) -> None:
        if on_finding not in ON_FINDING:
            raise ValueError(f"on_finding must be one of {ON_FINDING}, not {on_finding!r}")
        for name, value, low in (
            ("every", every, 1), ("vanishing", vanishing, 0.0), ("exploding", exploding, 1.0),
            ("overshooting", overshooting, 0.0), ("patience", patience, 1),
        ):  # fmt: skip
            if not real_number(value, name) >= low:
                raise ValueError(f"{name} must be at least {low}, not {value}")
        self.every, self.layers, self.patience = int(every), bool(layers), int(patience)
        self.vanishing, self.exploding, self.overshooting = vanishing, exploding, overshooting
        self.on_finding = on_finding
        self.findings: list[Finding] = []
        self.history: dict[str, Any] = {
            "step": [], "loss": [], "gradient_norm": {}, "update_ratio": {},
        }  # fmt: skip
        self._loss = math.nan
        self._usual: dict[str, tuple[float, int]] = {}
        self._runs: dict[tuple[str, str], int] = {}
        self._said: set[tuple[str, str]] = set()

    def due(self, step: int) -> bool:
        """Whether a step is one of those that are looked at."""
        return step % self.every == 0

    def loss(self, value: float) -> None:
        """Take the loss of the step that comes; one that is not finite is a finding."""
        self._loss = float(value)
        if not math.isfinite(self._loss):
            step = self.history["step"][-1] + 1 if self.history["step"] else 0
            self._find(
                "loss", "the loss", step, self._loss, math.inf,
                "a smaller learning rate, clipped gradients (max_norm=), a look at the inputs for "
                "NaN and infinities",
            )  # fmt: skip

    def take(self, step: int, plan: Plan) -> None:
        """Take what a watched step has left; optimisers call this."""
        found: dict[str, list[float]] = {}
        for group in plan.groups:
            sums = group.table.watched()
            for place, state, own in zip(group.places, group.states, sums):
                total = found.setdefault(self._layer(plan.names[place]), [0.0, 0.0, 0.0, 0.0])
                for column, number in enumerate((*own, float(math.prod(state.shape)))):
                    total[column] += number
        roots = {name: [math.sqrt(one) for one in sums[:3]] for name, sums in found.items()}
        self.see(
            step,
            {name: LayerNumbers(g, p, u, int(found[name][3])) for name, (g, p, u) in roots.items()},
        )

    def _layer(self, name: str) -> str:
        return name.rpartition(".")[0] or name if self.layers else name

    def see(self, step: int, layers: dict[str, LayerNumbers]) -> None:
        """Take the norms of all layers at a step, as of an optimiser of your own."""
        self.history["step"].append(step)
        self.history["loss"].append(self._loss)
        self._loss = math.nan
        sizes = {name: one.gradient / math.sqrt(max(1, one.size)) for name, one in layers.items()}
        largest = max(sizes.values(), default=0.0)
        steepest = max(sizes, key=sizes.__getitem__, default="")
        for name, one in layers.items():
            self.history["gradient_norm"].setdefault(name, []).append(one.gradient)
            self.history["update_ratio"].setdefault(name, []).append(one.ratio)
            self._look_for_explosion(name, step, one.gradient)
            small = largest > 0.0 and sizes[name] < self.vanishing * largest
            if self._lasts("vanishing", name, small):
                self._find(
                    "vanishing", name, step, sizes[name], self.vanishing * largest,
                    "He or Xavier initialisation, ReLU or GELU instead of tanh, normalised inputs, "
                    "fewer layers or connections past them",
                    f"its root mean square is {sizes[name]:.3g}, that of {steepest} {largest:.3g}",
                )  # fmt: skip
            if self._lasts("overshooting", name, one.ratio > self.overshooting):
                self._find(
                    "overshooting", name, step, one.ratio, self.overshooting,
                    "a smaller learning rate, or a warm-up",
                    f"updates have {one.ratio:.3g} times the norm of the parameters",
                )  # fmt: skip

    def _lasts(self, kind: str, layer: str, now: bool) -> bool:
        """Whether something has been so for as many looks as patience asks for."""
        self._runs[kind, layer] = self._runs.get((kind, layer), 0) + 1 if now else 0
        return self._runs[kind, layer] == self.patience

    def _look_for_explosion(self, name: str, step: int, norm: float) -> None:
        usual, looks = self._usual.get(name, (norm, 0))
        if looks >= _LOOKS and not norm <= self.exploding * usual and usual > 0.0:
            self._find(
                "exploding", name, step, norm, self.exploding * usual,
                "clip_by_global_norm or max_norm=, a smaller learning rate, a warm-up",
                f"its norm is {norm:.3g}, and has been {usual:.3g} on average",
            )  # fmt: skip
        if math.isfinite(norm):
            self._usual[name] = _MEMORY * usual + (1.0 - _MEMORY) * norm, looks + 1

    def _find(
        self, kind: str, layer: str, step: int, value: float, limit: float, remedy: str,
        numbers: str = "",
    ) -> None:  # fmt: skip
        said = {"loss": f"the loss is {value}", "overshooting": f"steps of {layer} are too long"}
        what = said.get(kind, f"the gradient of {layer} is {kind}")
        text = f"step {step}: {what}{': ' + numbers if numbers else ''}. Remedies: {remedy}"
        found = Finding(kind, layer, step, value, limit, text)
        self.findings.append(found)
        if self.on_finding == "raise":
            raise TrainingError(text)
        if self.on_finding == "warn" and (kind, layer) not in self._said:
            self._said.add((kind, layer))
            warnings.warn(text, TrainingWarning, stacklevel=_outside())

    def summary(self) -> str:
        """A line a layer: the last gradient norm and update ratio; and all findings."""
        lines = []
        names: Sequence[str] = list(self.history["gradient_norm"])
        width = max(map(len, names), default=0)
        for name in names:
            norm = self.history["gradient_norm"][name][-1]
            ratio = self.history["update_ratio"][name][-1]
            lines.append(f"{name:{width}}  gradient {norm:9.3g}  update/parameter {ratio:9.3g}")
        return "\n".join([*lines, *map(str, self.findings)])
