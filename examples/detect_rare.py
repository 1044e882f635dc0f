"""Events of which there is one in 200: focal loss, weights and plain cross-entropy.

    python examples/detect_rare.py [--fast] [--plot FILE]

Readings of 12 sensors are made: usual ones come from three clouds, events from two small ones that
overlap them. The same network learns by the binary cross-entropy, by one that weighs events 20
times (pos_weight), and by the focal loss; all are asked which readings are events, the likeliest
first: average precision, and the share of events among as many readings as there are events. The
calibration error says how far probabilities are from frequencies. The picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

SENSORS, RARE = 12, 0.005
LOSSES = {
    "cross-entropy": nl.BinaryCrossEntropy(),
    "events weigh 20": nl.BinaryCrossEntropy(pos_weight=20.0),
    "focal, gamma 2": nl.Focal(gamma=2.0, alpha=0.5),
}


def make_readings(count, seed):
    """Readings (count, SENSORS), and 1 for an event."""
    world = np.random.default_rng(7)
    usual = world.normal(0, 1.5, (3, SENSORS))
    events = usual[:2] + world.normal(0, 0.75, (2, SENSORS))
    random = np.random.default_rng(seed)
    label = (random.random(count) < RARE).astype(np.int64)
    cloud = random.integers(0, 3, count)
    centre = np.where(label[:, None] == 1, events[cloud % 2], usual[cloud])
    spread = np.where(label == 1, 0.6, 1.0)[:, None]
    return (centre + spread * random.normal(size=(count, SENSORS))).astype(np.float32), label


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    sizes = (8000, 4000, 8000) if options.fast else (40_000, 20_000, 100_000)
    training, held, (x, y) = (make_readings(size, seed) for seed, size in enumerate(sizes))
    found, logits = {}, {}
    print(f"{sizes[0]:,} readings to learn from, {training[1].sum()} of them events")
    print(f"{'learned by':18}{'average precision':>19}{'precision':>11}{'calibration error':>19}")
    for name, loss in LOSSES.items():
        runs = []
        for seed in range(1 if options.fast else 3):
            model = train.MLP(SENSORS, (32, 32), seed=seed)
            train.fit(
                model, loss, training, validation=held, epochs=8 if options.fast else 30,
                batch_size=256, optimizer=train.AdamW(2e-3, weight_decay=0.02),
                metrics=["average_precision"], seed=seed,
                early_stopping=train.EarlyStopping("validation_average_precision", patience=8),
            )  # fmt: skip
            logits[name] = train.predict(model, x)
            likeliest = np.argsort(-logits[name], kind="stable")[: y.sum()]
            runs.append((
                nl.metrics.average_precision(logits[name], y),
                float(y[likeliest].mean()),
                nl.metrics.calibration_error(loss.inverse_link(logits[name]), y),
            ))  # fmt: skip
        one = found[name] = np.mean(runs, axis=0)
        print(f"{name:18}{one[0]:19.3f}{one[1]:11.3f}{one[2]:19.4f}")
    if options.plot:
        figure, axes = drawing.panels(2, width=4.2)
        for (name, one), colour in zip(logits.items(), drawing.COLOURS):
            order = np.argsort(-one, kind="stable")
            hits = np.cumsum(y[order])
            recall, precision = hits / y.sum(), hits / np.arange(1, len(y) + 1)
            some = np.unique(np.searchsorted(recall, np.linspace(0.01, 1, 300)))
            axes[0].plot(recall[some], precision[some], color=colour, label=name)
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "precision by recall", "share of the events", "precision")
        drawing.bars(axes[1], {name: one[0] for name, one in found.items()}, "{:.3f}")
        drawing.title(axes[1], "average precision")
        drawing.save(figure, options.plot)
    return {name: float(one[0]) for name, one in found.items()}


if __name__ == "__main__":
    main()
