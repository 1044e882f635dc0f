"""Shares, targets and tables, from the plain results of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..peers.figures import digits, size_title
from .peers import TITLES

Result = dict[str, Any]
# Parts whose speed is that of memory.
SHARES = ("elementwise", "rows", "embeddings")


@dataclass
class Table:
    """Text in columns, for a terminal or for Markdown."""

    title: str
    header: list[str]
    rows: list[list[str]] = field(default_factory=list)


def finish(results: Result) -> None:
    """Fill in what depends on the copy: shares of its bandwidth, and targets met or not.

    The faster of the two copies counts, that before and that after everything else.
    """
    copies = results.get("copy", {})
    found = [copies[when]["bytes_per_second"] for when in ("before", "after") if when in copies]
    if found:
        copies["bytes_per_second"] = max(found)
    for one in results["results"]:
        if found and one["part"] in SHARES and "bytes_per_second" in one:
            one["share"] = one["bytes_per_second"] / copies["bytes_per_second"]
        if one["part"] == "linear" and "products" in one:
            products, whole = one["products"]["median"], one["seconds"]["median"]
            one["other_share"] = 1.0 - products / whole
        if (met := _met(one)) is not None:
            one["met"] = met


def _met(one: Result) -> bool | None:
    """Whether a result reaches its target; None where there is none, or no result."""
    target = one.get("target")
    if target is None or "seconds" not in one:
        return None
    if one["part"] == "calls":
        return one.get("queued", one["seconds"])["median"] <= target
    if one["part"] == "linear":
        if "other_share" not in one:
            return None
        return one["other_share"] <= target and one.get("extra_bytes", 0) <= one["target_bytes"]
    return one["share"] >= target if "share" in one else None


def tables(results: Result) -> list[Table]:
    """A table for every part that has results."""
    makers = {"elementwise": _elementwise, "rows": _rows, "linear": _linear,
              "embeddings": _embeddings, "calls": _calls, "hosts": _hosts}  # fmt: skip
    found = []
    for part, make in makers.items():
        if some := [one for one in results["results"] if one["part"] == part and "title" in one]:
            found.append(make(some))
    return found


def machine_lines(results: Result) -> list[str]:
    """The device, the ceiling and the versions."""
    device, copies = results["device"], results.get("copy", {})
    words = [device["name"]]
    if "compute_capability" in device:
        words.append(f"compute capability {device['compute_capability']}")
    words += [f"{title} {device[key]}" for key, title in
              (("driver", "driver"), ("cuda_runtime", "CUDA")) if key in device]  # fmt: skip
    words += [f"{name} {version}" for name, version in results["versions"].items()]
    lines = [", ".join(words)]
    rates = [copies[when]["bytes_per_second"] for when in ("before", "after") if when in copies]
    if rates:
        figures = " before and ".join(_gigabytes(rate) for rate in rates)
        after = " after" if len(rates) > 1 else ""
        lines.append(f"Copy from device to device: {figures}{after} all else, bytes read + written")
    return lines


def problems(results: Result) -> list[str]:
    """What went wrong or was left out, a line each."""
    lines = [f"ERROR: {_name(one)}: {one['error']}" for one in results["results"] if "error" in one]
    lines += [f"left out: {_name(one)}: {one['skipped']}" for one in results["results"]
              if "skipped" in one]  # fmt: skip
    if any(one.get("seconds", {}).get("host_bound") for one in results["results"]):
        lines.append("* the device waited for the host: the time is too long")
    met = [one["met"] for one in results["results"] if "met" in one]
    lines += [f"{sum(met)} of {len(met)} targets are met"] if met else []
    return lines + [f"note: {note}" for note in results.get("notes", ())]


def _name(one: Result) -> str:
    words = (one["part"], one.get("title"), _shape(one["shape"]), one.get("details"),
             one.get("library"), one.get("kind"))  # fmt: skip
    return ", ".join(word for word in words if word)


def _elementwise(some: list[Result]) -> Table:
    names = _peers(some)
    header = ["", "size", "", "µs", "GB/s", "share", "target", *names.values()]
    table = Table("Single elements, value and gradient; peers: times as long as ours", header)
    for one in some:
        count = 1
        for length in one["shape"]:
            count *= length
        table.rows.append([one["title"], size_title(count), one["details"], *_speed(one, names)])
    return table


def _rows(some: list[Result]) -> Table:
    names = _peers(some)
    header = ["", "rows x classes", "", "µs", "GB/s", "share", "target", *names.values()]
    table = Table("Rows of logits, value and gradient; peers: times as long as ours", header)
    for one in some:
        shape = _shape(one["shape"])
        table.rows.append([one["title"], shape, one["details"], *_speed(one, names)])
    return table


def _speed(one: Result, names: dict[str, str]) -> list[str]:
    """Time, bandwidth, share and target of a case, and how much longer its peers take."""
    if "seconds" not in one:
        return ["error" if "error" in one else "left out", *["-"] * (3 + len(names))]
    share = one.get("share")
    texts = [_microseconds(one), f"{one['bytes_per_second'] / 1e9:,.0f}"]
    texts += ["-" if share is None else f"{share:.0%}", _target(one, f"{one['target'] or 0:.0%}")]
    return texts + [_longer(one, name) for name in names]


def _linear(some: list[Result]) -> Table:
    rows, length, classes = some[0]["shape"]
    title = f"Linear cross-entropy, n {rows:,}, H {length:,}, C {classes:,}, {some[0]['dtype']}"
    header = ["", "ms", "products", "other", "target", "extra MB", "PyTorch", "extra MB"]
    table = Table(title, header)
    for one in some:
        if "seconds" not in one:
            table.rows.append([one["title"], "error" if "error" in one else "left out",
                               *["-"] * 6])  # fmt: skip
            continue
        products, peer = one.get("products"), one.get("peers", {}).get("torch", {})
        share = one.get("other_share")
        table.rows.append([
            one["title"],
            f"{one['seconds']['median'] * 1e3:.2f}",
            f"{products['median'] * 1e3:.2f}" if products else "-",
            "-" if share is None else f"{share:.1%}",
            _target(one, f"{one['target']:.0%}"),
            _megabytes(one),
            _longer(one, "torch"),
            _megabytes(peer),
        ])  # fmt: skip
    return table


def _embeddings(some: list[Result]) -> Table:
    header = ["", "ms", "/ products", "share", "target", "MB", "PyTorch", "its MB"]
    title = f"Embeddings, {_shape(some[0]['shape'])} float32, beside products; rows beside a copy"
    table = Table(title, header)
    in_batch = {tuple(one["shape"]) for one in some if "plain" in one}
    for one in some:
        name = one["title"]
        if len(in_batch) > 1 and "plain" in one:
            name += f", {one['shape'][0]:,}"
        if "seconds" not in one:
            state = "error" if "error" in one else "left out"
            table.rows.append([name, state, *["-"] * 6])
            continue
        products, peer = one.get("products"), one.get("peers", {}).get("torch", {})
        median, share = one["seconds"]["median"], one.get("share")
        table.rows.append([
            name,
            f"{median * 1e3:.2f}",
            f"{median / products['median']:.2f} of {one['plain']}" if products else "-",
            "-" if share is None else f"{share:.0%}",
            _target(one, f"{one.get('target') or 0:.0%}"),
            _megabytes(one),
            _longer(one, "torch"),
            _megabytes(peer),
        ])  # fmt: skip
    return table


def _calls(some: list[Result]) -> Table:
    header = ["µs a call", "arrays", "no wait", "target", "wait", "its own"]
    table = Table("Calls on 1000 numbers: what they cost the host", header)
    cells: dict[tuple[str, str], dict[str, Result]] = {}
    for one in some:
        cells.setdefault((one["title"], one["library"]), {})[one["kind"]] = one
    for (title, library), kinds in cells.items():
        quick = kinds.get("async", {})
        target = _target(quick, f"{(quick.get('target') or 0) * 1e6:.0f}") if quick else "-"
        texts = {kind: _microseconds(kinds[kind]) if "seconds" in kinds.get(kind, {}) else "-"
                 for kind in ("async", "wait", "peer")}  # fmt: skip
        table.rows.append([title, TITLES[library], texts["async"], target, texts["wait"],
                           texts["peer"]])  # fmt: skip
    return table


def _hosts(some: list[Result]) -> Table:
    titles = {"pinned": "PyTorch, from and into pinned memory",
              "pageable": "PyTorch, pageable memory",
              "copies": "the copies alone, pinned memory"}  # fmt: skip
    table = Table(f"Arrays of NumPy, Huber, {size_title(some[0]['shape'][0])} float32",
                  ["", "seconds", "GB/s over the bus"])  # fmt: skip
    for one in some:
        if "seconds" not in one:
            table.rows.append(["numbaloss, device=cuda", "error", "-"])
            continue
        found = {"numbaloss, device=cuda": one} | {
            titles[name]: peer for name, peer in one["peers"].items()
        }
        for title, entry in found.items():
            median = entry.get("seconds", {}).get("median")
            rate = "-" if median is None else f"{one['bytes'] / median / 1e9:.1f}"
            table.rows.append([title, "-" if median is None else f"{median:.3f}", rate])
    return table


def _peers(some: list[Result]) -> dict[str, str]:
    """Peers that have a figure anywhere, with titles for narrow columns."""
    short = {"torch": "torch", "compile": "comp.", "cupy": "CuPy"}
    return {name: title for name, title in short.items()
            if any("seconds" in one.get("peers", {}).get(name, {}) for one in some)}  # fmt: skip


def _longer(one: Result, name: str) -> str:
    seconds = one.get("peers", {}).get(name, {}).get("seconds")
    return digits(seconds["median"] / one["seconds"]["median"]) if seconds else "-"


def _microseconds(one: Result) -> str:
    """The median; a star where the device waited for the host."""
    seconds = one["seconds"]
    number = seconds["median"] * 1e6
    return (f"{number:,.0f}" if number >= 99.5 else digits(number)) + "*" * seconds["host_bound"]


def _target(one: Result, text: str) -> str:
    if one.get("target") is None:
        return "-"
    return text + {True: " ok", False: " no", None: ""}[one.get("met")]


def _megabytes(one: Result) -> str:
    return f"{one['extra_bytes'] / 1e6:,.0f}" if "extra_bytes" in one else "-"


def _gigabytes(rate: float) -> str:
    return f"{rate / 1e9:,.0f} GB/s"


def _shape(shape: list[int] | tuple[int, ...]) -> str:
    return " x ".join(f"{length:,}" for length in shape)
