"""Fit: what it learns, what it reports, when it stops, what it refuses."""

import os
import signal
import threading
import tracemalloc

import numpy as np
import pytest

import numbaloss as nl
from numbaloss import train

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 4))
SLOPE = np.array([1.0, -2.0, 0.5, 0.0])
Y = X @ SLOPE + 1.0 + 0.1 * RANDOM.normal(size=300)
LABELS = (Y > 1.0).astype(np.int64)


def linear(outputs=None, **options):
    return train.Linear(4, outputs, dtype=np.float64, **options)


def bits(model):
    return [one.tobytes() for _, one in train.trees.named_leaves(model.parameters)]


def columns(history):
    """All columns that do not tell the time."""
    return {name: column for name, column in history.items() if name != "seconds"}


def test_it_finds_the_slopes():
    model = linear()
    history = train.fit(model, nl.SquaredError(), (X, Y), optimizer=train.Adam(0.05), epochs=40)
    best = np.linalg.lstsq(np.column_stack([X, np.ones(300)]), Y, rcond=None)[0]
    found = np.append(model.parameters["weight"], model.parameters["bias"])
    np.testing.assert_allclose(found, best, atol=0.01)
    assert history["epoch"] == list(range(1, 41))
    assert history.stopped == "epochs"
    assert {len(column) for column in history.values()} == {40}


def test_full_batches_are_steps_of_gradient_descent():
    model, mine = linear(seed=1), linear(seed=1)
    train.fit(model, "mse", (X, Y), optimizer=train.SGD(0.1), epochs=5, batch_size=300)
    w, b = mine.parameters["weight"][:, 0], mine.parameters["bias"]
    for _ in range(5):
        residual = X @ w + b - Y
        # SquaredError is the square, with its factor 2 in the gradient.
        w -= 0.1 * 2 * X.T @ residual / 300
        b -= 0.1 * 2 * residual.mean()
    np.testing.assert_allclose(model.parameters["weight"][:, 0], w, rtol=1e-10)
    np.testing.assert_allclose(model.parameters["bias"], b, rtol=1e-10)


def test_validation_loss_is_that_of_all_rows_at_once():
    model = linear()
    # 4000 rows: three batches of 1024, and a smaller one.
    x = RANDOM.normal(size=(4000, 4))
    y, weight = x @ SLOPE, RANDOM.random(4000)
    history = train.fit(model, "huber", (X, Y), validation=(x, y, weight), epochs=2)
    expected = nl.Huber()(model.forward(x), y, sample_weight=weight)
    assert history["validation_loss"][-1] == pytest.approx(expected, rel=1e-13)


def test_training_loss_counts_rows_not_batches():
    model = linear()
    history = train.fit(model, "huber", (X, Y), optimizer=train.SGD(0.0), epochs=1, batch_size=128)
    assert history["loss"][0] == pytest.approx(nl.Huber()(model.forward(X), Y), rel=1e-13)
    logits = linear(3, seed=2)
    labels = np.where(RANDOM.random(300) < 0.3, -100, RANDOM.integers(0, 3, 300))
    loss = nl.CrossEntropy(ignore_index=-100, class_weight=[1.0, 2.0, 0.5])
    weight = RANDOM.random(300)
    for reduction in ("mean", "weighted_mean", "sum"):
        history = train.fit(
            logits, loss, (X, labels, weight), optimizer=train.SGD(0.0), epochs=1, batch_size=128,
            reduction=reduction, validation=(X, labels, weight),
        )  # fmt: skip
        whole = loss(logits.forward(X), labels, sample_weight=weight, reduction=reduction)
        assert history["loss"][0] == pytest.approx(whole, rel=1e-12)
        assert history["validation_loss"][0] == pytest.approx(whole, rel=1e-12)


