"""``device="cuda"`` for arrays of the host, in Numba's simulator of a GPU.

The simulator is chosen when Numba is loaded: this file is also a script, which runs all checks in
a process of its own. Where it is the way through the pieces that is checked, and not the kernels,
the processor's kernels stand in for the GPU's, on streams that do nothing before they must.
"""

import json
import math
import os
import subprocess
import sys
import threading
import traceback
from collections import defaultdict, deque
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import numbaloss as nl

ROOT = Path(__file__).parents[2]
CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


class LazyStreams:
    """Streams that put everything off until somebody waits: the worst that a GPU may do."""

    def __init__(self, backend, cpu):
        self.backend, self.cpu = backend, cpu
        self.waiting = defaultdict(deque)
        self.most = self.pieces = 0
        self.copies = backend.copy_in, backend.copy_out

    def copy_in(self, host, gpu, place):
        self.waiting[place].append(lambda: self.copies[0](host, gpu, place))

    def copy_out(self, gpu, host, place):
        self.waiting[place].append(lambda: self.copies[1](gpu, host, place))

    def evaluate(self, loss, derivatives, inputs, outputs, reduction, scale, check, *rest):
        assert (reduction, rest[0]) == ("sum", False)
        place, found = rest[1], []
        inputs, outputs = (
            [one and one._replace(device=None) for one in side] for side in (inputs, outputs)
        )

        def run():
            value, wrong = self.cpu.evaluate(loss, derivatives, inputs, outputs, scale, check)
            found.append(SimpleNamespace(value=value, out_of_range=wrong))

        def read():
            self.synchronize(place)
            return found[0]

        self.waiting[place].append(run)
        self.pieces += 1
        self.most = max(self.most, sum(map(bool, self.waiting.values())))
        return mock.Mock(read=read)

    def synchronize(self, place):
        while self.waiting[place]:
            self.waiting[place].popleft()()


