"""Softmax losses with every combination of their options, against PyTorch's autograd.

Both compute in float64. PyTorch takes 1 - p by a difference, which is right to an absolute
1e-16 only, so that rows are compared by the size of their largest derivative, and where all of
a row is small by the size of a thousandth: element by element it is PyTorch that would fail.
"""

import math
import os

import numpy as np
import pytest

import numbaloss as nl

torch = pytest.importorskip("torch")
functional = torch.nn.functional

MORE = int(os.environ.get("NUMBALOSS_TEST_EXAMPLES", "1"))
CASES = 100 * MORE  # of each loss, and either kind of targets
PRECISION = 1e-12
WIDTHS = [1, 2, 3, 4, 5, 6, 8, 9, 12, 16, 17, 24, 31, 33, 48, 63, 65, 100, 127, 128, 129, 300, 2100]
SHAPES = [(), (1,), (2,), (7,), (33,), (2, 3), (5, 1), (3, 2, 4)]
LABELS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4"]
REDUCTIONS = ["mean", "weighted_mean", "sum", "none"]
LOSSES = [
    "CrossEntropy",
    "CategoricalFocal",
    "GeneralizedCrossEntropy",
    "SymmetricCrossEntropy",
    "Poly1",
    "MultiMargin",
    "KLDivergence",
    "JensenShannon",
    "Distillation",
    "Brier",
]


def draw_loss(random, name, classes, ignored):
    """A loss with random parameters; class weights, smoothing and the like half of the time."""

    def maybe(value, default):
        return value if random.random() < 0.5 else default

    parameters = {
        "CrossEntropy": {
            "class_weight": maybe(random.uniform(0.0, 3.0, classes), None),
            "label_smoothing": maybe(random.random(), 0.0),
            "z_loss": maybe(random.random(), 0.0),
            "temperature": maybe(random.uniform(0.3, 4.0), 1.0),
        },
        "CategoricalFocal": {
            "gamma": maybe(random.uniform(1.0, 5.0), 2.0),
            "class_weight": maybe(random.uniform(0.0, 3.0, classes), None),
            "label_smoothing": maybe(random.random(), 0.0),
        },
        "GeneralizedCrossEntropy": {"q": random.uniform(0.05, 1.0)},
        "SymmetricCrossEntropy": {
            "alpha": random.uniform(0.0, 6.0),
            "beta": random.uniform(0.0, 2.0),
            "log_zero": -random.uniform(1.0, 6.0),
        },
        "Poly1": {"epsilon": random.uniform(-1.0, 4.0)},
        "MultiMargin": {
            "margin": random.uniform(0.1, 3.0),
            "p": int(random.integers(1, 3)),
            "class_weight": maybe(random.uniform(0.0, 3.0, classes), None),
        },
        "Distillation": {"temperature": random.uniform(0.5, 5.0)},
    }.get(name, {})
    cls = getattr(nl, name)
    if any(parameter.name == "ignore_index" for parameter in cls.parameters()):
        parameters["ignore_index"] = ignored
    return cls(**parameters)


