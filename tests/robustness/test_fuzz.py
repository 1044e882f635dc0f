"""A short campaign of random calls, and whether a campaign sees what it should see."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest

import numbaloss as nl
from catalogue.cases import EACH_ROW_CASE, LOSSES, identify, inputs, row_inputs
from numbaloss.registry import snake_case
from tests.support.reference import elementwise as reference
from tests.support.reference import rows as reference_rows

if sys.platform == "win32" or np.finfo(np.longdouble).maxexp <= 1024:
    pytest.skip("needs mprotect, and numbers beyond float64", allow_module_level=True)

from tests.fuzz import elementwise_formulas, memory, row_formulas, vector_references
from tests.fuzz.accepted import explanation
from tests.fuzz.bands import misfit
from tests.fuzz.calls import Call
from tests.fuzz.campaign import PATIENCE, Campaign
from tests.fuzz.references import elementwise_bands, expected
from tests.fuzz.worker import Progress

ROOT = Path(__file__).resolve().parents[2]
STRETCH = 1000  # calls of the same few losses


def campaign(*arguments):
    """Run the command; its exit code, its report and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *map(str, arguments)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.fuzz
@pytest.mark.parametrize(
    "calls", [STRETCH, pytest.param(5 * STRETCH, marks=pytest.mark.exhaustive)]
)
def test_random_calls_on_fenced_memory_find_nothing(tmp_path, calls):
    """``NUMBALOSS_FUZZ_SEED`` draws other calls, of other losses."""
    seed = os.environ.get("NUMBALOSS_FUZZ_SEED", "0")
    file = tmp_path / "report.json"
    done = campaign(
        "--calls", calls, "--seed", seed, "--length", STRETCH, "--light", "--quiet",
        "--json", file,
    )  # fmt: skip
    report = json.loads(file.read_text())
    assert report["findings"] == 0, done.stdout
    assert report["calls"] == calls, done.stdout + done.stderr


def test_progress_is_never_seen_half_written(tmp_path):
    path = tmp_path / "progress"
    seen = Progress(path, create=True)
    code = (
        "import sys, time; from pathlib import Path; from tests.fuzz.worker import Progress\n"
        "mine, end = Progress(Path(sys.argv[1])), time.monotonic() + 0.5\n"
        "while time.monotonic() < end: mine.set(7, 5)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) as writer:
        started = seen.get()[2]
        while writer.poll() is None:
            number, made, since = seen.get()
            assert number in (-1, 7)
            assert made in (0, 5)
            assert since >= started
    assert writer.returncode == 0
    assert seen.get()[:2] == (7, 5)


def test_a_hanging_worker_is_replaced_once(tmp_path, monkeypatch):
    class Hanging:
        done, index = False, 1
        progress = type("Progress", (), {"get": lambda self: (41, 40, -2 * PATIENCE)})()
        process = type("Process", (), {"kill": lambda self: None, "wait": lambda self: -9})()

    settings = {"seed": 3, "length": 1000, "heavy": True}
    campaign, one, started = Campaign(**settings), Hanging(), []
    monkeypatch.setattr(campaign, "_start", lambda *place: started.append(place))
    running = {one}
    campaign._look_for_hangs(running)
    campaign.said.put((one, None))  # its output has come to an end
    campaign._step(running)
    assert started == [(1, 42)]
    assert campaign.counts == {"hang of  in ": 1}


@pytest.mark.parametrize("loss", LOSSES, ids=identify)
def test_formulas_in_extended_precision_are_those_of_mpmath(loss):
    formula = getattr(reference, snake_case(type(loss).__name__))
    parameters = {one.name: value for one, value in zip(loss.parameters(), loss.values())}
    prediction, target = inputs(loss, 2, seed=29)
    found = elementwise_formulas.formula(
        loss, prediction.astype(np.longdouble), target.astype(np.longdouble)
    )
    for i, (p, t) in enumerate(zip(prediction, target)):
        p, t = mpmath.mpf(float(p)), mpmath.mpf(float(t))
        value = partial(formula, t=t, **parameters)
        for n in range(3):
            exact = mpmath.diff(value, p, n)
            error = abs(mpmath.mpf(repr_of(found[n][i])) - exact)
            assert error <= 1e-15 * max(1, abs(exact)), (p, t, n)


def repr_of(number):
    return np.format_float_scientific(number, 25)


@pytest.mark.parametrize(("loss", "form"), EACH_ROW_CASE, ids=identify)
def test_formulas_of_rows_in_extended_precision_are_those_of_mpmath(loss, form):
    logits, target = row_inputs(loss, form, 2, 3, seed=31)
    dense = reference_rows.one_hot(target, 3) if form == "labels" else target
    wide = logits.astype(np.longdouble), dense.astype(np.longdouble)
    found = row_formulas.of_rows(loss, *wide, 1e-16, None)
    for i in range(2):
        value, slopes, curves = reference_rows.exact(loss, logits[i], dense[i])
        for got, exact in zip(
            (found.value[i], *found.gradient[i], *found.hessian[i]), (value, *slopes, *curves)
        ):
            error = abs(mpmath.mpf(repr_of(got)) - exact)
            assert error <= 1e-15 * max(1, abs(exact))
        assert found.value_error[i] < 1e-13 * (1 + abs(found.value[i]))


def test_bands_are_narrow_and_notice_a_wrong_digit():
    loss = LOSSES[0]
    p, t = (x.astype(np.float32) for x in inputs(loss, 20, seed=3))
    for got, band in zip(
        loss.value_grad_hess(p, t, reduction="none"), elementwise_bands(loss, p, t, p.dtype)
    ):
        assert misfit(band, got, p.dtype) is None
        assert misfit(band, got * np.float32(1 + 1e-5), p.dtype) is not None
        lost = np.where(np.arange(20) == 7, np.float32(np.nan), got)
        assert "[7] is nan" in misfit(band, lost, p.dtype)


LAYOUTS = [
    memory.Layout((0, 1), (1, 1)),
    memory.Layout((1, 0), (1, 1), 0, "start"),
    memory.Layout((0, 1), (-2, 3), 0, "end"),
    memory.Layout((1, 0), (2, -1), 3, "start"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 5), (90, 70), (0, 4), (1, 1)])