@pytest.mark.exhaustive
def test_metrics_see_probabilities_and_name_themselves():
    model = linear()
    history = train.fit(
        model, nl.BinaryCrossEntropy(), (X, LABELS), validation=(X[:99], LABELS[:99]),
        metrics=["accuracy", nl.metrics.RocAuc(), nl.Mean(nl.Hinge())], epochs=3,
        optimizer=train.Adam(0.1),
    )  # fmt: skip
    logit = model.forward(X[:99])
    probability = 1 / (1 + np.exp(-logit))
    assert history["validation_accuracy"][-1] == np.mean((probability > 0.5) == LABELS[:99])
    assert history["validation_roc_auc"][-1] == nl.metrics.roc_auc(logit, LABELS[:99])
    assert history["validation_hinge"][-1] == pytest.approx(nl.Hinge()(logit, LABELS[:99]))
    other = train.fit(linear(), "bce", (X, LABELS), metrics="accuracy", epochs=1)
    assert "accuracy" in other
    assert "validation_loss" not in other


def test_early_stopping_restores_the_best_epoch():
    noise = (X[:20], RANDOM.normal(size=20))
    model = train.MLP(4, (64,), dtype=np.float64)
    stop = train.EarlyStopping(patience=3)
    seen = {}

    def remember(event):
        seen[event.number] = [one.copy() for one in train.trees.leaves(event.model.parameters)]

    history = train.fit(
        model, "mse", noise, validation=(X[20:60], RANDOM.normal(size=40)), epochs=300,
        optimizer=train.Adam(0.02), early_stopping=stop, callbacks=[remember],
    )  # fmt: skip
    assert history.stopped == "early stopping"
    assert history.best_epoch == int(np.argmin(history["validation_loss"])) + 1
    assert len(history["epoch"]) == history.best_epoch + 3
    for mine, its in zip(train.trees.leaves(model.parameters), seen[history.best_epoch]):
        np.testing.assert_array_equal(mine, its)


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    import numba

    x = RANDOM.normal(size=(700, 300))
    y = x[:, :3].sum(axis=1)
    found = []
    before = numba.get_num_threads()
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            with threadpoolctl.threadpool_limits(4 if threads > 1 else 1):
                model = train.MLP(300, (600,), dropout=0.1, dtype=np.float64)
                history = train.fit(
                    model, "mse", (x, y), validation=(x, y), epochs=2, batch_size=512
                )
            found.append((bits(model), columns(history)))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]
    model = train.MLP(300, (600,), dropout=0.1, dtype=np.float64)
    train.fit(model, "mse", (x, y), epochs=2, batch_size=512, seed=1)
    assert bits(model) != found[0][0]


@pytest.mark.parametrize("one_thread", [True, False])
def test_blas_takes_as_many_threads_as_it_may(one_thread):
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def of_blas():
        found = threadpoolctl.threadpool_info()
        return [one["num_threads"] for one in found if one["prefix"] == "libscipy_openblas"]

    class Spy(train.MLP):
        def forward(self, inputs, training=False):
            seen.append(of_blas())
            return super().forward(inputs, training)

        def backward(self, gradient, by_input=False):
            found = super().backward(gradient, by_input)
            seen.append(of_blas())
            return found

    seen = []
    with threadpoolctl.threadpool_limits(2):
        before = of_blas()
        if 2 not in before:
            pytest.skip("NumPy's BLAS is another one, or has one thread")
        model = Spy(4, (5,), dtype=np.float64)
        train.fit(model, "mse", (X, Y), epochs=1, one_thread=one_thread)
        assert of_blas() == before
    # SciPy may bring an OpenBLAS of its own, which stays as it is.
    assert all((one == before) != one_thread for one in seen)
    assert seen


