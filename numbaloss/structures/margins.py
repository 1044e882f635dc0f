"""Margins and means of elementwise losses: links, and the best constant."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .. import arrays
from ..core import links, minima
from ..core.intervals import Interval
from ..core.loss import domain

# Candidates are tried on so many samples, and the best of them is improved on all.
_TRIED = 4096
_SIZES = 2.0 ** np.arange(-3, 7)


def samples(given: Any, name: str) -> np.ndarray:
    """An array of any library on the host, in float64."""
    operand, _ = arrays.operand(arrays.on_host(given), name)
    return arrays.numbers(operand, np.asarray(operand.array)).astype(np.float64)


def weights(given: Any, count: int) -> np.ndarray | None:
    """One weight a sample, in float64.

    Raises
    ------
    ValueError
        For another number of them, for weights below 0, NaN or infinite.
    """
    if given is None:
        return None
    found = samples(given, "sample_weight")
    if found.shape != (count,):
        raise ValueError(
            f"sample_weight has shape {found.shape}; expected one weight a sample: ({count},)"
        )
    bad = ~((found >= 0.0) & (found < np.inf))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"sample_weight[{first}] is {found[first]:g}; weights are >= 0 and finite")
    return found


def counted(
    target: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The samples that count, their weights, and where they were."""
    where = np.arange(len(target)) if weight is None else np.flatnonzero(weight)
    if not len(target):
        raise ValueError("target is empty: there is no best constant of no samples")
    if not len(where):
        raise ValueError("sample_weight is 0 everywhere: there is no best constant of no samples")
    if len(where) == len(target):
        return target, weight, where
    return target[where], None if weight is None else weight[where], where


def refuse_outside(loss: Any, target: np.ndarray, where: np.ndarray, of: Interval) -> None:
    """Raise for the first target that is not finite or not in a domain."""
    low, high = of.near(np.dtype(np.float64), "float32")
    bad = ~((target >= low) & (target <= high) & np.isfinite(target))
    if of.binary:
        bad |= (target != of.low) & (target != of.high)
    if bad.any():
        first = np.unravel_index(int(bad.argmax()), target.shape)
        place = ", ".join(str(int(i)) for i in (where[first[0]], *first[1:]))
        number = target[first]
        if not np.isfinite(number):
            raise ValueError(
                f"target[{place}] is {number:g}: give what is not known the weight 0, or leave "
                f"it out"
            )
        raise ValueError(f"target[{place}] is {number:g}; {loss!r} takes targets in {of}")


class Margins:
    """What predictions mean, and which constant one is the best: of elementwise losses.

    Attributes
    ----------
    link_function : {"identity", "log", "logit", "half_logit", "margin"}
        What makes a prediction of a mean: see :meth:`link`.
    boosting_hessian : {"exact", "secant", "fisher", "absolute", "upper"} or None
        The second derivative that trees of boosting should divide by: see
        :func:`numbaloss.boosting.derivatives`. None: nobody has said so.
    of_residual : bool
        Says that the loss is a function of the difference of prediction and target.
    """

    link_function: ClassVar[Any] = "identity"
    boosting_hessian: ClassVar[Any] = None
    of_residual: ClassVar[bool] = False

    def kink(self, target: np.ndarray) -> np.ndarray:
        """The predictions about which the loss is even, but for a straight line."""
        return target

    def hessian_bound(self) -> float | None:
        """A number that no second derivative exceeds; None where none is known."""
        return None

    def link(self, mean: Any) -> np.ndarray:
        """What the loss takes for its prediction, a margin, of what is predicted by it.

        .. math:: x = \\log \\frac{p}{1 - p} \\; (\\text{logit}), \\quad
                  x = \\log \\mu \\; (\\text{log}), \\quad x = \\mu \\; (\\text{identity})

        ``"half_logit"`` is half the logit, and ``"margin"`` :math:`2 p - 1`.
        ``loss.link_function`` says which of them it is.

        Parameters
        ----------
        mean : array
            Means, or probabilities.

        Returns
        -------
        array of the same shape, float32 where the means are, else float64
        """
        with np.errstate(divide="ignore"):  # of 0: minus infinity
            return links.LINKS[_link_of(self)].margin(links.floats(mean))

    def inverse_link(self, prediction: Any) -> np.ndarray:
        """What is predicted by margins: a mean, or a probability; the inverse of :meth:`link`.

        Parameters
        ----------
        prediction : array
            What the loss takes for its prediction.

        Returns
        -------
        array of the same shape, float32 where the predictions are, else float64

        Examples
        --------
        >>> import numbaloss as nl
        >>> nl.BinaryCrossEntropy().inverse_link([0.0]).tolist()
        [0.5]
        >>> nl.Poisson().link([1.0]).tolist()
        [0.0]
        """
        return links.LINKS[_link_of(self)].mean(links.floats(prediction))

    def closed_constant(self, target: np.ndarray, weight: np.ndarray | None) -> float | None:
        """The best constant of samples in closed form; None where there is none.

        ``target`` is finite and in the domain, in float64, and as the formula sees it: 0 and 1
        where targets are −1 and 1. Weights are above 0.
        """
        return None

    def best_constant(self, target: Any, sample_weight: Any = None) -> Any:
        """The constant prediction whose loss is least: where boosting should start.

        In closed form where there is one (the mean and its link, the median, a quantile), else by
        Newton's steps on the loss's own kernels, within an interval that its slope tells to have
        a minimum; of losses with several minima the best of some fifty candidates leads there.

        Parameters
        ----------
        target : array of shape (n,) or (n, C)
            Targets of the loss's domain; with C outputs each has a constant of its own.
        sample_weight : array of shape (n,), optional
            Weights >= 0. Samples of weight 0 may hold anything.

        Returns
        -------
        float, or array of shape (C,)
            A margin, as the loss takes its predictions: a logit, or the logarithm of a mean. It is
            always finite. Where the loss only falls towards infinity, as binary cross-entropy
            does where all labels are 1, it is ±34.54, the logit of all but 1e-15, as in LightGBM;
            the logarithm of a mean of 0 is -34.54.

        Raises
        ------
        ValueError
            No samples, or none with a weight; a target that is NaN, infinite or outside the
            domain; bad weights.
        TypeError
            Arrays of other dtypes.

        Examples
        --------
        >>> import numbaloss as nl
        >>> nl.AbsoluteError().best_constant([1.0, 2.0, 50.0])
        2.0
        >>> round(nl.BinaryCrossEntropy().best_constant([1, 0, 0, 0]), 6)
        -1.098612
        """
        given = samples(target, "target")
        if given.ndim not in (1, 2):
            raise ValueError(f"target has shape {given.shape}; expected (n,) or (n, C)")
        weight = weights(sample_weight, len(given))
        given, weight, where = counted(given, weight)
        refuse_outside(self, given, where, domain(self.target_domain))  # type: ignore[attr-defined]
        if given.ndim == 1:
            return _constant(self, given, weight)
        return np.array(
            [
                _constant(of_column(self, column, given.shape[1]), given[:, column], weight)
                for column in range(given.shape[1])
            ]
        )


