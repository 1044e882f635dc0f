"""Values and gradients of the module beside PyTorch's own losses, and beside differences."""

import pytest

import numbaloss as nl

torch = pytest.importorskip("torch")

from numbaloss.torch import Loss, eager, evaluate  # noqa: E402

functional = torch.nn.functional
gradcheck, gradgradcheck = torch.autograd.gradcheck, torch.autograd.gradgradcheck


def randoms(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)


LABELS = torch.tensor([0, 2, 1, -100, 3, 2])
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)

# A loss, its reduction and target, and PyTorch's function of the prediction (6, 4).
PAIRS = {
    "squared error": (
        nl.SquaredError(),
        "mean",
        randoms(6, 4, seed=1),
        lambda p, t: functional.mse_loss(p, t),
    ),
    "huber, sum": (
        nl.Huber(0.7),
        "sum",
        randoms(6, 4, seed=1),
        lambda p, t: functional.huber_loss(p, t, delta=0.7, reduction="sum"),
    ),
    "binary cross-entropy": (
        nl.BinaryCrossEntropy(),
        "mean",
        (randoms(6, 4, seed=1) > 0).double(),
        lambda p, t: functional.binary_cross_entropy_with_logits(p, t),
    ),
    "cross-entropy": (
        nl.CrossEntropy(),
        "mean",
        LABELS,
        lambda p, t: functional.cross_entropy(p, t),
    ),
    "cross-entropy, class weights": (
        nl.CrossEntropy(class_weight=WEIGHTS.numpy(), label_smoothing=0.1),
        "weighted_mean",
        LABELS,
        lambda p, t: functional.cross_entropy(p, t, WEIGHTS.to(p.dtype), label_smoothing=0.1),
    ),
    "cross-entropy, dense": (
        nl.CrossEntropy(),
        "none",
        torch.softmax(randoms(6, 4, seed=1), -1),
        lambda p, t: functional.cross_entropy(p, t, reduction="none"),
    ),
    "divergence": (
        nl.KLDivergence(),
        "batchmean",
        torch.softmax(randoms(6, 4, seed=1), -1),
        lambda p, t: functional.kl_div(p.log_softmax(-1), t, reduction="batchmean"),
    ),
}


@pytest.mark.parametrize("form", ["float64", "float32", "strided", "evaluate"])
@pytest.mark.parametrize("name", PAIRS)
def test_losses_are_those_of_pytorch(name, form):
    loss, reduction, target, native = PAIRS[name]
    start = randoms(6, 4).to(torch.float32 if form == "float32" else torch.float64)
    if form == "float32" and target.is_floating_point():
        target = target.float()
    results = []
    for ours in (True, False):
        leaf = (start.T.contiguous() if form == "strided" else start.clone()).requires_grad_()
        prediction = leaf.T if form == "strided" else leaf
        if not ours:
            value = native(prediction, target)
        elif form == "evaluate":
            value = evaluate(loss, prediction, target, reduction=reduction)
        else:
            value = Loss(loss, reduction)(prediction, target)
        # What comes back to the values is not 1.
        (3.0 * value * torch.arange(1.0, value.numel() + 1).reshape(value.shape)).sum().backward()
        results.append((value.detach(), leaf.grad))
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6} if form == "float32" else {"rtol": 1e-12, "atol": 1e-15}
    )
    for mine, its in zip(*results):
        torch.testing.assert_close(mine, its, check_dtype=form != "float32", **tolerance)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean", "sum", "none"])
def test_elementwise_losses_have_two_backward_passes(reduction):
    prediction = randoms(5, 3).requires_grad_()
    target, weight = randoms(5, 3, seed=1), randoms(5, seed=2).abs()
    loss = Loss(nl.PseudoHuber(), reduction)

    def call(prediction):
        return loss(prediction, target, sample_weight=weight)

    assert gradcheck(call, (prediction,))
    assert gradgradcheck(call, (prediction,))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows_beside_differences(reduction):
    labels, weight = torch.tensor([0, 2, 1, 3]), torch.tensor([1.0, 0.5, 0.0, 2.0])
    loss = Loss(nl.CrossEntropy(label_smoothing=0.1), reduction, axis=1)
    images = randoms(2, 4, 2).requires_grad_()
    mask = torch.tensor([[True, False], [True, True]])
    assert gradcheck(lambda x: loss(x, labels.reshape(2, 2), mask=mask), (images,))
    rows = Loss(nl.CategoricalFocal(), reduction)
    assert gradcheck(
        lambda x: rows(x, labels, sample_weight=weight), (randoms(4, 4).requires_grad_(),)
    )


