"""Rows that no block can keep, kept by clusters of blocks: built, and not used yet.

On GPUs of compute capability 9 and later, blocks of a cluster read one another's shared memory.
Each keeps a piece of the row as it is stored; they exchange a maximum and a sum, and write the
gradient of what they have: the row is read from memory once where one block reads it twice.

No GPU has run it so far: :data:`ENABLED` is False until ``python -m benchmarks.gpu --report`` has
found it right, and faster than the walks of :mod:`.kept_rows`.

Numba has no words for clusters: addresses of another block's memory (``mapa``) and the barrier are
PTX in intrinsics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic as _intrinsic

from ..formulas.structure import Structure
from ..jobs.cuda_rows import CudaRows, RowFlags
from . import backend, kept_rows, reduce, shared_memory
from .backend import cuda
from .dtypes import VECTOR_BYTES, compute_type, itemsize, lanes
from .kept_vectors import stored_as, words_of
from .kernel import Kernel, kept_on_disk
from .memory import reader, writer
from .powers import power
from .reduce import SCRATCH
from .row_vectors import int32
from .rows import describer, finisher, most_threads, signature

intrinsic: Any = _intrinsic
_flag = RowFlags.bit

ENABLED = False
# Blocks of a cluster: what every GPU that has clusters takes.
MOST_BLOCKS = 8
# The first compute capability that has them.
FIRST = (9, 0)
LONG_THREADS = 4
# What an exchange takes of shared memory: a maximum and a sum.
_MAXIMUM, _SUM = 0, 1
_MEMORY = "~{memory}"  # what is read and written before stays before


@cache
def cluster_barrier() -> Callable:
    """``wait()`` until all threads of a cluster are there, and see what the others wrote."""

    @intrinsic
    def wait(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            assembly = ir.InlineAsm(
                ir.FunctionType(ir.VoidType(), []),
                "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;",
                _MEMORY,
                side_effect=True,
            )
            builder.call(assembly, [])
            return context.get_dummy_value()

        return types.void(), generate

    return wait


@cache
def neighbour(real: str) -> Callable:
    """``read(shared, index, rank)``: a number of the same array of another block of the cluster."""
    code, number = {
        "float32": ("f32", ir.FloatType()),
        "float64": ("f64", ir.DoubleType()),
    }[real]
    letter = "f" if real == "float32" else "d"

    @intrinsic
    def read(typing_context: Any, shared: Any, index: Any, rank: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.gep(array.data, [arguments[1]])
            long, word = ir.IntType(64), ir.IntType(32)
            within = ir.InlineAsm(
                ir.FunctionType(long, [long]), "cvta.to.shared.u64 $0, $1;", "=l,l"
            )
            own = builder.trunc(builder.call(within, [builder.ptrtoint(place, long)]), word)
            find = ir.InlineAsm(
                ir.FunctionType(word, [word, word]), "mapa.shared::cluster.u32 $0, $1, $2;",
                "=r,r,r",
            )  # fmt: skip
            there = builder.call(find, [own, arguments[2]])
            load = ir.InlineAsm(
                ir.FunctionType(number, [word]),
                f"ld.shared::cluster.{code} $0, [$1];",
                f"={letter},r,{_MEMORY}",
                side_effect=True,
            )
            return builder.call(load, [there])

        return getattr(types, real)(shared, types.int32, types.int32), generate

    return read


@kept_on_disk
def kernel(structure: Structure, kind: str) -> Kernel:
    """Value and gradient of a loss for one dtype, of rows that begin and end with whole vectors.

    ``job.pieces`` is the number of blocks of a cluster, a power of two, ``row_threads_log2`` its
    logarithm, and ``piece_classes`` are those of a block.
    """
    real, stored = compute_type(kind), words_of(kind)
    computed, count = np.dtype(real).name, lanes(kind)
    zero, lowest, load, power_of = real(0), real(-np.inf), reader(kind), power(kind)
    vectors = kept_rows.at_once(kind, 1, True, False)
    measure, emit = kept_rows.measurer(kind, vectors, True), kept_rows.emitter(kind, vectors)
    describe, write_value = describer(kind, False), writer(computed)
    finish, read, wait = finisher(structure, kind, 1), neighbour(computed), cluster_barrier()
    begin, leave, words = reduce.begin(computed), reduce.leave(), getattr(types, stored_as(kind))

    def softmax_clusters(loss, job, numbers, tail):
        shared = cuda.shared.array(0, words, VECTOR_BYTES)
        scratch = cuda.shared.array(SCRATCH, real)
        left = cuda.shared.array(2, real)
        thread, powers = cuda.threadIdx.x, (numbers.power_high, numbers.power_low)
        scale, rows = begin(tail, numbers.scale, job.rows)
        blocks = int32(job.pieces)
        rank = int32(cuda.blockIdx.x & (blocks - 1))
        low = rank * job.piece_classes
        rest = job.classes - low
        rest = rest if rest < job.piece_classes else job.piece_classes
        size = int32(rest if rest > 0 else 0)
        room = len(shared) // stored * count
        kept = size if size < room else int32(room)
        total, bad = 0.0, zero
        row = cuda.blockIdx.x >> job.row_threads_log2
        while row < rows:
            weight, label, own_weight, wrong, _ = describe(job, row)
            counts = weight != zero
            at, read_size = row * job.prediction_row_stride, size if counts else int32(0)
            own = int32(label - low)  # of no class where another block has it
            # In place, all blocks have read the label's logit before one writes a gradient.
            chosen = load(job.prediction, at + label) if counts else zero
            top, part = measure(
                job.prediction, at + low, shared, read_size, kept, own, powers, thread, lowest, zero
            )
            most = reduce.block_max(top, thread, scratch)
            base = zero if most == lowest else most
            if part != zero:
                part = part * power_of(top - base, powers[0], powers[1])
            part = reduce.block_sum(part, thread, scratch)
            if thread == 0:
                left[_MAXIMUM] = most
                left[_SUM] = part
            wait()
            top = lowest
            k = int32(0)
            while k < blocks:
                x = read(left, int32(_MAXIMUM), k)
                top = x if x > top else top
                k = int32(k + 1)
            base = zero if top == lowest else top
            others = zero
            k = int32(0)
            while k < blocks:  # in one order, in every block
                x, part = read(left, int32(_MAXIMUM), k), read(left, int32(_SUM), k)
                if part != zero:
                    down = (zero if x == lowest else x) - base
                    part = part * power_of(down, powers[0], powers[1])
                others += part
                k = int32(k + 1)
            wait()  # before somebody writes there again, or is gone
            value = factor = shift = at_label = r = square = linear = hessian = zero
            if counts:
                distance = chosen - base
                label_power = power_of(distance, powers[0], powers[1])
                scaled = distance * numbers.inverse_temperature
                value, factor, shift, at_label, r, square, linear, hessian = finish(
                    loss, numbers, job.flags, scale,
                    (base, others, scaled, label_power, zero, weight, own_weight),
                )  # fmt: skip
            if thread == 0 and rank == 0:
                total += np.float64(value)
                if job.flags & _flag.count_errors:
                    bad += wrong
                if job.value != 0:
                    write_value(job.value, row * job.value_row_stride, value)
            found = factor, shift, at_label, r, square, linear, hessian
            places = at + low, row * job.gradient_row_stride + low, 0
            emit(job, places, shared, size, read_size, kept, own, 0, thread, base, powers, found)
            row += cuda.gridDim.x >> job.row_threads_log2
        leave(total, bad, thread, scratch, tail)

    bounds = most_threads(computed), 1
    return Kernel(softmax_clusters, signature(structure, computed), structure, bounds)


def supported() -> bool:
    """Whether the current device has clusters."""
    return not backend.SIMULATED and backend.capability() >= FIRST


def choose(job: CudaRows, structure: Structure, kind: str, device: int) -> tuple[Any, ...] | None:
    """A kernel, its blocks, their shared memory and threads, and the blocks of a cluster.

    None for rows that one block keeps, or that are to be walked twice all the same.
    """
    most = shared_memory.most(device) // VECTOR_BYTES * VECTOR_BYTES
    size, each = itemsize(kind), lanes(kind)
    row = job.classes * size
    if row <= most or not supported():
        return None
    blocks = 2
    while blocks < MOST_BLOCKS and row > blocks * most:
        blocks *= 2
    piece = -(-job.classes // (blocks * each)) * each
    job.piece_classes, job.pieces = piece, blocks
    job.row_threads, job.row_threads_log2 = blocks, blocks.bit_length() - 1
    clusters = max(1, min(job.rows, backend.processors(device) // blocks))
    threads = min(LONG_THREADS * backend.THREADS, most_threads(kind))
    return kernel(structure, kind), clusters * blocks, min(piece * size, most), threads, blocks
