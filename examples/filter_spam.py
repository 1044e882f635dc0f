"""Is a message spam? Binary cross-entropy over counts of words.

    python examples/filter_spam.py [--fast] [--plot FILE]

Messages are made: their words follow Zipf's law over 2,000 words, 80 of which spam uses more often
and 80 others less often; a fifth of the spam imitates proper mail. A linear model of log(1 +
count) learns by the binary cross-entropy, early stopping says when to stop, and the threshold is
the one that catches one proper message in 200 among those set aside. The picture needs matplotlib.
"""

from __future__ import annotations

import drawing
import numpy as np

import numbaloss as nl
from numbaloss import train

WORDS, MARKED, LENGTH = 2000, 80, 80
SPAM, IMITATING, ALLOWED = 0.3, 0.2, 0.005


def make_messages(count, seed):
    """Counts of words (count, WORDS), and 1 for spam."""
    random = np.random.default_rng(seed)
    usual = 1.0 / np.arange(3, WORDS + 3)
    # The same words for every seed: they are the language.
    language = np.random.default_rng(0)
    marked = language.choice(np.arange(40, WORDS), 2 * MARKED, replace=False)
    spam_words = usual.copy()
    spam_words[marked[:MARKED]] *= language.uniform(3, 12, MARKED)
    spam_words[marked[MARKED:]] /= language.uniform(3, 12, MARKED)
    usual, spam_words = usual / usual.sum(), spam_words / spam_words.sum()
    is_spam = (random.random(count) < SPAM).astype(np.int64)
    imitates = random.random(count) < IMITATING
    lengths = random.poisson(LENGTH, count) + 5
    counts = np.empty((count, WORDS), np.float32)
    for row in range(count):
        words = usual
        if is_spam[row]:
            words = 0.7 * usual + 0.3 * spam_words if imitates[row] else spam_words
        counts[row] = random.multinomial(lengths[row], words)
    return counts, is_spam


def main(arguments=None):
    options = drawing.options(__doc__, arguments)
    sizes = (1500, 500, 1000) if options.fast else (6000, 2000, 4000)
    (x, y), held, test = (
        (np.log1p(counts), labels)
        for counts, labels in (make_messages(size, seed) for seed, size in enumerate(sizes, 1))
    )
    model = train.Linear(WORDS, initialise="zeros")
    history = train.fit(
        model, nl.BinaryCrossEntropy(), (x, y), validation=held, metrics=["roc_auc"],
        optimizer=train.AdamW(0.01, weight_decay=0.1), epochs=60, batch_size=128,
        early_stopping=train.EarlyStopping(patience=5),
    )  # fmt: skip
    logit_held, logit = model.forward(held[0]), model.forward(test[0])
    threshold = float(np.quantile(logit_held[held[1] == 0], 1 - ALLOWED))
    caught, mail = logit[test[1] == 1] > threshold, logit[test[1] == 0] > threshold
    found = {
        "roc_auc": nl.metrics.roc_auc(logit, test[1]),
        "log_loss": nl.BinaryCrossEntropy()(logit, test[1]),
        "spam caught": float(caught.mean()),
        "mail lost": float(mail.mean()),
    }
    print(f"{len(y):,} messages to learn from, {len(test[1]):,} to filter, {SPAM:.0%} spam")
    print(f"stopped after epoch {len(history['loss'])}, the best was {history.best_epoch}")
    print(f"area under the ROC curve {found['roc_auc']:.4f}, log loss {found['log_loss']:.4f}")
    print(f"spam caught {found['spam caught']:.1%}, proper messages lost {found['mail lost']:.2%}")
    if options.plot:
        figure, axes = drawing.panels(3)
        axes[0].plot(history["epoch"], history["loss"], color=drawing.BLUE, label="training")
        axes[0].plot(
            history["epoch"], history["validation_loss"], color=drawing.RED, label="set aside"
        )
        axes[0].axvline(history.best_epoch, color=drawing.GREY, linewidth=0.8, linestyle=":")
        axes[0].legend(fontsize=8, frameon=False)
        drawing.title(axes[0], "binary cross-entropy", "epoch")
        for label, colour, name in ((0, drawing.BLUE, "mail"), (1, drawing.RED, "spam")):
            axes[1].hist(logit[test[1] == label], 60, color=colour, alpha=0.7, label=name)
        axes[1].axvline(threshold, color=drawing.GREY, linewidth=0.8)
        axes[1].legend(fontsize=8, frameon=False)
        drawing.title(axes[1], "messages by their logit", "logit")
        lost = np.linspace(0, 0.05, 200)
        bounds = np.quantile(logit[test[1] == 0], 1 - lost)
        shares = [float((logit[test[1] == 1] > bound).mean()) for bound in bounds]
        axes[2].plot(100 * lost, shares, color=drawing.BLUE)
        axes[2].plot([100 * mail.mean()], [caught.mean()], "o", color=drawing.RED)
        drawing.title(axes[2], "share of spam caught", "% of mail lost")
        drawing.save(figure, options.plot)
    return found


if __name__ == "__main__":
    main()
