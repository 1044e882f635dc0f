"""Checks of losses of linear layers on a GPU."""

from __future__ import annotations

from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import pytest

import numbaloss as nl
from tests.support.gpu.checks.common import HALVES, Library, as_kind, assert_close, check, computed

ROWS, WIDTH, CLASSES = (5, 3), 6, 11


def layer(kind: str, transposed: bool) -> tuple[Any, Any, Any, Any]:
    """Hidden vectors, a weight in either layout, a bias, labels."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(CLASSES, WIDTH) if transposed else (WIDTH, CLASSES))
    made = rng.normal(size=(*ROWS, WIDTH)), weight, rng.normal(size=CLASSES)
    return *(as_kind(one, kind) for one in made), rng.integers(0, CLASSES, ROWS)


def expected(loss: Any, hidden: Any, weight: Any, labels: Any, **options: Any) -> Any:
    """The same on the CPU, in full precision."""
    real = computed(hidden.dtype.name)
    if options.get("bias") is not None:
        options["bias"] = options["bias"].astype(real)
    return loss.value_and_grad(hidden.astype(real), weight.astype(real), labels, **options)


def assert_layer(library: Library, found: Any, wanted: Any, kind: str) -> None:
    value, gradients = found
    own = computed(kind)
    if not isinstance(value, float):
        assert library.is_result(value, own)
        value = library.get(value, own)
    # Logits and gradients are rounded to the dtype on their way.
    precision, factor = (own, 100.0) if kind not in HALVES else ("float16", 100.0)
    if kind == "bfloat16":
        factor = 800.0
    for one in (value, wanted[0]):
        assert np.isfinite(one).all()
    np.testing.assert_allclose(value, wanted[0], rtol=factor * float(np.finfo(precision).eps))
    assert len(gradients) == len(wanted[1])
    for one, other in zip(gradients, wanted[1]):
        assert library.is_result(one, kind)
        got = library.get(one, kind).astype(np.float64)
        if kind in HALVES:
            largest = np.abs(other).max()
            np.testing.assert_allclose(got, other, rtol=0, atol=largest * factor / 1e4)
        else:
            assert_close(got, other, kind, 200.0)


LOSSES = (nl.LinearCrossEntropy(), nl.LinearCrossEntropy(label_smoothing=0.1, z_loss=0.01))


@check("linear", [*product(("float32", "float64", "float16", "bfloat16"), LOSSES)])
def layers_of_every_dtype_and_layout(library: Library, number: int, case: Any) -> None:
    kind, loss = case
    if kind not in library.products_of:
        return
    for transposed in (False, True):
        hidden, weight, bias, labels = layer(kind, transposed)
        for own_bias in (None, bias):
            # A block of all rows, and one of a few.
            for workspace in (None, 4 * CLASSES * np.dtype("f4").itemsize):
                options = {"transposed": transposed, "workspace": workspace}
                wanted = expected(loss, hidden, weight, labels, bias=own_bias,
                                  transposed=transposed)  # fmt: skip
                found = loss.value_and_grad(
                    *map(library.put, (hidden, weight, labels)),
                    bias=None if own_bias is None else library.put(own_bias),
                    **options,
                )
                assert_layer(library, found, wanted, kind)


@check("linear")
def options_of_layers(library: Library) -> None:
    loss = nl.LinearCrossEntropy()
    hidden, weight, bias, labels = layer("float32", False)
    labels[1, 2] = -100
    weights, mask = np.arange(15.0).reshape(ROWS), np.arange(15).reshape(ROWS) % 4 != 2
    small = 4 * CLASSES * 4
    for reduction in ("mean", "weighted_mean", "sum", "none"):
        wanted = expected(
            loss, hidden, weight, labels, bias=bias, reduction=reduction,
            sample_weight=weights, mask=mask, gradient_scale=2.0,
        )  # fmt: skip
        options = {
            "bias": library.put(bias), "sample_weight": library.put(weights),
            "mask": library.put(mask), "reduction": reduction, "workspace": small,
        }  # fmt: skip
        given = [*map(library.put, (hidden, weight, labels))]
        found = loss.value_and_grad(*given, **options, gradient_scale=2.0)
        assert_layer(library, found, wanted, "float32")
        value = loss(*given, **options)
        if reduction != "none":
            assert value == pytest.approx(wanted[0], rel=1e-5)
            assert float(loss(*given, **options, wait=False)) == value
    out = tuple(library.put(np.full_like(one, 7)) for one in (hidden, weight, bias))
    given = [*map(library.put, (hidden, weight, labels))]
    _, gradients = loss.value_and_grad(*given, bias=library.put(bias), out=out)
    assert all(one is other for one, other in zip(gradients, out))
    wanted = expected(loss, hidden, weight, labels, bias=bias)[1]
    for one, other in zip(out, wanted):
        assert_close(library.get(one, "float32"), other, "float32", 200.0)


@check("linear")
def errors_of_layers(library: Library) -> None:
    loss = nl.LinearCrossEntropy()
    hidden, weight, _, labels = layer("float32", False)
    labels[3, 1] = CLASSES
    given = [*map(library.put, (hidden, weight, labels))]
    for workspace in (None, 4 * CLASSES * 4):
        with pytest.raises(ValueError, match=r"^target\[3, 1\] is 11; labels of 11 classes"):
            loss.value_and_grad(*given, workspace=workspace)
        value = loss(*given, wait=False, workspace=workspace)
        assert np.isnan(library.number(value))
        with pytest.raises(ValueError, match="out of range"):
            float(value)
    with pytest.raises(ValueError, match=r"hidden lives on .*weight on"):
        loss(given[0], weight, given[2])


@check("linear")
def layers_without_rows_or_length_and_rows_that_share_weights(library: Library) -> None:
    loss = nl.LinearCrossEntropy()
    hidden, weight, _, labels = layer("float32", False)
    cases = [
        (hidden[:0], weight, labels[:0], None),
        (hidden[..., :0], weight[:0], labels, None),
        (hidden, weight, np.asfortranarray(labels), np.arange(float(len(labels)))),
    ]
    for *layer_, weights in cases:
        for reduction in ("sum", "none"):
            wanted = expected(loss, *layer_, reduction=reduction, sample_weight=weights)
            own = None if weights is None else library.put(weights)
            found = loss.value_and_grad(
                *map(library.put, layer_), reduction=reduction, sample_weight=own
            )
            assert_layer(library, found, wanted, "float32")


@check("linear", [*product(("float32", "float16", "bfloat16"), (False, True))])
def rows_that_do_not_count_cost_no_products(library: Library, number: int, case: Any) -> None:
    from numbaloss.cuda import backend, linear, products

    kind, transposed = case
    if kind not in library.products_of:
        return
    loss = nl.LinearCrossEntropy(label_smoothing=0.1)
    hidden, weight, bias, labels = layer(kind, transposed)
    labels[1, 2] = labels[3, 0] = -100
    weights, mask = np.arange(15.0).reshape(ROWS), np.arange(15).reshape(ROWS) % 4 != 2
    dense = np.random.default_rng(1).dirichlet(np.ones(CLASSES), ROWS)
    targets = ((labels, None), (labels.astype("i4"), mask), (dense, mask))
    multiplied: list[int] = []
    multiply = products.Simulated.multiply

    def counted(self: Any, a: Any, b: Any, out: Any, add: bool) -> None:
        multiplied.append(len(a))
        multiply(self, a, b, out, add)

    put = library.put
    for target, own_mask in targets:
        labelled = target.ndim == 2
        count = np.full(ROWS, True) if own_mask is None else own_mask
        count = int((count & (labels != -100) if labelled else count).sum())
        for workspace in (None, 4 * CLASSES * np.dtype("f4").itemsize):
            for reduction in ("mean", "weighted_mean", "sum"):
                named = {"sample_weight": weights, "mask": own_mask, "bias": bias}
                options: Any = {"reduction": reduction, "transposed": transposed}
                wanted = expected(loss, hidden, weight, target, **named, **options)
                given = [*map(put, (hidden, weight, target))]
                named = {name: None if one is None else put(one) for name, one in named.items()}
                options["workspace"] = workspace
                with (
                    mock.patch.object(linear, "WORTH_A_WAIT", 0),
                    mock.patch.object(
                        linear, "_rows_that_count", wraps=linear._rows_that_count
                    ) as asked,
                ):
                    found = loss.value_and_grad(*given, **named, **options)
                    assert_layer(library, found, wanted, kind)
                    assert asked.call_count == 1
                    # Nobody waits who was told not to.
                    with mock.patch.object(products.Library, "places", side_effect=AssertionError):
                        value, _ = loss.value_and_grad(*given, **named, **options, wait=False)
                        assert float(value) == pytest.approx(wanted[0], rel=2e-2)
                if backend.SIMULATED:
                    with (
                        mock.patch.object(linear, "WORTH_A_WAIT", 0),
                        mock.patch.object(products.Simulated, "multiply", counted),
                    ):
                        multiplied.clear()
                        loss(*given, **named, **options)
                    assert sum(multiplied) == count


@check("linear")
def sums_over_blocks_are_not_rounded_to_half_precision(library: Library) -> None:
    # 2048 + 1 is 2048 in float16: sums that were kept in it would stay where they are.
    if "float16" not in library.products_of:
        return
    rows, classes = 64, 4
    hidden = np.ones((rows, 1), np.float16)
    hidden[0] = 2048.0
    weight, labels = np.zeros((1, classes), np.float16), np.zeros(rows, np.int64)
    for workspace in (None, classes * 4):
        _, (_, of_weight) = nl.LinearCrossEntropy().value_and_grad(
            *map(library.put, (hidden, weight, labels)), reduction="sum", workspace=workspace,
            transposed=False,
        )  # fmt: skip
        # The softmax of zeros: a quarter of every class.
        wanted = np.full((1, classes), 0.25 * (2048 + rows - 1))
        wanted[0, 0] -= 2048 + rows - 1
        np.testing.assert_allclose(
            library.get(of_weight, "float16"), wanted.astype(np.float16), rtol=1e-3
        )
