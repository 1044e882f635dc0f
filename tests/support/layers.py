"""Last layers, their logits and gradients in float64, and calls of them."""

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import numbaloss as nl

LOSS = nl.LinearCrossEntropy()
DTYPES = {
    "float64": (np.float64, 1e-11),
    "float32": (np.float32, 2e-5),
    "float16": (np.float16, 2e-3),
    "bfloat16": (ml_dtypes.bfloat16, 2e-2),
}


def layer(rows, length=13, classes=37, dtype=np.float64, seed=0):
    """Hidden vectors, weight and bias."""
    rng = np.random.default_rng(seed)
    shape = rows if isinstance(rows, tuple) else (rows,)
    hidden = rng.normal(size=(*shape, length)).astype(dtype)
    weight = (rng.normal(size=(length, classes)) / length**0.5).astype(dtype)
    return hidden, weight, rng.normal(size=classes).astype(dtype)


def labels(rows, classes=37, seed=1):
    return np.random.default_rng(seed).integers(0, classes, rows)


def formula(loss, hidden, weight, bias, target, sample_weight, mask, reduction):
    """Value and gradients, from the definition, with all logits in memory."""
    h, w = hidden.astype(np.float64), weight.astype(np.float64)
    rows, classes = h.shape[:-1], w.shape[1]
    h = h.reshape(-1, h.shape[-1])
    counts = np.ones(len(h), bool)
    t = np.asarray(target)
    if t.shape == rows:
        t = t.reshape(-1)
        counts &= t != loss.ignore_index
        one_hot = np.zeros((len(h), classes))
        one_hot[counts, t[counts]] = 1.0
        t = one_hot
    t = t.reshape(-1, classes).astype(np.float64)
    if mask is not None:
        counts &= np.broadcast_to(mask, rows).reshape(-1)
    s = np.ones(len(h)) if sample_weight is None else sample_weight.astype(float).reshape(-1)
    use = counts & (s != 0)
    h, s = np.where(use[:, None], h, 0.0), np.where(use, s, 0.0)
    of_class = np.ones(classes) if loss.class_weight is None else loss.class_weight
    divisor = {
        "mean": counts.sum(),
        "weighted_mean": (s[:, None] * t * of_class).sum(),
    }.get(reduction, 1.0)
    x = (h @ w + (0.0 if bias is None else bias.astype(np.float64))) / loss.temperature
    top = x.max(axis=1, keepdims=True)
    log_sum = top + np.log(np.exp(x - top).sum(axis=1, keepdims=True))
    log_p = x - log_sum
    p = np.exp(log_p)
    u = of_class * ((1 - loss.label_smoothing) * t + loss.label_smoothing / classes)
    values = s * (-(u * log_p).sum(axis=1) + loss.z_loss * log_sum[:, 0] ** 2)
    slopes = p * u.sum(axis=1, keepdims=True) - u + 2 * loss.z_loss * log_sum * p
    slopes *= s[:, None] / (loss.temperature * divisor)
    value = values.reshape(rows) if reduction == "none" else values.sum() / divisor
    return value, (slopes @ w.T).reshape(hidden.shape), h.T @ slopes, slopes.sum(axis=0)


def compare(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        one = np.asarray(one, np.float64)
        assert one.shape == np.shape(other)
        # Numbers around 1 went into it; differences of such need not be better than this.
        scale = max(np.abs(other).max(initial=0.0), 0.01)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * scale)


@st.composite
def calls(draw):
    """A loss with any parameters, arrays of any dtype and layout, options."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = draw(st.sampled_from([(), (1,), (7,), (40,), (3, 11), (2, 3, 5)]))
    length, classes = draw(st.sampled_from([1, 5, 32])), draw(st.sampled_from([1, 2, 33, 70]))
    dtype = draw(st.sampled_from(list(DTYPES)))
    hidden, weight, bias = layer(rows, length, classes, DTYPES[dtype][0])
    if draw(st.booleans()):  # without contiguous rows or columns
        hidden = np.repeat(hidden, 2, axis=-1)[..., ::2]
        weight = np.repeat(weight, 3, axis=1)[:, ::3]
    if rows and draw(st.booleans()):
        hidden = np.repeat(hidden, 2, axis=len(rows) - 1)[(..., slice(None, None, 2), slice(None))]
    parameters = {
        "class_weight": rng.uniform(0.5, 2.0, classes),
        "ignore_index": 0,
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "temperature": 1.7,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(parameters))))
    loss = nl.LinearCrossEntropy(**{name: parameters[name] for name in sorted(chosen)})
    if draw(st.booleans()):
        target = rng.integers(0, classes, rows)
    else:
        target = rng.dirichlet(np.ones(classes), rows)
    options = {
        "sample_weight": rng.integers(0, 3, rows).astype(np.float32),
        "mask": rng.random(rows) < 0.7,
    }
    chosen = draw(st.sets(st.sampled_from(sorted(options))))
    options = {name: options[name] for name in chosen}
    turned = draw(st.booleans())
    keywords = {
        "bias": bias if draw(st.booleans()) else None,
        "transposed": turned,
        "reduction": draw(st.sampled_from(["mean", "sum", "weighted_mean", "none"])),
        "workspace": draw(st.sampled_from([1, 3000, 20_000, 10**8])),
    }
    return loss, hidden, weight, target, options, keywords, DTYPES[dtype][1]
