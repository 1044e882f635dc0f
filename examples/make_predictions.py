"""Make the files in ``data/``: predictions of scikit-learn's models on its own data sets.

    python examples/make_predictions.py [FOLDER]

Every row is predicted by a model that has not seen it: five folds, shuffled with seed 0,
each predicted by a model that is fitted to the other four. Needs scikit-learn and pyarrow.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 0


def diabetes() -> pa.Table:
    """Progress of diabetes after a year, from ten measurements of 442 patients."""
    measurements, target = load_diabetes(return_X_y=True)
    folds = KFold(5, shuffle=True, random_state=SEED)
    ridge = Ridge(alpha=0.1)
    boosting = GradientBoostingRegressor(
        loss="huber", n_estimators=100, learning_rate=0.05, max_depth=2, random_state=SEED
    )
    return pa.table(
        {
            "row": np.arange(len(target)),
            "target": target,
            "ridge": cross_val_predict(ridge, measurements, target, cv=folds).round(4),
            "boosting": cross_val_predict(boosting, measurements, target, cv=folds).round(4),
        }
    )


def breast_cancer() -> pa.Table:
    """Whether a tumour is benign, from thirty measurements of its cells, 569 cases."""
    measurements, target = load_breast_cancer(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    logit = cross_val_predict(model, measurements, target, cv=folds, method="decision_function")
    return pa.table(
        {
            "row": np.arange(len(target)),
            "target": target.astype(np.int8),
            "logit": logit,
            "probability": 1.0 / (1.0 + np.exp(-logit)),
        }
    )


def digits() -> pa.Table:
    """Which digit an image of eight by eight points shows, 1797 images."""
    images, target = load_digits(return_X_y=True)
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    logits = cross_val_predict(model, images, target, cv=folds, method="decision_function")
    columns = {f"logit_{digit}": logits[:, digit].astype(np.float32) for digit in range(10)}
    return pa.table({"row": np.arange(len(target)), "target": target.astype(np.int8), **columns})


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = diabetes().to_pydict()
    rows = zip(*columns.values(), strict=True)
    with open(folder / "diabetes_predictions.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    pyarrow.parquet.write_table(breast_cancer(), folder / "breast_cancer_predictions.parquet")
    # Logits hardly repeat: dictionaries of them would make the file larger.
    numbers = {"use_dictionary": False, "compression": "zstd"}
    pyarrow.parquet.write_table(digits(), folder / "digits_predictions.parquet", **numbers)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "data")
