"""What keeps a GPU from being used, and what mends it."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """Why no GPU can be used, and commands that mend it, each with a word on when or what for."""

    reason: str
    remedies: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        commands = [f"{command} ({remark})" for command, remark in self.remedies]
        mended = f"; mend it with: {', or '.join(commands)}" if commands else ""
        return f"no GPU can be used: {self.reason}{mended}"


def install(extra: str) -> str:
    return f'python -m pip install "numbaloss[{extra}]"'


_EITHER = ((install("cuda13"), "driver 580 or newer"), (install("cuda12"), "older drivers"))
LOOK = ("nvidia-smi", "says what the driver finds")
RESTART = ("sudo reboot", "a driver that was just updated needs it")

NO_PACKAGE = Problem("the package numba-cuda is missing", _EITHER)
NO_COMPILER = Problem("the compiler is missing (libnvvm, libnvrtc)", _EITHER)
NO_DRIVER = Problem(
    "the NVIDIA driver is missing (its library libcuda was not found)",
    (
        ("sudo apt install nvidia-driver-580", "on Debian and Ubuntu; elsewhere see nvidia.com"),
        ("docker run --gpus all", "in a container"),
    ),
)
NO_MAC = Problem("CUDA does not exist on macOS")
DISABLED = Problem(
    "NUMBA_DISABLE_CUDA is set", (("unset NUMBA_DISABLE_CUDA", "before Python starts"),)
)
STUB = Problem(
    "the library libcuda that is found is the stub that comes with compilers",
    (("unset LD_LIBRARY_PATH", "or take the folder of the stub out of it"),),
)
