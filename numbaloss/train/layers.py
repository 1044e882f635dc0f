"""Layers: a linear map, a table of vectors, dropout; forward, and back to gradients.

All of them fit the protocol of :mod:`numbaloss.train.models`. With ``training=True`` results lie
in memory that the next call uses again; without it they are the caller's.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, types

from ..cpu.compile import python_function
from .activations import activate, differentiate, keeps_derivative
from .buffers import Buffers
from .products import one_blas_thread, product

INITIALISATIONS = ("xavier", "he", "zeros")


def initial(
    random: np.random.Generator, inputs: int, outputs: int, how: str, dtype: Any
) -> np.ndarray:
    r"""A matrix of weights to start from, of shape (inputs, outputs).

    ``"xavier"``: uniform between :math:`\pm\sqrt{6 / (inputs + outputs)}` (X. Glorot, Y. Bengio,
    *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010),
    for tanh and last layers; ``"he"``: normal, of standard deviation
    :math:`\sqrt{2 / inputs}` (K. He et al., *Delving deep into rectifiers*, ICCV 2015), for ReLU
    and GELU; ``"zeros"``, for a linear model, whose loss has one minimum.
    """
    shape = inputs, outputs
    if how == "xavier":
        bound = np.sqrt(6.0 / (inputs + outputs))
        return random.uniform(-bound, bound, shape).astype(dtype)
    if how == "he":
        return random.normal(0.0, np.sqrt(2.0 / inputs), shape).astype(dtype)
    if how == "zeros":
        return np.zeros(shape, dtype)
    raise ValueError(f"initialise must be one of {', '.join(INITIALISATIONS)}, not {how!r}")


def real_dtype(dtype: Any) -> np.dtype:
    """float32 or float64."""
    found = np.dtype(dtype)
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, not {found}")
    return found


def matrix(inputs: Any, columns: int, dtype: np.dtype) -> np.ndarray:
    """Inputs as a contiguous matrix of the model's type; a copy only where they are not."""
    given = np.asarray(inputs)
    if given.ndim != 2 or given.shape[1] != columns:
        raise ValueError(f"inputs must have the shape (rows, {columns}), not {given.shape}")
    if given.dtype.kind not in "fiub":
        raise TypeError(f"inputs must be real numbers, not {given.dtype}")
    return np.ascontiguousarray(given, dtype)


