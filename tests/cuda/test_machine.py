"""Losses on a GPU that is a machine in Python, which runs the PTX that GPUs are given.

From the caller's arrays to the results, all is as with a GPU: only memory is the host's, and a
launch goes to the machine. Results have to be those of the CPU's kernels, but for roundings.
"""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.kernels import without_gpu
from tests.support.gpu.ptx_machine import Memory, Program
from tests.support.own_losses import Branching

pytest.importorskip("numba_cuda")
ml_dtypes = pytest.importorskip("ml_dtypes")

from numbaloss.cuda import (  # noqa: E402 (skipped without its package)
    backend,
    embedding_batch,
    narrow_rows,
    products,
    register_rows,
    softmax,
    staged,
)

if backend.SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

DEVICE = 99  # no GPU's number, so that nothing that is kept for one is this machine's
CAPABILITY = 9, 0
DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
MEMORY = Memory()


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

    def configure(self, kernel, place, blocks, shared, threads):
        program = self.programs.get(kernel)
        if program is None:
            with without_gpu(CAPABILITY):
                program = self.programs[kernel] = Program(kernel.ptx(CAPABILITY))
        name = kernel.function.__name__
        handle = SimpleNamespace(kernel=lambda *given: self.run(name, program, *given))
        library = SimpleNamespace(get_cufunc=lambda: handle)
        compiled = SimpleNamespace(overloads={0: SimpleNamespace(_codelibrary=library)})
        return kernel._short_road(compiled, SimpleNamespace(stream=0), blocks, shared, threads)

    def run(self, name, program, config, arguments):
        (blocks, *_), (threads, *_) = config.grid, config.block
        self.launched.append((name, blocks))
        program.run(MEMORY, blocks, threads, arguments, config.shmem_size)


_machine = Machine()


@pytest.fixture
def machine(monkeypatch):
    """The machine, with blocks of 64 threads and two multiprocessors."""
    core = pytest.importorskip("cuda.core")
    monkeypatch.setattr(core, "LaunchConfig", SimpleNamespace)
    monkeypatch.setattr(core, "launch", lambda stream, config, handle, *flat: handle(config, flat))
    for name, stand_in in {
        "THREADS": 64,
        "require": lambda: None,
        "on_device": lambda device: nullcontext(),
        "processors": lambda device: 2,
        "device_of": lambda address: DEVICE,
        "current_device": lambda: DEVICE,
        "synchronize": lambda place: None,
        "empty": lambda shape, dtype: Array(MEMORY.array(shape, dtype)),
        "upload": Array.copy,
        "host_copy": lambda given: given.copy_to_host(),
        "free_memory": lambda device: 1 << 30,
    }.items():
        monkeypatch.setattr(backend, name, stand_in)
    monkeypatch.setattr(embedding_batch, "library", lambda family: Products())
    monkeypatch.setattr(
        backend.Kernel, "_configure", lambda self, *given: _machine.configure(self, *given)
    )
    _machine.launched.clear()
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


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("size", [1, 33, 700])
def test_vectors_of_elements(machine, kind, size):
    prediction, target = pair(kind, size)
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2)
    ((name, blocks),) = machine.launched
    assert name == "elementwise_vectors"
    assert (blocks > 1) == (size == 700)


@pytest.mark.every(5)
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_weighted_elements(machine, kind, reduction):
    prediction, target = pair(kind, 7, 31)
    prediction[2, 5] = np.nan
    weight = np.random.default_rng(1).random((7, 31)).astype(DTYPES[kind])
    weight[2, 5] = 0  # which leaves the NaN out
    options = {"sample_weight": weight, "reduction": reduction, "gradient_scale": 3.0}
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2, **options)
    assert "elementwise_vectors" in launched(machine)


def test_sums_of_float32_keep_digits_and_range(machine):
    prediction = np.full(700, np.sqrt(3e37), np.float32)
    value, _ = nl.SquaredError().value_and_grad(put(prediction), put(np.zeros_like(prediction)))
    assert host(value, "float64") == pytest.approx(float(prediction[0]) ** 2, rel=2e-7)
    logits, labels = np.zeros((40, 5), np.float32), np.arange(40) % 5
    logits[np.arange(40), labels] = -3e37
    value, _ = nl.CrossEntropy().value_and_grad(put(logits), put(labels))
    assert host(value, "float64") == pytest.approx(3e37, rel=2e-7)


