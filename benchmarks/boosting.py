"""Rounds of boosting by the libraries' own objective, by ours, and by one in NumPy.

    python -m benchmarks.boosting [--rows 1000000] [--rounds 20] [--json FILE]

Binary cross-entropy (and for LightGBM three classes). Rounds take turns, and the least of each is
shown: the first rounds of a training are the same trees, and others may use the machine. The
objective alone is timed on the same margins.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import numbaloss as nl

FEATURES, SEED = 20, 0


def numpy_binary(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What people write."""
    p = 1.0 / (1.0 + np.exp(-prediction))
    return p - target, p * (1.0 - p)


def numpy_classes(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    power = np.exp(prediction - prediction.max(axis=1, keepdims=True))
    p = power / power.sum(axis=1, keepdims=True)
    gradient = p.copy()
    gradient[np.arange(len(target)), target.astype(int)] -= 1.0
    return gradient, 2.0 * p * (1.0 - p)


def least(call: Callable[[], Any], times: int) -> float:
    """The shortest of some runs, in ms."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return 1e3 * min(found)


def turns(rounds: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """The shortest round of each, taken in turn, in ms."""
    for one in rounds.values():
        one()
    found = dict.fromkeys(rounds, np.inf)
    for _ in range(count):
        for name, one in rounds.items():
            found[name] = min(found[name], least(one, 1))
    return found


def of_xgboost(x: np.ndarray, y: np.ndarray, rounds: int) -> dict[str, float]:
    import xgboost

    from numbaloss.xgboost import objective

    data = xgboost.QuantileDMatrix(x, y)
    ours = objective(nl.BinaryCrossEntropy())

    def in_numpy(prediction: np.ndarray, given: Any) -> tuple[np.ndarray, np.ndarray]:
        return numpy_binary(prediction, given.get_label())

    calls: dict[str, Callable[[], Any]] = {}
    for name, function in (("builtin", None), ("ours", ours), ("numpy", in_numpy)):
        model = xgboost.Booster({"objective": "binary:logistic", "base_score": 0.5}, [data])
        calls[name] = lambda model=model, f=function: model.update(data, 0, fobj=f)
    found = turns(calls, rounds)
    margin = np.random.default_rng(1).normal(size=len(y)).astype(np.float32)
    found["objective, ours"] = least(lambda: ours(margin, data), rounds)
    found["objective, numpy"] = least(lambda: in_numpy(margin, data), rounds)
    return found


def of_lightgbm(x: np.ndarray, y: np.ndarray, rounds: int, classes: int) -> dict[str, float]:
    import lightgbm

    from numbaloss.lightgbm import objective

    loss = nl.BinaryCrossEntropy() if classes == 1 else nl.CrossEntropy()
    own = {"objective": "binary"} if classes == 1 else {"objective": "multiclass"}
    common = {"verbose": -1, "metric": "None"} | ({"num_class": classes} if classes > 1 else {})
    plain = numpy_binary if classes == 1 else numpy_classes
    ours = objective(loss)
    calls: dict[str, Callable[[], Any]] = {}
    data = lightgbm.Dataset(x, y).construct()
    for name, function in (
        ("builtin", None), ("ours", ours), ("numpy", lambda p, d: plain(p, d.get_label())),
    ):  # fmt: skip
        model = lightgbm.Booster(
            common | (own if function is None else {"objective": "none"}), data
        )
        calls[name] = lambda model=model, f=function: model.update(fobj=f)
    found = turns(calls, rounds)
    shape = (len(y),) if classes == 1 else (len(y), classes)
    margin = np.asfortranarray(np.random.default_rng(1).normal(size=shape))
    found["objective, ours"] = least(lambda: ours(margin, data), rounds)
    found["objective, numpy"] = least(lambda: plain(margin, data.get_label()), rounds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(given.rows, FEATURES)).astype(np.float32)
    signal = x[:, 0] + x[:, 1] * x[:, 2] + rng.normal(size=given.rows)
    binary, classes = (signal > 0).astype(np.float32), np.digitize(signal, [-0.5, 0.5])
    found = {
        "XGBoost, two classes": of_xgboost(x, binary, given.rounds),
        "LightGBM, two classes": of_lightgbm(x, binary, given.rounds, 1),
        "LightGBM, three classes": of_lightgbm(x, classes.astype(np.float32), given.rounds, 3),
    }
    print(f"{given.rows:,} x {FEATURES}, ms a round; the objective alone")
    print(f"{'':26}{'builtin':>9}{'ours':>9}{'NumPy':>9}{'ours/b.':>9}{'ours':>9}{'NumPy':>9}")
    for title, one in found.items():
        ratio = one["ours"] / one["builtin"]
        print(
            f"{title:26}{one['builtin']:9.1f}{one['ours']:9.1f}{one['numpy']:9.1f}{ratio:9.2f}"
            f"{one['objective, ours']:9.2f}{one['objective, numpy']:9.2f}"
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
