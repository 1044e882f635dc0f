"""The documents say what the code does."""

import importlib.util
import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import numbaloss as nl

ROOT = Path(__file__).resolve().parent.parent


def load(path):
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_table_of_losses_is_up_to_date():
    tool = load(ROOT / "tools" / "document_losses.py")
    assert tool.PAGE.read_text(encoding="utf-8") == tool.page()


def test_every_loss_states_its_formula_and_its_parameters():
    for cls in nl.losses().values():
        text = inspect.getdoc(cls)
        assert ".. math::" in text, cls
        for parameter in cls.parameters():
            assert re.search(rf"\b{parameter.name}\b", text), (cls, parameter.name)


# Pages, and the libraries that they are about.
PAGES = {
    "README.md": (),
    "docs/your_own_loss.md": (),
    "docs/boosting.md": ("sklearn", "xgboost", "lightgbm"),
    "docs/scipy_and_sklearn.md": ("sklearn",),
    "docs/pytorch_and_jax.md": ("torch", "jax"),
    "docs/metrics.md": ("pyarrow", "dask"),
    "docs/training.md": (),
    "docs/several_outputs.md": (),
}


@pytest.mark.parametrize("page", PAGES)
def test_python_of_documents_runs(page):
    for library in PAGES[page]:
        pytest.importorskip(library)
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    space = {"np": np}
    for block in blocks:
        exec(compile(block, page, "exec"), space)


def test_the_tree_speaks_of_nothing_but_the_project():
    # Paths of one machine have no place in a published tree.
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "numbaloss").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
    ]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|work|opt)/", text), path
