"""The command line in this process, and in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import numbaloss
from numbaloss.cli import main

ROOT = Path(numbaloss.__file__).resolve().parent.parent


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, read by the rules of JSON: no NaN, no Infinity."""
        assert self.code == 0, self.err

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """``command("score", path, "--loss", "mae")``: run it here."""

    def run(*arguments: Any) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run the command in a process of its own."""
    started = []

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        # Shells let what they run in the background ignore interrupts, and so would this.
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "numbaloss", *map(str, arguments)],
                stdout=options.pop("stdout", subprocess.PIPE),
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                **options,
            )
        finally:
            signal.signal(signal.SIGINT, former)
        started.append(process)
        return process

    yield popen
    for process in started:
        process.kill()
        process.communicate()


class Rows(NamedTuple):
    prediction: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        return self._asdict()


@pytest.fixture
def rows() -> Rows:
    """More rows than a batch holds, and not a multiple of it."""
    random = np.random.default_rng(5)
    size = 300_001
    prediction = random.standard_normal(size, np.float32)
    target = prediction + random.standard_normal(size, np.float32)
    return Rows(prediction, target, random.random(size, np.float32))
