"""Losses of the engines' own, with which kernels check inputs in the place of another loss."""

from __future__ import annotations

from typing import Any, ClassVar

from .contracts import ELEMENTWISE, absent
from .loss import Loss, Parameter, domain


class Probe(Loss):
    """A loss of numbers that nobody but an engine sees."""

    contract = ELEMENTWISE
    target_domain: ClassVar[Any] = "(-inf, inf)"
    prediction_domain: ClassVar[Any] = "(-inf, inf)"

    @absent
    def value(self, prediction: Any, target: Any) -> Any:
        """Each probe gives its point."""
        raise NotImplementedError

    def recoding(self) -> Any:
        """Nothing is done to targets."""
        return None


class Inspection(Probe):
    """No loss at all: tests the inputs of another before one of them is overwritten."""

    def __init__(self, loss: Any) -> None:
        self.__dict__["target_domain"] = domain(loss.target_domain)
        self.__dict__["prediction_domain"] = domain(loss.prediction_domain)
        self.__dict__["inspected"] = loss

    def __repr__(self) -> str:
        return repr(self.__dict__["inspected"])  # what errors name

    @classmethod
    def parameters(cls) -> tuple[Parameter, ...]:
        return ()

    def point(self, prediction, target):
        return 0.0, 0.0, 0.0


class Weights(Probe):
    """The weights themselves, so that kernels can sum them."""

    prediction_domain = "[0, inf)"

    def point(self, prediction, target):
        return prediction, 1.0, 0.0