def test_whole_blocks_of_elements(machine, monkeypatch):
    monkeypatch.setattr(backend, "THREADS", 256)
    prediction, target = pair("float32", 2500)
    agree(nl.BinaryCrossEntropy(), prediction, target, derivatives=2)
    assert machine.launched == [("elementwise_vectors", 3)]


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", ["float64", "float16"])
@pytest.mark.parametrize("labels", ["int8", "bool", "uint32", "int64", "float16"])
def test_elements_of_any_strides_and_dtypes(machine, kind, labels):
    prediction, target = pair(kind, 9, 5, 7)
    target = (target > 0.5).astype(labels)
    turned = prediction.transpose(2, 0, 1)[:, ::-1], target.transpose(2, 0, 1)
    weight = np.random.default_rng(1).random((7, 9, 5)).astype(np.float32)
    options = {"sample_weight": weight, "reduction": "none"}
    agree(nl.BinaryCrossEntropy(), *turned, **options)
    assert launched(machine) == ["elementwise_strided"]


def test_elements_of_a_power(machine):
    prediction, target = pair("float32", 150)
    agree(nl.Focal(gamma=1.3), prediction, target.round(), derivatives=2)


def test_elements_of_many_losses_at_once(machine):
    """One compilation for all: a wrong function shows in the gradient's first digits."""
    prediction, target = pair("float32", 40)
    prediction = np.clip(abs(prediction) / 4, 0.05, 0.95)
    total = nl.SquaredLogError() + nl.LogCosh() + nl.PseudoHuber(2.5) + nl.Cauchy(0.4)
    total = total + nl.Poisson() + nl.Tweedie() + nl.AbsolutePercentageError()
    agree(total, prediction, np.clip(target, 0.05, 0.95), ulps=100)


class Assorted(nl.Elementwise):
    """Functions of NumPy, of plain numbers: most are none of numba-cuda's."""

    def point(self, prediction, target):
        x, y = prediction, target - 0.4
        steps = np.floor(x) + 3.0 * np.ceil(x) + 5.0 * np.rint(x) + 7.0 * np.trunc(x)
        steps += 13.0 * np.sign(x) + 17.0 * np.copysign(x, y)
        signs = np.abs(x) + 3.0 * np.fabs(y) + 5.0 * np.negative(x) + 7.0 * np.positive(y)
        signs += 11.0 * np.square(x) + 13.0 * np.reciprocal(y) + (x if np.isfinite(x) else y)
        grown = (y if np.isinf(x) else x) + 5.0 * np.logaddexp(x, y)
        grown += 7.0 * np.add(x, y) + 11.0 * np.subtract(x, y) + 13.0 * np.multiply(x, y)
        return steps, signs, grown


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_functions_of_numpy(machine, kind):
    prediction, target = pair(kind, 100)
    odd = np.array([0.0, -0.0, 0.5, -0.5, 1.5, -2.5, np.inf, -np.inf, np.nan], kind)
    prediction[: len(odd)] = odd
    found = Assorted().value_grad_hess(put(prediction), put(target), reduction="none")
    expected = Assorted().value_grad_hess(prediction, target, reduction="none")
    for one, other in zip(found, expected):
        np.testing.assert_allclose(host(one), other, rtol=4e-6 if kind == "float32" else 1e-13)


def test_elements_of_values_alone(machine):
    prediction, target = pair("float32", 40)
    total = nl.Huber() + Branching() - 0.5 * Branching(0.5, 1.75)
    agree(total, prediction, target, derivatives=2, ulps=100)


def test_elements_in_place(machine):
    prediction, target = pair("float32", 300)
    loss = nl.BinaryCrossEntropy()
    _, expected = loss.value_and_grad(prediction, target)
    on_machine = put(prediction)
    _, found = loss.value_and_grad(on_machine, put(target), out=on_machine)
    assert found is on_machine
    same([found], [expected], "float32")


def test_an_error_leaves_elements_as_they_were(machine):
    prediction, target = pair("float32", 300)
    target[77] = 1.5
    on_machine = put(prediction)
    with pytest.raises(ValueError, match=r"takes targets in \[0, 1\]"):
        nl.BinaryCrossEntropy().value_and_grad(on_machine, put(target), out=on_machine)
    np.testing.assert_array_equal(on_machine.array, prediction)


SMOOTHED = nl.CrossEntropy(label_smoothing=0.1, z_loss=0.01, temperature=0.7)


