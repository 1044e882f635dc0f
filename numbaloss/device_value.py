"""A value that a GPU is still computing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref


class DeviceValue:
    """The value of a loss, on the GPU: what methods return for ``wait=False``.

    ``float(value)`` waits for the GPU and gives the number; until then the program goes on.
    Where a target, a label or a weight was out of range, the number is NaN, and reading it by
    ``float`` raises ``ValueError``, which names the first one if the arrays are still there.
    Libraries for GPUs take it, without waiting, as an array of float64 without dimensions, by its
    ``__cuda_array_interface__``: ``torch.as_tensor(value, device="cuda")``,
    ``cupy.asarray(value)``.

    That of a call in a CUDA graph is the value of the graph's last run; ``float`` waits for the
    whole GPU then. Its memory is never used again, so that graphs may run for ever.
    """

    __slots__ = ("_complain", "_number", "_sums", "_what")

    def __init__(self, sums: Any, what: str, complain: Callable[[], None] | None = None) -> None:
        # What could be out of range, in words; what raises the error that names the first.
        self._sums, self._what, self._complain = sums, what, complain
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
        if self._number is not None:
            return self._number
        sums = self._sums.read()
        if sums.out_of_range:
            if self._complain is not None:
                self._complain()
            raise ValueError(
                f"{int(sums.out_of_range)} numbers are out of range ({self._what}); "
                f"with wait=True the error names the first"
            )
        if not self._sums.captured:
            self._number = sums.value
        return float(sums.value)

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


class Later:
    """Calls ``name_first`` with arrays, if all of them are still there by then.

    It keeps none of them alive: values are often kept for long, and arrays are large.
    """

    __slots__ = ("_name_first", "_references")

    def __init__(self, name_first: Callable[[list[Any]], None], arrays: Sequence[Any]) -> None:
        self._name_first = name_first
        self._references = [None if one is None else _reference(one) for one in arrays]

    def __call__(self) -> None:
        found = [None if one is None else one() for one in self._references]
        if all(one is not None or given is None for one, given in zip(found, self._references)):
            self._name_first(found)


def _reference(array: Any) -> Callable[[], Any]:
    try:
        return ref(array)
    except TypeError:  # of a library whose arrays have none
        return lambda: None
