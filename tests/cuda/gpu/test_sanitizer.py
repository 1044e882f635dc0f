"""What NVIDIA's sanitizer says of the kernels."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import numbaloss as nl

pytestmark = pytest.mark.gpu


SCRIPT = """
    from importlib.util import find_spec

    import numpy as np
    import numbaloss as nl
    from numbaloss.cuda import backend

    multiplies = any(map(find_spec, ("cupy", "torch")))
    rng = np.random.default_rng(0)
    for kind in ("f4", "f2"):
        for size in (1, 33, 1000, 5001):
            p, t = (backend.upload(rng.normal(size=size).astype(kind)) for _ in range(2))
            nl.Huber().value_grad_hess(p, t)
            nl.LogCosh()(p[::2], t[::2])
        for rows, classes in ((3, 10), (7, 1000), (2, 30_000), (300, 9)):
            p = backend.upload(rng.normal(size=(rows, classes)).astype(kind))
            t = backend.upload(rng.integers(0, classes, rows))
            for loss in (nl.CrossEntropy(), nl.CrossEntropy(label_smoothing=0.1), nl.MultiMargin()):
                loss.value_and_grad(p, t)
        for rows, length in ((3, 10), (70, 16), (2, 5000), (300, 9)):
            a, b, c = (backend.upload(rng.normal(size=(rows, length)).astype(kind)) for _ in "abc")
            t = backend.upload(np.arange(rows) % 2)
            nl.CosineEmbedding().value_and_grad(a, b, t)
            nl.Triplet(swap=True).value_and_grad(a, b, c)
        for rows, length in ((3, 10), (70, 16), (300, 9)) if multiplies else ():
            a, b = (backend.upload(rng.normal(size=(rows, length)).astype(kind)) for _ in "ab")
            t = backend.upload(rng.integers(0, max(2, rows // 20), rows))
            for workspace in (None, 1 << 14):
                for loss in (nl.InfoNCE(symmetric=True), nl.SigLIP()):
                    loss.value_and_grad(a, b, workspace=workspace)
                nl.NTXent().value_and_grad(a, t, workspace=workspace)
                for mining in ("hard", "semi-hard", "all"):
                    loss = nl.BatchTriplet(mining=mining)
                    loss.value_and_grad(a, t, workspace=workspace)
    print("done")
"""


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_the_sanitizer_finds_nothing(tmp_path, tool):
    program = shutil.which("compute-sanitizer")
    if program is None:
        pytest.skip("needs compute-sanitizer")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [program, "--tool", tool, "--error-exitcode", "9", sys.executable, script],
        capture_output=True, text=True, cwd=Path(nl.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "done" in done.stdout
