"""Numbaloss through its public method."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..catalogue import parameters_of
from . import Contestant, Step


def _loss(name: str) -> Any:
    """The loss, or None where this version of numbaloss does not have it."""
    import numbaloss

    if name not in numbaloss.losses():
        return None
    return numbaloss.get(name, **parameters_of(name))


class NewArray(Contestant):
    """Every call returns a new gradient: what one gets without further thought."""

    def versions(self) -> dict[str, str]:
        import numba

        import numbaloss

        return {
            "numbaloss": numbaloss.__version__,
            "numba": numba.__version__,
            "numpy": np.__version__,
        }

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        ours = _loss(loss)
        if ours is None:
            return {}
        return {"value_and_grad": lambda: ours.value_and_grad(prediction, target)}


class IntoBuffer(NewArray):
    """Every call writes into the same array: what a training loop does."""

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        ours = _loss(loss)
        if ours is None:
            return {}
        buffer = self.keep(np.empty_like(prediction))
        return {"out=buffer": lambda: ours.value_and_grad(prediction, target, out=buffer)}


class InPlace(NewArray):
    """The gradient replaces the prediction."""

    def steps(self, loss: str, prediction: Any, target: Any) -> dict[str, Step]:
        ours = _loss(loss)
        if ours is None:
            return {}
        return {"out=prediction": lambda: ours.value_and_grad(prediction, target, out=prediction)}
