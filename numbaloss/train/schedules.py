"""Schedules of learning rates: plain callables of the step, which is counted from 0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..misuse import real_number


def _check(schedule: Any, **bounds: tuple[float, float]) -> None:
    for name, (low, high) in {"learning_rate": (0.0, math.inf), **bounds}.items():
        value = real_number(getattr(schedule, name), name)
        if not (low <= value <= high and value < math.inf):
            raise ValueError(f"{name} must be in [{low:g}, {high:g}], not {value}")


@dataclass(frozen=True)
class constant:
    """The same rate at every step.

    >>> constant(0.1)(1000)
    0.1
    """

    learning_rate: float

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, step: int) -> float:
        return self.learning_rate


@dataclass(frozen=True)
class step_decay:
    r"""A rate that falls by a factor every so many steps: :math:`\gamma f^{\lfloor t / n \rfloor}`.

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    every : int > 0
        :math:`n`, in steps.
    factor : float in [0, 1]
        :math:`f`. As ``torch.optim.lr_scheduler.StepLR``.
    """

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check(self, every=(1, math.inf), factor=(0.0, 1.0))

    def __call__(self, step: int) -> float:
        return self.learning_rate * self.factor ** (step // self.every)


@dataclass(frozen=True)
class exponential:
    r"""A rate that falls by a factor a step: :math:`\gamma f^t`.

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`.
    factor : float in [0, 1]
        :math:`f`. As ``torch.optim.lr_scheduler.ExponentialLR``.
    """

    learning_rate: float
    factor: float

    def __post_init__(self) -> None:
        _check(self, factor=(0.0, 1.0))

    def __call__(self, step: int) -> float:
        return self.learning_rate * self.factor**step


@dataclass(frozen=True)
class cosine:
    r"""Half a period of a cosine, after a linear warm-up.

    .. math::
        \gamma \frac{t + 1}{w} \text{ for } t < w, \qquad
        \phi + (\gamma - \phi) \frac{1 + \cos(\pi (t - w) / (n - w))}{2}
        \text{ up to } t = n, \qquad \phi \text{ from then on}

    Parameters
    ----------
    learning_rate : float >= 0
        :math:`\gamma`, the largest.
    steps : int > 0
        :math:`n`, warm-up and all.
    warm_up : int >= 0
        :math:`w`, less than ``steps``.
    final : float >= 0
        :math:`\phi`.

    References
    ----------
    I. Loshchilov, F. Hutter, *SGDR: stochastic gradient descent with warm restarts*, 2017. Without
    warm-up it is ``torch.optim.lr_scheduler.CosineAnnealingLR``, which rises again behind its end.
    """

    learning_rate: float
    steps: int
    warm_up: int = 0
    final: float = 0.0

    def __post_init__(self) -> None:
        _check(self, steps=(1, math.inf), warm_up=(0, self.steps - 1), final=(0.0, math.inf))

    def __call__(self, step: int) -> float:
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        way = min(1.0, (step - self.warm_up) / (self.steps - self.warm_up))
        return self.final + (self.learning_rate - self.final) * (1.0 + math.cos(math.pi * way)) / 2


@dataclass(frozen=True)
class one_cycle:
    r"""Up from a small rate to a large one, and down to a very small one, along cosines.

    Parameters
    ----------
    learning_rate : float >= 0
        The largest.
    steps : int > 0
        All of them; the last rate stays behind the end.
    rising : float in [0, 1]
        The share of steps in which it rises.
    first_divisor, last_divisor : float >= 1
        The first rate is the largest over the former, the last is the first over the latter.

    References
    ----------
    L. Smith, N. Topin, *Super-convergence: very fast training of neural networks using large
    learning rates*, 2019; ``torch.optim.lr_scheduler.OneCycleLR``, whose defaults these are
    (``pct_start``, ``div_factor``, ``final_div_factor``), without its cycle of momentum.
    """

    learning_rate: float
    steps: int
    rising: float = 0.3
    first_divisor: float = 25.0
    last_divisor: float = 1e4

    def __post_init__(self) -> None:
        far = (1.0, math.inf)
        _check(self, steps=far, rising=(0.0, 1.0), first_divisor=far, last_divisor=far)

    def __call__(self, step: int) -> float:
        first = self.learning_rate / self.first_divisor
        top, last = self.rising * self.steps - 1.0, self.steps - 1.0
        if step <= top:
            return _between(first, self.learning_rate, step / top if top > 0.0 else 1.0)
        way = (step - top) / (last - top) if last > top else 1.0
        return _between(self.learning_rate, first / self.last_divisor, min(1.0, way))


def _between(start: float, end: float, way: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * way))


class ReduceOnPlateau:
    """A rate that falls when a value, such as the validation loss, has stopped getting better.

    Parameters
    ----------
    learning_rate : float >= 0
        The first.
    factor : float in (0, 1)
        What it is multiplied by.
    patience : int >= 0
        Updates without improvement that are borne: it falls at the next.
    cooldown : int >= 0
        Updates after a fall of which none counts.
    min_lr : float >= 0
        The least.
    threshold : float >= 0
        What is better by less than this share is no improvement.
    mode : {"min", "max"}
        Whether less is better, or more.

    References
    ----------
    ``torch.optim.lr_scheduler.ReduceLROnPlateau``, whose defaults these are; a value that is NaN
    is no improvement.

    >>> plateau = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> [plateau.update(loss) for loss in (3.0, 2.0, 2.0, 2.0)]
    [0.1, 0.1, 0.1, 0.05]
    """

    def __init__(
        self,
        learning_rate: float,
        factor: float = 0.1,
        patience: int = 10,
        cooldown: int = 0,
        min_lr: float = 0.0,
        *,
        threshold: float = 1e-4,
        mode: str = "min",
    ) -> None:
        self.learning_rate = learning_rate
        self.factor, self.patience, self.cooldown = factor, patience, cooldown
        self.min_lr, self.threshold, self.mode = min_lr, threshold, mode
        far = (0.0, math.inf)
        _check(self, patience=far, cooldown=far, min_lr=far, threshold=far)
        if not 0.0 < real_number(factor, "factor") < 1.0:
            raise ValueError(f"factor must be in (0, 1), not {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
        self.best = math.inf if mode == "min" else -math.inf
        self.bad, self.resting = 0, 0

    def __call__(self, step: int) -> float:
        """The rate now, whatever the step."""
        return self.learning_rate

    def update(self, value: float) -> float:
        """Take the value of an epoch, say; the rate from now on."""
        value = real_number(value, "value")
        if self._better(value):
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        if self.resting > 0:
            self.resting, self.bad = self.resting - 1, 0
        if self.bad > self.patience:
            lower = max(self.learning_rate * self.factor, self.min_lr)
            if self.learning_rate - lower > 1e-8:  # PyTorch's eps
                self.learning_rate = lower
            self.bad, self.resting = 0, self.cooldown
        return self.learning_rate

    def _better(self, value: float) -> bool:
        if self.mode == "min":
            return value < self.best * (1.0 - self.threshold)
        return value > self.best * (1.0 + self.threshold)

    def state(self) -> dict[str, float]:
        """What :meth:`load_state` needs to go on."""
        names = ("learning_rate", "best", "bad", "resting")
        return {name: getattr(self, name) for name in names}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from what :meth:`state` gave."""
        self.learning_rate, self.best = float(state["learning_rate"]), float(state["best"])
        self.bad, self.resting = int(state["bad"]), int(state["resting"])