def positive(**sizes: Any) -> None:
    """Raise for sizes that are no whole numbers > 0."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{name} must be a whole number > 0, not {size!r}")


class Linear:
    r"""A linear model, or layer: :math:`y = f(x W + b)`.

    Parameters
    ----------
    inputs : int
        Numbers a row of the input.
    outputs : int, optional
        Numbers a row of the output. Without it the model gives one number a row, shape (rows,),
        as losses of numbers take it.
    activation : {"linear", "relu", "gelu", "tanh"}
        :math:`f`, see :mod:`numbaloss.train.activations`.
    initialise : {"xavier", "he", "zeros"}
        How :math:`W` starts, see :func:`initial`; :math:`b` starts at 0.
    dtype : float32 or float64
        Of parameters and outputs; inputs of other types are converted.
    seed : int or Generator
        Of the start.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaloss import train
    >>> model = train.Linear(3, initialise="zeros")
    >>> model.forward(np.ones((2, 3)))
    array([0., 0.], dtype=float32)
    >>> model.backward(np.array([1.0, 2.0], np.float32))["weight"].ravel()
    array([3., 3., 3.], dtype=float32)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | None = None,
        *,
        activation: str = "linear",
        initialise: str = "xavier",
        dtype: Any = np.float32,
        seed: Any = 0,
    ) -> None:
        positive(inputs=inputs, outputs=1 if outputs is None else outputs)
        self.inputs, self.outputs = inputs, outputs
        self.activation, self.initialise = activation, initialise
        self.dtype = real_dtype(dtype)
        columns = outputs or 1
        self.parameters: dict[str, Any] = {
            "weight": np.empty((inputs, columns), self.dtype),
            "bias": np.empty(columns, self.dtype),
        }
        # The same arrays at every step, which optimisers then know already.
        self._gradients = {name: np.zeros_like(one) for name, one in self.parameters.items()}
        self._buffers = Buffers()
        self._kept: tuple[np.ndarray, ...] = ()
        self.reset(seed)

    def reset(self, seed: Any) -> None:
        """Start again, from other weights."""
        random = np.random.default_rng(seed)
        self.parameters["weight"][...] = initial(
            random, self.inputs, self.outputs or 1, self.initialise, self.dtype
        )
        self.parameters["bias"][...] = 0

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Outputs of rows: of shape (rows, outputs), or (rows,) without ``outputs``."""
        with one_blas_thread():
            return self.run(inputs, training)

    def backward(self, gradient: Any, by_input: bool = False) -> Any:
        """Gradients by the parameters, of those by the outputs of the last ``forward``.

        ``gradient`` is overwritten where an activation has to be undone. With ``by_input`` a pair:
        gradients, and the gradient by the inputs.
        """
        with one_blas_thread():
            return self.run_back(gradient, by_input)

    def run(self, inputs: Any, training: bool) -> np.ndarray:
        """``forward`` within a block of :func:`one_blas_thread`."""
        x = matrix(inputs, self.inputs, self.dtype)
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        shape = len(x), weight.shape[1]
        result = product(x, weight, self._array("result", shape, training))
        derivative = None
        if keeps_derivative(self.activation):
            derivative = self._array("derivative", shape, training)
        activate(self.activation, result, bias, derivative)
        self._kept = x, result if derivative is None else derivative
        return result[:, 0] if self.outputs is None else result

    def run_back(self, gradient: Any, by_input: bool) -> Any:
        """``backward`` within a block of :func:`one_blas_thread`."""
        if not self._kept:
            raise RuntimeError("backward needs a forward before it")
        x, kept = self._kept
        weight = self.parameters["weight"]
        g = np.ascontiguousarray(gradient, self.dtype).reshape(kept.shape)
        found = self._gradients
        differentiate(self.activation, g, kept, found["bias"])
        product(x.T, g, found["weight"])
        if not by_input:
            return found
        return found, product(g, weight.T, self._buffers.get("input", x.shape, self.dtype))

    def _array(self, name: str, shape: tuple[int, ...], training: bool) -> np.ndarray:
        if training:
            return self._buffers.get(name, shape, self.dtype)
        return np.empty(shape, self.dtype)


class Embedding:
    r"""A vector for every whole number from 0 to ``rows - 1``, by lookup.

    Parameters
    ----------
    rows, size : int
        How many vectors, and numbers in each.
    scale : float >= 0
        They start normal, with this standard deviation.
    dtype : float32 or float64
    seed : int or Generator

    Notes
    -----
    The gradient is an array of all rows, as optimisers take it: made for tables of up to some
    millions of numbers.

    Examples
    --------
    >>> from numbaloss import train
    >>> table = train.Embedding(10, 4)
    >>> table.forward([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(
        self, rows: int, size: int, *, scale: float = 1.0, dtype: Any = np.float32, seed: Any = 0
    ) -> None:
        positive(rows=rows, size=size)
        self.scale, self.dtype = scale, real_dtype(dtype)
        self.parameters: dict[str, Any] = {"vectors": np.empty((rows, size), self.dtype)}
        self._gradients = {"vectors": np.zeros_like(self.parameters["vectors"])}
        self._buffers = Buffers()
        self._places: np.ndarray | None = None
        self.reset(seed)

    def reset(self, seed: Any) -> None:
        """Start again, from other vectors."""
        vectors = self.parameters["vectors"]
        random = np.random.default_rng(seed)
        vectors[...] = random.normal(0.0, self.scale, vectors.shape)

    def forward(self, inputs: Any, training: bool = False) -> np.ndarray:
        """Vectors of whole numbers of any shape: of that shape, and ``size`` numbers each."""
        places = np.asarray(inputs)
        if places.dtype.kind not in "iu":
            raise TypeError(f"an embedding takes whole numbers, not {places.dtype}")
        vectors = self.parameters["vectors"]
        if places.size and not (places.min() >= 0 and places.max() < len(vectors)):
            odd = places[(places < 0) | (places >= len(vectors))].ravel()[0]
            raise ValueError(f"{odd} is no row of an embedding of {len(vectors)} rows")
        self._places = np.ascontiguousarray(places, np.int64)
        shape = (*places.shape, vectors.shape[1])
        buffers = self._buffers
        result = (
            buffers.get("result", shape, self.dtype) if training else np.empty(shape, self.dtype)
        )
        # Tested above; with mode="raise" NumPy would make another array first.
        return np.take(vectors, self._places, axis=0, out=result, mode="clip")

    def backward(self, gradient: Any) -> dict[str, np.ndarray]:
        """Gradients by the vectors; rows that occurred several times add up, in their order."""
        if self._places is None:
            raise RuntimeError("backward needs a forward before it")
        found = self._gradients["vectors"]
        found[...] = 0
        g = np.ascontiguousarray(gradient, self.dtype).reshape(-1, found.shape[1])
        _adder(self.dtype.name)(g, self._places.reshape(-1), found)
        return self._gradients


class Dropout:
    r"""Sets numbers to 0 with probability :math:`p` in training, and divides others by 1 - p.

    N. Srivastava et al., *Dropout: a simple way to prevent neural networks from overfitting*,
    JMLR 15, 2014. What is set to 0 is drawn by PCG64 from ``seed``, batch after batch:
    :meth:`state` says how far it came.
    """

    def __init__(self, probability: float, seed: Any = 0) -> None:
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"dropout must be in [0, 1), not {probability!r}")
        self.probability = probability
        self._buffers = Buffers()
        self._factor: np.ndarray | None = None
        self.reset(seed)

    def reset(self, seed: Any) -> None:
        """Draw from the beginning of another seed."""
        self._random = np.random.Generator(np.random.PCG64(seed))

    def state(self) -> dict[str, Any]:
        """Where the generator is, as plain numbers."""
        return dict(self._random.bit_generator.state)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._random.bit_generator.state = state

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """In training another array, in memory that the next call uses again."""
        self._factor = None
        if not training or self.probability == 0.0:
            return x
        factor = self._buffers.get("factor", x.shape, x.dtype)
        self._random.random(dtype=x.dtype.type, out=factor)
        kept = self._buffers.get("kept", x.shape, np.bool_)
        np.greater_equal(factor, self.probability, out=kept)
        np.multiply(kept, x.dtype.type(1.0 / (1.0 - self.probability)), out=factor)
        self._factor = factor
        return np.multiply(x, factor, out=self._buffers.get("result", x.shape, x.dtype))

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient by the inputs, in place."""
        if self._factor is not None:
            np.multiply(gradient, self._factor, out=gradient)
        return gradient


@cache
def _adder(real: str) -> Any:
    number = from_dtype(np.dtype(real))
    rows = types.Array(number, 2, "C")
    signature = types.void(rows, types.Array(types.int64, 1, "C"), rows)
    return python_function(_add_rows, signature, error_model="numpy", nogil=True)


def _add_rows(gradient, places, into):
    for i in range(places.size):
        place = places[i]
        for j in range(gradient.shape[1]):
            into[place, j] += gradient[i, j]
