"""Will somebody click? Embeddings of what is known, and probabilities that hold.

    python examples/predict_clicks.py [--fast] [--plot FILE]

Impressions are made: a site of 400, an advertisement of 150, an hour, a device; sites and
advertisements belong to hidden themes, and clicks are likelier where themes agree. A logistic
regression adds a number for each; a network has a vector for each, and so can learn which go
together. Log loss, its share of what the mean rate alone has (normalized entropy), the area under
the ROC curve, and how far probabilities are from frequencies. The picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

SIZES = {"site": 400, "advertisement": 150, "hour": 24, "device": 3}
THEMES = 8


class Clicks:
    """A vector for each of four facts, side by side, and a network on top; or their sum."""

    def __init__(self, size, hidden, start, seed=0):
        # ``start`` is the logit of the mean rate: nothing else has to be learned of it.
        self.tables = [
            train.Embedding(rows, size, scale=0.1 if hidden else 0.0, seed=seed + place)
            for place, rows in enumerate(SIZES.values())
        ]
        self.network = train.MLP(size * len(SIZES), hidden, seed=seed) if hidden else None
        if self.network is None:
            self.tables[-1].parameters["vectors"] += start
        else:
            self.network.layers[-1].parameters["bias"] += start
        self.parameters = {
            "tables": [one.parameters for one in self.tables],
            "network": self.network.parameters if hidden else {},
        }

    def forward(self, facts, training=False):
        found = [one.forward(facts[:, place]) for place, one in enumerate(self.tables)]
        if self.network is None:
            return sum(found)[:, 0]
        return self.network.forward(np.concatenate(found, axis=1), training)

    def backward(self, gradient):
        if self.network is None:
            return {"tables": [t.backward(gradient[:, None]) for t in self.tables], "network": {}}
        by_network, g = self.network.backward(gradient, by_input=True)
        parts = np.split(g, len(SIZES), axis=1)
        tables = [table.backward(one) for table, one in zip(self.tables, parts)]
        return {"tables": tables, "network": by_network}


def make_impressions(count, seed):
    """Facts (count, 4), clicks, and the probabilities that they were drawn with."""
    world = np.random.default_rng(11)
    site = world.normal(0, 0.4, SIZES["site"]), world.integers(0, THEMES, SIZES["site"])
    advert = (
        world.normal(0, 0.4, SIZES["advertisement"]),
        world.integers(0, THEMES, SIZES["advertisement"]),
    )
    fit = world.normal(0, 0.9, (THEMES, THEMES))
    device = np.array([0.0, -0.3, 0.4])
    random = np.random.default_rng(seed)
    facts = np.column_stack([
        (SIZES["site"] * random.random(count) ** 2).astype(int),
        (SIZES["advertisement"] * random.random(count) ** 1.5).astype(int),
        random.integers(0, SIZES["hour"], count),
        random.choice(3, count, p=(0.3, 0.6, 0.1)),
    ])  # fmt: skip
    s, a, hour, d = facts.T
    logit = -2.6 + site[0][s] + advert[0][a] + fit[site[1][s], advert[1][a]] + device[d]
    logit += 0.4 * np.sin(2 * np.pi * (hour - 14) / 24)
    chance = 1 / (1 + np.exp(-logit))
    return facts, (random.random(count) < chance).astype(np.int64), chance


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    sizes = (20_000, 5000, 10_000) if options.fast else (200_000, 20_000, 100_000)
    made = [make_impressions(size, seed) for seed, size in enumerate(sizes)]
    (x, clicks, chance), training = made[2], made[0][:2]
    rate = clicks.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    found, probabilities = {}, {}
    start = nl.BinaryCrossEntropy().best_constant(training[1])
    models = {
        "logistic regression": Clicks(1, (), start),
        "embeddings": Clicks(8, (32,), start),
    }
    for name, model in models.items():
        train.fit(
            model, nl.BinaryCrossEntropy(), training, validation=made[1][:2], batch_size=512,
            epochs=8 if options.fast else 25,
            optimizer=train.AdamW(5e-3, weight_decay=0.02),
            early_stopping=train.EarlyStopping(patience=3),
        )  # fmt: skip
        logits = train.predict(model, x)
        probabilities[name] = nl.BinaryCrossEntropy().inverse_link(logits)
    probabilities["the truth itself"] = chance
    print(f"{sizes[0]:,} impressions to learn from, {rate:.1%} of those to predict are clicked")
    print(f"{'':20}{'log loss':>10}{'normalized':>12}{'ROC AUC':>10}{'calibration error':>19}")
    for name, p in probabilities.items():
        loss = nl.metrics.log_loss(p, clicks)
        auc = nl.metrics.roc_auc(p, clicks)
        off = nl.metrics.calibration_error(p, clicks)
        found[name] = loss / entropy
        print(f"{name:20}{loss:10.4f}{found[name]:12.3f}{auc:10.3f}{off:19.4f}")
    if options.plot:
        figure, axes = drawing.panels(2, width=4.4)
        axes[0].plot([0, 0.6], [0, 0.6], color=drawing.GREY, linewidth=0.8)
        for (name, p), colour in zip(list(probabilities.items())[:2], drawing.COLOURS):
            groups = np.array_split(np.argsort(p, kind="stable"), 20)
            said = [p[one].mean() for one in groups]
            axes[0].plot(said, [clicks[one].mean() for one in groups], "o-", color=colour,
                         markersize=4, linewidth=1, label=name)  # fmt: skip
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "clicked, of twentieths", "predicted", "clicked")
        drawing.bars(axes[1], found, "{:.3f}")
        drawing.title(axes[1], "log loss / that of the mean rate")
        drawing.save(figure, options.plot)
    return found


if __name__ == "__main__":
    main()
