"""Settings of Numba's under which nothing can be compiled: errors that name them."""

from __future__ import annotations

import os
from contextlib import suppress


class SettingsError(RuntimeError):
    """An environment variable of Numba's keeps losses from being compiled."""


def check() -> None:
    """Import Numba; raise SettingsError where its settings allow no compilation.

    Called where the kernels are first needed: the rest of the package works without them, and so
    do programs that import it to no avail.
    """
    given = os.environ.get("NUMBA_NUM_THREADS", "")
    with suppress(ValueError):  # no number: Numba warns of it, and takes its default
        if int(given) < 1:
            raise SettingsError(
                f"NUMBA_NUM_THREADS={given} leaves no thread to compute on; set it to 1 or more, "
                f"or not at all"
            )
    try:
        from numba.core import config
    except ValueError as error:  # of the same setting in .numba_config.yaml
        raise SettingsError(
            f"Numba cannot be imported with its present settings: {error}"
        ) from error
    if config.DISABLE_JIT:
        raise SettingsError(
            "NUMBA_DISABLE_JIT is set, and losses only exist as compiled code; unset it before "
            "Python starts. `point` of a loss runs in plain Python, to be debugged"
        )


__all__ = ["SettingsError", "check"]
