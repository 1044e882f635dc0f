"""A run that is killed from outside: `python -m tests.train.resumed CHECKPOINT RESULT`."""

import hashlib
import json
import sys

import numpy as np

import numbaloss as nl
from numbaloss import train


def main(checkpoint: str | None) -> dict:
    """The bits that a run ends in; with dropout, restarts, a schedule and early stopping."""
    random = np.random.default_rng(5)
    x = random.normal(size=(240, 6))
    y = np.sin(x[:, 0]) + 0.3 * random.normal(size=240)
    model = train.MLP(6, (16,), activation="tanh", dropout=0.2, dtype=np.float64, seed=2)
    history = train.fit(
        model,
        nl.SquaredError(),
        (x[:180], y[:180]),
        validation=(x[180:], y[180:]),
        metrics=["mae"],
        optimizer=train.Adam(0.01),
        schedule=lambda step: 0.01 / (1 + 0.01 * step),
        early_stopping=train.EarlyStopping(patience=6),
        epochs=12,
        batch_size=12,
        restarts=2,
        checkpoint=None if checkpoint is None else train.Checkpoint(checkpoint, steps=4),
    )
    digest = hashlib.blake2b()
    for _, one in train.trees.named_leaves(model.parameters):
        digest.update(one.tobytes())
    runs = [
        {name: column for name, column in one.items() if name != "seconds"}
        for one in history.restarts
    ]
    return {"parameters": digest.hexdigest(), "best": history.best_epoch, "runs": runs}


if __name__ == "__main__":
    found = main(sys.argv[1])
    with open(sys.argv[2], "w") as file:
        json.dump(found, file)
