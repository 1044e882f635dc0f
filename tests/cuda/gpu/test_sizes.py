"""Arrays of more than 2**31 elements, and layers of the size of language models."""

import math

import pytest

import numbaloss as nl

pytestmark = pytest.mark.gpu


def test_rows_beyond_two_to_the_31_elements(torch):
    rows, classes = 70_000, 32_768
    needed = 3 * rows * classes
    if torch.cuda.mem_get_info()[0] < 1.2 * needed:
        pytest.skip("takes 8 GB of the GPU")
    logits = torch.zeros((rows, classes), dtype=torch.float16, device="cuda")
    labels = torch.zeros(rows, dtype=torch.int64, device="cuda")
    logits[-3:].normal_(generator=torch.Generator("cuda").manual_seed(0))
    labels[-3:] = torch.tensor([5, 77, classes - 1])
    last = logits[-3:].clone(), labels[-3:].clone()
    loss = nl.CrossEntropy()
    value, gradient = loss.value_and_grad(logits, labels, out=logits, reduction="sum")
    own, expected = loss.value_and_grad(*last, reduction="sum")
    assert gradient is logits
    torch.testing.assert_close(gradient[-3:], expected, rtol=2e-3, atol=1e-7)
    assert value == pytest.approx(own + (rows - 3) * math.log(classes), rel=1e-4)


def test_elements_beyond_two_to_the_31(torch):
    size = (1 << 31) + 1027
    if torch.cuda.mem_get_info()[0] < 5 * size:
        pytest.skip("takes 9 GB of the GPU")
    prediction = torch.zeros(size, dtype=torch.float16, device="cuda")
    target = torch.zeros_like(prediction)
    prediction[-2:] = 2.0
    value, gradient = nl.SquaredError().value_and_grad(
        prediction, target, out=prediction, reduction="sum"
    )
    assert value == 8.0
    assert gradient[-3:].tolist() == [0.0, 4.0, 4.0]
    assert not gradient[:-2].any()
    assert nl.SquaredError()(prediction[::2], target[::2], reduction="sum") == 16.0


def test_vectors_beyond_two_to_the_31_elements(torch):
    rows, length = (1 << 22) + 3, 512
    size = rows * length
    if torch.cuda.mem_get_info()[0] < 17 * size:
        pytest.skip("takes 34 GB of the GPU")
    first = torch.zeros((rows, length), dtype=torch.float16, device="cuda")
    second, out = torch.zeros_like(first), (torch.ones_like(first), torch.ones_like(first))
    target = torch.ones(rows, dtype=torch.int32, device="cuda")
    first[-2:, -1] = 2.0
    value, (of_first, of_second) = nl.Contrastive().value_and_grad(
        first, second, target, out=out, reduction="sum"
    )
    assert value == 8.0
    for one, sign in ((of_first, 4.0), (of_second, -4.0)):
        assert one[-3:, -1].tolist() == [0.0, sign, sign]
        assert not one[:-2].any()
        assert not one[-2:, :-1].any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_layers_of_many_classes_take_little_memory_and_agree_with_torch(torch, dtype):
    rows, width, classes = 2048, 512, 32_000
    kind = getattr(torch, dtype)
    generator = torch.Generator("cuda").manual_seed(0)

    def normal(*shape, scale=1.0):
        made = torch.randn(shape, generator=generator, device="cuda") * scale
        return made.to(kind)

    hidden, weight = normal(rows, width), normal(classes, width, scale=0.05)
    labels = torch.randint(0, classes, (rows,), generator=generator, device="cuda")
    loss = nl.LinearCrossEntropy()
    workspace = 16 << 20
    loss.value_and_grad(hidden[:256], weight, labels[:256], workspace=workspace)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    value, (of_hidden, of_weight) = loss.value_and_grad(hidden, weight, labels, workspace=workspace)
    results = of_hidden.nbytes + of_weight.nbytes
    assert torch.cuda.max_memory_allocated() - before <= results + 4 * workspace
    leaves = [one.float().requires_grad_() for one in (hidden, weight)]
    expected = torch.nn.functional.cross_entropy(leaves[0] @ leaves[1].T, labels)
    expected.backward()
    precise = dtype == "float32"
    assert value == pytest.approx(expected.item(), rel=2e-4 if precise else 1e-2)
    for one, leaf in zip((of_hidden, of_weight), leaves):
        largest = leaf.grad.abs().max().item()
        off = (one.float() - leaf.grad).abs().max().item()
        assert off <= (5e-3 if precise else 5e-2) * largest
