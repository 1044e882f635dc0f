"""Processes that make calls, one after the other where one crashes, and what they found."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .worker import Progress

ROOT = Path(__file__).resolve().parents[2]
# Seconds after which a call counts as hanging; some compile for half a minute.
PATIENCE = 300.0
# Findings that are kept whole, of each kind and loss.
KEPT = 5


class Process:
    """A worker, its share of the calls, and its progress."""

    def __init__(self, campaign: Campaign, index: int, first: int) -> None:
        self.campaign, self.index = campaign, index
        self.path = campaign.folder / f"progress_{index}_{first}"
        self.progress = Progress(self.path, create=True)
        settings = campaign.settings
        arguments = (
            settings["seed"], first, settings["calls"], index, settings["processes"],
            settings["length"], int(settings["heavy"]), settings["trespass"], self.path,
        )  # fmt: skip
        self.errors = (campaign.folder / f"errors_{index}_{first}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", f"{__package__}.worker"]
            + [str(one) for one in arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])},
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.done = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.campaign.said.put((self, line))
        self.campaign.said.put((self, None))

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return " | ".join(line.strip() for line in lines[-12:])


class Campaign:
    """All calls up to a number, or those that fit into some minutes."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.said: queue.Queue[tuple[Process, str | None]] = queue.Queue()
        self.processes: list[Process] = []
        self.counts: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.findings: list[dict[str, Any]] = []
        self.started = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Run it to its end; the report."""
        minutes = self.settings["minutes"]
        until = self.started + 60.0 * minutes if minutes else float("inf")
        with tempfile.TemporaryDirectory(prefix="numbaloss-fuzz-") as folder:
            self.folder = Path(folder)
            first = self.settings["first"]
            running = {self._start(index, first) for index in range(self.settings["processes"])}
            try:
                while running and time.monotonic() < until:
                    self._step(running)
            finally:
                for one in running:
                    one.process.kill()
                    one.process.wait()
                self._write()
        return self.report()

    def _start(self, index: int, first: int) -> Process:
        made = Process(self, index, first)
        self.processes.append(made)
        return made

    @property
    def made(self) -> int:
        """How many calls came to an end."""
        return sum(one.progress.get()[1] for one in self.processes)

    def _step(self, running: set[Process]) -> None:
        try:
            one, line = self.said.get(timeout=5.0)
        except queue.Empty:
            self._look_for_hangs(running)
            return
        if line is not None:
            self._take(one, line)
            return
        running.discard(one)
        code = one.process.wait()
        if one.done:
            return
        number = one.progress.get()[0]
        if number < 0:
            raise RuntimeError(f"a worker did not start, exit code {code}: {one.last_words()}")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        self._keep(self._of_process(number, f"crash: {name}", one.last_words()))
        running.add(self._start(one.index, number + 1))

    def _look_for_hangs(self, running: set[Process]) -> None:
        for one in list(running):
            number, _, since = one.progress.get()
            if number >= 0 and time.monotonic() - since > PATIENCE:
                running.discard(one)
                one.done = True  # its end is no crash
                one.process.kill()
                one.process.wait()
                self._keep(self._of_process(number, "hang", f"after {PATIENCE:.0f} s"))
                running.add(self._start(one.index, number + 1))

    def _of_process(self, number: int, kind: str, text: str) -> dict[str, Any]:
        return {
            "seed": self.settings["seed"], "number": number, "kind": kind, "text": text,
            "loss": "", "real": "", "call": "", "accepted": None,
        }  # fmt: skip

    def _take(self, one: Process, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # printed by somebody else
        if "done" in said:
            one.done = True
        elif "at" in said:
            self._write()
            if self.settings["verbose"]:
                print(self.summary(), flush=True)
        else:
            self._keep(said)

    def _keep(self, found: dict[str, Any]) -> None:
        if found["accepted"] is not None:
            self.accepted[found["accepted"]] += 1
            return
        key = f"{found['kind']} of {found['loss']} in {found['real']}"
        self.counts[key] += 1
        found["replay"] = self.replay(found)
        if self.counts[key] <= KEPT:
            self.findings.append(found)
            print(f"{key}\n  {found['text']}\n  {found['call']}\n  {found['replay']}", flush=True)

    def replay(self, found: dict[str, Any]) -> str:
        """The command that makes this call again."""
        options = f"--length {self.settings['length']}" + (
            "" if self.settings["heavy"] else " --light"
        )
        return f"python -m tests.fuzz --replay {found['seed']}:{found['number']} {options}"

    def summary(self) -> str:
        seconds = time.monotonic() - self.started
        return (
            f"{self.made} calls in {seconds:.0f} s, {self.made / max(seconds, 1e-9):.0f} a second; "
            f"{sum(self.counts.values())} findings of {len(self.counts)} kinds, "
            f"{sum(self.accepted.values())} accepted"
        )

    def report(self) -> dict[str, Any]:
        return {
            "settings": {
                k: v for k, v in self.settings.items() if k not in ("json", "verbose", "trespass")
            },
            "calls": self.made,
            "seconds": round(time.monotonic() - self.started, 1),
            "findings": sum(self.counts.values()),
            "counts": dict(self.counts.most_common()),
            "accepted": dict(self.accepted),
            "first": self.findings,
        }

    def _write(self) -> None:
        """The report so far; a campaign that is stopped leaves what it knew."""
        path = self.settings["json"]
        if path is None:
            return
        temporary = Path(f"{path}.tmp")
        temporary.write_text(json.dumps(self.report(), indent=1))
        temporary.replace(path)