@pytest.fixture
def no_registers(monkeypatch):
    """Rows go the roads of those that registers cannot keep."""
    for roads in (narrow_rows, register_rows):
        monkeypatch.setattr(roads, "shape", lambda *given: None)


@pytest.mark.every(7)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("shape", [(600, 2), (257, 7), (300, 10), (140, 16), (1, 13)], ids=str)
def test_rows_of_a_thread(machine, kind, shape):
    prediction, target = rows(kind, *shape)
    target[::7] = -100
    for derivatives in range(2):
        agree(nl.CrossEntropy(), prediction, target, derivatives=derivatives)
    weight = np.random.default_rng(1).random(shape[0]) * (target % 3 > 0)
    loss = nl.CrossEntropy(class_weight=np.arange(shape[1]), temperature=1.7)
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    agree(loss, prediction, target, derivatives=1, **options)
    agree(SMOOTHED.replace(class_weight=np.arange(shape[1])), prediction, target, **options)
    agree(SMOOTHED, prediction, target, reduction="none")
    assert set(launched(machine)) == {"softmax_narrow", "softmax_scan"}


@pytest.mark.every(11)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("shape", [(40, 33), (9, 64), (7, 301), (5, 600), (6, 1032)], ids=str)
def test_rows_in_registers(machine, kind, offset, shape):
    prediction, target = rows(kind, *shape)
    target[::3] = -100
    agree(nl.CrossEntropy(temperature=0.6), prediction, target, derivatives=0, offset=offset)
    # In place, so that vectors begin at the same classes of both arrays.
    on_machine, loss = Array.copy(prediction, offset), nl.CrossEntropy()
    found = loss.value_and_grad(on_machine, put(target), out=on_machine, reduction="none")
    expected = loss.value_and_grad(prediction, target, reduction="none")
    same(found, expected, kind)
    # Labels that are smoothed, classes that have weights.
    on_machine, weight = Array.copy(prediction, offset), np.arange(shape[1]) % 5
    for loss in (SMOOTHED.replace(temperature=1.0), SMOOTHED.replace(class_weight=weight)):
        expected = loss.value_and_grad(prediction, target)
        out = MEMORY.array(shape, prediction.dtype, offset)
        same(loss.value_and_grad(on_machine, put(target), out=Array(out)), expected, kind)
    assert set(launched(machine)) == {"softmax_registers", "softmax_scan"}


@pytest.mark.every(2)
@pytest.mark.parametrize(("kind", "classes"), [("float32", 17_000), ("bfloat16", 16_640)])
def test_rows_in_the_registers_of_1024_threads(machine, kind, classes):
    agree(nl.CrossEntropy(), *rows(kind, 1, classes))
    assert "softmax_registers" in launched(machine)


# Rows and classes of rows that a thread, some threads, a warp or a whole block take.
WIDTHS = [(70, 3), (1, 1), (33, 6), (9, 29), (40, 67), (130, 130), (2, 300)]


@pytest.mark.every(5)
@pytest.mark.parametrize("shape", WIDTHS, ids=str)
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_staged_rows(machine, no_registers, kind, shape):
    prediction, target = rows(kind, *shape)
    agree(nl.CrossEntropy(), prediction, target)
    assert "softmax_staged" in launched(machine)


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", ["float64", "bfloat16"])
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "none"])
def test_staged_rows_with_all_options(machine, kind, reduction):
    prediction, target = rows(kind, 37, 11)
    rng = np.random.default_rng(1)
    target[::5] = -100
    loss = SMOOTHED.replace(class_weight=rng.random(11) * (rng.random(11) < 0.8))
    options = {"sample_weight": rng.random(37), "mask": rng.random(37) < 0.8}
    agree(loss, prediction, target, derivatives=2, reduction=reduction, **options)


@pytest.mark.every(4)
@pytest.mark.parametrize("labels", ["int64", "int32", "uint8", "int16"])
def test_staged_rows_of_any_strides(machine, labels):
    prediction, target = rows("float32", 5 * 6, 9)
    prediction = prediction.reshape(5, 6, 9).transpose(1, 0, 2)[:, :, ::-1]
    target = target.astype(labels).reshape(6, 5)
    agree(nl.CrossEntropy(), prediction, target, reduction="none")


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("road", ["staged", "whole", "split"])
def test_rows_that_begin_between_vectors(machine, no_registers, monkeypatch, kind, road):
    if road != "staged":
        monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", 16 if road == "split" else 10**9)
    for offset in (1, 2, 3):
        agree(nl.CrossEntropy(), *rows(kind, 7, 45), offset=offset)


