"""A stand-in for a GPU: memory is the host's, and a launch goes to the machine that runs PTX.

From the caller's arrays to the results, all is as with a GPU. Results have to be those of the CPU's
kernels, but for roundings.
"""

import ctypes
from contextlib import nullcontext

import ml_dtypes
import numpy as np
import pytest

from tests.support.gpu.kernels import without_gpu
from tests.support.gpu.ptx_machine import Memory, Program
from tests.support.gpu.stub import Driver, read_launch

pytest.importorskip("numba_cuda")

from numbaloss.call import repeats
from numbaloss.cuda import backend, embedding_batch, products, shared_memory
from numbaloss.cuda.kernel import Kernel
from numbaloss.cuda.packing import Launch, Packing

DEVICE = 99  # no GPU's number, so that nothing that is kept for one is this machine's
CAPABILITY = 9, 0
DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
MEMORY = Memory()
SHARED_BYTES = 64 * 1024  # that a block may have, if it asks


class Array:
    """An array in the machine's memory. NumPy does not know bfloat16: its bits are kept."""

    def __init__(self, array):
        self.array, self.nbytes, self.shape = array, array.nbytes, array.shape
        self.dtype = array.dtype.name if array.dtype.name == "bfloat16" else array.dtype

    @classmethod
    def copy(cls, array, offset=0):
        """A copy on the machine, with the same order of axes in memory."""
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        made = MEMORY.array([array.shape[axis] for axis in order], array.dtype, offset)
        made = made.transpose(np.argsort(order))
        made = made[tuple(slice(None, None, -1 if step < 0 else 1) for step in array.strides)]
        made[...] = array
        return cls(made)

    def __getitem__(self, where):
        return Array(self.array[where])

    @property
    def T(self):
        return Array(self.array.T)

    def reshape(self, *shape):
        return Array(self.array.reshape(*shape))

    def copy_to_host(self, target=None, stream=0):
        if target is not None:
            target[...] = self.array
            return target
        return self.array.copy()

    @property
    def __cuda_array_interface__(self):
        array = self.array.view(np.uint16) if self.dtype == "bfloat16" else self.array
        described = dict(array.__array_interface__)
        return {**described, "strides": array.strides, "version": 3, "stream": None}


class Products(products.Library):
    """Products of matrices on the machine."""

    def __init__(self):
        self.xp = np

    def on(self, place, family):
        return nullcontext()

    def own(self, array):
        return array

    def make(self, shape, kind, like):
        return Array(MEMORY.array(shape, kind))

    def put(self, numbers, like):
        return Array.copy(numbers)

    def clear(self, array):
        array.array[...] = 0

    def multiply(self, a, b, out, add):
        out.array[...] = (out.array if add else 0) + a.array @ b.array

    def sum_rows(self, array):
        return Array.copy(array.array.sum(axis=0))


class Machine:
    """What stands in for the GPU, and what was asked of it."""

    def __init__(self):
        self.programs, self.launched = {}, []

    def configure(self, kernel, place, blocks, shared, threads, cluster=1):
        program = self.programs.get(kernel)
        if program is None:
            with without_gpu(CAPABILITY):
                program = self.programs[kernel] = Program(kernel.ptx(CAPABILITY))
        handle = kernel.function.__name__, program
        grid = blocks, threads, shared
        return Launch(self, handle, Packing(kernel.arguments), 0, grid, cluster)

    CUlaunchAttributeID = Driver.CUlaunchAttributeID
    CUlaunchAttribute, CUlaunchConfig = Driver.CUlaunchAttribute, Driver.CUlaunchConfig

    def cuLaunchKernelEx(self, whole, handle, parameters, extra):
        (attribute,) = whole.attrs
        grid = whole.gridDimX, 1, 1, whole.blockDimX, 1, 1, whole.sharedMemBytes, whole.hStream
        started = read_launch(handle, *grid, parameters, extra)
        return self.start(started, attribute.value.clusterDim.x)

    def cuLaunchKernel(self, handle, *rest):
        return self.start(read_launch(handle, *rest))

    def start(self, started, cluster=1):
        (name, program), blocks, threads, shared, parameters = started
        self.launched.append((name, blocks))
        program.run(MEMORY, blocks, threads, parameters, shared, cluster)
        return (0,)


