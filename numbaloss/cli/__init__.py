"""The command line: ``numbaloss`` with ``list``, ``score``, ``train``, ``predict``,
``devices`` and ``warmup``."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code.

    0 fine, 1 the data is bad, 2 the command is wrong, 130 stopped by Ctrl-C. What is wrong
    is said in one line on stderr.
    """
    try:
        from .app import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while modules are loaded
        return 130
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich", "pyarrow"):
            raise
        command = 'python -m pip install "numbaloss[cli]"'
        print(f"numbaloss: this needs {missing}, of the extra 'cli': {command}", file=sys.stderr)
        return 1


__all__ = ["main"]
