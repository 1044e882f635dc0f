"""The module inside of what people build: compiled graphs, autocast, copies, files."""

import copy
import io
import pickle

import numpy as np
import pytest

import numbaloss as nl

torch = pytest.importorskip("torch")

from numbaloss.torch import Loss, calls, evaluate, operators  # noqa: E402

functional = torch.nn.functional
LABELS = torch.tensor([0, 2, 1, 3, 3, 2])


def randoms(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)


def arguments(loss, inputs, target, reduction, axis=-1):
    return (inputs, target, None, None, calls.remember(loss), reduction, axis, None, True)


def test_operators_keep_the_promises_of_operators():
    double = torch.float64
    vectors = [randoms(6, 4, dtype=double, seed=i).requires_grad_() for i in range(3)]
    first = vectors[0]
    cases = [
        arguments(nl.PseudoHuber(), [first], randoms(6, 4, dtype=double), "mean"),
        arguments(nl.CrossEntropy(), [first], LABELS, "none"),
        arguments(nl.CrossEntropy(), [first.T], LABELS, "mean", axis=0),
        arguments(nl.Triplet(), vectors, None, "none"),
        arguments(nl.InfoNCE(), vectors[:2], None, "none"),
    ]
    both = operators.value_and_gradients._opoverload
    torch.library.opcheck(both, cases[0])
    for case in cases:
        # The last check goes back through the gradients too, which these losses refuse.
        some = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(both, case, test_utils=some)
        detached = ([one.detach() for one in case[0]], *case[1:])
        torch.library.opcheck(both, detached)
        torch.library.opcheck(operators.value._opoverload, detached)
    detached = ([first.detach()], *cases[0][1:])
    torch.library.opcheck(operators.hessian._opoverload, detached)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_graphs_hold_the_whole_call(backend):
    loss = Loss(nl.CrossEntropy())
    apart = Loss(nl.CrossEntropy(), "none")
    layer = torch.nn.Linear(5, 4)

    def step(x, labels, weight):
        logits = layer(x)
        return loss(2.0 * logits, labels) + (apart(logits, labels, sample_weight=weight) ** 2).sum()

    x, weight = randoms(6, 5), torch.rand(6)
    gradients = []
    for function in (torch.compile(step, fullgraph=True, backend=backend), step):
        layer.zero_grad()
        function(x, LABELS, weight).backward()
        gradients.append([one.grad.clone() for one in layer.parameters()])
    torch.testing.assert_close(*gradients)
    logits = layer(x)
    native = (
        functional.cross_entropy(2.0 * logits, LABELS)
        + ((functional.cross_entropy(logits, LABELS, reduction="none") * weight) ** 2).sum()
    )
    torch.testing.assert_close(step(x, LABELS, weight), native)


def test_compiled_graphs_do_not_confuse_losses():
    target = randoms(6)

    @torch.compile(fullgraph=True, backend="eager")
    def call(module, prediction):
        return module(prediction, target)

    prediction = randoms(6, seed=1)
    for delta in (0.1, 1.0, 2.0):
        found = call(Loss(nl.Huber(delta)), prediction)
        torch.testing.assert_close(found, functional.huber_loss(prediction, target, delta=delta))


def test_names_of_losses_mean_the_same_anywhere():
    assert calls.remember(nl.Huber(1.5)) == calls.remember(nl.Huber(1.5))
    weights = [np.ones(1000), np.ones(1000)]
    weights[1][500] = 2.0  # which the repr of an array does not show
    assert len({calls.remember(nl.CrossEntropy(class_weight=one)) for one in weights}) == 2

    def make(power):
        class Own(nl.Elementwise):
            def value(self, prediction, target):
                return (prediction - target) ** power

        return Own()

    square, fourth = make(2.0), make(4.0)
    prediction, target = randoms(6), randoms(6, seed=1)
    for loss, power in ((square, 2), (fourth, 4)):
        value = operators.value(*arguments(loss, [prediction], target, "mean"))
        torch.testing.assert_close(value, ((prediction - target) ** power).mean())
    with pytest.raises(RuntimeError, match="does not know, 'Huber 00'"):
        calls.remembered("Huber 00")


def test_autocast_with_scaled_gradients_loses_none():
    layer = torch.nn.Linear(5, 4)
    x, target = randoms(64, 5), randoms(64, 4)
    for dtype in (torch.bfloat16, torch.float16):
        layer.zero_grad()
        with torch.autocast("cpu", dtype):
            prediction = layer(x)
            assert prediction.dtype == dtype
            prediction.retain_grad()
            value = 1e-6 * Loss(nl.Huber())(prediction, target)
        assert value.dtype == torch.float32
        (65536.0 * value).backward()
        wide = prediction.detach().float().requires_grad_()
        functional.huber_loss(wide, target).backward()
        expected = wide.grad * (65536.0 * 1e-6)
        error = (prediction.grad.float() - expected).abs().max() / expected.abs().max()
        # bfloat16 is rounded as a gradient, and as a multiple of it.
        assert error < 2.0 ** (-7 if dtype == torch.bfloat16 else -11)