def test_whole_blocks_of_rows(machine, monkeypatch):
    monkeypatch.setattr(backend, "THREADS", 256)
    agree(nl.CrossEntropy(), *rows("float32", 2, 1500))
    agree(nl.CrossEntropy(), *rows("float32", 300, 10))


def test_rows_that_are_not_finite(machine):
    prediction, target = rows("float32", 6, 20)
    prediction[0, 1] = np.nan
    prediction[1] = -np.inf
    prediction[2, 0] = -np.inf
    prediction[3, 5] = np.inf
    agree(nl.CrossEntropy(), prediction, target, reduction="none")


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", DTYPES)
@pytest.mark.parametrize("least", [10**9, 16], ids=["whole", "split"])
def test_long_rows(machine, no_registers, monkeypatch, kind, least):
    monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", least)
    for shape in ((3, 301), (5, 33), (1, 1000)):
        agree(nl.CrossEntropy(), *rows(kind, *shape))
    if kind == "float32":
        agree(nl.CrossEntropy(), *rows(kind, 3, 301), derivatives=0, reduction="none")
    # The pieces of split rows are measured first.
    times = len([name for name, _ in machine.launched if name == "softmax_long"])
    calls = 4 if kind == "float32" else 3
    assert times == (calls if least > 16 else 2 * calls)


@pytest.mark.parametrize("least", [10**9, 16], ids=["whole", "split"])
def test_long_rows_with_all_options(machine, no_registers, monkeypatch, least):
    monkeypatch.setattr(staged, "most_classes", lambda real: 8)
    monkeypatch.setattr(softmax, "LEAST_PIECE", least)
    prediction, target = rows("float32", 4, 131)
    target[1] = -100
    rng = np.random.default_rng(1)
    loss = SMOOTHED.replace(class_weight=rng.random(131))
    options = {"sample_weight": rng.random(4), "reduction": "weighted_mean"}
    agree(loss, prediction, target, derivatives=2, **options)


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(40, 5), (3, 77)], ids=str)
def test_general_rows(machine, kind, shape):
    prediction, target = rows(kind, *shape)
    agree(nl.Brier(), prediction, target, derivatives=2)
    dense = np.random.default_rng(1).dirichlet(np.ones(shape[1]), shape[0])
    agree(nl.CrossEntropy(), prediction, dense.astype(DTYPES[kind]), derivatives=2)
    assert "softmax_general" in launched(machine)


def test_margins_of_rows_weigh_as_their_labels(machine):
    prediction, target = rows("float32", 20, 5)
    loss = nl.MultiMargin(class_weight=[0.5, 2.0, 0.0, 3.0, 1.0])
    agree(loss, prediction, target, derivatives=2, reduction="weighted_mean")


def test_rows_of_probabilities(machine):
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(5), 20).astype(np.float32)
    labels = rng.integers(0, 5, 20)
    loss = nl.CrossEntropy(
        class_weight=[0.5, 2.0, 0.0, 3.0, 1.0], label_smoothing=0.1, from_logits=False
    )
    p[3, 1] = np.nan
    p[4, 2] = np.nextafter(np.float32(1), np.float32(2))
    agree(loss, p, labels, derivatives=2, reduction="weighted_mean")
    p = rng.dirichlet(np.ones(77), 3)
    agree(nl.Brier(from_logits=False), p, rng.dirichlet(np.ones(77), 3), derivatives=2)
    p[2, 70] = 1.5
    on_machine, labels = put(p), put(np.array([0, 5, 76]))
    plain = nl.Brier(from_logits=False)
    for call in (plain, plain.value_and_grad):
        with pytest.raises(ValueError, match=r"prediction\[2, 70\] is 1.5; .* in \[0, 1\]"):
            call(on_machine, labels)
    with pytest.raises(ValueError, match=r"prediction\[2, 70\] is 1.5"):
        plain.value_and_grad(on_machine, labels, out=on_machine)
    np.testing.assert_array_equal(on_machine.copy_to_host(), p)
    assert np.isfinite(plain(on_machine, labels, check=False))


