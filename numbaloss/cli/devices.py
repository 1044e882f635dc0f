"""``numbaloss devices``: what losses can be computed on, and what is missing for more."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from rich.text import Text

from ..cuda import availability
from .report import console, counted, plain_table


def described() -> dict[str, Any]:
    """The processor, the GPUs, and what they are used through."""
    from ..numba_settings import check

    check()
    import numba

    problem = availability.diagnosis()
    return {
        "cpu": {
            "name": _processor(),
            "processors": os.cpu_count() or 1,
            "threads": numba.get_num_threads(),
        },
        "gpus": [
            {
                "device": f"cuda:{gpu.number}",
                "name": gpu.name,
                "compute_capability": ".".join(map(str, gpu.capability)),
                "multiprocessors": gpu.processors,
                "memory_bytes": gpu.memory,
            }
            for gpu in availability.gpus()
        ],
        "problem": problem and problem.reason,
        "remedies": [list(one) for one in problem.remedies] if problem else [],
        "cuda_driver": availability.driver_version(),
        "packages": availability.packages(),
    }


def _processor() -> str:
    """The processor's name; at least its kind."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not on Linux
        pass
    return platform.processor() or platform.machine()


def print_devices(found: dict[str, Any]) -> None:
    """A table of devices, one of versions, and what to do where no GPU can be used."""
    out = console()
    table = plain_table("Device", "Name", "Parallel", "Memory", "Capability")
    cpu = found["cpu"]
    table.add_row(Text("cpu", style="bold"), Text(cpu["name"]), counted(cpu["threads"], "thread"))
    for gpu in found["gpus"]:
        table.add_row(
            Text(gpu["device"], style="bold"),
            Text(gpu["name"]),
            counted(gpu["multiprocessors"], "multiprocessor"),
            f"{gpu['memory_bytes'] / 2**30:.1f} GiB",
            gpu["compute_capability"],
        )
    table.columns[0].no_wrap = True
    out.print(table)
    versions = plain_table("Used through", "Version")
    for name, number in {"CUDA driver": found["cuda_driver"], **found["packages"]}.items():
        versions.add_row(name, number or Text("not found", style="dim"))
    out.print(versions)
    if found["problem"]:
        out.print(Text(f"no GPU can be used: {found['problem']}"))
        for command, remark in found["remedies"]:
            # Not wrapped: a command that is cut in two cannot be copied.
            out.print(Text(f"  {command}"), soft_wrap=True)
            out.print(Text(f"      {remark}", style="dim"))
