"""Checks of losses on a GPU in Numba's simulator, one group of them in a process of its own.

To be run with -m: the simulator is chosen when Numba is loaded. It writes what each check came to
as JSON.
"""

import json
import sys
import threading
import traceback
from contextlib import contextmanager
from importlib.util import find_spec
from unittest import mock

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu import simulated_families, simulation
from tests.support.gpu.checks import CHECKS, Library, check

if find_spec("xgboost") and find_spec("sklearn"):
    import tests.support.gpu.simulated_boosting  # noqa: F401


class Simulator(Library):
    """Arrays of NumPy, which simulated kernels take for arrays on a GPU."""

    sizes = (1, 2, 31, 33, 257, 1000)
    widths = (1, 2, 3, 33, 257)
    rows = 3
    thorough = False
    products_of = ("float32", "float64", "float16")
    long_width, split_width = 70, 40

    def put(self, array):
        if array.dtype.name == "bfloat16":
            return simulation.Simulated(array.view(np.uint16).copy(), "bfloat16")
        return simulation.Simulated(array.copy())

    def get(self, given, kind):
        import ml_dtypes

        array = given.array.copy()
        return array.view(ml_dtypes.bfloat16) if kind == "bfloat16" else array

    def is_result(self, given, kind):
        from numbaloss.cuda.simulated_arrays import SimulatedArray

        dtype = "uint16" if kind == "bfloat16" else kind
        return type(given) is SimulatedArray and given.dtype == dtype

    def number(self, value):
        described = mock.Mock(__array_interface__=dict(value.__cuda_array_interface__))
        return float(np.asarray(described))

    @contextmanager
    def rows_as(self, path):
        from numbaloss.cuda import backend

        count = 8 if path == "split" else 1
        with (
            mock.patch.object(backend, "processors", return_value=count),
            super().rows_as(path),
        ):
            yield


@check("simulator")
def kernels_touch_nothing_but_the_arrays_of_their_call(library):
    from numbaloss.cuda import elementwise_kernels

    def off_by_one(kind):
        write = writer(kind)
        return lambda address, index, number: write(address, index + 1, number)

    writer = elementwise_kernels.writer
    p, t = (library.put(one)[::2] for one in (np.ones(64, "f4"), np.zeros(64, "f4")))
    elementwise_kernels.strided.cache_clear()
    with (
        mock.patch.object(elementwise_kernels, "writer", off_by_one),
        pytest.raises(IndexError, match="a kernel reaches out of bounds: float32"),
    ):
        nl.Huber().value_and_grad(p, t)
    elementwise_kernels.strided.cache_clear()
    assert nl.Huber()(p, t) == 0.5


@check("simulator")
def barriers_that_are_missing_or_not_for_all_are_noticed(library):
    from numbaloss.cuda import backend, memory, simulated_arrays
    from numbaloss.cuda.kernel import Kernel

    write = memory.writer("float32")

    def launch(function):
        found = simulated_arrays.SimulatedArray(np.zeros(backend.THREADS, "f4"))
        address = backend.address(found)
        with simulated_arrays.accessible((address, address + found.nbytes)):
            Kernel(function, ()).launch(backend.Place(0), 1, (address,))
        return found.array

    def with_barrier(address):
        shared = backend.cuda.shared.array(32, np.float32)
        thread = backend.cuda.threadIdx.x
        shared[thread] = thread
        backend.cuda.syncthreads()
        write(address, thread, shared[31 - thread])

    def without_barrier(address):
        shared = backend.cuda.shared.array(32, np.float32)
        thread = backend.cuda.threadIdx.x
        shared[thread] = thread
        write(address, thread, shared[31 - thread])

    def some_never_come(address):
        if backend.cuda.threadIdx.x > 7:
            backend.cuda.syncthreads()

    def two_places(address):
        if backend.cuda.threadIdx.x > 7:
            backend.cuda.syncthreads()
        else:
            backend.cuda.syncthreads()

    np.testing.assert_array_equal(launch(with_barrier), np.arange(32)[::-1])
    assert np.isnan(launch(without_barrier)).sum() == 16
    with pytest.raises(RuntimeError, match="some threads of a block never reach the barrier"):
        launch(some_never_come)
    with pytest.raises(RuntimeError, match="threads of a block are not all at the barrier"):
        launch(two_places)


@check("simulator")
def calls_of_other_threads_do_not_come_between_two_launches(library):
    from numbaloss.cuda import calls

    rng = np.random.default_rng(0)
    given = [(rng.normal(k, 1, (2, 40)), rng.integers(0, 40, 2)) for k in range(2)]
    loss, launch, others, found = nl.CrossEntropy(), calls.Call.launch, [], {}

    def work(k):
        found[k] = loss(*map(library.put, given[k]), reduction="sum")

    def interrupted(*arguments, **options):
        record = launch(*arguments, **options)
        if not others:
            others.append(threading.Thread(target=work, args=(1,)))
            others[0].start()
            others[0].join(0.3)
        return record

    with library.rows_as("split"), mock.patch.object(calls.Call, "launch", interrupted):
        work(0)
        others[0].join()
    for k, arrays in enumerate(given):
        assert found[k] == pytest.approx(loss(*arrays, reduction="sum"), rel=1e-12)


def every_check(library):
    with library.installed():
        for function in CHECKS["families"].values():
            function(library)


@check("other families")
def arrays_of_jax(library):
    jax = simulated_families.Jax()
    every_check(jax)
    p, t = np.linspace(-2, 2, 33, dtype="f4"), np.zeros(33, "f4")
    with jax.installed():
        # The library writes to its own arrays of JAX, and to nobody else's.
        for out, own in (("out", jax.put(p)), ("hess_out", jax.put(p))):
            with pytest.raises(TypeError, match=rf"^{out} must be .* written to, not .*OfJax"):
                nl.Huber().value_grad_hess(jax.put(p), jax.put(t), **{out: own})
        with pytest.raises(TypeError, match=r"^out\[1\] must be .* written to"):
            nl.InfoNCE().value_and_grad(
                *(jax.put(one.reshape(11, 3)) for one in (p, p)), out=(None, jax.put(p))
            )
        with pytest.raises(TypeError, match=r"values_out must be .* written to"):
            nl.Huber()(jax.put(p), jax.put(t), reduction="none", values_out=jax.put(p))


@check("other families")
def arrays_that_know_nothing_but_dlpack(library):
    every_check(simulated_families.DLPack(simulated_families.Exchanged))


@check("other families")
def arrays_of_the_array_api_standard(library):
    every_check(simulated_families.DLPack(simulated_families.OfNamespace))


def main(group):
    simulation.install()
    outcomes = {}
    for name, function in CHECKS[group].items():
        try:
            function(Simulator())
            outcomes[name] = None
        except BaseException:  # those of pytest are none of Exception
            outcomes[name] = traceback.format_exc()
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
