"""Which films would somebody like? Matrix factorisation, with a model of one's own.

    python examples/rate_films.py [--fast] [--plot FILE]

Ratings are made: viewers and films have a level and a taste of six numbers, a rating is the sum of
the levels and the product of the tastes, with noise, rounded to halves between 0.5 and 5. Viewers
see the popular films more often, and those that they like. The model is two embeddings each for
viewers and films, learned by the squared error; what it is asked for are ratings that were kept
back. The picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

TASTE, NOISE = 6, 0.5


class Factors:
    """mean + level of the viewer + level of the film + product of their tastes."""

    def __init__(self, viewers, films, size, mean, seed=0):
        self.mean = np.float32(mean)
        self.taste = size > 0
        sizes = {"viewer level": (viewers, 1), "film level": (films, 1)}
        if self.taste:
            sizes |= {"viewer taste": (viewers, size), "film taste": (films, size)}
        self.tables = {
            name: train.Embedding(*shape, scale=0.1, seed=seed + place)
            for place, (name, shape) in enumerate(sizes.items())
        }
        self.parameters = {name: one.parameters for name, one in self.tables.items()}

    def forward(self, pairs, training=False):
        found = {
            name: table.forward(pairs[:, 0 if name.startswith("viewer") else 1], training)
            for name, table in self.tables.items()
        }
        result = self.mean + found["viewer level"][:, 0] + found["film level"][:, 0]
        if self.taste:
            self.tastes = found["viewer taste"], found["film taste"]
            result += np.einsum("ij,ij->i", *self.tastes)
        return result

    def backward(self, gradient):
        g = gradient[:, None]
        by = {"viewer level": g, "film level": g}
        if self.taste:
            by |= {"viewer taste": g * self.tastes[1], "film taste": g * self.tastes[0]}
        return {name: self.tables[name].backward(one) for name, one in by.items()}


def make_ratings(viewers, films, count, seed=0):
    """Pairs (count, 2) of viewer and film, ratings, and the ratings without noise."""
    random = np.random.default_rng(seed)
    levels = random.normal(0, 0.4, viewers), random.normal(0, 0.5, films)
    tastes = random.normal(0, 0.5, (viewers, TASTE)), random.normal(0, 0.5, (films, TASTE))
    truth = 3.4 + levels[0][:, None] + levels[1] + tastes[0] @ tastes[1].T
    popular = 1.0 / np.arange(1, films + 1) ** 0.6
    # Who likes a film sees it more often.
    chance = popular[random.permutation(films)] * np.exp(0.5 * (truth - truth.mean()))
    chosen = random.choice(truth.size, count, replace=False, p=(chance / chance.sum()).ravel())
    pairs = np.column_stack(np.unravel_index(chosen, truth.shape))
    mean = truth.ravel()[chosen]
    noisy = mean + random.normal(0, NOISE, count)
    return pairs, np.clip(np.round(2 * noisy) / 2, 0.5, 5).astype(np.float32), mean


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    viewers, films, count = (300, 200, 12_000) if options.fast else (1500, 800, 120_000)
    pairs, ratings, mean = make_ratings(viewers, films, count)
    first, held, test = np.split(np.arange(count), [int(0.8 * count), int(0.9 * count)])
    rmse = {"mean of all": float(np.std(ratings[test] - ratings[first].mean()))}
    histories = {}
    for name, size in (("levels alone", 0), ("levels and tastes", TASTE)):
        model = Factors(viewers, films, size, ratings[first].mean())
        assert train.check_model(model, pairs[:4], samples=3) < 0.05
        histories[name] = train.fit(
            model, nl.SquaredError(), (pairs[first], ratings[first]),
            validation=(pairs[held], ratings[held]), epochs=12 if options.fast else 40,
            optimizer=train.AdamW(5e-3, weight_decay=0.3), batch_size=512,
            early_stopping=train.EarlyStopping(patience=3),
        )  # fmt: skip
        rmse[name] = nl.metrics.rmse(train.predict(model, pairs[test]), ratings[test])
    rmse["the truth itself"] = nl.metrics.rmse(np.clip(mean[test], 0.5, 5), ratings[test])
    print(f"{len(first):,} ratings of {films:,} films by {viewers:,} viewers")
    print("Root mean squared error of ratings that were kept back")
    for name, error in rmse.items():
        print(f"{name:20}{error:8.3f}")
    if options.plot:
        figure, axes = drawing.panels(2, width=4.4)
        for (name, one), colour in zip(histories.items(), drawing.COLOURS):
            axes[0].plot(one["epoch"], np.sqrt(one["loss"]), "--", color=colour, linewidth=1)
            axes[0].plot(one["epoch"], np.sqrt(one["validation_loss"]), color=colour, label=name)
        axes[0].plot([], [], "--", color=drawing.GREY, linewidth=1, label="of those learned from")
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "root mean squared error", "epoch")
        drawing.bars(axes[1], rmse, "{:.3f}", (drawing.GREY, *drawing.COLOURS))
        drawing.title(axes[1], "of ratings kept back")
        drawing.save(figure, options.plot)
    return rmse


if __name__ == "__main__":
    main()
