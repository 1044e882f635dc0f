"""The backward pass of a model, against differences of its forward pass."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from .trees import named_leaves

# Of three steps, each half of the former, the limit is taken (Richardson).
_HALVES = 3


def check_model(
    model: Any,
    inputs: Any,
    *,
    tolerance: float | None = None,
    samples: int = 20,
    step: float | None = None,
    seed: int = 0,
) -> float:
    r"""Compare a model's ``backward`` with differences of its ``forward``.

    The outputs are weighed with random numbers :math:`r` and added, :math:`s = \sum_i r_i y_i`,
    and :math:`\partial s / \partial \theta` by ``backward(r)`` is compared with central
    differences, for some elements of every array of the parameters.

    Parameters
    ----------
    model : model
        See :mod:`numbaloss.train.models`. Best with float64 parameters: differences of float32
        have 3 digits. Parameters are the same bits afterwards.
    inputs : array, or what else the model takes
        A few rows. Dropout is off.
    tolerance : float, optional
        Largest error that is allowed; 1e-5, or 5e-2 where parameters are float32.
    samples : int
        Elements of every array that are tried, all where it has fewer.
    step : float, optional
        Largest step, in units of ``max(1, |parameter|)``; 1e-3, or 1e-2 in float32. A ReLU whose
        kink lies within a step shows an error that is none: another seed or a smaller step tells.
    seed : int
        Of the weights and of the elements.

    Returns
    -------
    float
        Largest of ``|gradient - difference|``, divided by the largest gradient or difference of
        the same array.

    Raises
    ------
    ValueError
        Where the error of an element is above the tolerance, with its name and both numbers;
        where gradients have another form or other shapes than the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaloss import train
    >>> model = train.MLP(3, (5,), 2, activation="tanh", dtype=np.float64)
    >>> train.check_model(model, np.random.default_rng(0).normal(size=(4, 3))) < 1e-8
    True
    """
    for name in ("parameters", "forward", "backward"):
        if not hasattr(model, name):
            raise TypeError(f"a model has parameters, forward and backward; no {name} here")
    random = np.random.default_rng(seed)
    parameters = dict(named_leaves(model.parameters))
    outputs = _outputs(model.forward(inputs))
    weights = [random.normal(size=one.shape).astype(one.dtype) for one in outputs]
    gradient = [one.copy() for one in weights]  # backward may overwrite it
    found = model.backward(gradient[0] if len(gradient) == 1 else tuple(gradient))
    gradients = {name: np.array(one, np.float64) for name, one in named_leaves(found)}
    _same_form(parameters, gradients)

    def value() -> float:
        return float(
            sum(
                (weight.astype(np.float64) * one).sum()
                for weight, one in zip(weights, _outputs(model.forward(inputs)))
            )
        )

    narrow = any(one.dtype.itemsize < 8 for one in parameters.values())
    limit = tolerance if tolerance is not None else (5e-2 if narrow else 1e-5)
    largest_step = step if step is not None else (1e-2 if narrow else 1e-3)
    worst = 0.0
    for name, array in parameters.items():
        chosen = random.permutation(array.size)[:samples]
        places = [np.unravel_index(one, array.shape) for one in chosen]
        differences = [_difference(value, array, place, largest_step) for place in places]
        exact = [gradients[name][place] for place in places]
        size = max(np.abs(gradients[name]).max(initial=0.0), *map(abs, [0.0, *differences]))
        for place, one, other in zip(places, exact, differences):
            error = abs(one - other) / size if size else 0.0
            if not error <= limit:
                at = ", ".join(map(str, place))
                raise ValueError(
                    f"backward gives {one:.6g} for {name}[{at}], differences of forward give "
                    f"{other:.6g}"
                )
            worst = max(worst, float(error))
    return worst


def _outputs(found: Any) -> list[np.ndarray]:
    """Copies: the next forward may use their memory."""
    return [np.array(one) for one in (found if isinstance(found, tuple) else (found,))]


def _difference(value: Any, array: np.ndarray, place: Any, step: float) -> float:
    kept = array[place]
    table: list[float] = []
    try:
        for halving in range(_HALVES):
            h = step * max(1.0, abs(float(kept))) / 2**halving
            array[place] = kept + h
            up, high = value(), float(array[place])
            array[place] = kept - h
            down, low = value(), float(array[place])
            table.append((up - down) / (high - low))
    finally:
        array[place] = kept
    if array.dtype.itemsize < 8:  # rounding is the error here, not the step
        return table[0]
    for order in range(1, _HALVES):
        factor = 4.0**order
        table = [(factor * b - a) / (factor - 1) for a, b in pairwise(table)]
    return table[0]


def _same_form(parameters: dict[str, Any], gradients: dict[str, Any]) -> None:
    if list(parameters) != list(gradients):
        missing = [one for one in parameters if one not in gradients]
        more = [one for one in gradients if one not in parameters]
        raise ValueError(
            f"gradients must have the form of the parameters; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(more) or 'none'}"
        )
    for name, array in parameters.items():
        if gradients[name].shape != array.shape:
            raise ValueError(
                f"the gradient by {name} has the shape {gradients[name].shape}, the parameter "
                f"{array.shape}"
            )