def test_arrays_lie_where_they_should_and_writes_beside_them_show(layout, shape):
    contents = np.random.default_rng(0).random(shape).astype(np.float32)
    placed = memory.place(memory.Arena(), contents, layout)
    np.testing.assert_array_equal(placed.array, contents)
    assert placed.unchanged()
    if contents.size:
        low, high = np.lib.array_utils.byte_bounds(placed.array)
        start = placed.room.ctypes.data
        shift = low - start if layout.side == "start" else start + placed.room.size - high
        assert shift == layout.shift
        placed.array[0, 0] += 1
        assert not placed.unchanged()
    copy = placed.array.copy()
    assert placed.only_elements_written()
    if copy.size and (layout.shift or placed.room.size > placed.array.nbytes):
        beside = placed.room[-1:] if layout.side == "start" else placed.room[:1]
        beside[...] = 0
        assert not placed.only_elements_written()


def test_a_crash_is_reported_with_the_call_that_made_it(tmp_path):
    file = tmp_path / "report.json"
    done = campaign("--calls", 9, "--light", "--quiet", "--trespass", 4, "--json", file)
    assert done.returncode == 1
    report = json.loads(file.read_text())
    (found,) = report["first"]
    assert (report["calls"], found["number"]) == (8, 4)  # the others were made
    assert found["kind"].startswith("crash: SIG")
    assert "--replay 0:4 " in found["replay"]


