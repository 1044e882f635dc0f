"""A GPU, and the libraries that bring arrays to it."""

import pytest

from numbaloss.cuda import availability


@pytest.fixture(autouse=True, scope="module")
def _gpu():
    problem = availability.problem()
    if problem is not None:
        pytest.skip(problem)
    from numbaloss.cuda import backend

    if backend.SIMULATED:
        pytest.skip("the simulator is no GPU")


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("this PyTorch is made for the CPU")
    return found


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy")