_machine = Machine()


def installed(monkeypatch):
    """The machine in the place of a GPU, with blocks of 64 threads and two multiprocessors."""
    for name, stand_in in {
        "THREADS": 64,
        "require": lambda: None,
        "on_device": lambda device: nullcontext(),
        "processors": lambda device: 2,
        "device_of": lambda address: DEVICE,
        "current_device": lambda: DEVICE,
        "synchronize": lambda place: None,
        "read_words": lambda address, count, place: np.ctypeslib.as_array(
            (ctypes.c_int64 * count).from_address(address)
        ).copy(),
        "empty": lambda shape, dtype: Array(MEMORY.array(shape, dtype)),
        "upload": Array.copy,
        "host_copy": lambda given: given.copy_to_host(),
        "free_memory": lambda device: 1 << 30,
    }.items():
        monkeypatch.setattr(backend, name, stand_in)
    monkeypatch.setattr(shared_memory, "most", lambda device: SHARED_BYTES)
    monkeypatch.setattr(embedding_batch, "library", lambda family: Products())
    monkeypatch.setattr(Kernel, "_configure", lambda self, *given: _machine.configure(self, *given))
    _machine.launched.clear()
    repeats.forget()
    return _machine


def host(given, kind=None):
    """A result as a float64 array of NumPy."""
    array = given.copy_to_host() if hasattr(given, "copy_to_host") else np.asarray(given)
    if kind == "bfloat16" and array.dtype == np.uint16:
        array = array.view(ml_dtypes.bfloat16)
    return array.astype(np.float64)


def put(given):
    """An argument on the machine."""
    return Array.copy(given) if isinstance(given, np.ndarray) else given


def agree(loss, prediction, target, ulps=40, derivatives=1, offset=0, **options):
    """Compare a call on the machine with the same one on the CPU.

    The prediction begins so many elements behind the address of a vector.
    """
    kind, outs = prediction.dtype.name, {}
    if kind == "bfloat16":  # Numba's arrays for results have no bfloat16
        made = {"out": 1, "hess_out": 2}
        outs = {name: put(prediction) for name, order in made.items() if order <= derivatives}
    call = [loss, loss.value_and_grad, loss.value_grad_hess][derivatives]
    expected = call(prediction, target, **options)
    given = {name: put(value) for name, value in options.items()}
    found = call(Array.copy(prediction, offset), put(target), **given, **outs)
    if derivatives == 0:
        found, expected = [found], [expected]
    same(found, expected, kind, ulps)


def same(found, expected, kind, ulps=40):
    """All results agree to so many units in the last place of the largest."""
    for one, other in zip(found, expected):
        # Values of halves are float32 numbers.
        stored = np.asarray(other).dtype.name
        eps = float(ml_dtypes.finfo(stored).eps if stored in DTYPES else 0.0)
        eps = max(eps, float(np.finfo(np.float64 if kind == "float64" else np.float32).eps))
        one, other = host(one, kind), host(other)
        assert one.shape == other.shape
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
        finite = np.abs(other[np.isfinite(other)])
        scale = finite.max() if finite.size else 0.0
        eps = eps * (ulps if eps < 1e-4 else 1.01)
        np.testing.assert_allclose(one, other, rtol=0, atol=eps * scale, equal_nan=True)


def pair(kind, *shape, seed=0):
    """Predictions, and targets between 0 and 1."""
    rng = np.random.default_rng(seed)
    dtype = DTYPES[kind]
    return rng.normal(0, 2, shape).astype(dtype), rng.random(shape).astype(dtype)


def rows(kind, count, classes, seed=0):
    """Logits and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (count, classes)).astype(DTYPES[kind]), rng.integers(0, classes, count)


def launched(machine):
    """Names of the kernels that ran, without repetitions."""
    return list(dict.fromkeys(name for name, _ in machine.launched))
