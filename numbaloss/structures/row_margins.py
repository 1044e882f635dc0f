"""Margins and shares of losses of classes: links, and the best constant row."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ..core import links, minima
from ..core.loss import domain
from .margins import counted, refuse_outside, samples, weights


class RowMargins:
    """What rows of predictions mean, and which constant row is the best: of losses of classes.

    Attributes
    ----------
    boosting_hessian : {"exact", "fisher", "absolute", "upper"} or None
        The second derivative that trees of boosting should divide by: see
        :func:`numbaloss.boosting.derivatives`. None: nobody has said so.
    """

    boosting_hessian: ClassVar[Any] = None

    @property
    def link_function(self) -> str:
        """``"softmax"`` of logits; ``"identity"`` of probabilities, and of scores."""
        loss: Any = self
        return "softmax" if loss.takes_logits and not loss.relative_to_label else "identity"

    def link(self, mean: Any) -> np.ndarray:
        """Logits of probabilities: their logarithms, times the temperature of the loss.

        Losses of probabilities and of scores take these as they are.

        Parameters
        ----------
        mean : array of shape (..., C)
            Probabilities.

        Returns
        -------
        array of the same shape, float32 where the probabilities are, else float64
        """
        found = links.floats(mean)
        if self.link_function == "identity":
            return found
        with np.errstate(divide="ignore"):  # of 0: minus infinity
            return np.log(found) * found.dtype.type(_temperature(self))

    def inverse_link(self, prediction: Any) -> np.ndarray:
        """Probabilities of logits, ``softmax(x / temperature)``; the inverse of :meth:`link`.

        Parameters
        ----------
        prediction : array of shape (..., C)
            What the loss takes for its prediction.

        Returns
        -------
        array of the same shape, float32 where the predictions are, else float64

        Examples
        --------
        >>> import numbaloss as nl
        >>> nl.CrossEntropy().inverse_link([[0.0, 0.0]]).tolist()
        [[0.5, 0.5]]
        """
        found = links.floats(prediction)
        if self.link_function == "identity":
            return found
        return links.softmax(found / found.dtype.type(_temperature(self)))

    def closed_shares(self, mass: np.ndarray) -> np.ndarray | None:
        """The best constant probabilities in closed form, up to a factor; None where there is none.

        ``mass`` is the weighted sum of targets, with their label smoothing, of shape (C,).
        """
        return None

    def best_constant(
        self, target: Any, sample_weight: Any = None, *, classes: int | None = None
    ) -> np.ndarray:
        """The constant row whose loss is least: where boosting should start.

        In closed form where there is one (the logarithms of the classes' shares), else by BFGS on
        the loss's own kernels.

        Parameters
        ----------
        target : array of integers of shape (n,), or array of shape (n, C)
            Labels, or dense targets.
        sample_weight : array of shape (n,), optional
            Weights >= 0. Rows of weight 0 may hold anything; rows with the label that the loss
            ignores do not count.
        classes : int, optional
            How many classes there are, where labels do not define it: the default is the length
            of the loss's class weights, or one more than the largest label.

        Returns
        -------
        array of shape (C,)
            A margin a class: logits, whose softmax (over the temperature) sums to 1, or
            probabilities where the loss takes these. It is always finite: a class without rows
            gets the share 1e-15, as in LightGBM, and so the logit -34.54.

        Raises
        ------
        ValueError
            No rows, or none that counts; a label outside the classes; dense targets that are NaN
            or outside the domain; bad weights.
        TypeError
            Arrays of other dtypes.

        Examples
        --------
        >>> import numbaloss as nl
        >>> start = nl.CrossEntropy().best_constant([0, 1, 1, 1])
        >>> nl.CrossEntropy().inverse_link(start).round(6).tolist()
        [0.25, 0.75]
        """
        loss: Any = self
        given = samples(target, "target")
        if given.ndim not in (1, 2):
            raise ValueError(f"target has shape {given.shape}; expected (n,) or (n, C)")
        form = "labels" if given.ndim == 1 else "dense"
        if form not in loss.accepts:
            raise ValueError(f"{loss!r} takes {' or '.join(loss.accepts)}, not {form}")
        weight = weights(sample_weight, len(given))
        given, weight, where = counted(given, weight)
        weight = np.ones(len(given)) if weight is None else weight
        if form == "dense":
            refuse_outside(loss, given, where, domain(loss.target_domain))
            return _of_rows(loss, given, weight)
        labels, weight = _labels(loss, given, weight, where, classes)
        # Rows of one label have one loss: a row a class is enough.
        size = _classes(loss, labels, classes)
        return _of_rows(loss, np.arange(size), np.bincount(labels, weight, size))


def _temperature(loss: Any) -> float:
    return float(loss.row_options().temperature)


def _classes(loss: Any, labels: np.ndarray, classes: int | None) -> int:
    weight = loss.row_options().class_weight
    if classes is None:
        classes = len(weight) if weight is not None else int(labels.max()) + 1
    bad = (labels < 0) | (labels >= classes)
    if bad.any():
        raise ValueError(
            f"a target is {labels[bad.argmax()]}; labels of {classes} classes are 0 to "
            f"{classes - 1}"
        )
    return classes


def _labels(
    loss: Any, given: np.ndarray, weight: np.ndarray, where: np.ndarray, classes: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Whole labels of rows that count."""
    bad = ~(given == np.floor(given))
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(f"target[{where[first]}] is {given[first]:g}; labels are whole numbers")
    labels = given.astype(np.int64)
    ignored = loss.row_options().ignore_index
    if ignored is not None and (labels == ignored).any():
        counts = labels != ignored
        labels, weight = labels[counts], weight[counts]
        if not len(labels):
            raise ValueError("all rows are ignored: there is no best constant of no rows")
    return labels, weight


def _of_rows(loss: Any, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The best row of labels 0 to C - 1, or of dense targets."""
    dense = target.ndim == 2
    size = target.shape[1] if dense else len(target)
    options, temperature = loss.row_options(), _temperature(loss)
    seen = links.softmax(target / temperature) if loss.dense_logits else target
    mass = weight @ seen if dense else weight
    smoothing = options.label_smoothing
    mass = mass * (1.0 - smoothing) + smoothing / size * mass.sum()
    found = loss.closed_shares(mass)
    if found is not None and found.sum() > 0.0:
        shares = _shares(found)
        return temperature * np.log(shares) if loss.takes_logits else shares
    rows = np.ascontiguousarray(target)
    total = float(weight.sum())

    def at(margins: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities = links.softmax(margins)
        row = temperature * margins if loss.takes_logits else probabilities
        prediction = np.ascontiguousarray(np.broadcast_to(row, (len(rows), size)))
        value, gradient = loss.value_and_grad(
            prediction, rows, sample_weight=weight, reduction="sum"
        )
        slope = gradient.sum(axis=0) / total
        if loss.takes_logits:
            slope = slope * temperature
        else:  # probabilities that sum to 1, by way of their logits
            slope = probabilities * (slope - slope @ probabilities)
        return value / total, slope

    starts = [np.log(_shares(mass)), np.zeros(size)]
    if loss.relative_to_label:
        # Corners of hinges, which no slope leads to.
        heavy = mass if options.class_weight is None else mass * options.class_weight
        starts.append(minima.levels(at, heavy, loss.__dict__.get("margin", 1.0)))
    margins = minima.vector(at, starts)
    if loss.relative_to_label:
        return margins - margins.mean()
    shares = _shares(links.softmax(margins))
    return temperature * np.log(shares) if loss.takes_logits else shares


def _shares(mass: np.ndarray) -> np.ndarray:
    """Shares of a whole, none of them 0."""
    return np.maximum(mass / mass.sum(), links.LEAST_SHARE)
