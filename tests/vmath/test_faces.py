"""The Python faces, and the attachment of the compiled bodies to them."""

import doctest
import inspect
import subprocess
import sys
import threading

import mpmath
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from numbaloss import vmath
from numbaloss.vmath.overloads import install

UNARY = [name for name in vmath.__all__ if name != "pow"]


def test_importing_the_faces_does_not_import_numba():
    code = "import sys, numbaloss.vmath; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_docstring_examples_run():
    assert doctest.testmod(vmath).failed == 0


@pytest.mark.parametrize("name", vmath.__all__)
def test_every_face_documents_parameters_and_result(name):
    text = inspect.getdoc(getattr(vmath, name))
    assert text is not None
    assert all(f"\n{title}\n---" in text for title in ("Parameters", "Returns", "Examples"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", vmath.__all__)
def test_faces_keep_the_dtype_of_scalars_and_the_shape_of_arrays(name, dtype):
    face = getattr(vmath, name)
    more = (dtype(2),) if name == "pow" else ()
    assert type(face(dtype(0.5), *more)) is dtype
    got = face(np.full((2, 3), 0.5, dtype), *more)
    assert got.shape == (2, 3)
    assert got.dtype == dtype


@pytest.mark.every(3)
@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int64, int, bool])
@pytest.mark.parametrize("name", vmath.__all__)
def test_integers_compute_in_float64_in_faces_and_in_compiled_code(name, integer):
    install()
    face = getattr(vmath, name)
    if name == "pow":
        got, loop = face(integer(1), integer(1)), njit(lambda x: face(x, x))
    else:
        got, loop = face(integer(1)), njit(lambda x: face(x))
    assert np.asarray(got).dtype == np.float64
    assert loop(integer(1)) == pytest.approx(float(got), rel=1e-15)


def test_overflow_is_quiet():
    with np.errstate(all="raise"):
        assert vmath.exp(np.float32(1000)) == np.inf
        assert vmath.pow(0.0, -1.0) == np.inf
        assert vmath.log(0.0) == -np.inf


def test_negative_power_of_an_integer_is_a_fraction():
    assert vmath.pow(2, -1) == 0.5


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("sigmoid", lambda x: 1 / (1 + mpmath.exp(-x))),
        ("softplus", lambda x: mpmath.log1p(mpmath.exp(x))),
        ("log_cosh", lambda x: mpmath.log1p(2 * mpmath.sinh(x / 2) ** 2)),
        ("log_sigmoid", lambda x: -mpmath.log1p(mpmath.exp(-x))),
    ],
)
def test_faces_are_accurate_in_both_tails(name, exact):
    for x in np.linspace(-700, 700, 282):  # without 0, where log_cosh is 0
        with mpmath.workprec(1200):
            wanted = exact(mpmath.mpf(float(x)))
            error = abs(mpmath.mpf(float(getattr(vmath, name)(x))) - wanted) / abs(wanted)
        assert error < 4 * 2.0**-53, x


def test_install_may_be_called_again_and_from_several_threads():
    threads = [threading.Thread(target=install) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    install()
    assert njit(lambda x: vmath.exp(x))(0.0) == 1.0


def test_compiled_functions_take_keyword_arguments():
    install()
    assert njit(lambda a, b: vmath.pow(y=b, x=a))(2.0, 3.0) == 8.0


def test_mixed_precisions_compute_in_float64():
    install()
    got = njit(lambda a, b: vmath.pow(a, b))(np.float32(0.1), 2.0)
    assert got == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-15)


def test_fast_math_of_the_caller_does_not_reach_the_bodies(compiled):
    @njit(fastmath=True, error_model="numpy")
    def loop(x, out):
        for i in range(x.size):
            out[i] = vmath.softplus(x[i]) * vmath.exp(x[i])

    x = np.append(np.linspace(-110, 100, 5000), [np.nan, np.inf, -np.inf]).astype(np.float32)
    out = np.empty_like(x)
    loop(x, out)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out, compiled("softplus")(x) * compiled("exp")(x))


@pytest.mark.parametrize("argument", ["text", 1j, None])
def test_anything_but_a_real_number_is_refused_at_compile_time(argument):
    install()
    with pytest.raises(TypingError):
        njit(lambda x: vmath.exp(x))(argument)