def agreed(terms: Any) -> Any:
    """The hessian for boosting that the terms of a sum agree on, if none is subtracted.

    Sums of residuals are residuals, whatever the terms are.
    """
    if any(size < 0.0 for size, _ in terms):
        return None
    found = {term.boosting_hessian for _, term in terms}
    if found == {"exact", "secant"} and all(term.of_residual for _, term in terms):
        return "secant"
    return found.pop() if len(found) == 1 else None


def of_column(loss: Any, column: int, columns: int) -> Any:
    """The loss of one of several outputs, which may have weights of their own."""
    weight = loss.__dict__.get("pos_weight")
    if not isinstance(weight, np.ndarray):
        return loss
    if len(weight) != columns:
        raise ValueError(f"{loss!r} has {len(weight)} labels; the target has {columns} columns")
    return loss.replace(pos_weight=float(weight[column]))


def _link_of(loss: Any) -> str:
    name: str = loss.link_function
    if name not in links.LINKS:
        raise ValueError(f"{loss!r}: link_function must be one of {[*links.LINKS]}, not {name!r}")
    return name


def _constant(loss: Any, target: np.ndarray, weight: np.ndarray | None) -> float:
    if isinstance(loss.__dict__.get("pos_weight"), np.ndarray):
        raise ValueError(f"{loss!r} has a weight a label; the target has shape {target.shape}")
    signed = loss.__dict__.get("targets") == "signed"
    found = loss.closed_constant(0.5 * target + 0.5 if signed else target, weight)
    return float(found) if found is not None else _found(loss, target, weight)


def _found(loss: Any, target: np.ndarray, weight: np.ndarray | None) -> float:
    """The best constant, by the kernels."""
    link = links.LINKS[_link_of(loss)]
    of = domain(loss.prediction_domain)
    low, high = of.closed(np.dtype(np.float64))
    if link.limit is not None:
        low, high = max(low, -link.limit), min(high, link.limit)
    mean = minima.weighted_mean(target, weight)
    with np.errstate(all="ignore"):
        candidates = np.concatenate(
            [[0.0], _SIZES, -_SIZES, np.quantile(target, np.linspace(0.0, 1.0, 33)),
             link.margin(np.array([mean]))]
        )  # fmt: skip
    candidates = candidates[np.isfinite(candidates)]
    step = -(-len(target) // _TRIED)
    few = _sums(loss, target[::step], None if weight is None else weight[::step])
    start = candidates
    if step > 1:
        start = np.array([minima.number(few, candidates, low, high)])
        start = np.concatenate([start, start * (1 + 1e-3), start * (1 - 1e-3)])
    return minima.number(_sums(loss, target, weight), start, low, high)


def _sums(loss: Any, target: np.ndarray, weight: np.ndarray | None) -> minima.OfNumber:
    target = np.ascontiguousarray(target)
    weight = None if weight is None else np.ascontiguousarray(weight)
    prediction = np.empty_like(target)
    count = float(len(target))

    def found(at: float) -> tuple[float, float, float]:
        prediction.fill(at)
        value, gradient, hessian = loss.value_grad_hess(
            prediction, target, sample_weight=weight, reduction="sum"
        )
        return value / count, float(gradient.sum()) / count, float(hessian.sum()) / count

    return found