def test_rows_in_place(machine):
    prediction, target = rows("float32", 20, 12)
    loss = nl.CrossEntropy()
    _, expected = loss.value_and_grad(prediction, target)
    on_machine = put(prediction)
    _, found = loss.value_and_grad(on_machine, put(target), out=on_machine)
    same([found], [expected], "float32")


@pytest.mark.every(5)
@pytest.mark.parametrize("label", [12, -1, 2**40])
@pytest.mark.parametrize("road", ["narrow", "registers", "staged", "whole", "split"])
def test_labels_out_of_range_reach_nothing(machine, monkeypatch, label, road):
    """The machine would tell of an access out of bounds."""
    if road != "narrow":
        monkeypatch.setattr(narrow_rows, "shape", lambda *given: None)
    if road not in ("narrow", "registers"):
        monkeypatch.setattr(register_rows, "shape", lambda *given: None)
    if road in ("whole", "split"):
        monkeypatch.setattr(staged, "most_classes", lambda real: 8)
        monkeypatch.setattr(softmax, "LEAST_PIECE", 10**9 if road == "whole" else 4)
    prediction, target = rows("float32", 20, 12)
    target[7] = label
    loss = nl.CrossEntropy(class_weight=np.ones(12))
    on_machine = put(prediction)
    with pytest.raises(ValueError, match="labels of 12 classes"):
        loss.value_and_grad(on_machine, put(target))
    with pytest.raises(ValueError, match="labels of 12 classes"):
        loss.value_and_grad(on_machine, put(target), out=on_machine)
    np.testing.assert_array_equal(on_machine.array, prediction)


def test_unsigned_labels_are_not_the_negative_numbers_of_their_bits(machine):
    prediction, target = rows("float32", 20, 12)
    target = target.astype(np.uint64)
    target[7] = 2**64 - 100  # -100, the label to ignore, as its bits are
    with pytest.raises(ValueError, match=rf"target\[7\] is {2**64 - 100};"):
        nl.CrossEntropy(class_weight=np.ones(12))(put(prediction), put(target))


def test_targets_a_rounding_beyond_their_domain_are_its_bound(machine):
    near = np.float32(1) + 8 * np.spacing(np.float32(1))
    first, second = (np.random.default_rng(seed).normal(size=(6, 4)) for seed in (0, 1))
    first, second = first.astype(np.float32), second.astype(np.float32)
    dense = np.eye(6, 4, dtype=np.float32)
    calls = [
        (nl.BinaryCrossEntropy(), (first * 9,), dense),
        (nl.BinaryCrossEntropy(), (first[:, :3] * 9,), dense[:, :3]),
        (nl.Brier(), (first,), dense),
    ]
    for loss, given, target in calls:
        rounded = np.where(target == 1, near, target)
        expected = loss.value_and_grad(*given, target)
        for t in (target, rounded):
            value, gradient = loss.value_and_grad(*map(put, given), put(t))
            same([value, gradient], expected, "float32")
        rounded[2, 2] = np.nextafter(near, np.float32(2))
        with pytest.raises(ValueError, match=r"target\[2, 2\] is 1.0000011;"):
            loss(*map(put, given), put(rounded))


class WithoutIgnored(nl.Softmax):
    """A loss without a label to ignore."""

    sparse = True
    linear = True

    def point(self, log_probability, target):
        return -target * log_probability, -target, 0.0


def test_the_least_integer_is_no_label_to_ignore(machine):
    """NaN becomes that where labels are cast."""
    prediction, target = rows("float32", 20, 12)
    assert np.isfinite(WithoutIgnored()(put(prediction), put(target)))
    target[7] = -(2**63)
    with pytest.raises(ValueError, match=r"target\[7\] is -9223372036854775808"):
        WithoutIgnored()(put(prediction), put(target))


def vectors(kind, count, length, pairs=True, seed=0):
    """Vectors, and targets for losses of pairs."""
    rng = np.random.default_rng(seed)
    found = [rng.normal(size=(count, length)).astype(DTYPES[kind]) for _ in range(3)]
    return (*found[:2], rng.integers(0, 2, count)) if pairs else tuple(found)


def agree_on_vectors(loss, given, offset=0, **options):
    """Compare calls on the machine, with gradients and without, with one on the CPU."""
    kind, outs = given[0].dtype.name, {}
    if kind == "bfloat16":  # see `agree`
        outs = {"out": tuple(put(one) for one in given if one.ndim > 1)}
    expected = loss.value_and_grad(*given, **options)
    options = {name: put(value) for name, value in options.items()}
    arrays = [Array.copy(one, offset) for one in given]
    value, gradients = loss.value_and_grad(*arrays, **options, **outs)
    same([value, *gradients], [expected[0], *expected[1]], kind)
    same([loss(*arrays, **options)], [expected[0]], kind)


