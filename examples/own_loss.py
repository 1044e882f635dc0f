"""A loss of one's own, by its value alone: derivatives, a plot, and gradient boosting with it.

    python examples/own_loss.py [--plot FILE]

What is missing costs more than what is left over, and a forecast is to be dear or cheap
accordingly: a smooth quantile loss. LightGBM learns with its gradient and hessian how far the
disease of scikit-learn's diabetes patients will get, when to underestimate it is four times as bad
as to overestimate it. Needs scikit-learn; the training needs lightgbm, the plot matplotlib.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

import numbaloss as nl

SEED = 0
# Few and small trees, for few patients.
BOOSTING = {"n_estimators": 60, "learning_rate": 0.1, "num_leaves": 8, "min_child_samples": 20}


class Shortage(nl.Elementwise):
    """What a forecast costs: ``short`` a unit that is missing, 1 a unit that is left over.

    Around the target the two meet in a bend of some ``width``, so that there is a hessian.
    """

    short: float = 4.0
    width: float = 10.0
    bounds: ClassVar = {"short": "(0, inf)", "width": "(0, inf)"}

    def value(self, prediction, target):
        missing = (target - prediction) / self.width
        return self.width * (self.short * nl.softplus(missing) + nl.softplus(-missing))


def boosted(loss: nl.Elementwise | None) -> tuple[np.ndarray, np.ndarray]:
    """Targets and predictions of patients not learned from; None: the squared error."""
    from numbaloss.lightgbm import Regressor

    patients = train_test_split(*load_diabetes(return_X_y=True), random_state=SEED)
    training, test, target, truth = patients
    model = Regressor(loss or nl.SquaredError(), random_state=SEED, n_jobs=1, **BOOSTING)
    return truth, model.fit(training, target).predict(test)


def report(loss: Shortage) -> None:
    """Print what boosting by each loss comes to."""
    print(f"{'boosting by':24}{'cost a patient':>16}{'underestimated':>16}")
    for title, chosen in (("squared error", None), (repr(loss), loss)):
        truth, prediction = boosted(chosen)
        cost = np.where(truth > prediction, loss.short, 1.0) * abs(truth - prediction)
        low = (prediction < truth).mean()
        print(f"{title if chosen is None else 'Shortage':24}{cost.mean():16.1f}{low:15.0%}")


def plot(loss: Shortage, path: Path) -> None:
    """Draw value, gradient and hessian over the prediction."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    prediction = np.linspace(-60.0, 60.0, 601)
    found = loss.value_grad_hess(prediction, np.zeros_like(prediction), reduction="none")
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for one, numbers, title in zip(axes, found, ("value", "gradient", "hessian")):
        one.plot(prediction, numbers, color="#1f6f8b", linewidth=2)
        one.set_title(title, loc="left", fontsize=11)
        one.set_xlabel("prediction, where the target is 0", fontsize=9)
        one.axvline(0.0, color="#8a8a8a", linewidth=0.8, linestyle=":")
        one.axhline(0.0, color="#8a8a8a", linewidth=0.8)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the loss")
    given = parser.parse_args()
    loss = Shortage()
    rng = np.random.default_rng(SEED)
    prediction, target = rng.normal(150.0, 60.0, (2, 1000))
    error = nl.check_gradient(loss, prediction, target)
    print(f"{loss!r}: beyond their rounding, differences leave the gradient by {error:.0e}\n")
    if find_spec("lightgbm") is None:
        print("to learn with it: python -m pip install lightgbm")
    else:
        report(loss)
    if given.plot is not None:
        plot(loss, given.plot)


if __name__ == "__main__":
    main()
