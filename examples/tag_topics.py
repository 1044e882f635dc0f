"""Several labels at once: binary cross-entropy, weights of labels, the asymmetric focal loss.

    python examples/tag_topics.py [--fast] [--plot FILE]

Documents are made: each has one to four of twelve topics, some of them rare, and draws its words
from those. One network gives twelve logits a document. Documents that it has not seen are asked
for their topics: F1 over all labels (micro), the mean F1 of labels (macro), in which rare ones
count as much as frequent ones, and average precision, which needs no threshold. The picture needs
matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

TOPICS, WORDS, LENGTH = 12, 600, 40
FREQUENCY = 0.4 / np.arange(1, TOPICS + 1)


def make_documents(count, seed):
    """log(1 + counts of words) (count, WORDS), and topics (count, TOPICS) of 0 and 1."""
    language = np.random.default_rng(3)
    words = language.dirichlet(np.full(WORDS, 0.05), TOPICS)
    random = np.random.default_rng(seed)
    topics = (random.random((count, TOPICS)) < FREQUENCY).astype(np.float32)
    none = topics.sum(axis=1) == 0
    topics[none, random.integers(0, TOPICS, none.sum())] = 1
    counts = np.empty((count, WORDS), np.float32)
    for row in range(count):
        share = topics[row] @ words / topics[row].sum()
        # Six words in ten say nothing of the topic.
        counts[row] = random.multinomial(LENGTH, 0.4 * share / share.sum() + 0.6 / WORDS)
    return np.log1p(counts), topics


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    sizes = (2000, 500, 1000) if options.fast else (8000, 2000, 4000)
    training, held, (x, y) = (make_documents(size, seed) for seed, size in enumerate(sizes))
    share = training[1].mean(axis=0)
    losses = {
        "cross-entropy": nl.BinaryCrossEntropy(),
        "weighted labels": nl.BinaryCrossEntropy(pos_weight=np.sqrt((1 - share) / share).tolist()),
        "asymmetric focal": nl.AsymmetricFocal(),
    }
    found = {}
    by_label = {}
    print(f"{sizes[0]:,} documents to learn from, {y.sum(axis=1).mean():.2f} topics a document")
    print(f"{'learned by':18}{'micro F1':>10}{'macro F1':>10}{'average precision':>19}")
    for name, loss in losses.items():
        model = train.MLP(WORDS, (64,), TOPICS, dropout=0.3, seed=0)
        train.fit(
            model, loss, training, validation=held, epochs=6 if options.fast else 25,
            batch_size=128, optimizer=train.AdamW(3e-3, weight_decay=0.05),
            early_stopping=train.EarlyStopping(patience=4),
        )  # fmt: skip
        logits = train.predict(model, x)
        guessed = (logits > 0).astype(int)
        hits = (guessed * y).sum(axis=0)
        f1 = 2 * hits / np.maximum(guessed.sum(axis=0) + y.sum(axis=0), 1)
        micro = 2 * hits.sum() / (guessed.sum() + y.sum())
        precision = nl.metrics.average_precision(logits, y.astype(int), average=None)
        by_label[name] = f1
        found[name] = (float(micro), float(f1.mean()), float(np.mean(precision)))
        print(f"{name:18}{found[name][0]:10.3f}{found[name][1]:10.3f}{found[name][2]:19.3f}")
    if options.plot:
        figure, axes = drawing.panels(2, width=4.6)
        for (name, f1), colour in zip(by_label.items(), drawing.COLOURS):
            axes[0].plot(range(1, TOPICS + 1), f1, "o-", color=colour, markersize=4, label=name)
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "F1 of each topic", "topic, the most frequent first")
        drawing.bars(axes[1], {name: one[1] for name, one in found.items()}, "{:.3f}")
        drawing.title(axes[1], "mean F1 of topics")
        drawing.save(figure, options.plot)
    return {name: one[1] for name, one in found.items()}


if __name__ == "__main__":
    main()
