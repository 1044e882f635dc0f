"""Gradients, and the hessians that trees divide by: by the formula, or better ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import misuse
from ..core.composition import Sum
from ..core.loss import domain
from ..structures.elementwise import Elementwise
from ..structures.softmax import Softmax
from . import modes
from .builtin import of_library
from .devices import beside, labels

MODES = ("auto", "exact", "secant", "fisher", "absolute", "upper", "library")
LIBRARIES = ("xgboost", "lightgbm", "catboost")

# Hessians are at least this where a mode promises that trees can divide by them: as in XGBoost.
LEAST = 1e-16
# Predictions of a loss that ends somewhere stay as far away from its end: as in XGBoost.
_MARGIN = 1e-6
_REALS = frozenset((np.dtype(np.float32), np.dtype(np.float64)))


def derivatives(
    loss: Any,
    prediction: Any,
    target: Any,
    sample_weight: Any = None,
    hessian: str | float = "auto",
    *,
    library: str | None = None,
    order: str = "C",
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and hessian of every sample, as gradient boosting takes them.

    Neither is divided by anything; both are multiplied by the weights, once.

    Parameters
    ----------
    loss : Elementwise or Softmax
        A loss of margins: of any real numbers.
    prediction : array of shape (n,), or (n, C) for losses of classes and several outputs
        Margins; where they are CuPy's, all is computed on their GPU. They are not changed, and not
        kept.
    target : array of shape (n,) or (n, C)
        What the loss takes: labels of classes may be floats that are whole numbers.
    sample_weight : array of shape (n,), optional
        Weights >= 0.
    hessian : str or float
        Which second derivative:

        ``"auto"``
            One of the others: the loss's own ``boosting_hessian``. ``"exact"`` where the loss is
            convex and bent everywhere; ``"secant"`` for losses of a residual that are straight or
            concave somewhere, Huber's and the quantile's for instance, and those of users that
            turn out to be of a residual; ``"fisher"`` for focal losses; ``"upper"`` for
            cross-entropy of classes; ``"absolute"`` where nothing is known.
        ``"exact"``
            The second derivative. It may be 0 or negative.
        ``"secant"``
            :math:`(g(r) - g(-r)) / 2 r`, which is :math:`|g| / |r|` for even losses: the parabola
            through the point that lies nowhere below the loss, if that is straight or concave in
            :math:`r^2`, so that a step to its minimum never raises the loss. With a limit at
            :math:`r = 0`: :math:`|r|` is taken to be a fifth of its median at least.
        ``"fisher"``
            What the model itself expects it to be: :math:`p\\, h(1) + (1 - p)\\, h(0)` for binary
            losses, :math:`\\sum_k p_k h(k)` for classes, :math:`h` at the mean for losses with a
            logarithmic link. At least a tenth of what :math:`p (1 - p)` would let expect.
        ``"absolute"``
            :math:`|h|`.
        ``"upper"``
            A bound: :math:`2 p_k (1 - p_k)` for cross-entropy of classes, which bounds the full
            matrix; the largest second derivative of an elementwise loss that has one.
        ``"library"``
            What ``library`` uses for the same loss: the same trees come of it.
        a number
            ``"exact"``, but no less than this, times the weight.
    library : {"xgboost", "lightgbm", "catboost"}, optional
        Whose hessian ``"library"`` means.
    order : {"C", "F"}
        How arrays of shape (n, C) lie in memory.

    Returns
    -------
    gradient, hessian : arrays of the prediction's shape, float32 or float64
        The prediction's dtype, and of CuPy where it is. All but ``"exact"`` have hessians > 0
        where weights are.

    Raises
    ------
    ValueError
        An unknown mode, or one that the loss does not have; what the loss itself refuses.
    TypeError
        A loss of vectors, or of probabilities and rates, which margins are not.

    References
    ----------
    J. de Leeuw and K. Lange, *Sharp quadratic majorization in one dimension*, 2009.
    D. Böhning, *Multinomial logistic regression algorithm*, 1992.

    Examples
    --------
    >>> import numbaloss as nl
    >>> gradient, hessian = derivatives(nl.AbsoluteError(), [1.0, 6.0, 2.0], [3.0, 2.0, 1.0])
    >>> gradient.tolist(), hessian.tolist()
    ([-1.0, 1.0, 1.0], [0.5, 0.25, 1.0])
    """
    refuse_other_than_margins(loss)
    given, target, weight = beside(prediction, target, sample_weight)
    return of_mode(loss, hessian_mode(loss, hessian), given, target, weight, library, order)