def test_restarts_keep_the_best_and_report_all():
    model = train.MLP(4, (3,), activation="tanh", dtype=np.float64)
    first = bits(model)
    histories = []
    for _ in range(2):
        model.reset(0)
        histories.append(
            train.fit(
                model,
                "mse",
                (X, Y),
                validation=(X, Y),
                epochs=4,
                restarts=3,
                optimizer=train.Adam(0.02),
                schedule=lambda step: 0.02,
            )
        )
    assert columns(histories[0]) == columns(histories[1])
    history = histories[0]
    ends = [one.best["validation_loss"] for one in history.restarts]
    assert len(set(ends)) == 3
    assert history.best["validation_loss"] == min(ends)
    assert nl.SquaredError()(model.forward(X), Y) == pytest.approx(min(ends), rel=1e-12)
    alone = train.MLP(4, (3,), activation="tanh", dtype=np.float64)
    assert bits(alone) == first
    one = train.fit(alone, "mse", (X, Y), validation=(X, Y), epochs=4, optimizer=train.Adam(0.02))
    assert columns(one) == columns(history.restarts[0])
    with pytest.raises(TypeError, match="restarts need a model with reset"):
        train.fit(Own(), "mse", (X, Y), restarts=2)


class Own:
    """A model of somebody's own: the product of two factors."""

    def __init__(self):
        self.parameters = {"a": np.full(4, 0.5), "b": [np.ones(1)]}

    def forward(self, inputs, training=False):
        self.x = inputs
        return inputs @ self.parameters["a"] * self.parameters["b"][0]

    def backward(self, gradient):
        a, b = self.parameters["a"], self.parameters["b"][0]
        return {"a": self.x.T @ gradient * b, "b": [np.atleast_1d(gradient @ (self.x @ a))]}


def test_models_of_ones_own_fit():
    model = Own()
    assert train.check_model(model, X[:5]) < 1e-9
    history = train.fit(model, "mse", (X, X @ SLOPE), optimizer=train.Adam(0.05), epochs=30)
    assert history["loss"][-1] < 1e-3 * history["loss"][0]


class Tokens:
    """A model whose loss has the last layer's weight."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.parameters = random.normal(size=(4, 2)), random.normal(size=(2, 3))

    def forward(self, inputs, training=False):
        self.x = inputs
        return inputs @ self.parameters[0], self.parameters[1]

    def backward(self, gradient):
        by_hidden, by_weight = gradient
        return self.x.T @ by_hidden, by_weight


@pytest.mark.exhaustive
def test_losses_of_several_arrays_fit():
    model, labels = Tokens(), RANDOM.integers(0, 3, 300)
    assert train.check_model(model, X[:5]) < 1e-9
    loss = nl.LinearCrossEntropy()
    history = train.fit(model, loss, (X, labels), validation=(X, labels), epochs=1)
    hidden, weight = model.forward(X)
    assert history["validation_loss"][0] == pytest.approx(loss(hidden, weight, labels), rel=1e-12)
    with pytest.raises(TypeError, match="metrics need one prediction"):
        train.fit(model, loss, (X, labels), metrics="accuracy", epochs=1)


class Towers:
    """Two maps of the inputs, for a loss that compares them and needs no target."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.parameters = {"query": random.normal(size=(4, 3)), "key": random.normal(size=(4, 3))}

    def forward(self, inputs, training=False):
        self.x = inputs
        return inputs[0] @ self.parameters["query"], inputs[1] @ self.parameters["key"]

    def backward(self, gradient):
        return {name: x.T @ g for name, x, g in zip(self.parameters, self.x, gradient)}


@pytest.mark.exhaustive
def test_losses_without_a_target_fit():
    model, other = Towers(), X + 0.1 * RANDOM.normal(size=X.shape)
    assert train.check_model(model, (X[:5], other[:5])) < 1e-9
    history = train.fit(
        model, nl.InfoNCE(), ((X, other),), validation=((X[:100], other[:100]),), epochs=2,
        batch_size=100, optimizer=train.Adam(0.05),
    )  # fmt: skip
    assert history["loss"][1] < history["loss"][0]
    value = nl.InfoNCE()(*model.forward((X[:100], other[:100])))
    assert history["validation_loss"][1] == pytest.approx(value, rel=1e-12)


