"""Models: what :func:`numbaloss.train.fit` teaches.

A model is any object with

``parameters``
    arrays of floats, in any nesting of dicts, lists and tuples; they are changed in place;
``forward(inputs, training=False)``
    predictions of a batch, as the loss takes them: an array, or a tuple of arrays for a loss of
    several (``LinearCrossEntropy`` takes hidden vectors and a weight);
``backward(gradient)``
    gradients by the parameters, in the same nesting, from the gradient by what the last
    ``forward`` returned (a tuple of them for a tuple). It may overwrite what it is given.

and, where it makes sense, ``reset(seed)``, which starts again from other parameters (restarts ask
for it), and ``state()`` with ``load_state(state)``: what there is beside the parameters that the
next batch depends on (the generator of dropout), as arrays and plain numbers in dicts and lists.
:func:`numbaloss.train.check_model` compares ``backward`` with differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .activations import ACTIVATIONS
from .layers import Dropout, Linear, positive
from .products import one_blas_thread


class MLP:
    r"""A network of fully connected layers: :math:`h_{k+1} = f(h_k W_k + b_k)`.

    Parameters
    ----------
    inputs : int
        Numbers a row of the input.
    hidden : sequence of int
        Sizes of the hidden layers; none makes a linear model.
    outputs : int, optional
        Numbers a row of the output, which has no activation: logits of classes or labels.
        Without it the network gives one number a row, shape (rows,).
    activation : {"relu", "gelu", "tanh"}
        :math:`f` of the hidden layers.
    dropout : float in [0, 1)
        Share of the hidden numbers that are set to 0 in training.
    initialise : {"xavier", "he"}, optional
        How hidden layers start: ``"he"`` for ReLU and GELU unless told otherwise, ``"xavier"`` for
        tanh. The last layer starts by ``"xavier"``.
    dtype : float32 or float64
    seed : int or Generator
        Of weights and dropout.

    Notes
    -----
    Parameters are called ``layers.0.weight``, of shape (inputs, outputs), and ``layers.0.bias``.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaloss import train
    >>> model = train.MLP(64, (32, 32), 10)
    >>> model.forward(np.ones((5, 64), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int] = (64,),
        outputs: int | None = None,
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        initialise: str | None = None,
        dtype: Any = np.float32,
        seed: Any = 0,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}")
        hidden = tuple(hidden)
        for size in hidden:
            positive(hidden=size)
        how = initialise or ("xavier" if activation == "tanh" else "he")
        widths: list[int] = [inputs, *hidden]
        random = np.random.default_rng(seed)
        self.layers = [
            Linear(*pair, activation=activation, initialise=how, dtype=dtype, seed=random)
            for pair in pairwise(widths)
        ]
        self.layers.append(Linear(widths[-1], outputs, dtype=dtype, seed=random))
        self.dropouts = [Dropout(dropout, random.integers(2**63)) for _ in hidden]
        self.parameters: dict[str, Any] = {"layers": [one.parameters for one in self.layers]}

    def reset(self, seed: Any) -> None:
        """Start again, from other weights."""
        random = np.random.default_rng(seed)
        for layer in self.layers:
            layer.reset(random)
        for dropout in self.dropouts:
            dropout.reset(random.integers(2**63))

    def state(self) -> list[Any]:
        """Where the generators of dropout are."""
        return [one.state() for one in self.dropouts if one.probability]

    def load_state(self, state: list[Any]) -> None:
        """Go on from there."""
        for one, its in zip((one for one in self.dropouts if one.probability), state):
            one.load_state(its)

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Outputs of rows: of shape (rows, outputs), or (rows,) without ``outputs``."""
        x = inputs
        with one_blas_thread():
            for layer, dropout in zip(self.layers, self.dropouts):
                x = dropout.forward(layer.run(x, training), training)
            return self.layers[-1].run(x, training)

    def backward(self, gradient: Any, by_input: bool = False) -> Any:
        """Gradients by the parameters; with ``by_input`` a pair, with that by the inputs."""
        found: list[Any] = []
        g = gradient
        with one_blas_thread():
            for place in range(len(self.layers) - 1, -1, -1):
                layer = self.layers[place]
                if place == 0 and not by_input:
                    found.append(layer.run_back(g, False))
                    break
                gradients, g = layer.run_back(g, True)
                found.append(gradients)
                if place:
                    g = self.dropouts[place - 1].backward(g)
        gradients = {"layers": found[::-1]}
        return (gradients, g) if by_input else gradients


def predict(model: Any, inputs: Any, batch_size: int = 4096) -> Any:
    """Predictions of rows, batch by batch, in memory for one batch beside the results.

    Parameters
    ----------
    model : model
    inputs : array, or tuple of arrays, of n rows each
    batch_size : int
        Rows at a time.

    Returns
    -------
    array of n rows
        What ``forward`` returns; of a tuple its first array, the rows'.
    """
    positive(batch_size=batch_size)
    several = isinstance(inputs, tuple)
    arrays = [np.asarray(one) for one in (inputs if several else (inputs,))]
    size = len(arrays[0])
    result: np.ndarray | None = None
    for start in range(0, max(size, 1), batch_size):
        some = tuple(one[start : start + batch_size] for one in arrays)
        found = model.forward(some if several else some[0])
        found = np.asarray(found[0] if isinstance(found, tuple) else found)
        if result is None:
            result = np.empty((size, *found.shape[1:]), found.dtype)
        result[start : start + len(found)] = found
    return result
