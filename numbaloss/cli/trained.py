"""Folders of trained models: what is needed to predict, in JSON, and arrays in .npz."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..train import MLP
from ..train.trees import named_leaves
from .failures import Failure, UsageFailure, reading, writing
from .specification import read as read_loss
from .training_data import Scaling

FORMAT = 1
FILES = ("model.json", "model.npz", "history.json", "history.csv", "curve.png")


class Shifted:
    """A network whose outputs are scaled and moved: it learns what is around 0, of size 1.

    ``prediction = centre + scale * network(inputs)``; the centre is the best constant prediction,
    where learning starts.
    """

    def __init__(self, network: MLP, centre: np.ndarray, scale: float) -> None:
        self.network, self.centre, self.scale = network, centre, scale
        self.parameters = network.parameters

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Predictions of standardised inputs."""
        found = self.network.forward(inputs, training)
        found *= found.dtype.type(self.scale)
        found += self.centre.astype(found.dtype)
        return found

    def backward(self, gradient: np.ndarray) -> Any:
        """Gradients by the network's parameters."""
        gradient *= gradient.dtype.type(self.scale)
        return self.network.backward(gradient)

    def reset(self, seed: Any) -> None:
        """Start again, from other weights."""
        self.network.reset(seed)

    def state(self) -> Any:
        """Where dropout is."""
        return self.network.state()

    def load_state(self, state: Any) -> None:
        """Go on from there."""
        self.network.load_state(state)


class Trained(NamedTuple):
    """A model, and all that its predictions need."""

    model: Shifted
    scaling: Scaling
    loss_text: str
    loss: Any
    target: str
    features: tuple[str, ...]
    classes: tuple[str, ...] | None
    hidden: tuple[int, ...]
    activation: str
    real: str
    results: dict[str, Any]  # what training came to

    def describe(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {
            "format": FORMAT,
            "numbaloss": __version__,
            "loss": self.loss_text,
            "target": self.target,
            "features": list(self.features),
            "classes": None if self.classes is None else list(self.classes),
            "hidden": list(self.hidden),
            "activation": self.activation,
            "dtype": self.real,
            "formula": (
                "x = (features - mean) / deviation; h = activation(h @ weight + bias) for each "
                "layer but the last, which has no activation; prediction = centre + scale * h"
            ),
            "scale": self.model.scale,
            "results": self.results,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Parameters by name, and what inputs and outputs are moved by."""
        found = dict(named_leaves(self.model.parameters))
        moved = {"mean": self.scaling.mean, "deviation": self.scaling.deviation}
        return {**found, **moved, "centre": self.model.centre}


def check_folder(path: Path, force: bool) -> None:
    """Raise where a folder cannot be written, before any work is done."""
    with writing(path):
        if path.exists() and not path.is_dir():
            raise UsageFailure(f"--output {path} is a file; the model goes into a folder")
        if not path.absolute().parent.is_dir():
            raise Failure(f"cannot write {path}: the folder {path.parent} does not exist")
        there = sorted(one.name for one in path.iterdir()) if path.exists() else []
    if there and not force:
        raise UsageFailure(f"--output {path} is there already: name another, or give --force")
    if others := [one for one in there if one not in FILES]:
        raise UsageFailure(f"--output {path} holds {others[0]!r}, which --force does not delete")


def save(path: Path, trained: Trained, more: Callable[[Path], None]) -> None:
    """Write a folder, whole or not at all; ``more`` writes what else belongs into it."""
    temporary = path.absolute().parent / f".numbaloss-{secrets.token_hex(8)}.tmp"
    old = temporary.with_suffix(".old")
    with writing(path):
        try:
            temporary.mkdir()
            np.savez(temporary / "model.npz", **trained.arrays())  # type: ignore[arg-type]
            text = json.dumps(trained.describe(), indent=1) + "\n"
            (temporary / "model.json").write_text(text, encoding="utf-8")
            more(temporary)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        finally:
            for one in (temporary, old):
                shutil.rmtree(one, ignore_errors=True)


def load(path: Path) -> Trained:
    """Read a folder that :func:`save` has written."""
    for name in ("model.json", "model.npz"):
        if not (path / name).is_file():
            raise Failure(f"{path} is no folder of `numbaloss train`: it has no {name}")
    with reading(path / "model.json"):
        content = json.loads((path / "model.json").read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise Failure(f"{path} was written by another version, {content['numbaloss']}")
    with reading(path / "model.npz"), np.load(path / "model.npz", allow_pickle=False) as file:
        arrays = dict(file)
    _, loss = read_loss(content["loss"])
    classes = None if content["classes"] is None else tuple(content["classes"])
    features, hidden = tuple(content["features"]), tuple(content["hidden"])
    model = shifted(
        loss, len(features), hidden, content["activation"], classes, content["dtype"],
        arrays["centre"], content["scale"],
    )  # fmt: skip
    with reading(path / "model.npz"):
        for name, one in named_leaves(model.parameters):
            if arrays[name].shape != one.shape:
                raise ValueError(f"{name} has the shape {arrays[name].shape}, not {one.shape}")
            one[...] = arrays[name]
    return Trained(
        model, Scaling(arrays["mean"], arrays["deviation"]), content["loss"], loss,
        content["target"], features, classes, hidden, content["activation"], content["dtype"],
        content["results"],
    )  # fmt: skip


def shifted(
    loss: Any, inputs: int, hidden: tuple[int, ...], activation: str,
    classes: tuple[str, ...] | None, real: str, centre: np.ndarray, scale: float,
    dropout: float = 0.0, seed: int = 0,
) -> Shifted:  # fmt: skip
    """A network of the right sizes; a linear one starts at 0, where its loss has one minimum."""
    outputs = len(classes or ()) if loss.contract.of_classes else None
    network = MLP(
        inputs, hidden, outputs, activation=activation, dropout=dropout, dtype=real, seed=seed
    )
    if not hidden:
        network.layers[0].parameters["weight"][...] = 0
    return Shifted(network, np.asarray(centre), scale)