def test_autocast_mixes_dtypes():
    hidden, weight = randoms(6, 5).requires_grad_(), randoms(4, 5).requires_grad_()
    loss = Loss(nl.LinearCrossEntropy(), transposed=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss(hidden.to(torch.bfloat16), weight, LABELS).backward()
    assert weight.grad.dtype == torch.float32
    functional.cross_entropy(
        (hidden_ := hidden.detach().requires_grad_()) @ weight.detach().T, LABELS
    ).backward()
    torch.testing.assert_close(hidden.grad, hidden_.grad, rtol=0.05, atol=0.01)


def test_half_gradients_of_a_large_mean_do_not_underflow():
    prediction = torch.zeros(1 << 16, dtype=torch.float16).requires_grad_()
    target = torch.full((1 << 16,), 1e-3)
    value = Loss(nl.SquaredError())(prediction, target)
    (65536.0 * value).backward()
    torch.testing.assert_close(
        prediction.grad.float(), torch.full((1 << 16,), -2e-3), rtol=1e-3, atol=0
    )


def test_modules_are_copied_pickled_and_saved():
    loss = Loss(nl.Focal(gamma=1.5), "sum")
    file = io.BytesIO()
    torch.save(loss, file)
    file.seek(0)
    prediction, target = randoms(6), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    copies = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))]
    for one in (*copies, torch.load(file, weights_only=False)):
        assert one.loss == loss.loss
        assert one(prediction, target) == loss(prediction, target)
    assert repr(loss) == (
        "Loss(Focal(gamma=1.5, alpha=None, label_smoothing=0.0, from_logits=True), reduction='sum')"
    ) or repr(nl.Focal(gamma=1.5)) in repr(loss)
    assert not list(loss.parameters())


def test_large_gradients_lie_in_memory_of_numpy():
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        like = torch.empty((3, 1000), dtype=dtype)
        made = calls.empty(like)
        assert made.shape == like.shape
        assert made.dtype == dtype
        assert made.is_contiguous()
        assert not made.untyped_storage().resizable()


def test_gradients_of_plain_calls_lie_there_too():
    from numbaloss.arrays import TORCH

    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        for like in (
            torch.empty((2000, 1500), dtype=dtype),
            torch.empty((2000, 1500), dtype=dtype).T,
        ):
            made = TORCH.empty_like(like, None)
            assert (made.shape, made.dtype, made.stride()) == (like.shape, dtype, like.stride())
            assert not made.untyped_storage().resizable()
    small = TORCH.empty_like(like[:3, :3], "float32")
    assert small.dtype == torch.float32
    assert small.untyped_storage().resizable()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: Loss("huber"), TypeError, "takes a loss of numbaloss"),
        (lambda p: evaluate("huber", p, p), TypeError, "loss must be a loss"),
        (lambda p: Loss(nl.Huber(), "average"), ValueError, "reduction must be one of mean"),
        (lambda p: Loss(nl.Huber())(p), TypeError, "takes 2 arrays, not 1"),
        (lambda p: Loss(nl.Huber())(p, p), ValueError, "target requires a gradient"),
        (lambda p: Loss(nl.Huber())(p, p.detach(), bias=p), TypeError, "bias is for"),
        (lambda p: Loss(nl.InfoNCE())(p, p, mask=p), TypeError, "take no mask"),
        (lambda p: Loss(nl.Huber())(p, p.detach()[:2]), ValueError, "one shape"),
        (lambda p: Loss(nl.CrossEntropy())(p, LABELS + 2), ValueError, "label"),
        (lambda p: Loss(nl.Huber())(p.detach().int(), p.detach()), TypeError, "int32"),
    ],
)
def test_errors_are_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call(randoms(6, 4).requires_grad_())


def test_a_network_learns():
    torch.manual_seed(0)
    x = torch.randn(200, 3)
    labels = (x @ torch.randn(3, 4)).argmax(-1)
    layer = torch.nn.Linear(3, 4)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    loss = Loss(nl.CrossEntropy())
    for _ in range(200):
        optimiser.zero_grad()
        value = loss(layer(x), labels)
        value.backward()
        optimiser.step()
    assert (layer(x).argmax(-1) == labels).float().mean() > 0.95