@pytest.mark.every(12)
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("length", [1, 7, 16, 24, 67, 144])
def test_vectors_of_pairs_and_triplets(machine, kind, length):
    agree_on_vectors(nl.Contrastive(3.0), vectors(kind, 5, length))
    if length > 1:  # of one element, it has no gradient but roundings
        agree_on_vectors(nl.CosineEmbedding(), vectors(kind, 5, length))
    agree_on_vectors(nl.Triplet(swap=True), vectors(kind, 5, length, False))
    assert launched(machine) == ["embedding_rows"]


@pytest.mark.every(5)
@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize("length", [1032, 1091])
def test_vectors_of_a_whole_block(machine, kind, length):
    agree_on_vectors(nl.CosineEmbedding(), vectors(kind, 3, length))
    agree_on_vectors(nl.Triplet(), vectors(kind, 3, length, False))


def test_many_vectors(machine):
    agree_on_vectors(nl.Contrastive(3.0), vectors("float32", 300, 8))
    ((_, blocks), *_) = machine.launched
    assert blocks > 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
def test_weighted_vectors_of_any_strides(machine, reduction):
    weight = np.arange(6.0) % 4
    for kind in ("float64", "bfloat16"):
        first, second, target = vectors(kind, 12, 34)
        first[2] = second[8, 3] = np.nan  # of weight 0, and not
        given = first[::2, ::2], second[::-2, 1::2], target[::2]
        agree_on_vectors(nl.Contrastive(), given, sample_weight=weight, reduction=reduction)
    agree_on_vectors(nl.Triplet(p=3.0), vectors("float32", 6, 8, False), 1, reduction=reduction)
    stacked = [one.reshape(3, 4, 2, 5) for one in vectors("float32", 12, 10, False, 3)]
    walked = [one.transpose(1, 0, 2, 3)[:, 1:] for one in stacked]
    agree_on_vectors(nl.Triplet(p=1.0), walked, reduction=reduction)


def test_vectors_with_errors(machine):
    first, second, target = vectors("float32", 6, 8)
    target[4] = 3
    given = [*map(put, (first, second, target))]
    with pytest.raises(ValueError, match=r"^target\[4\] is 3"):
        nl.Contrastive()(*given)
    given[2], weight = put(target % 2), put(-np.ones(6))
    value = nl.CosineEmbedding()(*given, sample_weight=weight, wait=False)
    with pytest.raises(ValueError, match=r"^6 numbers are out of range"):
        float(value)


def agree_on_batches(loss, count, length, kind="float32", classes=3, labels=None, **options):
    """Compare a call on the machine, of all pairs of a batch, with one on the CPU."""
    rng = np.random.default_rng([count, length])
    given = [rng.normal(size=(count, length)).astype(DTYPES[kind]) for _ in range(2)]
    if isinstance(loss, nl.LabelledEmbedding):
        given[1] = rng.integers(0, classes, count) if labels is None else labels
    expected, *of_host = loss.value_and_grad(*given, **options)
    arrays = [*map(put, given)]
    outs = {"out": tuple(map(put, given)) if given[1].ndim > 1 else put(given[0])}
    own = {name: put(value) for name, value in options.items()}
    found, *of_machine = loss.value_and_grad(*arrays, **own, **outs)
    if isinstance(of_host[0], tuple):
        of_host, of_machine = of_host[0], of_machine[0]
    same([found, *of_machine], [expected, *of_host], kind, 100)


# Of vectors that are not normalised.
IN_UNITS = ("choose_unit", "rescale")
# The dtype, and the bytes of a block, of which there may be several.
SHAPES = pytest.mark.parametrize(
    ("kind", "workspace"),
    [("float32", 1500), pytest.param("float64", None, marks=pytest.mark.exhaustive)],
)


