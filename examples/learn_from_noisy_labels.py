"""Labels of which four in ten are wrong: cross-entropy and losses that forgive.

    python examples/learn_from_noisy_labels.py [--fast] [--plot FILE]

The digits of scikit-learn, 70 % to learn from; four in ten of their labels are replaced by a digit
drawn at random. The same network learns by cross-entropy, by the generalized cross-entropy and by
the symmetric one, and is asked about images whose labels are right, after every epoch. Needs
scikit-learn; the picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np
from sklearn.datasets import load_digits

import numbaloss as nl
from numbaloss import train

NOISE = 0.4
LOSSES = {
    "cross-entropy": nl.CrossEntropy(),
    "generalized": nl.GeneralizedCrossEntropy(q=0.7),
    "symmetric": nl.SymmetricCrossEntropy(),
}


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    random = np.random.default_rng(0)
    order = random.permutation(len(digits))
    first, test = np.split(order, [int(0.7 * len(order))])
    labels = digits[first].copy()
    wrong = random.random(len(first)) < NOISE
    labels[wrong] = random.integers(0, 10, wrong.sum())
    curves, found = {}, {}
    seeds = range(1 if options.fast else 3)
    for name, loss in LOSSES.items():
        runs = []
        for seed in seeds:
            model = train.MLP(64, (128,), 10, seed=seed)
            history = train.fit(
                model, loss, (images[first], labels), validation=(images[test], digits[test]),
                metrics=["accuracy"], optimizer=train.Adam(3e-3), batch_size=64, seed=seed,
                epochs=40 if options.fast else 120,
            )  # fmt: skip
            runs.append(history["validation_accuracy"])
        curves[name] = np.mean(runs, axis=0)
        found[name] = float(curves[name][-1])
    print(f"{len(first):,} images, {np.mean(labels != digits[first]):.0%} of their labels wrong")
    print(f"{'accuracy by':18}{'best epoch':>12}{'last epoch':>12}")
    for name, curve in curves.items():
        print(f"{name:18}{curve.max():12.3f}{curve[-1]:12.3f}")
    if options.plot:
        figure, axes = drawing.panels(2, width=4.2)
        for (name, curve), colour in zip(curves.items(), drawing.COLOURS):
            axes[0].plot(range(1, len(curve) + 1), curve, color=colour, label=name)
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "accuracy on images with right labels", "epoch")
        drawing.bars(axes[1], found, "{:.3f}")
        drawing.title(axes[1], "accuracy after the last epoch")
        drawing.save(figure, options.plot)
    return found


if __name__ == "__main__":
    main()
