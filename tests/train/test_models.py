"""Models: their gradients are those of their outputs, and they start as their papers say."""

import copy
import pickle

import numpy as np
import pytest

from numbaloss import train
from numbaloss.train import activations

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize("outputs", [None, 3])
def test_backward_of_networks_is_exact(activation, outputs):
    model = train.MLP(4, (6, 5), outputs, activation=activation, dtype=np.float64, seed=1)
    x = RANDOM.normal(size=(7, 4))
    assert train.check_model(model, x) < 1e-9
    assert model.forward(x).shape == ((7,) if outputs is None else (7, 3))


def test_gradient_by_the_input_is_exact():
    model = train.MLP(4, (6,), 2, activation="tanh", dtype=np.float64)
    x, weight = RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(3, 2))
    model.forward(x)
    _, gradient = model.backward(weight.copy(), by_input=True)
    for place in np.ndindex(x.shape):
        moved = [x.copy(), x.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        up, down = ((model.forward(one) * weight).sum() for one in moved)
        assert gradient[place] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
def test_activations_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    x, bias = RANDOM.normal(0, 3, (33, 21)), RANDOM.normal(size=21)
    g = RANDOM.normal(size=x.shape)
    there = torch.tensor(x + bias, requires_grad=True)
    function = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "gelu": lambda z: torch.nn.functional.gelu(z, approximate="tanh"),
        "linear": lambda z: z * 1.0,
    }[name]
    result = function(there)
    result.backward(torch.tensor(g))
    derivative, by_bias = np.empty_like(x), np.empty_like(bias)
    activations.activate(name, x, bias, derivative)
    np.testing.assert_allclose(x, result.detach().numpy(), rtol=1e-12, atol=1e-14)
    activations.differentiate(
        name, g, derivative if activations.keeps_derivative(name) else x, by_bias
    )
    np.testing.assert_allclose(g, there.grad.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(by_bias, there.grad.numpy().sum(axis=0), rtol=1e-10, atol=1e-12)


def test_nan_passes_through_relu():
    x = np.array([[np.nan, -1.0, 1.0]])
    activations.activate("relu", x, np.zeros(3), None)
    np.testing.assert_array_equal(x, [[np.nan, 0.0, 1.0]])


def test_embedding_adds_up_rows_that_occur_twice():
    table = train.Embedding(5, 2, dtype=np.float64)
    places = np.array([[1, 1, 4], [1, 0, 4]])
    assert train.check_model(table, places) < 1e-10
    table.forward(places)
    gradient = table.backward(np.ones((2, 3, 2)))["vectors"]
    np.testing.assert_array_equal(gradient[:, 0], [1, 3, 0, 0, 2])
    with pytest.raises(ValueError, match="5 is no row of an embedding of 5 rows"):
        table.forward([5])
    with pytest.raises(TypeError, match="whole numbers"):
        table.forward([0.5])


def test_starts_have_their_spread():
    he = train.Linear(400, 300, initialise="he").parameters["weight"]
    xavier = train.Linear(400, 300, initialise="xavier").parameters["weight"]
    assert he.std() == pytest.approx(np.sqrt(2 / 400), rel=0.01)
    assert np.abs(xavier).max() <= np.sqrt(6 / 700)
    assert xavier.std() == pytest.approx(np.sqrt(2 / 700), rel=0.01)
    assert not train.Linear(4, 3, initialise="zeros").parameters["weight"].any()
    with pytest.raises(ValueError, match="initialise must be one of"):
        train.Linear(4, initialise="best")


def test_the_same_seed_starts_and_drops_the_same():
    first, second, other = (train.MLP(8, (16,), dropout=0.5, seed=one) for one in (3, 3, 4))
    x = RANDOM.normal(size=(5, 8)).astype(np.float32)
    results = [one.forward(x, training=True).copy() for one in (first, second, other)]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    state = first.state()
    after = [first.forward(x, training=True).copy() for _ in range(2)]
    first.load_state(state)
    np.testing.assert_array_equal(after[0], first.forward(x, training=True))
    assert (after[0] != after[1]).any()
    first.reset(3)
    np.testing.assert_array_equal(results[0], first.forward(x, training=True))


def test_dropout_keeps_the_mean_and_its_gradient():
    dropout = train.Dropout(0.3, seed=0)
    x = np.ones((1000, 100), np.float32)
    dropped = dropout.forward(x, training=True)
    assert (dropped == 0).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(np.unique(dropped), np.float32([0, 1 / 0.7]))
    np.testing.assert_array_equal(dropout.backward(np.ones_like(x)), dropped)
    assert dropout.forward(x) is x
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\)"):
        train.Dropout(1.0)


def test_predictions_are_the_callers_and_do_not_depend_on_batches():
    model = train.MLP(6, (9,), 2, dtype=np.float64)
    x = RANDOM.normal(size=(50, 6))
    first = model.forward(x[:10])
    kept = first.copy()
    model.forward(x[10:20])
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_allclose(train.predict(model, x, batch_size=7), model.forward(x), rtol=1e-12)


def test_copies_and_pickles_learn_apart():
    model = train.MLP(4, (5,), dropout=0.1)
    x = np.ones((2, 4), np.float32)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.forward(x), model.forward(x))
        gradients = other.backward(np.ones(2, np.float32))
        other.parameters["layers"][0]["weight"] += 1.0
        assert (other.forward(x) != model.forward(x)).any()
        assert not np.shares_memory(
            gradients["layers"][0]["weight"], model.layers[0]._gradients["weight"]
        )


class Wrong(train.Linear):
    """A model with a mistake."""

    def backward(self, gradient, by_input=False):
        found = super().backward(gradient)
        return {"weight": found["weight"] * 1.001, "bias": found["bias"]}


def test_a_wrong_backward_is_told_with_its_name():
    x = RANDOM.normal(size=(4, 3))
    with pytest.raises(ValueError, match=r"for weight\[\d, \d\], differences of forward give"):
        train.check_model(Wrong(3, 2, dtype=np.float64), x)
    model = train.Linear(3, dtype=np.float64)
    before = model.parameters["weight"].tobytes()
    train.check_model(model, x)
    assert model.parameters["weight"].tobytes() == before
    model.backward = lambda gradient: {"weight": np.zeros((3, 1))}
    with pytest.raises(ValueError, match="missing: bias"):
        train.check_model(model, x)
    with pytest.raises(TypeError, match="no forward here"):
        train.check_model(type("Empty", (), {"parameters": []})(), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: train.MLP(4, (0,)), "hidden must be a whole number > 0"),
        (lambda: train.MLP(4, activation="swish"), "activation must be one of"),
        (lambda: train.Linear(4, dtype=np.float16), "dtype must be float32 or float64"),
        (lambda: train.Linear(4).forward(np.ones(4)), r"shape \(rows, 4\), not \(4,\)"),
        (lambda: train.Linear(4).forward(np.ones((2, 3))), r"shape \(rows, 4\), not \(2, 3\)"),
    ],
)
def test_wrong_sizes_are_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()