def test_values_of_a_batch_may_count_by_any_number():
    embeddings, identity = randoms(6, 3).requires_grad_(), torch.tensor([0, 1, 0, 1, 2, 2])
    factors = torch.tensor([1.0, -2.0, 0.0, 0.5, -0.25, 3.0], dtype=torch.float64)

    def weighted(vectors):
        return (Loss(nl.SupervisedContrastive(), "none")(vectors, identity) * factors).sum()

    assert gradcheck(weighted, (embeddings,))
    both = embeddings, randoms(6, 3, seed=1).requires_grad_()
    keyed = Loss(nl.InfoNCE(symmetric=True), "none")
    assert gradcheck(lambda a, b: (keyed(a, b) * factors).sum(), both)
    linear, weight = Loss(nl.LinearCrossEntropy(), "none"), randoms(3, 4, seed=5)
    inputs = embeddings, weight.requires_grad_()
    assert gradcheck(lambda h, w: (linear(h, w, identity) * factors).sum(), inputs)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_every_vector_has_its_gradient(reduction):
    first, second, third = (randoms(5, 3, seed=i).requires_grad_() for i in range(3))
    like = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    identity = torch.tensor([0, 1, 0, 1, 2])
    assert gradcheck(lambda a, b: Loss(nl.Contrastive(), reduction)(a, b, like), (first, second))
    assert gradcheck(Loss(nl.Triplet(2.0), reduction), (first, second, third))
    assert gradcheck(Loss(nl.InfoNCE(symmetric=True), reduction), (first, second))
    assert gradcheck(lambda e: Loss(nl.SupervisedContrastive(), reduction)(e, identity), (first,))
    weight, bias = randoms(3, 4, seed=5).requires_grad_(), randoms(4, seed=6).requires_grad_()
    linear = Loss(nl.LinearCrossEntropy(), reduction)
    assert gradcheck(
        lambda h, w, b: linear(h, w, identity, bias=b), (first, weight, bias), atol=1e-4
    )
    assert gradcheck(lambda w: linear(first.detach(), w, identity), (weight,), atol=1e-4)


def test_gradient_is_neither_copied_nor_multiplied(monkeypatch):
    made = []
    own = eager._value_and_gradients

    def watched(*arguments):
        value, gradients = own(*arguments)
        made.append(gradients[0].data_ptr())
        return value, gradients

    monkeypatch.setattr(eager, "_value_and_gradients", watched)
    for loss, target in ((nl.Huber(), randoms(6, 4)), (nl.CrossEntropy(), LABELS)):
        for dtype in (torch.float32, torch.bfloat16):
            prediction = randoms(6, 4).to(dtype).requires_grad_()
            Loss(loss)(prediction, target).backward()
            assert prediction.grad.data_ptr() == made[-1]
            assert prediction.grad._version == 0
    assert len(made) == 4
    Loss(nl.Huber())(prediction, randoms(6, 4)).backward(torch.tensor(2.0))
    assert len(made) == 5


def test_graph_that_is_retained_gives_the_gradient_again():
    prediction = randoms(6, 4).requires_grad_()
    value = Loss(nl.CrossEntropy())(prediction, LABELS)
    value.backward(retain_graph=True)
    once = prediction.grad.clone()
    value.backward()
    torch.testing.assert_close(prediction.grad, 2.0 * once, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


def test_rows_refuse_a_second_backward_pass():
    prediction = randoms(6, 4).requires_grad_()
    value = Loss(nl.CrossEntropy())(prediction, LABELS)
    (gradient,) = torch.autograd.grad(value, prediction, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second backward pass"):
        gradient.sum().backward()


def test_transforms_of_functions_are_refused():
    target = randoms(3)
    for transform in (torch.func.grad, torch.func.vmap):
        with pytest.raises(NotImplementedError, match=r"torch\.func"):
            transform(lambda p: Loss(nl.Huber())(p, target))(randoms(3))


def test_without_gradients_the_value_alone_is_computed(monkeypatch):
    monkeypatch.setattr(nl.Huber, "value_and_grad", None)
    prediction, target = randoms(6, 4).requires_grad_(), randoms(6, 4, seed=1)
    with torch.no_grad():
        value = Loss(nl.Huber())(prediction, target)
    assert not value.requires_grad
    assert not Loss(nl.Huber())(prediction.detach(), target).requires_grad
    expected = functional.huber_loss(prediction.detach(), target)
    torch.testing.assert_close(value, expected)
