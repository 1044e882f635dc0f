"""Handwritten digits by a network: cross-entropy, early stopping, restarts.

    python examples/read_digits.py [--fast] [--plot FILE]

The 1,797 images of 8 x 8 points that scikit-learn has: 60 % to learn from, 20 % to stop by, 20 %
to read. Three runs from different weights, of which the best by the second part is kept. Needs
scikit-learn; the picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np
from sklearn.datasets import load_digits

import numbaloss as nl
from numbaloss import train


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    images, digits = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(digits))
    first, second, third = np.split(order, [int(0.6 * len(order)), int(0.8 * len(order))])
    model = train.MLP(64, (64, 64), 10, activation="gelu", dropout=0.2)
    history = train.fit(
        model, nl.CrossEntropy(), (images[first], digits[first]),
        validation=(images[second], digits[second]), metrics=["accuracy"],
        optimizer=train.AdamW(2e-3), epochs=15 if options.fast else 150, batch_size=64,
        restarts=1 if options.fast else 3, clip=5.0,
        early_stopping=train.EarlyStopping(patience=15),
    )  # fmt: skip
    logits = train.predict(model, images[third])
    read = logits.argmax(axis=1)
    accuracy = nl.metrics.accuracy(logits, digits[third])
    print(f"{len(first):,} images to learn from, {len(third)} to read")
    for one in history.restarts or [history]:
        best = one.best
        print(
            f"best epoch {one.best_epoch:3} of {len(one['loss']):3}: loss of those set aside "
            f"{best['validation_loss']:.4f}, accuracy {best['validation_accuracy']:.3f}"
        )
    print(f"accuracy {accuracy:.3f}: {int((read != digits[third]).sum())} images misread")
    if options.plot:
        figure, axes = drawing.panels(3)
        axes[0].plot(history["epoch"], history["loss"], color=drawing.BLUE, label="training")
        axes[0].plot(
            history["epoch"], history["validation_loss"], color=drawing.RED, label="set aside"
        )
        axes[0].set_yscale("log")
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "cross-entropy", "epoch")
        matrix = nl.metrics.confusion_matrix(read, digits[third])
        axes[1].imshow(np.log1p(matrix), cmap="Blues")
        for row, column in np.argwhere(matrix > 0):
            colour = "white" if row == column else "black"
            axes[1].text(column, row, int(matrix[row, column]), ha="center", va="center",
                         fontsize=7, color=colour)  # fmt: skip
        axes[1].set_xticks(range(10))
        axes[1].set_yticks(range(10))
        drawing.title(axes[1], "how often digits were read as", "read", "written")
        # The images that were misread, or else the least certain ones.
        margin = np.sort(logits, axis=1)[:, -1] - logits[np.arange(len(third)), digits[third]]
        worst = np.argsort(-margin, kind="stable")[:12]
        # A row for what they are called, and space between them.
        tiles = np.zeros((3, 12, 4, 10), np.float32)
        tiles[:, 3:11, :, 1:9] = images[third[worst]].reshape(3, 4, 8, 8).transpose(0, 2, 1, 3)
        tiles = tiles.reshape(36, 40)
        axes[2].imshow(tiles, cmap="Greys")
        for place, one in enumerate(worst):
            said = f"{digits[third[one]]}→{read[one]}"
            axes[2].text(
                10 * (place % 4) + 2, 12 * (place // 4) + 2, said, fontsize=8, color=drawing.RED
            )
        axes[2].set_axis_off()
        drawing.title(axes[2], "the hardest: written → read")
        drawing.save(figure, options.plot)
    return {"accuracy": accuracy}


if __name__ == "__main__":
    main()
