"""Errors of the float32 functions in GPU kernels, against PyTorch in float64 on the same GPU.

    python tools/accuracy_gpu.py [--step N]

tries every N-th of the 2^32 float32 numbers, NaN and infinities too: all of them take a quarter of
a minute on an H200. `docs/accuracy.md` has the results.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from numba import cuda

from numbaloss import vmath
from numbaloss.cuda import backend
from numbaloss.vmath.overloads import install

LN2 = math.log(2.0)
CHUNK = 1 << 26


def softplus(x: Any) -> Any:
    return torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs()))


def sigmoid(x: Any) -> Any:
    e = torch.exp(-x.abs())
    return torch.where(x < 0, e, torch.ones_like(e)) / (1 + e)


def log_cosh(x: Any) -> Any:
    a = x.abs()
    near = torch.log1p(2 * torch.sinh(0.5 * torch.clamp(a, max=1.0)) ** 2)
    return torch.where(a < 1, near, a - LN2 + torch.log1p(torch.exp(-2 * a)))


REFERENCES = {
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "tanh": torch.tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "log_sigmoid": lambda x: -softplus(-x),
    "log_cosh": log_cosh,
    "sqrt": torch.sqrt,
}


def kernel_of(name: str) -> Any:
    """A kernel that computes one function."""
    face = getattr(vmath, name)

    @cuda.jit
    def kernel(x, y):
        for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
            y[i] = face(x[i])

    return kernel


def ulps(got: Any, want: Any) -> tuple[Any, Any]:
    """Errors in units in the last place, and which results are NaN or of a sign unduly.

    Denormal results have the smallest unit; infinity counts as the next power of two.
    """
    found = got.double()
    wrong = torch.isnan(found) != torch.isnan(want)
    most = 2.0**128
    found = torch.where(
        torch.isinf(found), torch.copysign(torch.full_like(want, most), found), found
    )
    want = torch.clamp(want, -most, most)
    wrong |= (torch.signbit(found) != torch.signbit(want)) & ~torch.isnan(want)
    exponent = torch.clamp(torch.frexp(want.abs())[1] - 1, -126, 127)
    error = (found - want).abs() * torch.exp2(23.0 - exponent.double())
    error = torch.where(want == 0, torch.where(found == 0, 0.0, math.inf), error)
    return torch.nan_to_num(error, nan=0.0), wrong


def sweep(name: str, step: int) -> str:
    """The worst of all errors of a function."""
    start, kernel = time.perf_counter(), kernel_of(name)
    worst, place, wrong, total, count = 0.0, (0.0, 0.0), 0, 0.0, 0
    for low in range(-(1 << 31), 1 << 31, CHUNK * step):
        high = min(low + CHUNK * step, 1 << 31)
        x = torch.arange(low, high, step, device="cuda").to(torch.int32).view(torch.float32)
        y = torch.empty_like(x)
        kernel[4096, 256](cuda.as_cuda_array(x), cuda.as_cuda_array(y))
        torch.cuda.synchronize()
        error, kinds = ulps(y, REFERENCES[name](x.double()))
        largest, at = error.max(0)
        if largest.item() > worst:
            worst, place = largest.item(), (x[at].item(), y[at].item())
        total, count = total + error.sum().item(), count + x.numel()
        wrong += int(kinds.sum().item())
    return (
        f"{name:12s} max {worst:.3f} ULP, {place[0]!r} gives {place[1]!r}; "
        f"mean {total / count:.4f}; "
        f"{wrong} of a wrong kind ({time.perf_counter() - start:.1f} s)"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", type=int, default=1, help="every N-th number [1]")
    step = parser.parse_args().step
    backend.require()
    install()
    print(torch.cuda.get_device_name(), f"every {step}. number" if step > 1 else "every number")
    for name in REFERENCES:
        print(sweep(name, step), flush=True)


if __name__ == "__main__":
    main()
