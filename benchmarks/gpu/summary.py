"""The report's own table: every figure beside the copy, its best peer and its target."""

from __future__ import annotations

from typing import Any

from ..peers.figures import digits, size_title
from .cases import AHEAD_OF_COMPILE
from .figures import Result, Table
from .peers import TITLES

HEADER = ["", "", "time", "of copy", "target", "peer", "/ ours"]
# A line is 80 characters wide: what a column may take of it.
_MOST = {0: 20, 1: 14}
_SHORT = {"compile": "compile", "torch": "eager", "cupy": "CuPy", "fused": "fused"}


def tables(results: Result) -> list[Table]:
    """What was measured, and what became of each step."""
    found = Table("What was measured, and what is aimed at", HEADER)
    for one in results["results"]:
        if one["part"] != "checks" and "title" in one:
            found.rows.append([text[: _MOST.get(at, 99)] for at, text in enumerate(_row(one))])
    return [found, _steps(results)] if results.get("steps") else [found]


def _row(one: Result) -> list[str]:
    title = one["title"] if one.get("dtype") != "bfloat16" else f"{one['title']} bf16"
    words = [title, _shape(one["shape"])]
    if one["part"] == "first call":
        return [f"first: {title}", words[1], *_first_call(one)]
    if one["part"] == "calls":
        words = [f"{title}, {one['kind']}", TITLES.get(one["library"], "")]
    if "seconds" not in one:
        return [*words, "error" if "error" in one else "left out", "-", "-", "-", "-"]
    seconds, share = one["seconds"]["median"], one.get("share")
    of_copy = "-" if share is None else f"{share:.0%}"
    if one["part"] in ("linear", "embeddings") and "products" in one:
        of_copy = f"{seconds / one['products']['median']:.2f} x mm"
    if "driver_calls" in one:
        of_copy = f"{sum(one['driver_calls'].values())} calls"
    best, peer = best_peer(one)
    return [*words, _time(seconds), of_copy, _target(one), best, peer]


def _shape(shape: Any) -> str:
    return size_title(shape[0]) if len(shape) == 1 else "x".join(str(length) for length in shape)


def _first_call(one: Result) -> list[str]:
    if "disk" not in one:
        return ["error", "-", "-", "-", "-"]
    disk, cold = one["disk"]["call"], one["cold"]["call"]
    met = "ok" if disk <= one["target"] else "no"
    return [_time(disk), "-", f"{_time(one['target'])} {met}", "cold", digits(cold / disk)]


def _target(one: Result) -> str:
    if one.get("target") is None:
        return "-"
    met = {True: " ok", False: " no", None: ""}[one.get("met")]
    if one["part"] == "calls":
        return f"{_time(one['target'])}{met}"
    if one["part"] == "linear":
        return f"{1.0 / (1.0 - one['target']):.2f} x{met}"
    return f"{one['target']:.0%}{met}"


def best_peer(one: Result) -> tuple[str, str]:
    """The fastest peer, and how many times as long as we it takes."""
    peers = {name: peer["seconds"]["median"] for name, peer in one.get("peers", {}).items()
             if "seconds" in peer and name != "copies"}  # fmt: skip
    if not peers:
        return "-", "-"
    name = min(peers, key=lambda name: peers[name])
    times = peers[name] / one["seconds"]["median"]
    behind = name == "compile" and times < AHEAD_OF_COMPILE
    return _SHORT.get(name, name), digits(times) + (" no" if behind else "")


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds / 1e-6)} µs"


def _steps(results: Result) -> Table:
    found = Table("Steps of the report", ["", "s", "of", "what became of it"])
    for name, step in results["steps"].items():
        found.rows.append([name, f"{step['seconds']:.1f}", f"{step['box']:.0f}", _told(step)])
    checks = [one for one in results["results"] if one["part"] == "checks"]
    wrong = [one for one in checks if "error" in one]
    if checks:
        found.rows.append(["families", "", "", f"{len(checks) - len(wrong)} of {len(checks)} agree "
                           f"with the CPU"])  # fmt: skip
    return found


def _told(step: dict[str, Any]) -> str:
    if "traceback" in step:
        return step["traceback"].strip().splitlines()[-1][:50]
    told = step.get("found", {})
    if "progress" in told:
        words = [f"{count} {name}" for name, count in told["progress"].items() if count]
        words = words or told["tail"].strip().splitlines()[-1:]
        return ", ".join([*words, *([f"stopped {told['stopped']}"] if "stopped" in told else [])])
    if "compiled" in told:
        return f"{told['compiled']} kernels on {told['processes']} processes"
    return "done"
