"""Learn to find images of the same digit, by two losses of all pairs in a batch.

    python examples/embed_digits.py [--steps STEPS] [--plot FILE]

A small network maps the 64 pixels of an image to 2 or 8 numbers. BatchTriplet and
SupervisedContrastive train it, and the images of scikit-learn's digits that it has not seen
look for their like: recall@1 says how often the nearest image shows the same digit, mAP (mean
average precision) how far ahead all images of that digit come. A network that has never seen
three of the digits is asked about those, too. Needs scikit-learn; the plot needs matplotlib.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import numbaloss as nl

SEED = 0
STEPS = 600
HIDDEN = 64
RATE = 0.01
SAMPLES_A_CLASS = 32
SEEN = range(7)  # what the third task trains on; 7 to 9 are what it is asked about

# Mining, temperature and rate were chosen on 30 % of the training images, set aside.
LOSSES = {
    "BatchTriplet": nl.BatchTriplet(margin=1.0, mining="semi-hard"),
    "SupervisedContrastive": nl.SupervisedContrastive(temperature=0.1),
}


class Images(NamedTuple):
    pixels: np.ndarray
    digits: np.ndarray

    def where(self, chosen: np.ndarray) -> Images:
        return Images(self.pixels[chosen], self.digits[chosen])


class Task(NamedTuple):
    """Images to learn from, and images that look for their like in a gallery."""

    title: str
    size: int  # numbers an image
    training: Images
    queries: Images
    gallery: Images  # the queries again where nothing else shows their digits


class Retrieval(NamedTuple):
    recall: float
    precision: float


class Training(NamedTuple):
    """A network, and what the loss says of all training images before and after."""

    network: Network
    values: tuple[float, float]
    diagnoses: tuple[nl.Diagnosis, nl.Diagnosis]
    seconds: float


class Network:
    """Pixels to embeddings: one hidden layer of rectified linear units."""

    def __init__(self, inputs: int, outputs: int) -> None:
        random = np.random.default_rng(SEED)
        self.parameters = [
            random.normal(0, np.sqrt(2 / inputs), (inputs, HIDDEN)).astype(np.float32),
            np.zeros(HIDDEN, np.float32),
            random.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, outputs)).astype(np.float32),
            np.zeros(outputs, np.float32),
        ]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.forward(pixels)[1]

    def forward(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, first_bias, second, second_bias = self.parameters
        hidden = np.maximum(pixels @ first + first_bias, 0)
        return hidden, hidden @ second + second_bias

    def backward(
        self, pixels: np.ndarray, hidden: np.ndarray, gradient: np.ndarray
    ) -> list[np.ndarray]:
        """Gradients by the parameters, from that by the embeddings."""
        inner = (gradient @ self.parameters[2].T) * (hidden > 0)
        return [pixels.T @ inner, inner.sum(axis=0), hidden.T @ gradient, gradient.sum(axis=0)]


class Adam:
    """Adam, with a rate that falls to 0 along a cosine."""

    def __init__(self, parameters: list[np.ndarray], steps: int) -> None:
        self.parameters, self.steps, self.step = parameters, steps, 0
        self.means = [np.zeros_like(one) for one in parameters]
        self.squares = [np.zeros_like(one) for one in parameters]

    def __call__(self, gradients: list[np.ndarray]) -> None:
        self.step += 1
        rate = RATE * (1 + np.cos(np.pi * self.step / self.steps)) / 2
        for i in range(len(self.parameters)):
            self.means[i] += 0.1 * (gradients[i] - self.means[i])
            self.squares[i] += 0.001 * (gradients[i] ** 2 - self.squares[i])
            mean = self.means[i] / (1 - 0.9**self.step)
            square = self.squares[i] / (1 - 0.999**self.step)
            self.parameters[i] -= rate * mean / (np.sqrt(square) + 1e-8)


def train(loss: nl.LabelledEmbedding, task: Task, steps: int) -> Training:
    """Train on batches with the same number of images of every digit."""
    start = time.perf_counter()
    pixels, digits = task.training
    network = Network(pixels.shape[1], task.size)
    adam = Adam(network.parameters, steps)
    random = np.random.default_rng(SEED)
    classes = [np.flatnonzero(digits == digit) for digit in np.unique(digits)]

    before = network(pixels)
    for _ in range(steps):
        rows = np.concatenate(
            [random.choice(one, SAMPLES_A_CLASS, replace=False) for one in classes]
        )
        hidden, embeddings = network.forward(pixels[rows])
        _, gradient = loss.value_and_grad(embeddings, digits[rows])
        adam(network.backward(pixels[rows], hidden, gradient))
    after = network(pixels)
    # Of all training images at once, up to 1.6 million pairs: their matrix never exists.
    return Training(
        network,
        (loss(before, digits), loss(after, digits)),
        (loss.diagnose(before, digits), loss.diagnose(after, digits)),
        time.perf_counter() - start,
    )


def principal_components(task: Task) -> Callable[[np.ndarray], np.ndarray]:
    """The best linear map that knows no labels."""
    mean = task.training.pixels.mean(axis=0)
    _, _, directions = np.linalg.svd(task.training.pixels - mean, full_matrices=False)
    return lambda pixels: (pixels - mean) @ directions[: task.size].T


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def retrieve(task: Task, embed: Callable[[np.ndarray], np.ndarray]) -> Retrieval:
    """How well queries find images of their digit, the nearest first."""
    queries, gallery = (embed(one.pixels).astype(float) for one in (task.queries, task.gallery))
    squares = (queries**2).sum(axis=1)[:, None] + (gallery**2).sum(axis=1)
    distances = squares - 2 * queries @ gallery.T
    itself = task.queries is task.gallery
    if itself:
        np.fill_diagonal(distances, np.inf)
    order = np.argsort(distances, axis=1, kind="stable")
    order = order[:, :-1] if itself else order
    right = task.gallery.digits[order] == task.queries.digits[:, None]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    average = (precision * right).sum(axis=1) / right.sum(axis=1)
    return Retrieval(float(right[:, 0].mean()), float(average.mean()))


def make_tasks() -> list[Task]:
    pixels, digits = load_digits(return_X_y=True)
    images = Images((pixels / 16).astype(np.float32), digits)
    training, test = (
        images.where(rows)
        for rows in train_test_split(
            np.arange(len(digits)), test_size=0.3, stratify=digits, random_state=SEED
        )
    )
    seen = training.where(np.isin(training.digits, SEEN))
    unseen = images.where(~np.isin(images.digits, SEEN))
    return [
        Task("2 numbers", 2, training, test, training),
        Task("8 numbers", 8, training, test, training),
        Task("8, unseen digits", 8, seen, unseen, unseen),
    ]


def embeddings(
    task: Task, trainings: dict[str, Training]
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """All maps that a task compares, by name."""
    found = {
        "principal components": principal_components(task),
        "untrained network": Network(task.training.pixels.shape[1], task.size),
    }
    for name, training in trainings.items():
        network = training.network
        # Where a loss compares directions alone, so does who uses its embeddings.
        normalize = LOSSES[name].normalize
        found[name] = (lambda pixels, of=network: unit(of(pixels))) if normalize else network
    return found


def compare(
    tasks: list[Task], steps: int
) -> tuple[list[dict[str, Training]], list[dict[str, Retrieval]]]:
    """For every task: what was trained, and how well each map retrieves."""
    # A batch of 320 rows is too little to share: threads of a busy machine wait for each other.
    threads = numba.get_num_threads()
    numba.set_num_threads(1)
    with threadpool_limits(1, "blas"):
        trainings = [
            {name: train(loss, task, steps) for name, loss in LOSSES.items()} for task in tasks
        ]
    numba.set_num_threads(threads)
    retrievals = []
    for task, trained in zip(tasks, trainings):
        maps = {"all 64 pixels": lambda pixels: pixels, **embeddings(task, trained)}
        retrievals.append({name: retrieve(task, embed) for name, embed in maps.items()})
    return trainings, retrievals


def report(
    tasks: list[Task],
    trainings: list[dict[str, Training]],
    retrievals: list[dict[str, Retrieval]],
) -> None:
    print(
        f"{len(tasks[0].training.digits):,} images to learn from, "
        f"{len(tasks[0].queries.digits)} to ask about;\n"
        f"unseen digits: {len(tasks[2].training.digits)} images of 0 to 6 to learn from, "
        f"{len(tasks[2].queries.digits)} of 7 to 9 to ask about\n"
    )
    print(f"{'Retrieval, in %':22}" + "".join(f"{task.title:>19}" for task in tasks))
    print(f"{'':22}" + f"{'recall@1':>12}{'mAP':>7}" * len(tasks))
    for name in retrievals[0]:
        numbers = [number for found in retrievals for number in found[name]]
        cells = [f"{100 * number:{12 if i % 2 == 0 else 7}.1f}" for i, number in enumerate(numbers)]
        print(f"{name:22}" + "".join(cells))

    print(f"\n{'Training':22}{'loss':>19}{'active terms, %':>18}{'spread':>14}{'s':>6}")
    for task, trained in zip(tasks, trainings):
        print(task.title)
        for name, one in trained.items():
            loss = " → ".join(f"{value:.3f}" for value in one.values)
            active = " → ".join(f"{100 * d.active / d.terms:.1f}" for d in one.diagnoses)
            spread = " → ".join(f"{d.spread:.2f}" for d in one.diagnoses)
            print(f"  {name:21}{loss:>18}{active:>18}{spread:>14}{one.seconds:>6.1f}")


def plot(path: Path, task: Task, trained: dict[str, Training]) -> None:
    """Draw test images where each map of two numbers puts them."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import patheffects, pyplot

    titles = {
        "principal components": "Principal components",
        "untrained network": "Network, untrained",
        "BatchTriplet": "Network, BatchTriplet",
        "SupervisedContrastive": "Network, SupervisedContrastive*",
    }
    colours = pyplot.get_cmap("tab10").colors
    figure, axes = pyplot.subplots(2, 2, figsize=(9, 9.1), layout="constrained")
    for ax, (name, embed) in zip(axes.flat, embeddings(task, trained).items()):
        points = embed(task.queries.pixels)
        recall = retrieve(task, embed).recall
        middles = {}
        for digit in range(10):
            middles[digit] = np.median(points[task.queries.digits == digit], axis=0)
        if name in LOSSES and LOSSES[name].normalize:
            # A circle hides how many lie on one spot.
            points = points * np.random.default_rng(SEED).uniform(0.84, 1.0, (len(points), 1))
            middles = {digit: 1.1 * one for digit, one in zip(middles, unit([*middles.values()]))}
            ax.update_datalim([(-1.15, -1.15), (1.15, 1.15)])
        for digit in range(10):
            ax.scatter(
                *points[task.queries.digits == digit].T,
                s=14,
                color=colours[digit],
                alpha=0.8,
                linewidths=0,
                label=str(digit),
            )
        for digit, middle in middles.items():
            text = ax.text(
                *middle, str(digit), color=colours[digit], size=15, weight="bold",
                ha="center", va="center",
            )  # fmt: skip
            text.set_path_effects([patheffects.withStroke(linewidth=3, foreground="white")])
        ax.set_title(titles[name], loc="left", weight="bold", color="#2b2b2b")
        ax.set_title(f"recall@1 {100 * recall:.0f} %", loc="right", color="#777777", size=10.5)
        ax.set(xticks=[], yticks=[])
        ax.margins(0.08)
        ax.set_aspect("equal", adjustable="datalim")
        ax.spines[:].set_color("#d9d9d9")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    figure.suptitle(
        f"{len(task.queries.digits)} images not seen in training, in two numbers each",
        x=0.012, ha="left", weight="bold", size=15, color="#2b2b2b",
    )  # fmt: skip
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside lower center", ncols=10, frameon=False, markerscale=2, handletextpad=0.1,
        title="* directions only: points of a circle, drawn as a band to show how many there are",
        title_fontproperties={"size": 9.5},
    )  # fmt: skip
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="batches a training (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the embeddings")
    given = parser.parse_args()
    start = time.perf_counter()
    tasks = make_tasks()
    trainings, retrievals = compare(tasks, given.steps)
    report(tasks, trainings, retrievals)
    print(f"\n{time.perf_counter() - start:.1f} s in all, compilation included")
    if given.plot:
        plot(given.plot, tasks[0], trainings[0])


if __name__ == "__main__":
    main()
