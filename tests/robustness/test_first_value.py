"""The first loss of a process that gives its value alone compiles, whatever its structure.

Derivatives teach Numba functions such as ``np.sqrt`` for numbers with derivatives. It must not
happen while a kernel is being compiled that has read that function already.
"""

import pytest

SCRIPT = """
import json, os, sys, traceback

import numpy as np
import numba
import numbaloss as nl
import numbaloss.cpu.elementwise, numbaloss.cpu.softmax
import numbaloss.cpu.embedding_batch, numbaloss.cpu.embedding_rows

a, b, c = np.random.default_rng(0).normal(size=(3, 8, 4))
labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])


class One(nl.Elementwise):
    def value(self, prediction, target):
        return np.sqrt(1.0 + (prediction - target) ** 2)


class Rows(nl.Softmax):
    def value(self, log_probability, target):
        return -target * log_probability


class Distance(nl.PairEmbedding):
    def value(self, distance, target):
        return target * distance + np.sqrt(distance)


class Cosine(nl.PairEmbedding):
    metric = "cosine"

    def value(self, cosine, target):
        return target * (1.0 - cosine)


class Three(nl.TripletEmbedding):
    def value(self, positive, negative):
        return max(positive - negative + 1.0, 0.0)


class Triplets(nl.LabelledEmbedding):
    form = "triplets"

    def value(self, positive, negative):
        return max(positive - negative + 1.0, 0.0)


class Mined(nl.BatchTriplet):
    def value(self, positive, negative):
        return max(positive - negative + 1.0, 0.0)


class Keyed(nl.KeyedEmbedding):
    def value(self, similarity, log_sum):
        return log_sum - similarity


class Pairs(nl.KeyedEmbedding):
    form = "pairs"

    def value(self, similarity, positive):
        return (similarity - positive) ** 2


class Layer(nl.Linear):
    def of_logits(self):
        return Rows()


CALLS = {
    "elementwise": lambda: One().value_and_grad(a, b),
    "sum": lambda: (One() + nl.Huber())(a, b),
    "rows": lambda: Rows().value_and_grad(a, labels),
    "linear": lambda: Layer()(a, np.ones((4, 5)), labels),
    "distance": lambda: Distance().value_and_grad(a, b, np.ones(8)),
    "cosine": lambda: Cosine().value_and_grad(a, b, np.ones(8)),
    "triplet": lambda: Three().value_and_grad(a, b, c),
    "triplets of a batch": lambda: Triplets().value_and_grad(a, labels),
    "subclass": lambda: Mined().value_and_grad(a, labels),
    "softmax of a batch": lambda: Keyed().value_and_grad(a, b),
    "pairs of a batch": lambda: Pairs().value_and_grad(a, b),
}
assert "numbaloss.jets.compiled" not in sys.modules
failed = []
for name, call in CALLS.items():
    # A process of its own: what it learns, the next one does not know.
    child = os.fork()
    if child == 0:
        try:
            value = call()
            value = value if isinstance(value, float) else value[0]
            os._exit(0 if np.isfinite(value) else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if status:
        failed.append(name)
print(json.dumps(failed))
"""


@pytest.mark.exhaustive
def test_the_first_value_of_a_process_compiles_in_every_structure(run):
    assert run.finish(run.start(SCRIPT), timeout=300.0) == []
