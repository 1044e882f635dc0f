"""One network on the digits, three ways: numbaloss, scikit-learn, PyTorch.

    python -m benchmarks.training [--epochs N] [--seeds N] [--json FILE]

The same network (64 inputs, 100 ReLU, 10 classes), the same data (float32), Adam with its defaults,
batches of 64, no early stopping. Seeds are run in turns, numbaloss, scikit-learn, PyTorch, so that
whatever else the machine does meets all three. An epoch's time is that of the whole run through
the number of epochs, without validation, after one epoch that compiles and warms up; the least of
the seeds counts. Needs scikit-learn and PyTorch: `python -m pip install ".[peers]"`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.peers.machine import describe, processors
from numbaloss import train

HIDDEN, BATCH, RATE = 100, 64, 1e-3

Data = tuple[np.ndarray, np.ndarray]


def data() -> tuple[Data, Data]:
    """Images and digits, to learn from and to read."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(y))
    first, second = np.split(order, [int(0.7 * len(y))])
    return (x[first], y[first]), (x[second], y[second])


def with_numbaloss(first: Data, x: np.ndarray, seed: int, epochs: int) -> tuple[np.ndarray, float]:
    """Digits read, and seconds."""
    model = train.MLP(64, (HIDDEN,), 10, initialise="xavier", seed=seed)
    start = time.perf_counter()
    train.fit(
        model, "cross_entropy", first, optimizer=train.Adam(RATE), epochs=epochs, batch_size=BATCH,
        seed=seed, progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return model.forward(x).argmax(axis=1), seconds


def with_sklearn(first: Data, x: np.ndarray, seed: int, epochs: int) -> tuple[np.ndarray, float]:
    """The same by MLPClassifier."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (HIDDEN,), alpha=0.0, batch_size=BATCH, learning_rate_init=RATE, max_iter=epochs, tol=0.0,
        n_iter_no_change=epochs + 1, random_state=seed,
    )  # fmt: skip
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        model.fit(*first)
    seconds = time.perf_counter() - start
    return model.predict(x), seconds


def with_torch(
    first: Data, x: np.ndarray, seed: int, epochs: int, threads: int = 0
) -> tuple[np.ndarray, float]:
    """The same by the usual loop, rows gathered from tensors."""
    import torch

    torch.set_num_threads(threads or processors())
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Linear(64, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
    )
    for layer in (model[0], model[2]):
        torch.nn.init.xavier_uniform_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images, digits = torch.tensor(first[0]), torch.tensor(first[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    start = time.perf_counter()
    for _ in range(epochs):
        for rows in torch.randperm(len(digits)).split(BATCH):
            optimizer.zero_grad()
            loss(model(images[rows]), digits[rows]).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return model(torch.tensor(x)).argmax(dim=1).numpy(), seconds


def with_torch_alone(
    first: Data, x: np.ndarray, seed: int, epochs: int
) -> tuple[np.ndarray, float]:
    """On one thread, which is faster for so small a network."""
    return with_torch(first, x, seed, epochs, 1)


WAYS: dict[str, Callable[[Data, np.ndarray, int, int], tuple[np.ndarray, float]]] = {
    "numbaloss": with_numbaloss,
    "scikit-learn": with_sklearn,
    "PyTorch, one thread": with_torch_alone,
    "PyTorch, all threads": with_torch,
}


def run(epochs: int, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Accuracies and seconds an epoch of each way, seed by seed."""
    first, (x, y) = data()
    found: dict[str, dict[str, list[float]]] = {
        name: {"accuracy": [], "seconds": []} for name in WAYS
    }
    for way in WAYS.values():
        way(first, x, 0, 1)
    for seed in range(seeds):
        for name, way in WAYS.items():
            read, seconds = way(first, x, seed, epochs)
            found[name]["accuracy"].append(float((read == y).mean()))
            found[name]["seconds"].append(seconds / epochs)
    return found


def main(arguments: list[str] | None = None) -> dict[str, dict[str, list[float]]]:
    """Run, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = run(options.epochs, options.seeds)
    print("| | accuracy, mean | least to greatest | ms an epoch | / numbaloss |")
    print("|---|---:|---:|---:|---:|")
    ours = min(found["numbaloss"]["seconds"])
    for name, one in found.items():
        accuracy, seconds = one["accuracy"], min(one["seconds"])
        print(
            f"| {name} | {statistics.mean(accuracy):.4f} | {min(accuracy):.4f} to "
            f"{max(accuracy):.4f} | {1e3 * seconds:.2f} | {seconds / ours:.2f} |"
        )
    if options.json:
        content = {
            "machine": describe(processors()),
            "epochs": options.epochs,
            "seeds": options.seeds,
            "results": found,
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return found


if __name__ == "__main__":
    main()
