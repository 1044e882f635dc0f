"""Why no GPU can be used, and what mends it: one reason for each of the ways to lack one."""

import types

import numpy as np
import pytest

import numbaloss as nl
from numbaloss.cuda import availability

CALLS = {
    "elementwise": (nl.Huber(), (np.ones(3), np.ones(3))),
    "softmax": (nl.CrossEntropy(), (np.ones((3, 2)), np.zeros(3, int))),
    "linear": (nl.LinearCrossEntropy(), (np.ones((3, 2)), np.ones((2, 4)), np.zeros(3, int))),
}


@pytest.mark.skipif(availability.problem() is None, reason="a GPU can be used here")
@pytest.mark.parametrize("structure", CALLS)
def test_a_call_says_what_is_missing(structure):
    loss, arrays = CALLS[structure]
    with pytest.raises(RuntimeError) as caught:
        loss.value_and_grad(*arrays, device="cuda")
    assert str(caught.value) == availability.problem()
    assert str(caught.value).startswith("no GPU can be used: ")


@pytest.fixture
def anew():
    """Find out again what there is."""
    availability.diagnosis.cache_clear()
    yield
    availability.diagnosis.cache_clear()


@pytest.mark.usefixtures("anew")
def test_a_missing_package(monkeypatch):
    monkeypatch.setattr(availability, "find_spec", lambda name: None)
    found = availability.problem()
    assert "numba-cuda is missing" in found
    assert 'python -m pip install "numbaloss[cuda13]" (driver 580 or newer)' in found
    with pytest.raises(RuntimeError, match="numba-cuda is missing"):
        availability.require()
    assert availability.gpus() == []


def numba_cuda(error=None, gpus=(), compiler=True, toolkit=(13, 0)):
    """What Numba's CUDA target says of itself; ``gpus`` and ``toolkit`` may be exceptions."""

    class Gpus:
        def __len__(self):
            if isinstance(gpus, Exception):
                raise gpus
            return len(gpus)

    def version():
        if isinstance(toolkit, Exception):
            raise toolkit
        return toolkit

    return types.SimpleNamespace(
        cuda_error=lambda: error,
        gpus=Gpus(),
        is_available=lambda: compiler,
        runtime=types.SimpleNamespace(get_version=version),
    )


def initial(code):
    return RuntimeError(f"Error at driver init: \n[{code}] Call to cuInit results in {code}")


@pytest.fixture
def reason(monkeypatch):
    """The problem that some state of Numba's CUDA target amounts to, in words."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(availability, "_driver_number", lambda: 13010)

    def diagnosed(**state):
        return str(availability.diagnose(numba_cuda(**state)))

    return diagnosed


def test_a_gpu_that_can_be_used(reason):
    assert reason(gpus=[1]) == "None"


def test_a_missing_driver(reason, monkeypatch):
    error = "\nCUDA driver library cannot be found.\nEnsure that a compatible NVIDIA driver\n"
    monkeypatch.setattr(availability.sys, "platform", "linux")
    assert "sudo apt install nvidia-driver-580" in reason(error=error)
    assert "docker run --gpus all" in reason(error=error)
    monkeypatch.setattr(availability.sys, "platform", "darwin")
    assert "macOS" in reason(error=error)


@pytest.mark.parametrize("state", [{"gpus": ()}, {"gpus": initial("CUDA_ERROR_NO_DEVICE")}])
def test_no_gpu(reason, monkeypatch, state):
    assert "shows no GPU; mend it with: nvidia-smi" in reason(**state)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = reason(**state)
    assert "CUDA_VISIBLE_DEVICES is ''; mend it with: unset CUDA_VISIBLE_DEVICES" in found


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("CUDA_ERROR_STUB_LIBRARY", "unset LD_LIBRARY_PATH"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "mend it with: sudo reboot"),
        ("CUDA_ERROR_UNKNOWN", "mend it with: nvidia-smi"),
    ],
)
def test_a_driver_that_does_not_start(reason, code, command):
    found = reason(gpus=initial(code))
    assert command in found
    assert "\n" not in found
    assert code in found or code == "CUDA_ERROR_STUB_LIBRARY"


def test_a_target_that_is_switched_off(reason):
    error = "CUDA is disabled due to setting NUMBA_DISABLE_CUDA=1 in the environment, or because"
    assert "unset NUMBA_DISABLE_CUDA" in reason(error=error)


def test_a_missing_compiler(reason):
    for state in ({"compiler": False}, {"toolkit": RuntimeError("libnvrtc.so not found")}):
        assert 'compiler is missing (libnvvm, libnvrtc); mend it with: python -m pip install "' in (
            reason(gpus=[1], **state)
        )


def test_a_driver_that_is_older_than_the_compiler(reason, monkeypatch):
    assert reason(gpus=[1], toolkit=(12, 9)) == "None"  # drivers run what is older
    monkeypatch.setattr(availability, "_driver_number", lambda: 12040)
    found = reason(gpus=[1])
    assert "CUDA 13, and the driver supports no more than CUDA 12.4" in found
    assert 'python -m pip install "numbaloss[cuda12]"' in found


def test_versions_of_what_is_installed():
    found = availability.packages()
    assert found["numba"].count(".") == 2
    assert set(found) == {"numba", "numba-cuda", "cuda-bindings", "cupy", "torch", "jax"}
    number = availability.driver_version()
    assert number is None or number.count(".") == 1