def of_mode(
    loss: Any,
    mode: str | float,
    prediction: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray | None,
    library: str | None = None,
    order: str = "C",
) -> tuple[np.ndarray, np.ndarray]:
    """The same by a mode that :func:`hessian_mode` has found."""
    if prediction.dtype not in _REALS:
        prediction = prediction.astype(np.float64)
    if isinstance(loss, Softmax) and target.ndim < prediction.ndim:
        target = labels(target)
    of = domain(loss.prediction_domain)
    if not of.everything:
        prediction = np.maximum(prediction, prediction.dtype.type(of.low + _MARGIN))
    call = modes.Call(loss, prediction, target, weight, order)
    gradient, found = _computed(call, mode, library)
    if mode != "exact":
        np.maximum(found, found.dtype.type(LEAST), out=found)
    if not isinstance(mode, str):
        own = call.weight_of(found)
        np.maximum(found, mode if own is None else mode * own, out=found)
    return gradient, found


def _computed(
    call: modes.Call, mode: str | float, library: str | None
) -> tuple[np.ndarray, np.ndarray]:
    loss = call.loss
    if mode == "mixed":  # majorants of terms are a majorant of their sum
        parts = [
            (size, _computed(call._replace(loss=term), hessian_mode(term), library))
            for size, term in loss.terms
        ]
        gradient = sum(size * one[0] for size, one in parts)
        return gradient, sum(size * one[1] for size, one in parts)
    if mode == "secant":
        return modes.secant(call)
    if mode == "fisher":
        return modes.fisher(call)
    if mode == "upper":
        return modes.upper(call)
    gradient, hessian = modes.exact(call)
    if mode == "absolute":
        np.abs(hessian, out=hessian)
    elif mode == "library":
        if library not in LIBRARIES:
            raise ValueError(f"library must be one of {LIBRARIES}, not {library!r}")
        hessian = of_library(call, hessian, library)
    return gradient, hessian


def hessian_mode(loss: Any, hessian: str | float = "auto") -> Any:
    """The mode that ``hessian`` means for a loss.

    Returns
    -------
    str or float
        For ``"auto"`` the loss's own; ``"mixed"`` for sums of terms with modes of their own.

    Raises
    ------
    ValueError
        For a mode that does not exist, or a floor that is no number > 0.
    """
    if not isinstance(hessian, str):
        floor = misuse.real_number(hessian, "hessian")
        if not 0.0 < floor < np.inf:
            raise ValueError(f"hessian as a floor must be a number > 0, not {hessian!r}")
        return floor
    if hessian not in MODES:
        raise ValueError(f"hessian must be one of {MODES} or a number > 0, not {hessian!r}")
    if hessian != "auto":
        return hessian
    declared = loss.boosting_hessian
    if declared is not None:
        return declared
    if isinstance(loss, Sum):
        return "mixed" if all(size >= 0.0 for size, _ in loss.terms) else "absolute"
    if isinstance(loss, Elementwise) and modes.is_of_residual(loss):
        return "secant"
    return "absolute"


def refuse_other_than_margins(loss: Any) -> None:
    """Raise for a loss that trees cannot learn by: they predict any numbers."""
    if not isinstance(loss, (Elementwise, Softmax)):
        what = f"{loss!r}" if hasattr(loss, "parameters") else f"{loss!r} is no loss:"
        raise TypeError(
            f"{what} cannot be boosted: trees learn by losses of a prediction and a target, "
            f"numbers or classes"
        )
    of = domain(loss.prediction_domain)
    ends = of.high < np.inf or (of.low > -np.inf and not of.low_open)
    if ends or (isinstance(loss, Softmax) and not loss.takes_logits):
        names = [one.name for one in loss.parameters()]
        hint = next(
            (f": take {type(loss).__name__}({name}=True)" for name in ("from_logits", "log_input")
             if name in names), "",
        )  # fmt: skip
        raise TypeError(f"{loss!r} takes predictions in {of}, and trees predict any numbers{hint}")