@pytest.mark.parametrize(
    ("loss", "structure", "prediction", "target", "name"),
    [
        (nl.SquaredLogError(), "elementwise", [1e38], [1.2e-7 - 1], "quotient of SquaredLogError"),
        (nl.SquaredLogError(), "elementwise", [1e3], [-0.9], None),
        (nl.Gamma(), "elementwise", [-100.0], [1e-20], "powers of a mean of Gamma and Tweedie"),
        (nl.Tweedie(3.0), "elementwise", [-45.0], [1e-30], "powers of a mean of Gamma and Tweedie"),
        (nl.Gamma(), "elementwise", [-80.0], [1e-20], None),
        (nl.Distillation(0.3), "softmax", [1.2e38], [1.0], "logits over a temperature below 1"),
        (nl.Distillation(0.3), "softmax", [1.2], [1.0], None),
        (nl.CrossEntropy(), "softmax", [1e37], [1.0], "logits near the largest number"),
        (nl.CrossEntropy(), "softmax", [1e34], [1.0], None),
        (nl.Huber(), "elementwise", [1e38], [1.0], None),
    ],
)
def test_what_is_accepted_is_what_the_documents_say(loss, structure, prediction, target, name):
    call = Call(structure, loss, np.dtype(np.float32), "__call__")
    for key, numbers in (("prediction", prediction), ("target", target)):
        contents = np.array(numbers, np.float32)
        call.arrays[key] = memory.place(memory.Arena(), contents, memory.plain(1))
    assert explanation(call, "wrong value", "") == name
    assert explanation(call, "input changed", "") is None


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "got", "name"),
    [
        (nl.Tweedie(1.5), -0.9, 3.4e38, "inf", "products of a target and a power of Tweedie"),
        (nl.Tweedie(1.5), -0.9, 3.4e38, "0", None),
        (nl.Tweedie(1.5), -0.9, 3.4e36, "inf", None),
        (nl.Tweedie(1.5), 9.0, 3.4e38, "inf", None),
        (nl.Poisson(), 89.0, 3.4e38, "inf", "rates of Poisson"),
        (nl.Poisson(), 89.0, 3.4e38, "nan", None),
        (nl.Poisson(), 87.0, 3.4e38, "inf", None),
        (nl.Poisson(log_input=False), 89.0, 3.4e38, "inf", None),
    ],
)
def test_infinities_are_accepted_near_the_largest_number(loss, prediction, target, got, name):
    call = Call("elementwise", loss, np.dtype(np.float32), "value_grad_hess")
    for key, number in (("prediction", prediction), ("target", target)):
        contents = np.array([number], np.float32)
        call.arrays[key] = memory.place(memory.Arena(), contents, memory.plain(1))
    assert explanation(call, "wrong hessian", f"[0] is {got}, not from 1 to 2") == name


@pytest.mark.parametrize("scale", [0.02, 1.0, 5000.0])
@pytest.mark.parametrize("length", [1, 3])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_bands_of_normalised_vectors_are_as_wide_as_their_lengths_make_errors(scale, length, real):
    rng = np.random.default_rng(2)
    loss = nl.NTXent(0.5)
    call = Call("batch", loss, np.dtype(real), "value_and_grad", options={"reduction": "sum"})
    rows = scale * rng.choice((-1.0, 1.0), (300, length)) * rng.uniform(1, 2, (300, length))
    for key, contents in (("embeddings", rows.astype(real)), ("labels", np.arange(300) % 2)):
        placed = memory.place(memory.Arena(), contents, memory.plain(contents.ndim))
        call.arrays[key] = placed
    call.positional = ("embeddings", "labels")
    (band,) = vector_references.vectors(call).derivatives
    _, (gradient,) = call.evaluate()
    assert misfit(band, gradient, call.real) is None
    # Some twenty times as far off as is excused.
    wrong = gradient + 3e4 * np.finfo(real).eps / scale
    assert misfit(band, wrong.astype(real), call.real) is not None


def test_targets_that_have_weights_of_labels_are_known_outside_the_domain_too():
    """Up to 8 steps of bfloat16 beyond 1 they are 1, and NaN farther away."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    loss = nl.BinaryCrossEntropy(pos_weight=[5.0, 0.5])
    options = {"reduction": "none", "check": False}
    call = Call("elementwise", loss, np.dtype(np.float32), "value_and_grad", options=options)
    target = np.array([[0.0, 1.0], [1 + 2.0**-5, 0.25], [1.25, -0.25]])
    for key, contents in (("prediction", np.ones((3, 2), np.float32)), ("target", target)):
        if key == "target":
            contents = contents.astype(bfloat16)
        call.arrays[key] = memory.place(memory.Arena(), contents, memory.plain(2))
    call.positional, call.off_domain = ("prediction", "target"), True
    value, gradient = expected(call).value, expected(call).derivatives[0]
    assert value.nan.tolist() == gradient.nan.tolist() == [[False] * 2] * 2 + [[True] * 2]
    got = loss.value_and_grad(*call.inputs(), **options)
    assert [misfit(value, got[0], call.real), misfit(gradient, got[1], call.real)] == [None, None]
