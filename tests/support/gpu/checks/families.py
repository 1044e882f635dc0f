"""Checks that every structure takes the arrays of a library, and gives its arrays back.

Also of libraries whose arrays have no views and cannot be written to.
"""

from __future__ import annotations

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.checks import batches, embeddings, linear
from tests.support.gpu.checks.common import Library, check, compare
from tests.support.gpu.checks.elementwise import numbers
from tests.support.gpu.checks.rows import inputs as rows


@check("families")
def a_call_of_every_structure(library: Library) -> None:
    for kind in library.kinds:
        for reduction in ("mean", "none"):
            options = {"reduction": reduction}
            compare(library, nl.Huber(), *numbers(nl.Huber(), 35, kind), **options)
            logits, labels = rows(nl.CrossEntropy(), "labels", 4, 9, kind)
            compare(library, nl.CrossEntropy(), logits, labels, **options)
            for loss in (nl.CosineEmbedding(), nl.Triplet()):
                given = embeddings.inputs(loss, (4, 9), kind)
                embeddings.compare(library, loss, *given, **options)
            for loss in (nl.InfoNCE(), nl.NTXent()):
                batches.compare(library, loss, *batches.inputs(loss, 9, 5, kind), **options)
    for kind in library.products_of:
        hidden, weight, bias, labels = linear.layer(kind, False)
        loss, own = nl.LinearCrossEntropy(), {"bias": library.put(bias)}
        found = loss.value_and_grad(*map(library.put, (hidden, weight, labels)), **own)
        wanted = linear.expected(loss, hidden, weight, labels, bias=bias)
        linear.assert_layer(library, found, wanted, kind)


@check("families")
def empty_arrays_and_numbers_that_come_later(library: Library) -> None:
    for reduction in ("sum", "none"):
        empty = np.ones((0, 4), "f4"), np.zeros(0, "i8")
        compare(library, nl.Huber(), empty[0], empty[0], reduction=reduction)
        compare(library, nl.CrossEntropy(), *empty, reduction=reduction)
        for loss in (nl.CosineEmbedding(), nl.Triplet()):
            given = embeddings.inputs(loss, (0, 4), "float32")
            embeddings.compare(library, loss, *given, reduction=reduction)
        for loss in (nl.InfoNCE(), nl.NTXent()):
            given = batches.inputs(loss, 0, 4, "float32")
            batches.compare(library, loss, *given, reduction=reduction)
    p, t = numbers(nl.Huber(), 35, "float32")
    value = nl.Huber()(library.put(p), library.put(t), wait=False)
    assert library.number(value) == float(value) == pytest.approx(nl.Huber()(p, t), rel=1e-6)


@check("families")
def what_is_out_of_range_is_named(library: Library) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 9))
    labels = np.array([1, 2, 3, 9, 4])
    for kind in library.kinds:
        given = library.put(batches.as_kind(logits, kind))
        with pytest.raises(ValueError, match=r"^target\[3\] is 9; labels of 9 classes"):
            nl.CrossEntropy().value_and_grad(given, library.put(labels))
        share = np.full((5, 9), 0.5)
        share[2, 1] = -2.0
        with pytest.raises(ValueError, match=r"^target\[2, 1\] is -2;"):
            nl.BinaryCrossEntropy()(given, library.put(batches.as_kind(share, kind)))
