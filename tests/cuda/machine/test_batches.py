"""Losses of all pairs of a batch on the machine that runs PTX."""

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.machine import DTYPES, launched, put, same


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


@pytest.mark.parametrize("kind", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)])
def test_batches_of_pairs(machine, kind):
    agree_on_batches(nl.SigLIP(0.5, -1.0), 35, 3, kind, workspace=1500)
    assert "embedding_emit_pairs" in launched(machine)


@pytest.mark.exhaustive
@SHAPES
def test_batches_of_triplets_that_are_hard(machine, kind, workspace):
    agree_on_batches(nl.BatchTriplet(), 37, 3, kind, workspace=workspace)
    agree_on_batches(nl.BatchTriplet(squared=True, normalize=True), 21, 67, kind)
    steps = {
        "prepare",
        "center",
        "mine_rows",
        "finish_mined",
        "gather",
        "finish",
        "total",
        *IN_UNITS,
    }
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


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kind", "reduction"), [("float16", "weighted_mean"), ("bfloat16", "none")]
)
@pytest.mark.parametrize("loss", [nl.InfoNCE(), nl.SupervisedContrastive(), nl.BatchTriplet()])
def test_weighted_batches_of_halves(machine, loss, kind, reduction):
    weight = np.arange(9.0) % 4
    agree_on_batches(loss, 9, 5, kind, sample_weight=weight, reduction=reduction)
