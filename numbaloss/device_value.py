"""A value that a GPU is still computing."""

from __future__ import annotations

from typing import Any


class DeviceValue:
    """The value of a loss, on the GPU: what methods return for ``wait=False``.

    ``float(value)`` waits for the GPU and gives the number; until then the program goes on.
    Where a target, a label or a weight was out of range, the number is NaN, and reading it by
    ``float`` raises ``ValueError``. Libraries for GPUs take it, without waiting, as an array of
    float64 without dimensions, by its ``__cuda_array_interface__``:
    ``torch.as_tensor(value, device="cuda")``, ``cupy.asarray(value)``.
    """

    __slots__ = ("_number", "_sums", "_what")

    def __init__(self, sums: Any, what: str) -> None:
        self._sums, self._what = sums, what
        self._number: float | None = None

    @property
    def sums(self) -> Any:
        """The record on the GPU."""
        return self._sums

    @property
    def ranges(self) -> str:
        """What could be out of range, in words."""
        return self._what

    def __float__(self) -> float:
        if self._number is None:
            sums = self._sums.read()
            if sums.out_of_range:
                raise ValueError(
                    f"{int(sums.out_of_range)} numbers are out of range ({self._what}); "
                    f"with wait=True the error names the first"
                )
            self._number = sums.value
        return self._number

    def item(self) -> float:
        """The number; waits for the GPU."""
        return float(self)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        stream = self._sums.workspace.place.stream
        return {
            "shape": (),
            "typestr": "<f8",
            "data": (self._sums.address, False),
            "version": 3,
            "stream": stream or 1,  # 1 stands for the default stream
        }

    def __repr__(self) -> str:
        return "DeviceValue(...)"  # showing it must not wait
