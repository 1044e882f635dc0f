"""Regression where some targets are wrong: the squared, the absolute error and Huber's loss.

    python examples/learn_with_outliers.py [--fast] [--plot FILE]

The progress of diabetes by ten measurements (442 patients, from scikit-learn). One target in ten of
those to learn from has lost its decimal point, and is ten times too large. Linear models learn by
three losses, once from the wrong and once from the right targets, and predict targets that are
right, in five folds. Needs scikit-learn; the picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np
from sklearn.datasets import load_diabetes

import numbaloss as nl
from numbaloss import train

LOSSES = {"squared error": nl.SquaredError(), "absolute error": nl.AbsoluteError(),
          "Huber, delta 30": nl.Huber(delta=30.0)}  # fmt: skip
FOLDS = 5
WRONG = 0.1


def learn(loss, x, y, epochs):
    """A linear model; predictions start at the loss's best constant, in units of 100."""
    model = train.Linear(x.shape[1], initialise="zeros", dtype=np.float64)
    model.parameters["bias"][...] = loss.best_constant(y) / 100
    train.fit(
        model, _in_hundreds(loss), (x, y / 100), epochs=epochs, batch_size=32,
        optimizer=train.Adam(), schedule=lambda step: 0.05 / (1 + 0.01 * step),
    )  # fmt: skip
    return model


def _in_hundreds(loss):
    return loss.replace(delta=loss.delta / 100) if isinstance(loss, nl.Huber) else loss


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    x, y = load_diabetes(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    random = np.random.default_rng(0)
    order = random.permutation(len(y))
    wrong = np.where(random.random(len(y)) < WRONG, 10.0, 1.0)
    predicted = {(name, kind): np.empty(len(y)) for name in LOSSES for kind in ("wrong", "right")}
    folds = np.array_split(order, FOLDS)[: 2 if options.fast else FOLDS]
    for held in folds:
        learned = np.setdiff1d(order, held)
        for name, loss in LOSSES.items():
            for kind, factor in (("wrong", wrong[learned]), ("right", 1.0)):
                model = learn(loss, x[learned], y[learned] * factor, 20 if options.fast else 60)
                predicted[name, kind][held] = 100 * model.forward(x[held])
    rows = np.concatenate(folds)
    errors = {one: nl.metrics.mae(found[rows], y[rows]) for one, found in predicted.items()}
    print(f"Mean absolute error for {len(rows)} patients (targets from {y.min():g} to {y.max():g})")
    print(f"{'learned by':18}{'right targets':>16}{'1 in 10 wrong':>16}")
    for name in LOSSES:
        print(f"{name:18}{errors[name, 'right']:16.1f}{errors[name, 'wrong']:16.1f}")
    if options.plot:
        figure, axes = drawing.panels(3)
        for axis, name, colour in zip(
            axes, ("squared error", "Huber, delta 30"), (drawing.BLUE, drawing.GREEN)
        ):
            axis.plot([0, 350], [0, 350], color=drawing.GREY, linewidth=0.8)
            axis.plot(y[rows], predicted[name, "wrong"][rows], ".", color=colour, markersize=3)
            axis.set_ylim(0, 560)
            drawing.title(axis, f"{name}, 1 in 10 wrong", "progress", "prediction")
        drawing.bars(axes[2], {name: errors[name, "wrong"] for name in LOSSES}, "{:.1f}")
        drawing.title(axes[2], "mean absolute error")
        drawing.save(figure, options.plot)
    return {f"{name}, {kind}": error for (name, kind), error in errors.items()}


if __name__ == "__main__":
    main()