@pytest.mark.exhaustive
@SHAPES
def test_batches_of_sums(machine, kind, workspace):
    for loss in (nl.InfoNCE(0.5), nl.InfoNCE(0.5, symmetric=True), nl.NTXent(0.5)):
        agree_on_batches(loss, 37, 3, kind, workspace=workspace)
    steps = (
        "prepare",
        "measure_rows",
        "measure_columns",
        "close",
        "positives",
        "emit",
        "finish",
        "total",
    )
    assert set(launched(machine)) == {f"embedding_{name}" for name in steps}


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_batches_of_pairs(machine, kind):
    agree_on_batches(nl.SigLIP(0.5, -1.0), 35, 3, kind, workspace=1500)
    assert "embedding_emit_pairs" in launched(machine)


@SHAPES
def test_batches_of_triplets_that_are_hard(machine, kind, workspace):
    agree_on_batches(nl.BatchTriplet(), 37, 3, kind, workspace=workspace)
    agree_on_batches(nl.BatchTriplet(squared=True, normalize=True), 21, 67, kind)
    steps = {"prepare", "center", "mine_rows", "settle", "gather", "finish", "total", *IN_UNITS}
    found = {name for name in launched(machine) if not name.endswith("mine_columns")}
    assert found == {f"embedding_{name}" for name in steps}
    assert ("embedding_mine_columns" in launched(machine)) == (workspace is not None)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("kind", "mining"), [("float32", "semi-hard"), ("float64", "all")])