def torch_rows(loss, x, t):
    """The values of rows, by PyTorch's own functions where it has them."""
    name = type(loss).__name__
    labelled = t.ndim < x.ndim
    if name == "CrossEntropy":
        weight = loss.class_weight
        scaled = x / loss.temperature
        value = functional.cross_entropy(
            scaled,
            t,
            weight=None if weight is None else torch.tensor(weight),
            ignore_index=-100,
            label_smoothing=loss.label_smoothing,
            reduction="none",
        )
        return value + loss.z_loss * torch.logsumexp(scaled, -1) ** 2
    if name == "MultiMargin":
        weight = None if loss.class_weight is None else torch.tensor(loss.class_weight)
        return functional.multi_margin_loss(
            x, t, p=loss.p, margin=loss.margin, weight=weight, reduction="none"
        )
    if name == "Distillation":
        own = functional.log_softmax(x / loss.temperature, -1)
        teacher = functional.log_softmax(t / loss.temperature, -1)
        terms = functional.kl_div(own, teacher, log_target=True, reduction="none")
        return loss.temperature**2 * terms.sum(-1)
    log_p = functional.log_softmax(x, -1)
    p = log_p.exp()
    if labelled:
        t = functional.one_hot(t, x.shape[-1]).double()
    if name == "KLDivergence":
        return functional.kl_div(log_p, t, reduction="none").sum(-1)
    if name == "CategoricalFocal":
        # A sum and not 1 - p, which may round to 0, where autograd's power gives NaN.
        rest = (p.sum(-1, keepdim=True) - p).clamp_min(1e-300)
        weight = 1.0 if loss.class_weight is None else torch.tensor(loss.class_weight)
        t = t * (1 - loss.label_smoothing) + loss.label_smoothing / x.shape[-1]
        return -(weight * t * rest**loss.gamma * log_p).sum(-1)
    if name == "GeneralizedCrossEntropy":
        return (t * (1 - p**loss.q)).sum(-1) / loss.q
    if name == "SymmetricCrossEntropy":
        mirror = torch.clamp(torch.log(t), min=loss.log_zero)
        return -loss.alpha * (t * log_p).sum(-1) - loss.beta * (p * mirror).sum(-1)
    if name == "Poly1":
        return (t * (loss.epsilon * (1 - p) - log_p)).sum(-1)
    if name == "JensenShannon":
        middle = torch.log((p + t) / 2)
        return (p * (log_p - middle) + torch.xlogy(t, t) - t * middle).sum(-1) / 2
    assert name == "Brier"
    return ((p - t) ** 2).sum(-1)


