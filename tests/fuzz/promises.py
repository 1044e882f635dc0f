"""What is asked of one call: right results, nothing touched beside them, and the same again."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from numbaloss.call import near

from . import bad_input, references
from .bands import misfit
from .calls import Call, Maker
from .draws import chance, pick
from .families import Stretch
from .memory import Arena

FLOAT64 = np.dtype(np.float64)
# Sums of one set of terms, by two kernels.
AGAIN = {np.dtype(np.float32): 4e-7, FLOAT64: 1e-13}


class Finding(Exception):
    """A promise that was broken: of which kind, and how."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text = kind, text


def examine(seed: int, number: int, stretch: Stretch, arena: Arena) -> tuple[Call | None, Any]:
    """Draw a call and run it; the call, and a finding where there is one."""
    rng = np.random.default_rng([seed, number, 7])
    arena.reset()
    call = None
    # Small arrays are copied into plain ones; every other call reads them as they lie.
    usual, near.MOST = near.MOST, near.MOST * (number % 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call = Maker(rng, stretch, arena).call()
            if chance(rng, 0.1) and bad_input.spoil(rng, call, arena):
                _refused(call)
            else:
                _answered(rng, call)
    except Finding as found:
        return call, found
    finally:
        near.MOST = usual
    return call, None


def _refused(call: Call) -> None:
    """A call that cannot be right raises an error, and leaves its inputs alone."""
    try:
        call.evaluate()
    except (ValueError, TypeError) as error:
        if not str(error):
            raise Finding("error without words", call.expected) from None
        _untouched(call, with_prediction=True)
        return
    except Exception as error:
        text = f"{call.expected}: {type(error).__name__}: {error}"
        raise Finding("another error", text) from None
    raise Finding("not refused", call.expected)


def _untouched(call: Call, with_prediction: bool) -> None:
    for name, one in call.arrays.items():
        if name == "prediction" and call.in_place and not with_prediction:
            continue
        if not one.unchanged():
            raise Finding("input changed", name)


def _evaluated(call: Call) -> Any:
    try:
        return call.evaluate()
    except Exception as error:
        raise Finding("refused", f"{type(error).__name__}: {error}") from None


def _answered(rng: np.random.Generator, call: Call) -> None:
    wanted = references.expected(call)
    values_alone = _copy_of_inputs(call) if call.in_place else None
    value, derivatives = _evaluated(call)
    _untouched(call, with_prediction=False)
    derivatives = _kept(call, derivatives)
    _compare(call, wanted, value, derivatives)
    if values_alone is not None:
        call.arrays["prediction"].array[...] = values_alone
    _once_more(rng, call, value, derivatives, wanted)


def _copy_of_inputs(call: Call) -> np.ndarray:
    return call.arrays["prediction"].array.copy()


def _kept(call: Call, derivatives: list[Any]) -> list[np.ndarray]:
    """Copies of the derivatives, once nothing is written beside the arrays they came in."""
    keywords = call.output_keywords()
    if call.single:
        own = [keywords.get("out"), keywords.get("hess_out")]
    else:
        own = list(keywords.get("out", (None,) * len(derivatives)))
    for one, given in zip(derivatives, own):
        if given is not None and one is not given:
            raise Finding("another array", "what is returned is not the array of the caller")
    kept = [np.array(one) for one in derivatives]
    written = [*call.outs.values(), *([call.arrays["prediction"]] if call.in_place else [])]
    if not all(one.only_elements_written() for one in written):
        raise Finding("written beside", "bytes beside the elements of an output have changed")
    return kept


def _compare(call: Call, wanted: Any, value: Any, derivatives: list[np.ndarray]) -> None:
    reduced = call.options["reduction"] != "none"
    if reduced and type(value) is not float:
        raise Finding("type of value", str(type(value)))
    real = FLOAT64 if reduced else call.real
    if not reduced and np.asarray(value).dtype != real:
        raise Finding("type of value", str(np.asarray(value).dtype))
    _fit(wanted.value, value, real, "value", None if reduced else wanted.places)
    names = call.gradient_names if not call.single else ("", "")
    titles = [f"gradient {name}".strip() for name in names]
    if call.derivatives == 2:
        titles[1] = "hessian"
    for band, one, title, name in zip(wanted.derivatives, derivatives, titles, names):
        like = call.arrays[name or call.gradient_names[0]].array
        if (one.dtype, one.shape) != (like.dtype, like.shape):
            raise Finding(f"type of {title}", f"{one.dtype} {one.shape}")
        _fit(band, one, like.dtype, title, wanted.places)


def _fit(band: Any, got: Any, dtype: np.dtype, title: str, places: Any) -> None:
    if band is None:
        return
    if places is not None:
        got = np.asarray(got).reshape(-1)[places]
    text = misfit(band, got, dtype)
    if text is not None:
        raise Finding(f"wrong {title}", text)


def _once_more(
    rng: np.random.Generator, call: Call, value: Any, derivatives: list[np.ndarray], wanted: Any
) -> None:
    """The same call in another way gives the same."""
    way = pick(rng, ("value", "value", "fresh", "plain", "apart", "apart", ""))
    if way == "value" and call.derivatives:
        keywords = call.keywords()
        keywords.pop("gradient_scale", None)
        _close(call, call.loss(*call.inputs(), **keywords), value, "value alone", keywords)
    elif way == "plain" or (way == "fresh" and (call.outs or call.in_place)):
        inputs, keywords = call.inputs(), call.keywords()
        if way == "plain":
            plain = {name: np.array(one.array, order="C") for name, one in call.arrays.items()}
            inputs = [plain.pop(name) for name in call.positional]
            keywords |= plain
        again = _method(call, inputs, keywords)
        what = "contiguous" if way == "plain" else "without outputs"
        if call.structure in ("linear", "batch"):  # products are summed as the layout suggests
            _compare(call, wanted, *again)
        else:
            _same(call, again, value, derivatives, what)
    elif way == "apart" and call.options["reduction"] == "sum":
        keywords = call.keywords(reduction="none")
        keywords.pop("gradient_scale", None)
        values = np.asarray(call.loss(*call.inputs(), **keywords), FLOAT64)
        with np.errstate(all="ignore"):
            _close(call, float(values.sum()), value, "sum of values apart", keywords, values)
    _untouched(call, with_prediction=True)


def _method(call: Call, inputs: list[Any], keywords: dict[str, Any]) -> tuple[Any, list[Any]]:
    result = getattr(call.loss, call.method)(*inputs, **keywords)
    if call.derivatives == 0:
        return result, []
    if call.derivatives == 2:
        return result[0], [result[1], result[2]]
    return result[0], [result[1]] if call.single else list(result[1])


def _close(
    call: Call, one: Any, other: Any, what: str, keywords: dict[str, Any], values: Any = None
) -> None:
    """Two values of one call agree, against the size of what was summed."""
    with np.errstate(all="ignore"):
        if values is None:
            apart = call.loss(*call.inputs(), **{**keywords, "reduction": "none"})
            values = np.asarray(apart, FLOAT64)
        size = np.abs(values)
        if call.structure == "elementwise" and hasattr(call.loss, "terms"):
            # Of terms that cancel, the sizes of each.
            apart = {**keywords, "reduction": "none"}
            each = [abs(w) * np.abs(one(*call.inputs(), **apart)) for w, one in call.loss.terms]
            size = sum(np.asarray(one, FLOAT64) for one in each)
        if keywords["reduction"] in ("mean", "weighted_mean") and values.size:
            total = float(values.sum())
            known = np.isfinite(total) and total != 0 and np.isfinite(np.asarray(other)).all()
            size = size.sum() * abs(np.asarray(other) / total) if known else size.sum()
        elif np.ndim(other) == 0:
            size = size.sum()
        bound = AGAIN[call.real] * size + 1e-300
        apart = np.abs(np.asarray(one, FLOAT64) - np.asarray(other, FLOAT64))
        same = (apart <= bound) | (np.isnan(one) & np.isnan(other)) | (np.asarray(one) == other)
        # Beyond the largest number of one type, but not of the one that sums.
        same = same | ~np.isfinite(size)
    if not np.all(same):
        text = f"{np.asarray(other)[~same].flat[0]!r} and {np.asarray(one)[~same].flat[0]!r}"
        raise (
            Finding(f"differs: {what}", text)
            if np.ndim(other)
            else Finding(f"differs: {what}", f"{other!r} and {one!r}")
        )


def _same(
    call: Call, again: tuple[Any, list[Any]], value: Any, derivatives: list[Any], what: str
) -> None:
    """The same results, to the last bit where nothing is summed in an order of its own."""
    reduction = call.options["reduction"]
    if reduction != "none":
        keywords = call.keywords()
        keywords.pop("gradient_scale", None)
        _close(call, again[0], value, what, keywords)
    pairs = list(zip(again[1], derivatives))
    if reduction == "none":
        pairs.append((again[0], value))
    for one, other in pairs:
        one, other = (np.asarray(each) for each in (one, other))
        wide = [x.astype(np.float32) if x.dtype.name == "bfloat16" else x for x in (one, other)]
        with np.errstate(all="ignore"):
            equal = (wide[0] == wide[1]) | (np.isnan(wide[0]) & np.isnan(wide[1]))
            if reduction == "weighted_mean":  # the divisor is such a sum
                first, second = (x.astype(FLOAT64) for x in wide)
                rough = {2: 2.0**-7, 4: 2e-6, 8: 1e-12}[other.dtype.itemsize]
                equal |= np.abs(first - second) <= rough * np.abs(second) + 1e-37
        if not np.all(equal):
            i = int(np.argmin(np.ravel(equal)))
            text = f"[{i}] {np.ravel(wide[1])[i]!r} and {np.ravel(wide[0])[i]!r}"
            raise Finding(f"differs: {what}", text)
