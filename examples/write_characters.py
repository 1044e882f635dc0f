"""The next character of a text: a language model through LinearCrossEntropy.

    python examples/write_characters.py [--fast] [--plot FILE]

The text are the descriptions of data sets that come with scikit-learn. The model sees the 16
characters before, each as a vector of 16 numbers, and a network makes 64 hidden numbers of them;
the last layer and the loss are one, `LinearCrossEntropy`, with label smoothing, so that logits
never all exist. Every tenth block of 500 characters is what it is asked about: bits a character,
beside those of how often characters, pairs and triples of them occur. Needs scikit-learn; the
picture needs matplotlib.
"""

from __future__ import annotations

from importlib import resources

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

BEFORE, SIZE, HIDDEN = 16, 16, 64


class Characters:
    """Vectors of the characters before, a network, and the weight of the last layer."""

    def __init__(self, letters, seed=0):
        random = np.random.default_rng(seed)
        self.embedding = train.Embedding(letters, SIZE, scale=0.3, seed=random)
        self.network = train.MLP(
            BEFORE * SIZE, (256,), HIDDEN, activation="gelu", dropout=0.1, seed=random
        )
        self.weight = random.normal(0, HIDDEN**-0.5, (HIDDEN, letters)).astype(np.float32)
        self.parameters = {
            "embedding": self.embedding.parameters,
            "network": self.network.parameters,
            "weight": self.weight,
        }

    def forward(self, before, training=False):
        vectors = self.embedding.forward(before, training).reshape(len(before), -1)
        return self.network.forward(vectors, training), self.weight

    def backward(self, gradient):
        by_hidden, by_weight = gradient
        by_network, g = self.network.backward(by_hidden, by_input=True)
        by_embedding = self.embedding.backward(g.reshape(-1, BEFORE, SIZE))
        return {"embedding": by_embedding, "network": by_network, "weight": by_weight}


def read_text():
    """Text to learn from, and text to ask about: every tenth block of 500 characters."""
    folder = resources.files("sklearn.datasets.descr")
    names = sorted(one.name for one in folder.iterdir() if one.name.endswith(".rst"))
    text = "".join((folder / name).read_text(encoding="utf-8") for name in names)
    blocks = [text[start : start + 500] for start in range(0, len(text), 500)]
    asked = set(range(9, len(blocks), 10))
    return ["".join(block for place, block in enumerate(blocks) if (place in asked) == wanted)
            for wanted in (False, True)]  # fmt: skip


def examples(codes):
    """Characters before each, and each."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, BEFORE + 1)
    return windows[:, :-1], windows[:, -1].astype(np.int64)


def by_counts(codes, asked, letters, length):
    """Bits a character by how often it followed the ``length`` before, mixed with shorter ones."""
    chance = np.full((len(asked) - BEFORE, letters), 1 / letters)
    for order in range(length + 1):
        power = letters ** np.arange(order)
        counts = np.zeros((letters**order, letters))
        keys = sum(
            (codes[place : len(codes) - order + place] * power[place] for place in range(order)),
            np.zeros(len(codes) - order, int),
        )
        np.add.at(counts, (keys, codes[order:]), 1)
        start = BEFORE - order
        keys = sum(
            (asked[start + p : len(asked) - order + p] * power[p] for p in range(order)),
            np.zeros(len(asked) - BEFORE, int),
        )
        seen = counts[keys]
        total = seen.sum(axis=1, keepdims=True)
        different = (seen > 0).sum(axis=1, keepdims=True)
        # Witten and Bell: the shorter context counts as often as there were different letters.
        below = np.maximum(total + different, 1)
        chance = np.where(total > 0, (seen + different * chance) / below, chance)
    return float(-np.log2(chance[np.arange(len(chance)), asked[BEFORE:]]).mean())


def write(model, letters, start, count, temperature=0.7):
    """Characters, one after the other."""
    random = np.random.default_rng(0)
    codes = list(start)
    for _ in range(count):
        hidden, weight = model.forward(np.array(codes[-BEFORE:])[None])
        logits = (hidden @ weight)[0].astype(np.float64) / temperature
        chance = np.exp(logits - logits.max())
        codes.append(random.choice(len(letters), p=chance / chance.sum()))
    return "".join(letters[one] for one in codes[len(start) :])


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    texts = read_text()
    letters = sorted(set("".join(texts)))
    codes, asked = (np.array([letters.index(one) for one in text]) for text in texts)
    if options.fast:
        codes, asked = codes[:12_000], asked[:2000]
    x, y = examples(codes)
    held = examples(asked)
    bits = {
        "characters": by_counts(codes, asked, len(letters), 0),
        "pairs": by_counts(codes, asked, len(letters), 1),
        "triples": by_counts(codes, asked, len(letters), 2),
    }
    epochs = 3 if options.fast else 12
    steps = epochs * -(-len(y) // 128)
    model = Characters(len(letters))
    exact = nl.LinearCrossEntropy()
    seen = []

    def look(epoch):
        hidden, weight = model.forward(held[0])
        seen.append(exact(hidden, weight, held[1]) / np.log(2))

    history = train.fit(
        model, nl.LinearCrossEntropy(label_smoothing=0.05), (x, y), validation=held, epochs=epochs,
        batch_size=128, optimizer=train.AdamW(weight_decay=0.1), clip=1.0, callbacks=[look],
        schedule=lambda step: 3e-3 * min(1, (step + 1) / 100) * (1 - step / steps) + 1e-5,
        early_stopping=train.EarlyStopping(patience=4),
    )  # fmt: skip
    hidden, weight = model.forward(held[0])
    bits["network"] = exact(hidden, weight, held[1]) / np.log(2)
    print(
        f"{len(y):,} characters of {len(letters)} kinds to learn from, {len(held[1]):,} asked for"
    )
    print("Bits a character, by")
    for name, one in bits.items():
        print(f"{name:12}{one:7.3f}")
    print("It writes:")
    start = [letters.index(one) for one in "The data set contains "]
    text = write(model, letters, start, 60 if options.fast else 240)
    print("\n".join(f"  {line[i : i + 76]}" for line in text.splitlines()
                    for i in range(0, max(len(line), 1), 76)))  # fmt: skip
    if options.plot:
        figure, axes = drawing.panels(2, width=4.2)
        axes[0].plot(history["epoch"], seen, color=drawing.RED, label="network")
        for name, colour in (("triples", drawing.BLUE), ("pairs", drawing.GREY)):
            axes[0].axhline(bits[name], color=colour, linestyle=":", label=name)
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "bits a character, of text not seen", "epoch")
        drawing.bars(
            axes[1], bits, "{:.2f}", (drawing.VIOLET, drawing.GREY, drawing.BLUE, drawing.RED)
        )
        drawing.title(axes[1], "after training")
        drawing.save(figure, options.plot)
    return bits


if __name__ == "__main__":
    main()