def test_schedules_and_clipping_reach_the_steps():
    model = linear()
    rates = []
    history = train.fit(
        model, "mse", (X, Y), epochs=3, batch_size=100, optimizer=train.SGD(1.0), clip=0.01,
        schedule=lambda step: rates.append(step) or 0.1 / (1 + step),
    )  # fmt: skip
    assert rates == list(range(9))
    assert history["learning_rate"] == [0.1 / 3, 0.1 / 6, 0.1 / 9]
    assert min(history["gradient_norm"]) > 1.0
    moved = np.linalg.norm(
        np.append(
            model.parameters["weight"] - linear().parameters["weight"], model.parameters["bias"]
        )
    )
    assert moved <= 0.01 * sum(0.1 / (1 + step) for step in range(9)) * (1 + 1e-9)
    halved = []
    train.fit(model, "mse", (X, Y), epochs=1, clip=halved.append)
    assert len(halved) == 10


def test_a_plateau_hears_of_each_epoch():
    plateau, same = (train.ReduceOnPlateau(0.1, factor=0.5, patience=0) for _ in range(2))
    noise = X, RANDOM.normal(size=300)
    history = train.fit(
        linear(), "mse", noise, schedule=plateau, optimizer=train.SGD(1.0), epochs=12
    )
    rates = [0.1, *(same.update(loss) for loss in history["loss"])]
    assert history["learning_rate"] == rates[:-1]
    assert plateau.learning_rate == rates[-1] < 0.1


def test_a_monitor_watches_each_layer():
    monitor = train.Monitor(on_finding="ignore")
    train.fit(train.MLP(4, (5,), dtype=np.float64), "mse", (X, Y), epochs=2, monitor=monitor)
    assert monitor.history["step"] == list(range(20))
    assert np.isfinite(monitor.history["loss"]).all()
    assert list(monitor.history["gradient_norm"]) == ["layers.0", "layers.1"]


def test_rows_are_copied_once():
    x = np.ones((100_000, 20))
    y = np.arange(100_000.0)
    model = train.Linear(20, dtype=np.float64)
    options = {"epochs": 2, "batch_size": 1000, "optimizer": train.Adam()}
    train.fit(model, "mse", (x[:2000], y[:2000]), **options)
    tracemalloc.start()
    train.fit(model, "mse", (x, y), **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The order of rows, and what is left of the former one.
    assert peak < 2 * 8 * len(x) + 1_000_000 < 0.2 * x.nbytes


@pytest.mark.parametrize("shuffle", [True, False])
def test_memory_maps_give_the_same_bits(tmp_path, shuffle):
    for name, one in (("x", X), ("y", Y)):
        np.save(tmp_path / f"{name}.npy", one)
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    models = linear(), linear()
    for model, data in zip(models, ((X, Y), (x, y))):
        train.fit(model, "mse", data, epochs=2, shuffle=shuffle)
    assert bits(models[0]) == bits(models[1])


def test_iterables_and_functions_give_batches():
    batches = [(X[start : start + 50], Y[start : start + 50]) for start in range(0, 300, 50)]
    models = linear(), linear(), linear()
    train.fit(models[0], "mse", (X, Y), batch_size=50, shuffle=False, epochs=3)
    train.fit(models[1], "mse", batches, epochs=3)
    train.fit(models[2], "mse", lambda epoch: iter(batches), epochs=3)
    assert bits(models[0]) == bits(models[1]) == bits(models[2])
    train.fit(models[1], "mse", iter(batches), epochs=1)
    with pytest.raises(ValueError, match="at its end after one epoch"):
        train.fit(models[1], "mse", iter(batches), epochs=2)
    with pytest.raises(ValueError, match="no batches"):
        train.fit(models[1], "mse", [])
    with pytest.raises(TypeError, match="a batch must be"):
        train.fit(models[1], "mse", [X])


def test_inputs_stay_as_they_are():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    train.fit(train.MLP(4, (5,), dtype=np.float64), "mse", (x, y), epochs=2, validation=(x, y))
    np.testing.assert_array_equal(x, X)


def test_what_is_not_finite_stops_before_the_parameters():
    x = X.copy()
    x[7, 2] = np.nan
    model = train.MLP(4, (5,), dtype=np.float64)
    before = bits(model)
    with pytest.raises((FloatingPointError, ValueError)):
        train.fit(model, "mse", (x, Y), shuffle=False, epochs=1)
    assert bits(model) == before
    huge = X.copy()
    huge[7] = 1e200
    with pytest.raises(FloatingPointError, match="the loss is inf in step 0"):
        train.fit(model, "mse", (huge, Y), shuffle=False, epochs=1)
    assert bits(model) == before
    history = train.fit(
        model, "mse", (huge, Y), shuffle=False, epochs=2, batch_size=50, on_nonfinite="skip"
    )
    assert history["skipped"] == [1, 1]
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(one).all() for one in train.trees.leaves(model.parameters))


