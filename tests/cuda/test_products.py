"""Products by PyTorch, as far as a CPU has them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba_cuda")

from numbaloss.cuda import products  # noqa: E402

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_halves_are_added_in_float32(dtype, monkeypatch):
    monkeypatch.setattr(products, "TILE_BYTES", 64)  # several tiles
    found = products.Torch()
    a, b = (torch.from_numpy(RNG.normal(size=size)).to(dtype) for size in ((9, 5), (5, 4)))
    own = a.to(torch.float64) @ b.to(torch.float64)
    out = torch.full((9, 4), torch.nan)
    found.multiply(a, b, out, add=False)
    # Each product is rounded to the dtype, on a CPU; their sum is not.
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    torch.testing.assert_close(out.double(), own, rtol=tolerance, atol=tolerance)
    out.fill_(4096.0)
    found.multiply(a, b, out, add=True)
    torch.testing.assert_close(out.double() - 4096, own, rtol=tolerance, atol=max(tolerance, 1e-3))


def test_operators_that_gpus_have_are_there():
    operator = torch.ops.aten.addmm
    if "dtype_out" not in operator.overloads():
        pytest.skip("before 2.8")
    names = [one.name for one in operator.dtype_out._schema.arguments]
    assert names == ["self", "mat1", "mat2", "out_dtype", "beta", "alpha", "out"]


def test_rows_are_taken_and_put_back():
    found = products.Torch()
    rows = torch.from_numpy(RNG.normal(size=(6, 3)))
    places = found.places(torch.tensor([True, False, True, True, False, False]))
    assert places.tolist() == [0, 2, 3]
    some = found.take(rows, places)
    torch.testing.assert_close(some, rows[[0, 2, 3]])
    target = torch.zeros(6, 3, dtype=torch.float64)
    found.put_rows(target, places, some)
    torch.testing.assert_close(target[[0, 2, 3]], some)
    assert not target[[1, 4, 5]].any()
