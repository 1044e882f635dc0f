"""Losses on a CUDA GPU: speed of the kernels, and what a call costs the host.

Arrays are PyTorch's or CuPy's, whichever is there and sees a GPU; without one asv skips these.
Shares of the memory's speed, and other libraries, are the business of
``python -m benchmarks.gpu``.
"""

from __future__ import annotations

from typing import Any

from ..gpu import inputs, libraries
from ..gpu.cases import OUTPUTS, TARGETS, Case
from .common import make

LOSSES = ("squared_error", "huber", "log_cosh", "poisson", "binary_cross_entropy", "focal")
# Rows that share a warp, that have one, or a block, and that no block holds at once.
WIDTHS = (2, 10, 33, 128, 1000, 4096, 32000, 131072)
SIZE = 2**24
# Calls between two waits for the device.
CALLS = 100


def library() -> libraries.Library:
    """The arrays' library; without a GPU the benchmark does not apply."""
    names, obstacles = libraries.usable()
    if not names:
        raise NotImplementedError(f"no CUDA GPU is usable: {', '.join(obstacles)}")
    return libraries.load(names[0])


class OnDevice:
    """Arrays of a case on the GPU, and the call on them; its kernel is compiled in ``setup``."""

    def prepare(self, case: Case) -> None:
        self.library = library()
        if case.dtype == "bfloat16" and not self.library.has_bfloat16:
            raise NotImplementedError(f"{self.library.title} has no bfloat16")
        given = inputs.make(self.library, case)
        self.given = given.prediction, given.target
        outputs = {"out": given.gradient, "hess_out": given.hessian}
        self.options: dict[str, Any] = {
            name: array for name, array in outputs.items() if array is not None
        }
        loss = make(case.loss)
        self.call = loss if case.method == "value" else getattr(loss, case.method)
        self.once()

    def once(self) -> None:
        """A call that returns a number, and so waits for the device."""
        self.call(*self.given, **self.options)


class Elementwise(OnDevice):
    """The public methods on contiguous arrays, into arrays that are there."""

    params = (LOSSES, tuple(OUTPUTS), ("float32", "bfloat16"))
    param_names = ("loss", "method", "dtype")

    def setup(self, loss: str, method: str, dtype: str) -> None:
        targets = TARGETS.get(loss, "real")
        self.prepare(Case("elementwise", loss, (SIZE,), dtype, targets, method))

    def time_call(self, loss: str, method: str, dtype: str) -> None:
        self.once()


class Rows(OnDevice):
    """Cross-entropy with labels, as many logits at every width."""

    params = (WIDTHS, ("float32", "bfloat16"))
    param_names = ("classes", "dtype")

    def setup(self, classes: int, dtype: str) -> None:
        shape = (SIZE // classes, classes)
        self.prepare(Case("rows", "cross_entropy", shape, dtype, "labels"))

    def time_value_and_grad(self, classes: int, dtype: str) -> None:
        self.once()


class Calls(OnDevice):
    """A thousand numbers: what a call costs the host, waiting for the device and not."""

    params = (("huber", "binary_cross_entropy", "cross_entropy"),)
    param_names = ("loss",)

    def setup(self, loss: str) -> None:
        if loss == "cross_entropy":
            self.prepare(Case("rows", loss, (100, 10), targets="labels"))
        else:
            targets = TARGETS.get(loss, "real")
            self.prepare(Case("elementwise", loss, (1000,), targets=targets))
        self.time_hundred_calls(loss)

    def time_waiting(self, loss: str) -> None:
        self.once()

    def time_hundred_calls(self, loss: str) -> None:
        """Without waiting in between."""
        for _ in range(CALLS):
            self.call(*self.given, wait=False, **self.options)
        self.library.synchronize()