@pytest.fixture
def interruptible():
    """Ctrl-C as it usually is: shells let what they run in the background ignore it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def test_ctrl_c_returns_what_was_learned(interruptible):
    def interrupt(event):
        if event.number == 3:
            signal.raise_signal(signal.SIGINT)

    stop = train.EarlyStopping(monitor="loss", patience=50)
    model = linear()
    history = train.fit(
        model, "mse", (X, Y), epochs=1000, callbacks=[interrupt], early_stopping=stop
    )
    assert history.stopped == "interrupted"
    assert len(history["epoch"]) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    other = linear()
    train.fit(other, "mse", (X, Y), epochs=3, early_stopping=stop)
    assert bits(model) == bits(other)


def test_ctrl_c_from_outside_ends_a_wait_for_data(interruptible):
    def slow(epoch):
        yield X, Y
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        again = threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        again.start()
        threading.Event().wait(20)
        yield X, Y

    history = train.fit(linear(), "mse", slow, epochs=3)
    assert history.stopped == "interrupted"
    assert not history.get("epoch")


def test_callbacks_can_end_a_run():
    history = train.fit(
        linear(), "mse", (X, Y), epochs=9, callbacks=[lambda event: event.number == 2]
    )
    assert (history.stopped, len(history["loss"])) == ("callback", 2)


def test_progress_is_one_line(capsys):
    train.fit(linear(), "mse", (X, Y), validation=(X, Y), epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "epoch 2/2  loss" in shown
    assert max(len(one) for one in shown.replace("\n", "\r").split("\r")) < 80
    train.fit(linear(), "mse", (X, Y), epochs=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number > 0"),
        ({"reduction": "none"}, "reduction must be"),
        ({"on_nonfinite": "hope"}, "on_nonfinite must be"),
        ({"clip": -1.0}, "clip must be a length > 0"),
        ({"loss": "hubert"}, "did you mean"),
        ({"loss": 3}, "loss must be a loss"),
        ({"data": (X, Y[:10])}, "target has 10 rows, inputs 300"),
        ({"data": (X[:0], Y[:0])}, "data has no rows"),
        ({"data": 3}, "data must be a tuple"),
        ({"metrics": ["accuracies"]}, "no metric is called"),
        ({"metrics": ["mae", "mae"]}, "two metrics are called mae"),
        ({"early_stopping": train.EarlyStopping()}, "give validation="),
        ({"early_stopping": train.EarlyStopping("mae")}, "the monitor 'mae' is no column"),
    ],
)
def test_wrong_arguments_are_told(options, message):
    given = {"loss": "mse", "data": (X, Y)} | options
    loss, data = given.pop("loss"), given.pop("data")
    with pytest.raises((TypeError, ValueError), match=message):
        train.fit(linear(), loss, data, **{"epochs": 1, **given})
