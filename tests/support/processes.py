"""Scripts in interpreters of their own."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numbaloss

PACKAGE = Path(numbaloss.__file__).resolve().parent


def environment_for(package: Path, **changes: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA", "PYTHON"))}
    libraries = [str(Path(sys.prefix) / "lib"), kept.get("LD_LIBRARY_PATH", "")]
    return (
        kept
        | {
            "PYTHONPATH": str(package.parent),
            # A loss edited within the resolution of time stamps must not meet its old byte code.
            "PYTHONDONTWRITEBYTECODE": "1",
            # pip puts libtbb where the loader does not look by itself.
            "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        }
        | changes
    )


class Processes:
    """Run scripts in fresh interpreters; what they print is JSON, and comes back parsed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def start(
        self, script: str, *arguments: Any, package: Path = PACKAGE, **environment: Any
    ) -> subprocess.Popen[str]:
        # A file, and not -c: pickle, spawn and Numba want modules that have one.
        self._count += 1
        file = self.folder / f"script_{self._count}.py"
        file.write_text(textwrap.dedent(script))
        if package is not PACKAGE:
            # Sources that change within 10 ms of an import are not trusted with the cache, and
            # Python starts in hardly more.
            time.sleep(0.05)
        return subprocess.Popen(
            # The one warning that must never pass unseen: that the disk cache does not work.
            [sys.executable, "-W", "error::RuntimeWarning", file, *map(str, arguments)],
            env=environment_for(package, **{k: str(v) for k, v in environment.items()}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 100.0) -> Any:
        try:
            printed, complaints = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        assert process.returncode == 0, f"exit code {process.returncode}\n{complaints}"
        # Numba's TBB layer writes warnings to the same stream when a process forks.
        results = [line for line in printed.splitlines() if line.startswith(("[", "{", "null"))]
        assert len(results) == 1, f"printed {printed!r}\n{complaints}"
        return json.loads(results[0])

    def __call__(self, script: str, *arguments: Any, **options: Any) -> Any:
        return self.finish(self.start(script, *arguments, **options))
