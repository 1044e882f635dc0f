"""``fit``: a model learns from data by a loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.loss import Loss
from ..registry import get
from .checkpoint import CheckpointError, load, save
from .data import source
from .evaluation import chosen_metrics
from .history import History
from .interrupts import Interrupts
from .layers import positive
from .monitors import Monitor
from .optimizers import Adam
from .products import one_blas_thread
from .progress import Progress
from .run import Epoch, Run, Settings, parameters_of, put_parameters
from .steps import Stepper
from .stopping import Best, EarlyStopping
from .trees import named_leaves

FORMAT = 1
# Rows of a batch that nothing is learned from, at least: products of more rows take less a row.
EVALUATION_ROWS = 1024


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept, and how often.

    Parameters
    ----------
    path : str or Path
        A file. It is there whole or not at all, at every moment.
    steps : int, optional
        Also after every so many steps; otherwise after epochs alone.
    """

    path: str | Path
    steps: int | None = None


def fit(
    model: Any,
    loss: Any,
    data: Any,
    *,
    validation: Any = None,
    metrics: Any = (),
    optimizer: Any = None,
    schedule: Any = None,
    early_stopping: EarlyStopping | None = None,
    clip: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    restarts: int = 1,
    seed: int = 0,
    checkpoint: str | Path | Checkpoint | None = None,
    callbacks: Iterable[Callable[[Epoch], Any]] = (),
    progress: bool | None = None,
    shuffle: bool = True,
    reduction: str = "mean",
    on_nonfinite: str = "raise",
    monitor: Monitor | None = None,
    one_thread: bool = True,
) -> History:
    """Teach a model, in place: its parameters move along the gradient of a loss.

    Parameters
    ----------
    model : model
        Parameters, ``forward`` and ``backward``: :mod:`numbaloss.train.models`.
    loss : loss, or name of one
        Of any structure; it is called with what ``forward`` returns, the target and the weights.
    data : tuple of arrays, or iterable of batches
        ``(inputs, target)`` or ``(inputs, target, weight)``, arrays or memory maps of n rows;
        ``(inputs,)`` for a loss without a target; ``inputs`` may be a tuple of arrays. Or a list or
        loader of such tuples, each a batch; or a function of the number of the epoch, from 0, that
        returns an iterator of them.
    validation : the same, optional
        Data to look at after each epoch, in order.
    metrics : names or objects of numbaloss.metrics, or a dict of them
        Computed on ``validation``, and without it on ``data`` after each epoch. They are given what
        predictions mean (``loss.inverse_link``), probabilities for logits.
    optimizer : optimiser
        :class:`Adam` unless told; its state goes on from where it is.
    schedule : callable, or ReduceOnPlateau, optional
        The learning rate of step 0, 1, ...; without it that of the optimiser.
    early_stopping : EarlyStopping, optional
        When to stop. Unless told otherwise the model gets the parameters of its best epoch.
    clip : float, or callable, optional
        Greatest length of the gradient, of all parameters together; or a function that changes
        gradients in place.
    epochs, batch_size : int
        How often the data are seen, and rows of a batch; the last one may be smaller.
    restarts : int
        Runs from different parameters (``model.reset(seed)``), of which the best epoch of all is
        kept; the first run starts from the parameters as they are.
    seed : int
        Of the order of rows, and of restarts.
    checkpoint : path or Checkpoint, optional
        The run is kept in this file after each epoch; if the file is there, the run goes on from
        it, to the same bits as if it had not been stopped.
    callbacks : callables
        Each is given an :class:`Epoch` after every epoch; one that returns True ends the run.
    progress : bool, optional
        Whether a line on stderr says how far it is; unless told, where that is a terminal.
    shuffle : bool
        Draw an order of rows for each epoch (PCG64). Batches of an iterable come as they are.
    reduction : {"mean", "weighted_mean", "sum"}
        What the gradient of a batch is that of.
    on_nonfinite : {"raise", "skip"}
        What becomes of a step whose loss or gradient is not finite; either way it does not reach
        the parameters.
    monitor : Monitor, optional
        Watches each step, layer by layer, and warns of gradients that vanish or explode. A run
        that goes on from a checkpoint watches anew.
    one_thread : bool
        Let BLAS take one thread a product. Results are then the same bits for any number of
        threads; models of this package share large products (of more than 256 rows or 2048
        columns) among Numba's threads themselves. Small networks are faster so; for wide layers
        and batches of up to 256 rows False may be, and bits then depend on BLAS's threads.

    Returns
    -------
    History
        Loss, metrics, learning rate, gradient norm, seconds, an epoch a row.

    Raises
    ------
    FloatingPointError
        For a loss or a gradient that is not finite, with the step and the parameter.
    CheckpointError
        For a checkpoint of another run.

    Notes
    -----
    The first Ctrl-C ends the run after its step, the second at once: what was learned is returned,
    the best epoch's parameters where they were to be restored.

    Examples
    --------
    >>> import numpy as np
    >>> import numbaloss as nl
    >>> from numbaloss import train
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 3))
    >>> model = train.Linear(3)
    >>> history = train.fit(model, nl.Huber(), (x, x @ [1.0, -2.0, 0.5] + 3.0),
    ...                     optimizer=train.Adam(0.05), epochs=30)
    >>> history["loss"][-1] < 1e-3 * history["loss"][0]
    True
    >>> [round(float(one), 1) for one in model.parameters["weight"][:, 0]]
    [1.0, -2.0, 0.5]
    """
    positive(epochs=epochs, batch_size=batch_size, restarts=restarts)
    loss = get(loss) if isinstance(loss, str) else loss
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be a loss or the name of one, not {loss!r}")
    if reduction not in ("mean", "weighted_mean", "sum"):
        raise ValueError(f'reduction must be "mean", "weighted_mean" or "sum", not {reduction!r}')
    if restarts > 1 and not hasattr(model, "reset"):
        raise TypeError("restarts need a model with reset(seed)")
    if isinstance(checkpoint, (str, Path)):
        checkpoint = Checkpoint(checkpoint)
    of_evaluation = batch_size if getattr(loss.contract, "in_batch", False) else max(
        batch_size, EVALUATION_ROWS
    )  # fmt: skip
    chosen = chosen_metrics(metrics)
    column, less = _monitored(early_stopping, validation, chosen)
    settings = Settings(
        model, loss,
        training=source(data, batch_size),
        validation=None if validation is None else source(validation, of_evaluation),
        metrics=chosen, epochs=epochs, shuffle=shuffle, reduction=reduction, one_thread=one_thread,
        early_stopping=early_stopping, monitor=column, less_is_better=less,
        keep_best=restarts > 1 or (early_stopping is not None and early_stopping.restore_best),
        callbacks=tuple(callbacks),
        every=None if checkpoint is None else checkpoint.steps,
    )  # fmt: skip
    optimizer = Adam() if optimizer is None else optimizer
    options = {
        "reduction": reduction, "clip": clip, "on_nonfinite": on_nonfinite, "monitor": monitor,
    }  # fmt: skip
    with one_blas_thread(one_thread), _skipping(optimizer), Interrupts() as interrupts:
        return _Restarts(settings, optimizer, schedule, options, restarts, seed, checkpoint).go(
            interrupts, progress
        )


