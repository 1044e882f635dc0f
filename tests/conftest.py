"""Tests share their cases and references by plain imports."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# As many processes run tests as there are processors, and each has as many threads: threads of
# OpenMP that spin while they wait take a fifth of the time from the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