def draw_case(name, form, number):
    """Arrays and options of a case: what both libraries get, and rows that must not count."""
    random = np.random.default_rng([LOSSES.index(name), form == "dense", number])
    classes = int(random.choice(WIDTHS))
    lead = SHAPES[random.integers(len(SHAPES))]
    if classes > 200:
        lead = lead[:1]
    kind = np.dtype(str(random.choice(LABELS)))
    largest = min(classes, 100)  # int8 holds them all
    ignored = int(random.choice([-100, -1, largest // 2]))
    loss = draw_loss(random, name, classes, ignored)
    x = random.normal(0.0, random.choice([0.5, 2.0, 5.0]), (*lead, classes))
    counts = np.ones(lead, bool)
    if form == "labels":
        t = random.integers(0, largest, lead)
        if kind.kind == "i" or ignored >= 0:
            t = np.where(random.random(lead) < 0.2, ignored, t)
        t = np.asarray(t).astype(kind)
        if name != "Distillation":
            counts &= t != ignored
    elif loss.dense_logits:
        t = random.normal(0.0, 2.0, x.shape)
    else:
        t = random.dirichlet(np.ones(classes), lead)
        t = t * (random.random(x.shape) < 0.8)
    options = {"reduction": str(random.choice(REDUCTIONS))}
    weight = np.ones(lead)
    if random.random() < 0.5:
        leading = lead[: random.integers(len(lead) + 1)]
        given = random.uniform(0.0, 3.0, leading) * (random.random(leading) < 0.8)
        options["sample_weight"] = np.asarray(given)
        behind = (1,) * (len(lead) - len(leading))
        weight = np.broadcast_to(np.reshape(given, leading + behind), lead)
    if random.random() < 0.5:
        options["mask"] = np.asarray(random.random(lead) < 0.7)
        counts &= options["mask"]
    return loss, x, t, counts, weight, options


def divisor_of(loss, x, t, counts, weight, reduction):
    if reduction == "mean":
        return float(counts.sum())
    if reduction != "weighted_mean":
        return 1.0
    of_class = loss.row_options().class_weight
    if of_class is None:
        of_row = np.ones(counts.shape)
    elif t.ndim < x.ndim:
        of_row = of_class[np.where(counts, t, 0).astype(np.int64)]
    else:
        of_row = (t * of_class).sum(-1)
    return float((weight * of_row * counts).sum())


def errors_of(name, form, number):
    """The errors of value and gradient of a case; None where PyTorch gives NaN itself."""
    loss, x, t, counts, weight, options = draw_case(name, form, number)
    labelled = t.ndim < x.ndim
    divisor = divisor_of(loss, x, t, counts, weight, options["reduction"])
    share = np.where(counts, weight, 0.0) / (divisor or 1.0)

    logits = torch.tensor(x, requires_grad=True)
    flat = logits.reshape(-1, x.shape[-1])
    target = torch.tensor(np.where(counts, t, 0).astype(np.int64) if labelled else t)
    values = torch_rows(loss, flat, target.reshape(-1) if labelled else target.reshape(flat.shape))
    values = values.reshape(x.shape[:-1]) * torch.tensor(share)
    values.sum().backward()
    expected = values.detach().numpy()
    slopes = logits.grad.numpy()
    if np.isnan(expected).any() or np.isnan(slopes).any():
        return None

    # What must not count may hold anything.
    x = x.copy()
    x[~(counts & (weight > 0))] = math.nan
    value, gradient = loss.value_and_grad(x, t, **options)
    floor = 1e-3 * share
    if options["reduction"] == "none":
        size = np.maximum(np.abs(expected), floor)
        of_value = np.max(np.abs(value - expected) / np.where(size > 0, size, 1), initial=0.0)
    elif divisor == 0.0 and options["reduction"] != "sum":
        assert math.isnan(value)
        of_value = 0.0
    else:
        size = max(np.abs(expected).sum(), floor.sum())
        of_value = abs(value - expected.sum()) / (size or 1.0)
    if divisor == 0.0:
        assert not gradient.any()
        return of_value, 0.0
    size = np.maximum(np.abs(slopes).max(axis=-1), floor)
    worst = np.abs(gradient - slopes).max(axis=-1) / np.where(size > 0, size, 1)
    assert not gradient[share == 0.0].any()
    return float(of_value), float(np.max(worst, initial=0.0))


FORMS = [(name, form) for name in LOSSES for form in getattr(nl, name).accepts]


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_any_options_give_what_autograd_gives(name, form):
    found = {number: errors_of(name, form, number) for number in range(CASES)}
    compared = {number: errors for number, errors in found.items() if errors is not None}
    assert len(compared) > 0.9 * CASES
    worst = max(compared, key=lambda number: max(compared[number]))
    print(f"{name} {form}: {len(compared)} cases, worst {max(compared[worst]):.2e}")
    wrong = [number for number, errors in compared.items() if max(errors) > PRECISION]
    assert not wrong, [
        (number, compared[number], draw_case(name, form, number)) for number in wrong
    ]


@pytest.mark.parametrize("number", range(20))
def test_weighted_mean_is_what_pytorch_calls_mean(number):
    random = np.random.default_rng(number)
    classes = int(random.choice(WIDTHS[1:-2]))
    x, y = random.normal(size=(30, classes)), random.integers(0, classes, 30)
    y[random.random(30) < 0.3] = -100
    weight = random.random(classes)
    smoothing = float(number % 2) * random.random()
    loss = nl.CrossEntropy(weight, label_smoothing=smoothing)
    logits = torch.tensor(x, requires_grad=True)
    expected = functional.cross_entropy(
        logits, torch.tensor(y), torch.tensor(weight), label_smoothing=smoothing
    )
    expected.backward()
    value, gradient = loss.value_and_grad(x, y, reduction="weighted_mean")
    assert value == pytest.approx(float(expected.detach()), rel=1e-13)
    np.testing.assert_allclose(gradient, logits.grad.numpy(), rtol=1e-11, atol=1e-16)


def test_tensors_go_in_and_come_out():
    x, y = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, -100])
    loss = nl.CrossEntropy()
    for kind in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        logits = x.to(kind)
        mask = torch.tensor([True] * 5 + [False])
        value, gradient = loss.value_and_grad(logits, y, mask=mask)
        assert isinstance(gradient, torch.Tensor)
        assert gradient.dtype == kind
        wide = logits.double().clone().requires_grad_()
        expected = functional.cross_entropy(wide, y)
        expected.backward()
        assert value == pytest.approx(float(expected.detach()), rel=1e-6)
        precision = {torch.float64: 1e-13, torch.float32: 1e-6}.get(kind, 8e-3)
        torch.testing.assert_close(gradient.double(), wide.grad, rtol=precision, atol=1e-7)
        apart = loss(logits, y, reduction="none")
        assert isinstance(apart, torch.Tensor)
        assert apart.dtype == (kind if kind is torch.float64 else torch.float32)
        assert loss.value_and_grad(logits, y, out=logits)[1] is logits
