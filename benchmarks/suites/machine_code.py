"""Instructions of the hot loops, for both families of x86 processors: no clock, no noise."""

from __future__ import annotations

from ..machine_code import ELEMENTWISE, hot_of_processor
from .common import DTYPES

PROCESSORS = ("znver3", "sapphirerapids")  # registers of 32 bytes, and of 64
CALLS = ("cross_entropy, 10 classes", "cross_entropy, 1000 classes", "focal, 10 classes")


class HotLoops:
    """What LLVM makes of a loop: nothing of it runs, so that any machine gives the same."""

    params = (PROCESSORS, DTYPES, CALLS + ELEMENTWISE)
    param_names = ("processor", "dtype", "call")
    timeout = 300

    def setup_cache(self) -> dict[str, dict[str, dict[str, int]]]:
        return {
            f"{processor} {dtype}": hot_of_processor(processor, dtype)
            for processor in PROCESSORS
            for dtype in DTYPES
        }

    def track_instructions(self, found: dict, processor: str, dtype: str, call: str) -> int:
        return found[f"{processor} {dtype}"][call]["instructions"]

    def track_stack_accesses(self, found: dict, processor: str, dtype: str, call: str) -> int:
        """Vectors that do not fit into registers."""
        return found[f"{processor} {dtype}"][call]["vectors to or from the stack"]
