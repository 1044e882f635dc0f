"""Calls that were made before are launched again as the general path would launch them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

import numbaloss as nl

pytest.importorskip("numba_cuda")

from numbaloss.call import elementwise, repeats, rows
from numbaloss.cuda import backend, results
from numbaloss.device_value import DeviceValue
from tests.support.gpu.kernels import Quartic
from tests.support.gpu.stub import Array, remembered, stub_gpu

pytestmark = pytest.mark.skipif(backend.SIMULATED, reason="the simulator has no driver")


def taught(call, times=4):
    """Make a call so often that it is known."""
    for _ in range(times):
        call()


def named_sums(started):
    """Launches with the sums that they leave and read in the order of their first use.

    Which of those that are free a launch takes is left to chance.
    """
    (workspace,) = results._workspaces.values()
    found, order = [], {}
    for one in started:
        words = np.frombuffer(one.parameters[: len(one.parameters) // 8 * 8], np.int64).copy()
        for place, word in enumerate(words.tolist()):
            if any(0 <= word - slab.address < slab.nbytes for slab in workspace._slabs):
                words[place] = order.setdefault(word, -1 - len(order))
        found.append((*one[:4], words.tobytes(), one.parameters[words.nbytes :]))
    return found


CALLS = [
    (nl.Huber(delta=0.5), (1000,), "f4", (1000,), "f4", {}),
    (nl.Huber(), (0x5003,), "f8", (0x5003,), "f8", {"reduction": "sum"}),
    (nl.Huber(), (100, 10), "f2", (100, 10), "f2", {"gradient_scale": 512.0}),
    (nl.BinaryCrossEntropy(targets="signed"), (64,), "f4", (64,), "f4", {"check": False}),
    (nl.BinaryCrossEntropy(), (1000,), "f4", (1000,), "f4", {"reduction": "batchmean"}),
    (nl.Huber() + 0.5 * nl.LogCosh(), (1000,), "f4", (1000,), "f4", {}),
    (Quartic(), (77,), "f4", (77,), "f4", {}),
    (nl.CrossEntropy(), (1000, 10), "f4", (1000,), "i8", {}),
    (nl.CrossEntropy(), (100, 1000), "f2", (100,), "i4", {"reduction": "sum"}),
    (nl.CrossEntropy(label_smoothing=0.1), (50, 5000), "f4", (50,), "i8", {}),
    (nl.CrossEntropy(class_weight=np.ones(30)), (50, 30), "f4", (50,), "u1", {}),
    (nl.CrossEntropy(), (2, 100_000), "f4", (2,), "i8", {}),
    (nl.CrossEntropy(), (20, 30), "f8", (20, 30), "f8", {"check": False}),
]


@pytest.mark.parametrize(
    ("weighted", "masked"), [(False, False), (True, False), (False, True), (True, True)]
)
@pytest.mark.parametrize(("loss", "shape", "real", "of_target", "kind", "options"), CALLS)
def test_launches_and_parameters_are_those_of_the_general_path(
    loss, shape, real, of_target, kind, options, weighted, masked, monkeypatch
):
    options = dict(options, wait=False)
    # The general path gives sums that nobody reads to the next launch.
    monkeypatch.setattr(results.DeviceSums, "__del__", lambda self: None)
    with stub_gpu() as driver:
        # Equal losses of other tests share it, and all is forgotten once there are many calls.
        vars(loss).get("_gpu_plans", {}).clear()
        if weighted:
            options["sample_weight"] = Array(of_target[:1], real)
        if masked:
            options["mask"] = Array(of_target[:1], "?")
        for derivatives in range("gradient_scale" in options, 3):
            method = [loss, loss.value_and_grad, loss.value_grad_hess][derivatives]
            outs = [Array(shape, real) for _ in range(2)]
            named = dict(zip(("out", "hess_out"), outs[:derivatives], strict=False))
            p, t = Array(shape, real), Array(of_target, kind)
            before = len(remembered(loss))
            # The arrays of the first calls are others.
            for _ in range(4):
                others = {name: Array(shape, real) for name in named}
                method(Array(shape, real), Array(of_target, kind), **others, **options)
            assert len(remembered(loss)) == before + 1
            driver.started.clear()
            found = method(p, t, **named, **options)
            repeated, driver.started[:] = named_sums(driver.started), []
            written = found[1:] if derivatives else ()
            assert all(a is b for a, b in zip(written, outs, strict=False))
            with monkeypatch.context() as general:
                for module in (elementwise, rows):
                    general.setattr(module, "again", lambda *given: None)
                expected = method(p, t, **named, **options)
            assert repeated == named_sums(driver.started)
            assert isinstance(expected if derivatives == 0 else expected[0], DeviceValue)


def test_results_that_the_library_makes_are_new_each_time():
    loss = nl.Huber()
    with stub_gpu() as driver:
        p, t = Array((1000,), "f4"), Array((1000,), "f4")
        taught(lambda: loss.value_and_grad(p, t, wait=False))
        driver.calls.clear()
        first, second = (loss.value_and_grad(p, t, wait=False)[1] for _ in range(2))
        assert first.address != second.address
        assert driver.calls == ["cuMemAlloc", "cuLaunchKernel"] * 2


def test_a_repeated_call_is_a_launch_a_kernel():
    losses = nl.Huber(), nl.CrossEntropy()
    with stub_gpu() as driver:
        for loss, shape, kind, count in zip(losses, ((99,), (99, 9)), ("f4", "i8"), (1, 2)):
            p, t, g = Array(shape, "f4"), Array((99,), kind), Array(shape, "f4")
            taught(lambda: loss.value_and_grad(p, t, out=g, wait=False))  # noqa: B023
            driver.calls.clear()
            loss.value_and_grad(p, t, out=g, wait=False)
            assert driver.calls == ["cuLaunchKernel"] * count


def wrong_calls(p, t, g):
    """Calls that end in errors, by what they do."""
    return {
        "shape": lambda loss: loss.value_and_grad(p, Array((99,), "f4"), out=g),
        "shape of out": lambda loss: loss.value_and_grad(p, t, out=Array((99,), "f4")),
        "dtype of out": lambda loss: loss.value_and_grad(p, t, out=Array((100,), "f8")),
        "integers": lambda loss: loss.value_and_grad(Array((100,), "i8"), t),
        "overlap": lambda loss: loss.value_and_grad(p, t, out=Array((100,), "f4", t.address + 16)),
        "target as out": lambda loss: loss.value_and_grad(p, t, out=t),
        "out twice": lambda loss: loss.value_grad_hess(p, t, out=g, hess_out=g),
        "reduction": lambda loss: loss.value_and_grad(p, t, reduction="median"),
        "device": lambda loss: loss.value_and_grad(p, t, device="tpu"),
        "weights": lambda loss: loss.value_and_grad(p, t, sample_weight=Array((7,), "f4")),
        "host": lambda loss: loss.value_and_grad(p, np.zeros(100, np.float32)),
    }


@pytest.mark.parametrize("name", wrong_calls(None, Array((1,), "f4"), None))
def test_errors_are_those_of_the_general_path(name, monkeypatch):
    loss = nl.Huber()
    with stub_gpu():
        p, t, g = (Array((100,), "f4") for _ in range(3))
        call = wrong_calls(p, t, g)[name]
        taught(lambda: loss.value_and_grad(p, t, out=g, wait=False))
        taught(lambda: loss.value_grad_hess(p, t, wait=False))
        assert len(remembered(loss)) == 2
        errors = []
        for _ in range(2):
            with pytest.raises((TypeError, ValueError)) as found:
                call(loss)
            errors.append((type(found.value), str(found.value)))
            monkeypatch.setattr(elementwise, "again", lambda *given: None)
        assert errors[0] == errors[1]


def test_other_alignments_and_strides_are_other_calls():
    loss = nl.Huber()
    with stub_gpu() as driver:
        p, t, g = (Array((100,), "f4") for _ in range(3))
        taught(lambda: loss.value_and_grad(p, t, out=g, wait=False))
        (known,) = remembered(loss)
        kernels = {driver.started[-1].kernel}
        apart = Array((100,), "f4", p.address + (1 << 20) + 4)
        taught(lambda: loss.value_and_grad(apart, t, out=g, wait=False))
        kernels.add(driver.started[-1].kernel)
        assert len(kernels) == 2  # in vectors, and element by element
        # In place: whoever reads the prediction later finds the gradient.
        taught(lambda: loss.value_and_grad(p, t, out=p, wait=False))
        assert known in remembered(loss)


def test_a_formula_that_changes_is_asked_again(monkeypatch):
    class Own(nl.Elementwise):
        def point(self, prediction, target):
            return prediction - target, 1.0, 0.0

    loss = Own()
    with stub_gpu() as driver:
        p, t, g = (Array((100,), "f4") for _ in range(3))
        taught(lambda: loss.value_and_grad(p, t, out=g, wait=False))
        before = driver.started[-1].kernel
        assert remembered(loss)
        Own.point = lambda self, prediction, target: (2.0 * (prediction - target), 2.0, 0.0)
        loss.value_and_grad(p, t, out=g, wait=False)
        assert driver.started[-1].kernel is not before


def test_shapes_are_forgotten_in_the_end():
    loss = nl.Huber()
    with stub_gpu():
        for size in range(1, 2 * repeats.MOST):
            p, t = Array((size,), "f4"), Array((size,), "f4")
            loss(p, t, wait=False)
    assert len(loss._gpu_plans) <= repeats.MOST + 2


def test_a_number_that_is_waited_for_is_read(monkeypatch):
    from numbaloss.cuda.results import DeviceSums

    class Sums:
        out_of_range, value = 0.0, 2.5

    monkeypatch.setattr(DeviceSums, "read", lambda self: Sums)
    loss = nl.Huber()
    with stub_gpu():
        p, t = Array((100,), "f4"), Array((100,), "f4")
        for _ in range(5):
            assert loss.value_and_grad(p, t)[0] == 2.5
        assert len(remembered(loss)) == 1


class JaxArray:
    """What the library asks of an array of JAX on a GPU."""

    own = type("Device", (), {"platform": "gpu", "local_hardware_id": 0})()

    def __init__(self, shape, dtype):
        array = Array(shape, dtype)
        self.shape, self.dtype, self.address = shape, array.dtype, array.address

    def devices(self):
        return {self.own}

    def block_until_ready(self):
        return self

    def unsafe_buffer_pointer(self):
        return self.address


class Exchanged:
    """An array that knows nothing but DLPack."""

    def __init__(self, shape, dtype):
        self.array = Array(shape, dtype)
        self.shape, self.dtype, self.address = shape, self.array.dtype, self.array.address

    def __dlpack_device__(self):
        return 2, 0


@contextmanager
def families(monkeypatch):
    """A module that passes for JAX, and a driver that exchanges."""

    def zeros(shape, dtype, device):
        return JaxArray(tuple(shape), dtype)

    jax = SimpleNamespace(
        Array=JaxArray,
        core=SimpleNamespace(Tracer=type("Tracer", (), {})),
        numpy=SimpleNamespace(zeros=zeros),
    )

    def exchanged(given):
        return SimpleNamespace(
            ptr=given.address, shape=given.shape, strides=None, dtype=given.dtype, readonly=False
        )

    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "jax", jax)
        patched.setattr(backend, "exchanged", exchanged)
        yield


@pytest.mark.parametrize("kind", [JaxArray, Exchanged])
@pytest.mark.parametrize("masked", [False, True])
def test_arrays_of_libraries_that_know_no_streams(kind, masked, monkeypatch):
    monkeypatch.setattr(results.DeviceSums, "__del__", lambda self: None)
    for loss, shape, of_target, label, launches in (
        (nl.LogCosh(), (100,), (100,), "f4", 1),
        (nl.CrossEntropy(z_loss=0.01), (100, 10), (100,), "i4", 2),
    ):
        with families(monkeypatch), stub_gpu() as driver:
            vars(loss).get("_gpu_plans", {}).clear()
            mask = {"mask": kind(of_target, "?")} if masked else {}

            def call(loss=loss, shape=shape, of_target=of_target, label=label, mask=mask):
                given = kind(shape, "f4"), kind(of_target, label)
                return loss.value_and_grad(*given, **mask, wait=False)

            taught(call)
            assert len(remembered(loss)) == 1
            driver.calls.clear()
            _, gradient = call()
            # Nobody but us knows when the results are there.
            launches += masked and loss.contract.name == "elementwise"  # who counts is counted
            asked = [one for one in driver.calls if one != "cuMemAlloc"]
            assert asked == [*["cuLaunchKernel"] * launches, "cuStreamSynchronize"]
            assert type(gradient).__name__ in (kind.__name__, "Array")
            assert gradient.shape == shape
            launched = driver.started[-1].parameters
            assert np.int64(gradient.__dict__["address"]).tobytes() in launched
            with monkeypatch.context() as general:
                for module in (elementwise, rows):
                    general.setattr(module, "again", lambda *given: None)
                driver.calls.clear()
                call()
            assert [one for one in driver.calls if one != "cuMemAlloc"] == asked


def test_an_array_of_jax_receives_nothing(monkeypatch):
    loss = nl.Huber(delta=0.25)
    with families(monkeypatch), stub_gpu():
        p, t, g = (JaxArray((100,), "f4") for _ in range(3))
        taught(lambda: loss.value_and_grad(p, t, wait=False))
        with pytest.raises(TypeError, match="out must be an array that can be written to"):
            loss.value_and_grad(p, t, out=g, wait=False)


def test_arrays_without_elements_are_nothing_to_wait_for():
    for loss, shape, of_target, kind in (
        (nl.Huber(delta=0.125), (0,), (0,), "f4"),
        (nl.CrossEntropy(z_loss=0.02), (0, 3), (0,), "i8"),
    ):
        with stub_gpu() as driver:
            p, t = Array(shape, "f4"), Array(of_target, kind)
            for wait in (True, False):
                for _ in range(5):
                    value, _ = loss.value_and_grad(p, t, reduction="sum", wait=wait)
                    assert float(value) == 0.0
            assert not driver.started