def test_batches_of_all_triplets(machine, kind, mining):
    loss = nl.BatchTriplet(mining=mining)
    agree_on_batches(loss, 37, 3, kind, workspace=3000)
    # More positives than a block has threads; and a row that has none.
    if kind == "float32":
        agree_on_batches(loss.replace(normalize=True), 80, 5, kind, labels=np.arange(80) // 73)
    agree_on_batches(loss.replace(squared=True), 40, 5, kind, labels=np.arange(40) // 39)
    steps = {"prepare", "center", "emit_triplets", "add_columns", "finish", "total", *IN_UNITS}
    assert set(launched(machine)) == {f"embedding_{name}" for name in steps}


@pytest.mark.every(5)
@pytest.mark.parametrize(
    ("kind", "reduction"), [("float16", "weighted_mean"), ("bfloat16", "none")]
)
@pytest.mark.parametrize("loss", [nl.InfoNCE(), nl.SupervisedContrastive(), nl.BatchTriplet()])
def test_weighted_batches_of_halves(machine, loss, kind, reduction):
    weight = np.arange(9.0) % 4
    agree_on_batches(loss, 9, 5, kind, sample_weight=weight, reduction=reduction)


ADDRESS = "ld.param.u64 %rd1, [a]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; "
OWN = ADDRESS + "add.s64 %rd1, %rd1, %rd2; "


def program(body, shared=""):
    """A kernel of one address, written by hand."""
    registers = ".reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>;"
    body = (registers + body + " ret;").replace("; ", ";\n")
    return Program(f"{shared}\n.visible .entry k(\n.param .u64 a\n)\n{{\n{body}\n}}\n")


def ran(body, array, threads=32, shared=""):
    """The array, once a kernel has run."""
    given = MEMORY.array(array.shape, array.dtype)
    given[...] = array
    program(body, shared).run(MEMORY, 1, threads, [given.ctypes.data])
    return given


def test_machine_rounds_once_in_fma():
    a = np.float32(1) + np.finfo(np.float32).eps
    given = np.array([a, a, -(a * a)], np.float32)
    body = (
        "ld.global.f32 %f1, [%rd1]; ld.global.f32 %f2, [%rd1+4]; ld.global.f32 %f3, [%rd1+8]; "
        "fma.rn.f32 %f4, %f1, %f2, %f3; mul.f32 %f5, %f1, %f2; add.f32 %f5, %f5, %f3; "
        "setp.ne.s32 %p1, %r1, 0; @%p1 bra END; "
        "st.global.f32 [%rd1], %f4; st.global.f32 [%rd1+4], %f5; END: "
    )
    # One thread writes last what all have read.
    found = ran(ADDRESS + body.replace("setp", "bar.sync 0; setp"), given)
    assert found[0] == np.float64(a) ** 2 + np.float64(given[2]) != 0
    assert found[1] == 0


def test_machine_shuffles():
    body = "shfl.sync.bfly.b32 %r3|%p1, %r1, 5, 31, -1; st.global.u32 [%rd1], %r3; "
    np.testing.assert_array_equal(ran(OWN + body, np.zeros(32, np.int32)), np.arange(32) ^ 5)


def test_machine_compares_nan():
    tests = ["lt", "ltu", "eq", "equ", "ne", "neu", "ge", "geu", "num", "nan"]
    body = "ld.global.f32 %f1, [%rd1]; mov.u32 %r3, 0; "
    for bit, test in enumerate(tests):
        body += f"setp.{test}.f32 %p1, %f1, 0f3F800000; selp.u32 %r4, {1 << bit}, 0, %p1; "
        body += "or.b32 %r3, %r3, %r4; "
    given = np.full(32, np.nan, np.float32)
    given[:3] = 0.5, 1, 2
    found = ran(OWN + body + "st.global.u32 [%rd1], %r3; ", given).view(np.uint32)
    names = [{t for bit, t in enumerate(tests) if found[i] >> bit & 1} for i in range(4)]
    assert names == [
        {"lt", "ltu", "ne", "neu", "num"},
        {"eq", "equ", "ge", "geu", "num"},
        {"ge", "geu", "ne", "neu", "num"},
        {"ltu", "equ", "neu", "geu", "nan"},
    ]


def test_machine_adds_and_finds_minima_atomically():
    body = (
        "add.s32 %r2, %r1, 7; cvt.u64.u32 %rd3, %r2; atom.global.add.u64 %rd4, [%rd1], 2; "
        "atom.global.min.u64 %rd4, [%rd1+8], %rd3; "
    )
    assert ran(ADDRESS + body, np.array([5, 1 << 62])).tolist() == [69, 7]


SHARED = ".visible .shared .align 4 .b8 s[256];"
EXCHANGE = (
    OWN + "mov.u64 %rd3, s; add.s64 %rd4, %rd3, %rd2; st.shared.u32 [%rd4], %r1; {} "
    "xor.b32 %r2, %r1, 33; mul.wide.u32 %rd5, %r2, 4; add.s64 %rd5, %rd5, %rd3; "
    "ld.shared.u32 %r3, [%rd5]; st.global.u32 [%rd1], %r3; "
)


def test_machine_waits_at_barriers():
    found = ran(EXCHANGE.format("bar.sync 0;"), np.zeros(64, np.int32), 64, SHARED)
    np.testing.assert_array_equal(found, np.arange(64) ^ 33)
    with pytest.raises(RuntimeError, match="race"):
        ran(EXCHANGE.format(""), np.zeros(64, np.int32), 64, SHARED)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("ld.global.u32 %r3, [%rd1+128]; ", IndexError, "not an array's"),
        ("st.global.u32 [%rd1+-4], %r1; ", IndexError, "not an array's"),
        ("ld.global.u32 %r3, [%rd1+2]; ", ValueError, "not aligned"),
        ("ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+8]; ", ValueError, "not aligned"),
        ("mov.u64 %rd4, s; ld.shared.u32 %r3, [%rd4+256]; ", IndexError, "shared memory"),
        ("mov.u64 %rd4, s; ld.shared.u32 %r3, [%rd4+1]; ", ValueError, "not aligned"),
        ("ld.local.u32 %r3, [%rd1]; ", NotImplementedError, "ld.local"),
        ("st.global.u32 [%rd1], 7; atom.global.inc.u32 %r3, [%rd1], %r1; ", RuntimeError, "fence"),
        ("popc.b32 %r3, %r1; ", NotImplementedError, "popc"),
        ("setp.eq.s32 %p1, %r1, 3; @%p1 bra END; bar.sync 0; END: ", RuntimeError, "barrier"),
        (
            "setp.eq.s32 %p1, %r1, 3; @%p1 bra END; shfl.sync.bfly.b32 %r3|%p2, %r1, 1, 31, -1; "
            "END: ",
            RuntimeError,
            "lanes of a warp",
        ),
        ("st.global.u32 [%rd1], %r1; ", RuntimeError, "race for byte .* of global memory"),
        (
            "ld.global.u64 %rd3, [%rd1]; atom.global.add.u64 %rd4, [%rd1], 1; ",
            RuntimeError,
            "race for byte .* of global memory",
        ),
    ],
)
def test_machine_tells_what_a_gpu_may_not(body, error, message):
    with pytest.raises(error, match=message):
        ran(ADDRESS + body, np.zeros(32, np.int32), shared=SHARED)


def test_machine_wants_the_arguments_of_the_kernel():
    with pytest.raises(TypeError, match="1 parameters"):
        program("").run(MEMORY, 1, 32, [1, 2])
    with pytest.raises(TypeError, match="u64"):
        program("").run(MEMORY, 1, 32, [True])