@contextmanager
def _skipping(optimizer: Any) -> Iterator[None]:
    """Let an optimiser of ours say what it does not take: what becomes of it is told here."""
    before = getattr(optimizer, "on_nonfinite", None)
    if before is not None:
        optimizer.on_nonfinite = "skip"
    try:
        yield
    finally:
        if before is not None:
            optimizer.on_nonfinite = before


def _monitored(
    stopping: EarlyStopping | None, validation: Any, metrics: dict[str, Any]
) -> tuple[str, bool]:
    """Which column tells what is best, and whether less is better."""
    default = "loss" if validation is None else "validation_loss"
    monitor = default if stopping is None else stopping.monitor
    if stopping is not None and monitor == "validation_loss" and validation is None:
        raise ValueError('EarlyStopping looks at "validation_loss": give validation=, or a monitor')
    if stopping is not None and stopping.mode is not None:
        return monitor, stopping.mode == "min"
    metric = metrics.get(monitor.removeprefix("validation_"))
    return monitor, metric is None or metric.lower_is_better


class _Restarts:
    """One run after the other, and the best of them."""

    def __init__(
        self, settings: Settings, optimizer: Any, schedule: Any, options: dict[str, Any],
        restarts: int, seed: int, checkpoint: Checkpoint | None,
    ) -> None:  # fmt: skip
        self.settings, self.options, self.checkpoint = settings, options, checkpoint
        self.count, self.seed = restarts, seed
        self.optimizer, self.schedule = optimizer, schedule
        # Every run begins with the optimiser and the schedule as they were given.
        self.fresh = copy.deepcopy((optimizer, schedule)) if restarts > 1 else None
        self.finished: list[dict[str, Any]] = []  # of complete runs: history, best, parameters
        self.fingerprint = {
            "loss": repr(settings.loss),
            "data": settings.training.describe(),
            "parameters": [
                [name, list(one.shape), str(one.dtype)]
                for name, one in named_leaves(settings.model.parameters)
            ],
            "optimizer": type(optimizer).__name__,
            "restarts": restarts,
            "seed": seed,
            "shuffle": settings.shuffle,
            "reduction": settings.reduction,
        }

    def go(self, interrupts: Interrupts, progress: bool | None) -> History:
        kept = self._kept()
        while True:
            place = len(self.finished)
            run = self._run(place, progress)
            if kept is not None:
                run.load_state(kept["run"])
                kept = None
            elif place:
                self.settings.model.reset(np.random.SeedSequence([self.seed, place]))
            run.go(interrupts)
            run.progress.close()
            if self.count == 1:
                return self._only(run)
            self.finished.append(self._outcome(run))
            if interrupts.asked or len(self.finished) == self.count:
                return self._best_of_all()

    def _run(self, place: int, progress: bool | None) -> Run:
        optimizer, schedule = self.optimizer, self.schedule
        if place and self.fresh is not None:
            optimizer, schedule = copy.deepcopy(self.fresh)
        title = f"run {place + 1}/{self.count}" if self.count > 1 else ""
        seeds = np.random.SeedSequence([self.seed, place, 1])
        settings = self.settings
        return Run(
            settings,
            Stepper(settings.model, settings.loss, optimizer, **self.options),
            schedule,
            np.random.Generator(np.random.PCG64(seeds)),
            Progress(progress, settings.epochs, title),
            self._save,
        )

    def _only(self, run: Run) -> History:
        if self.settings.keep_best and run.best_parameters is not None:
            put_parameters(self.settings.model, run.best_parameters)
        return run.history

    def _outcome(self, run: Run) -> dict[str, Any]:
        parameters = run.best_parameters
        return {
            "history": run.history,
            "best": run.best.state(),
            "parameters": parameters_of(self.settings.model) if parameters is None else parameters,
        }

    def _best_of_all(self) -> History:
        histories: list[History] = [one["history"] for one in self.finished]
        chosen = 0
        for place in range(1, len(self.finished)):
            if self._best(place).beats(self._best(chosen)):
                chosen = place
        put_parameters(self.settings.model, self.finished[chosen]["parameters"])
        histories[chosen].restarts = histories
        return histories[chosen]

    def _best(self, place: int) -> Best:
        found = Best(self.settings.monitor, self.settings.less_is_better)
        found.load_state(self.finished[place]["best"])
        return found

    def _save(self, run: Run) -> None:
        if self.checkpoint is None:
            return
        finished = [{**one, "history": one["history"].to_dict()} for one in self.finished]
        content = {
            "format": FORMAT,
            "fit": self.fingerprint,
            "finished": finished,
            "run": run.state(),
        }
        save(self.checkpoint.path, content)

    def _kept(self) -> dict[str, Any] | None:
        """What the checkpoint holds, if there is one, of this very run."""
        if self.checkpoint is None or not Path(self.checkpoint.path).exists():
            return None
        path = self.checkpoint.path
        content = load(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CheckpointError(f"{path} is no checkpoint of this version")
        for name, mine in self.fingerprint.items():
            its = content["fit"].get(name)
            if its != mine:
                raise CheckpointError(
                    f"{path} is that of another run: its {name} is {its}, here {mine}; give "
                    f"another path, or delete the file"
                )
        for one in content["finished"]:
            self.finished.append({**one, "history": History.from_dict(one["history"])})
        return content
