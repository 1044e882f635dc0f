"""Functions that say something about a formula, and compute nothing."""

from typing import Any


def stop_gradient(x: Any) -> Any:
    """The number ``x`` as a constant: its derivatives count as 0.

    For factors of a loss that its paper takes for constants.

    Parameters
    ----------
    x : float
        What depends on the prediction, inside the ``value`` of a loss.

    Returns
    -------
    float
        The same number.

    Examples
    --------
    >>> import numbaloss as nl
    >>> class Weighted(nl.Elementwise):
    ...     def value(self, prediction, target):
    ...         residual = prediction - target
    ...         return nl.stop_gradient(abs(residual)) * residual * residual
    >>> value, gradient = Weighted().value_and_grad([3.0], [0.0])
    >>> value, gradient.tolist()
    (27.0, [18.0])
    """
    parts = getattr(x, "parts", None)  # of the jets of plain Python
    return x if parts is None else parts.value