def small_pieces(size=256):
    from numbaloss.cuda import host

    return mock.patch.multiple(host, PIECE=size, LEAST=size // 4, SHARE=256)


@contextmanager
def pieces(structure="elementwise", size=2048):
    """Small pieces, and lazy streams."""
    from numbaloss import engines
    from numbaloss.cpu import elementwise, softmax
    from numbaloss.cuda import backend, transfer

    cpu = {"elementwise": elementwise, "softmax": softmax}[structure]
    streams, own = LazyStreams(backend, cpu), engines.kernels

    def kernels(engine, structure):
        return streams if engine == "cuda" else own(engine, structure)

    with (
        small_pieces(size),
        mock.patch.multiple(
            backend,
            copy_in=streams.copy_in,
            copy_out=streams.copy_out,
            synchronize=streams.synchronize,
        ),
        mock.patch.object(transfer, "_idle", {}),
        mock.patch.object(engines, "kernels", kernels),
    ):
        yield streams


def inputs(shape, dtype="f4", seed=0):
    random = np.random.default_rng(seed)
    prediction, target = random.normal(size=shape), random.random(shape)
    return np.asarray(prediction, dtype), np.asarray(target, dtype)


def assert_same(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        one, other = np.asarray(one, "f8"), np.asarray(other, "f8")
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@check
def check_every_shape_and_reduction():
    loss = nl.BinaryCrossEntropy()
    for shape in ((), (1,), (255,), (1000,), (7, 11, 13), (2, 1, 700), (600, 3), (0, 3)):
        p, t = inputs(shape)
        for weight in (None, np.ones(shape, "f8") / 3, np.arange(shape[0]) if shape else None):
            every = "mean", "none", "weighted_mean", "sum"
            for reduction in every[: 2 if math.prod(shape) > 500 else 4]:
                options = {"sample_weight": weight, "reduction": reduction, "gradient_scale": 3.0}
                expected = loss.value_grad_hess(p, t, **options)
                with pieces() as streams:
                    found = loss.value_grad_hess(p, t, **options, device="cuda")
                assert_same(found, expected, 1e-6)
                assert streams.pieces >= math.prod(shape) * 8 // 2048
                assert streams.most == min(streams.pieces, 3)


@check
def check_masks():
    loss, (p, t) = nl.BinaryCrossEntropy(), inputs((70, 20))
    mask = np.random.default_rng(1).random((70, 20)) < 0.7
    p[~mask], t[3][~mask[3]] = np.nan, 5.0
    for weight in (None, np.arange(70)):
        for reduction in ("mean", "weighted_mean", "none"):
            options = {"sample_weight": weight, "mask": mask, "reduction": reduction}
            expected = loss.value_grad_hess(p, t, **options)
            with pieces() as streams:
                found = loss.value_grad_hess(p, t, **options, device="cuda")
            assert_same(found, expected, 1e-6)
            assert streams.pieces > 1
    signed = 2 * t - 1
    several = nl.BinaryCrossEntropy(pos_weight=np.arange(20.0), targets="signed")
    for options in ({"mask": mask}, {"mask": mask, "sample_weight": np.arange(70)}):
        expected = several.value_grad_hess(p, signed, **options)
        with pieces():
            found = several.value_grad_hess(p, signed, **options, device="cuda")
        assert_same(found, expected, 1e-6)


@check
def check_every_layout():
    loss, shape = nl.Huber(), (21, 34, 10)
    p, t = inputs(shape)
    wide = np.zeros((21, 68, 30), "f4")
    gaps = wide[::-1, ::2, 1::3]
    gaps[...] = p
    for q in (np.asfortranarray(p), gaps, p.transpose(2, 0, 1), np.broadcast_to(p[:1], shape)):
        u = t if q.shape == shape else t.transpose(2, 0, 1)
        expected = loss.value_and_grad(q, u)
        with pieces():
            assert_same(loss.value_and_grad(q, u, device="cuda"), expected, 1e-6)
    # Results, too, go anywhere, and nowhere else.
    with pieces():
        loss.value_and_grad(p, t, out=gaps, device="cuda")
    np.testing.assert_allclose(gaps, loss.value_and_grad(p, t)[1], rtol=1e-6)
    gaps[...] = 0
    assert not wide.any()


@check
def check_every_dtype():
    import ml_dtypes

    loss = nl.BinaryCrossEntropy()
    half = ml_dtypes.bfloat16
    for dtypes in (
        ("f2", "f2"), ("f2", "i8"), (half, half), (half, "f4"), ("f4", "u1"), ("f4", ">f8"),
        ("f8", "?"), ("f8", "f4"), (">f4", "<f4"), (">f8", ">f8"), ("f4", half),
    ):  # fmt: skip
        p, t = inputs(700, "f4")
        p, t = p.astype(dtypes[0]), (t > 0.5).astype(dtypes[1])
        for reduction in ("sum", "none"):
            expected = loss.value_grad_hess(p, t, reduction=reduction)
            with pieces() as streams:
                found = loss.value_grad_hess(p, t, reduction=reduction, device="cuda")
            assert streams.pieces > 1
            assert_same(found, expected, 1e-2 if p.dtype.itemsize == 2 else 1e-6)


@check
def check_gradient_in_the_place_of_the_prediction():
    loss, (p, t) = nl.BinaryCrossEntropy(), inputs((70, 20))
    for weight in (None, np.linspace(0, 1, 70)):
        value, gradient = loss.value_and_grad(p, t, sample_weight=weight)
        own = p.copy()
        with pieces():
            found = loss.value_and_grad(own, t, sample_weight=weight, out=own, device="cuda")
        assert found[1] is own
        assert_same(found, (value, gradient), 1e-6)


@check
def check_an_error_changes_no_input_and_names_the_first():
    loss, (p, t) = nl.BinaryCrossEntropy(), inputs((70, 20))
    t[50, 3] = t[69, 19] = 2.0
    own = p.copy()
    for out in (own, None):
        with pieces(), pytest.raises(ValueError, match=r"^target\[50, 3\] is 2; Binary"):
            loss.value_and_grad(own, t, out=out, device="cuda")
        np.testing.assert_array_equal(own, p)
    weight = np.ones(70)
    weight[68] = -1.0
    for out in (own, None):
        with pieces(), pytest.raises(ValueError, match=r"^sample_weight\[68\] is -1"):
            nl.Huber().value_and_grad(own, t, sample_weight=weight, out=out, device="cuda")
        np.testing.assert_array_equal(own, p)
    with pieces():
        assert loss(p, t, check=False, device="cuda") == pytest.approx(loss(p, t, check=False))


@check
def check_rows():
    check_softmax(((9,), (500, 5), (3, 40, 7), (2, 1000), (64, 1)))


@check
def check_the_gpus_own_kernels_for_rows():
    from numbaloss.cuda import softmax

    check_softmax(((3,), (19, 4), (4, 1, 40)), softmax)


def check_softmax(shapes, kernels=None):
    """Rows by pieces, by the kernels of the processor or by others, against all at once."""
    from numbaloss.call.rows import inputs_of
    from numbaloss.cpu import softmax
    from numbaloss.cuda import host

    random = np.random.default_rng(1)
    loss = nl.CrossEntropy(ignore_index=2)
    for shape in shapes:
        p = random.normal(size=shape).astype("f4")
        dense = random.dirichlet(np.ones(shape[-1]), shape[:-1])
        weight, mask = (
            random.random(shape[:1] if shape[1:] else ()),
            random.random(shape[:-1]) > 0.3,
        )
        for target in (random.integers(0, shape[-1], shape[:-1]), dense):
            for q in (p, np.asfortranarray(p)):
                operands, _ = inputs_of(loss, q, target, weight, mask, -1)
                made = [np.empty(shape[:-1], "f4"), np.empty_like(q), np.empty_like(q)]
                expected = [np.empty_like(one) for one in made]
                views = [nl.arrays.operand(one, "out")[0] for one in (*made, *expected)]
                total, _ = softmax.evaluate(loss, 2, operands, views[3:], 0.5, True)
                with pieces("softmax") if kernels is None else small_pieces() as streams:
                    found, wrong = host.evaluate(
                        kernels or streams, loss, 2, operands, views[:3], 0.5, True, rows=True
                    )
                assert wrong == 0
                if kernels is None:
                    assert streams.pieces >= min(p.nbytes // 2048, math.prod(shape[:-1]))
                assert_same([found, *made], [total, *expected], 1e-6)


@check
def check_gpus_with_little_memory():
    from numbaloss.cuda import backend, transfer

    loss, (p, t) = nl.Huber(), inputs(3000)
    expected = loss.value_and_grad(p, t)
    for free in (0, 1000, 20_000):
        with (
            pieces(size=8192) as streams,
            mock.patch.object(backend, "free_memory", lambda device, free=free: free),
        ):
            found = loss.value_and_grad(p, t, device="cuda")
            lanes = transfer._idle[0]
        assert_same(found, expected, 1e-6)
        used = sum(lane.incoming.host.nbytes + lane.outgoing.host.nbytes for lane in lanes)
        assert used <= max(free, 8192)
        assert streams.pieces > 24000 // 8192


@check
def check_lanes_are_kept_and_never_shared():
    from numbaloss.cuda import transfer

    loss, problems = nl.Huber(), []
    with pieces():

        def work(seed):
            p, t = inputs(2000, seed=seed)
            expected = loss.value_and_grad(p, t)
            for _ in range(5):
                try:
                    assert_same(loss.value_and_grad(p, t, device="cuda"), expected, 1e-6)
                except Exception as error:
                    problems.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems, problems
        assert len(transfer._idle[0]) == transfer.LANES
        before = list(transfer._idle[0])
        work(9)
        assert set(transfer._idle[0]) == set(before)


@check
def check_the_gpus_own_kernels():
    loss = nl.BinaryCrossEntropy()
    with small_pieces(512):
        for dtype, tolerance in (("f4", 1e-6), ("f2", 2e-3), (">f8", 1e-12)):
            p, t = inputs((31, 7), dtype)
            weight = np.linspace(0, 2, 31)
            options = {"sample_weight": weight, "reduction": "weighted_mean"}
            expected = loss.value_grad_hess(p, t, **options)
            found = loss.value_grad_hess(p, t, **options, device="cuda")
            assert_same(found, expected, tolerance)
            again = loss.value_grad_hess(p, t, **options, device="cuda")
            assert found[0] == again[0]
        t[3, 1] = t[30, 0] = 7.0
        with pytest.raises(ValueError, match=r"^target\[3, 1\] is 7"):
            loss(p, t, device="cuda")


def main():
    sys.setswitchinterval(2e-5)  # the simulator's threads pass the word on all the time
    outcomes = {}
    for name, function in CHECKS.items():
        try:
            function()
            outcomes[name] = None
        except BaseException:  # those of pytest are none of Exception
            outcomes[name] = traceback.format_exc()
    json.dump(outcomes, sys.stdout)


@pytest.fixture(scope="module")
def outcomes():
    """What each check came to, in a process with the simulator."""
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# All in one process of some 50 s.
@pytest.mark.exhaustive
@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda")
@pytest.mark.parametrize("name", CHECKS)
def test_host(outcomes, name):
    assert outcomes[name] is None, outcomes[name]


if __name__ == "__main__":
    main()
