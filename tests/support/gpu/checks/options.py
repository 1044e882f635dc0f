"""Checks on a GPU of options that all structures have: weights of any sign, batchmean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.checks.common import Library, assert_close, check, compare
from tests.support.gpu.checks.elementwise import numbers
from tests.support.gpu.checks.embeddings import compare as compare_vectors
from tests.support.gpu.checks.embeddings import inputs as vectors_for


@check("options of calls")
def weights_of_any_sign_where_nobody_checks(library: Library) -> None:
    signed = np.random.default_rng(3).normal(size=(7, 5))
    bce = nl.BinaryCrossEntropy()
    p, t = (one.reshape(7, 5) for one in numbers(bce, 35, "float32"))
    labels = np.arange(7) % 5
    for reduction in ("none", "mean", "weighted_mean"):
        options: dict[str, Any] = {"check": False, "reduction": reduction}
        compare(library, bce, p, t, sample_weight=signed, **options)
        compare(library, nl.CrossEntropy(), p, labels, sample_weight=signed[:, 0], **options)
        vectors, of_pairs = vectors_for(nl.CosineEmbedding(), (7, 5), "float32")
        compare_vectors(
            library, nl.CosineEmbedding(), vectors, of_pairs, sample_weight=signed[:, 1], **options
        )
    weight = library.put(signed[:, 0])
    for loss, given in (
        (bce, (p, t)), (nl.CrossEntropy(), (p, labels)),
        (nl.CosineEmbedding(), (*vectors, of_pairs)), (nl.InfoNCE(), vectors),
        (nl.LinearCrossEntropy(), (p, np.ones((5, 4), "f4"), labels % 4)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="weights are >= 0"):
            loss(*map(library.put, given), sample_weight=weight)


@check("options of calls")
def the_mean_over_the_first_axis(library: Library) -> None:
    bce = nl.BinaryCrossEntropy()
    p, t = (one.reshape(6, 5) for one in numbers(bce, 30, "float32"))
    labels = np.arange(6).reshape(2, 3) % 5
    compare(library, bce, p, t, reduction="batchmean")
    compare(library, nl.CrossEntropy(), p.reshape(2, 3, 5), labels, reduction="batchmean")
    vectors, of_pairs = vectors_for(nl.CosineEmbedding(), (2, 3, 5), "float32")
    compare_vectors(library, nl.CosineEmbedding(), vectors, of_pairs, reduction="batchmean")


@check("options of calls")
def derivatives_alone(library: Library) -> None:
    bce = nl.BinaryCrossEntropy()
    p, t = (one.reshape(6, 5) for one in numbers(bce, 30, "float32"))
    labels = np.arange(6) % 5
    for loss, target in ((bce, t), (nl.CrossEntropy(), labels)):
        _, gradient, hessian = loss.value_grad_hess(p, target)
        for shift in (0, 1):  # in vectors, and not
            own = library.put(np.zeros((6, 5 + shift), "f4"))[:, shift:]
            given = library.put(p), library.put(target)
            assert_close(library.get(loss.grad(*given), "float32"), gradient, "float32", 50.0)
            assert loss.hess(*given, out=own) is own
            assert_close(library.get(own, "float32"), hessian, "float32", 50.0)


@check("options of calls")
def classes_along_any_axis(library: Library) -> None:
    ce = nl.CrossEntropy()
    p = np.random.default_rng(4).normal(size=(2, 5, 3)).astype("f4")
    dense = np.random.default_rng(5).random((2, 5, 3))
    dense /= dense.sum(axis=1, keepdims=True)
    labels = np.arange(6).reshape(2, 3) % 5
    for target in (labels, dense):
        for reduction in ("none", "weighted_mean"):
            compare(library, ce, p, target, axis=1, reduction=reduction)
        own, given = library.put(np.empty_like(p)), library.put(p)
        _, gradient = ce.value_and_grad(p, target, axis=1)
        assert ce.value_and_grad(given, library.put(target), axis=1, out=own)[1] is own
        assert_close(library.get(own, "float32"), gradient, "float32", 50.0)
    dense[1, 3, 2] = -1.0
    with pytest.raises(ValueError, match=r"target\[1, 3, 2\] is -1"):
        ce(given, library.put(dense), axis=1)
    with pytest.raises(ValueError, match=r"target\[1, 1\] is 7"):
        ce(given, library.put(np.where(labels == 4, 7, 0)), axis=1)


@check("options of calls")
def what_a_mask_leaves_out(library: Library) -> None:
    rng = np.random.default_rng(5)
    bce = nl.BinaryCrossEntropy()
    p, t = (one.reshape(7, 5) for one in numbers(bce, 35, "float32"))
    mask, weight = rng.random((7, 5)) < 0.6, rng.random((7, 5))
    p[~mask], t[0][~mask[0]], weight[~mask] = np.nan, 9.0, -1.0
    for number, reduction in enumerate(("mean", "weighted_mean", "batchmean", "sum", "none")):
        for own in (None, weight) if number < 2 else (weight,):
            options: dict[str, Any] = {"mask": mask, "sample_weight": own, "reduction": reduction}
            compare(library, bce, p, t, **options)
    compare(library, bce, p[:, :4], t[:, :4], mask=mask[:, 0], sample_weight=weight[:1, :4] + 1)
    compare(library, bce, p, t, mask=np.zeros((7, 5), bool))
    t[np.nonzero(mask)[0][0], np.nonzero(mask)[1][0]] = 5.0
    with pytest.raises(ValueError, match=r"target\[0, \d\] is 5"):
        bce(*map(library.put, (p, t)), mask=library.put(mask))


@check("options of calls")
def vectors_that_a_mask_leaves_out(library: Library) -> None:
    rng = np.random.default_rng(6)
    mask, weight = rng.random((3, 4)) < 0.6, rng.random((3, 4))
    for loss in (nl.CosineEmbedding(), nl.Triplet()):
        vectors, target = vectors_for(loss, (3, 4, 5), "float32")
        vectors[0][~mask], weight[~mask] = np.nan, np.nan
        if target is not None:
            target[~mask] = 7.0
        for reduction in ("mean", "weighted_mean", "none"):
            for own in (None, weight):
                compare_vectors(
                    library, loss, vectors, target,
                    mask=mask, sample_weight=own, reduction=reduction,
                )  # fmt: skip


@check("options of calls")
def weights_of_positives_a_label_and_signed_targets(library: Library) -> None:
    rng = np.random.default_rng(7)
    p, t = rng.normal(size=(6, 5)), rng.random((6, 5))
    t[0], t[1] = 0.0, 1.0
    numbers_, weight = np.array([0.0, 0.2, 1.0, 3.0, 50.0]), rng.random(6)
    mask = rng.random((6, 5)) < 0.7
    losses = (
        nl.BinaryCrossEntropy(pos_weight=numbers_, label_smoothing=0.1),
        nl.BinaryCrossEntropy(pos_weight=numbers_, targets="signed"),
        nl.BinaryCrossEntropy(targets="signed"),
    )
    for number, loss in enumerate(losses):
        target = t if number == 0 else 2.0 * t - 1.0
        options: list[dict[str, Any]] = [{}, {"mask": mask, "sample_weight": weight}]
        for kind in ("float32", "float64"):
            for own in options:
                compare(library, loss, p.astype(kind), target.astype(kind), **own)
        wrong = target.copy()
        wrong[2, 3] = 4.0
        with pytest.raises(ValueError, match=r"target\[2, 3\] is 4"):
            loss(library.put(p), library.put(wrong))
    cosine = nl.CosineEmbedding(targets="signed")
    vectors, of_pairs = vectors_for(nl.CosineEmbedding(), (6, 5), "float32")
    compare_vectors(library, cosine, vectors, 2.0 * of_pairs - 1.0)
    with pytest.raises(ValueError, match=r"target\[0\] is 0; .* takes targets in {-1, 1}"):
        cosine(*map(library.put, (*vectors, np.zeros(6))))
    hinge = nl.Hinge(targets="signed")
    compare(library, hinge, p, np.sign(p[::-1]))
    with pytest.raises(ValueError, match=r"target\[0, 0\] is 0; .* takes targets in {-1, 1}"):
        hinge(library.put(p), library.put(np.zeros((6, 5))))


@check("options of calls")
def arrays_for_values(library: Library) -> None:
    bce = nl.BinaryCrossEntropy()
    p, t = (one.reshape(6, 5) for one in numbers(bce, 30, "float32"))
    labels = np.arange(6) % 5
    for loss, target in ((bce, t), (nl.CrossEntropy(), labels)):
        given, expected = map(library.put, (p, target)), loss(p, target, reduction="none")
        given = tuple(given)
        own = library.put(np.zeros((*expected.shape[:-1], 2 * expected.shape[-1]), "f4"))[..., ::2]
        assert loss(*given, reduction="none", values_out=own) is own
        assert_close(library.get(own, "float32"), expected, "float32", 50.0)
        wide = library.put(np.zeros(expected.shape, "f8"))
        with pytest.raises(TypeError, match="values_out must have the computation's dtype on a G"):
            loss(*given, reduction="none", values_out=wide)
        with pytest.raises(TypeError, match="out must have the prediction's dtype on a GPU"):
            loss.grad(*given, out=library.put(np.zeros((6, 5), "f8")))
