"""What people bring by mistake, and what to tell them."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import Any

import numpy as np

# Elements that a search reads in one go.
_SEARCH = 1 << 16


def real_number(given: Any, name: str) -> float:
    """A number that is no array, no text and not complex, as a float.

    Raises
    ------
    TypeError
        For anything else.
    """
    if type(given) is float:
        return given
    plain = not isinstance(given, (str, bytes)) and getattr(given, "shape", ()) == ()
    if plain and not np.iscomplexobj(given):
        try:
            return float(given)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"{name} must be a real number, not {given!r}")


def masked(name: str, valid: bool = False) -> TypeError:
    """The error for arrays with a mask; ``valid``: whether that is True for what is valid."""
    if valid:
        return TypeError(
            f"{name} is a masked array; its mask is True where data is valid: pass a plain array "
            f"with the mask as mask, or as sample_weight with reduction='weighted_mean'"
        )
    return TypeError(
        f"{name} is a masked array, whose mask is True where data is invalid. With "
        f"mask = numpy.ma.getmaskarray({name}), drop such elements from all arrays, "
        f"x[~mask], or pass plain data with mask=~mask: for losses that is True where data "
        f"counts. Losses without a mask take sample_weight=~mask and reduction='weighted_mean'"
    )


def no_numbers(array: np.ndarray, name: str) -> TypeError:
    """The error for an array of a dtype that holds no real numbers."""
    said = f"{name} has dtype {array.dtype}"
    if array.dtype.kind in "OTUS":
        for start in range(0, array.size, _SEARCH):
            for offset, one in enumerate(array.flat[start : start + _SEARCH]):
                if _missing(one):
                    index = np.unravel_index(start + offset, array.shape)
                    place = ", ".join(str(int(i)) for i in index)
                    return TypeError(
                        f"{said}, with a missing value ({one!r}) at [{place}]: drop what is "
                        f"missing from all arrays, or fill it and give it weight 0"
                    )
                if isinstance(one, (str, bytes)):
                    return TypeError(
                        f"{said}, which holds texts; expected real numbers. Labels are numbered "
                        f"by numpy.unique({name}, return_inverse=True)[1]"
                    )
    return TypeError(f"{said}; expected real numbers up to float64")


def _missing(one: Any) -> bool:
    # pandas.NA; NaT and NaN are not equal to themselves.
    if one is None or type(one).__name__ == "NAType":
        return True
    try:
        return bool(one != one)
    except (TypeError, ValueError):
        return False


def refuse_tracer(given: Any, name: str) -> None:
    """Raise for an array of JAX that has no numbers: inside jit, grad or vmap."""
    if isinstance(given, sys.modules["jax"].core.Tracer):
        raise TypeError(
            f"{name} is traced by JAX (inside jax.jit, jax.grad or jax.vmap) and has no numbers "
            f"yet. Inside, call numbaloss.jax.evaluate(loss, ...), whose gradient JAX knows; the "
            f"loss itself is for arrays outside"
        )


def refuse_autograd(*given: Any) -> None:
    """Raise where a value is asked for, of tensors whose gradient PyTorch would want to know.

    The value is a number, and remembers nothing: ``loss(p, t).backward()`` could not work.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    for one in given:
        if isinstance(one, torch.Tensor) and one.requires_grad and torch.is_grad_enabled():
            raise TypeError(
                "a tensor requires a gradient, of which the value of a loss knows nothing: "
                "numbaloss.torch.Loss(loss) makes a module of the loss, whose value knows; or take "
                "value, gradient = loss.value_and_grad(...) and hand the gradient on by "
                "tensor.backward(gradient); where the value alone is wanted, detach() the tensor "
                "or call the loss under torch.no_grad()"
            )


def no_float(name: str, kind: str, other: Any) -> TypeError:
    """The error for a prediction that is no float; ``other`` is the target that came with it."""
    said = f"{name} has dtype {kind}; gradients of integers do not exist."
    if _has_floats(other):
        return TypeError(
            f"{said} The target has floats: are the two exchanged? Losses take the prediction "
            f"first and the target second, as PyTorch does and scikit-learn does not. If they "
            f"are not, cast: {name}.astype(numpy.float32)"
        )
    return TypeError(f"{said} Cast it: {name}.astype(numpy.float32)")


def _has_floats(given: Any) -> bool:
    if isinstance(given, (list, tuple)):
        try:
            given = np.asarray(given)
        except ValueError:
            return False
    return "float" in str(getattr(given, "dtype", type(given).__name__))


def class_weights(given: Any) -> str:
    """What to write in the place of class weights that are no array; empty where they are one."""
    if isinstance(given, dict):
        return "; an array has one number a class: [weights[0], weights[1], ...]"
    if isinstance(given, str):
        return (
            "; weights of balanced classes are count / (classes * numpy.bincount(labels)), where "
            "count is the number of labels"
        )
    return ""


# What other libraries call the inputs and options.
_FIRST = {
    *("y_pred", "y_score", "y_prob", "y_hat", "yhat", "pred", "preds", "predictions", "scores"),
    *("input", "inputs", "output", "outputs", "logits", "raw_prediction"),
}
_SECOND = {"y", "y_true", "true", "truth", "targets", "label", "labels", "ground_truth"}
_OPTIONS = {
    "weight": "sample_weight",
    "weights": "sample_weight",
    "sample_weights": "sample_weight",
    "w": "sample_weight",
    "reduce": "reduction",
    "size_average": "reduction",
    "average": "reduction",
    "scale": "gradient_scale",
    "where": "mask",
    "dim": "axis",
}


def unknown_option(loss: Any, method: str, unknown: dict[str, Any]) -> TypeError:
    """The error for a keyword that a method of a loss does not have."""
    name = next(iter(unknown))
    arguments = list(signature(getattr(type(loss), method)).parameters.values())[1:-1]
    inputs = [one.name for one in arguments if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
    options = [one.name for one in arguments if one.kind is Parameter.KEYWORD_ONLY]
    title = type(loss).__name__ + ("" if method == "__call__" else f".{method}")
    said = f"{title} has no argument {name!r}"
    if name in _FIRST and "prediction" in inputs:
        return TypeError(f"{said}: it is called prediction here, and comes first")
    if name in _SECOND and "target" in inputs:
        return TypeError(f"{said}: it is called target here, and comes second")
    if name in [parameter.name for parameter in loss.parameters()]:
        return TypeError(
            f"{said}; it is a parameter of the loss: {type(loss).__name__}({name}=...), or "
            f"loss.replace({name}=...)"
        )
    meant = _OPTIONS.get(name)
    close = [meant] if meant in options else get_close_matches(name, [*inputs, *options], 1)
    hint = f": did you mean {close[0]}?" if close else "."
    return TypeError(
        f"{said}{hint} It takes {', '.join(inputs)}, and the options {', '.join(options)}"
    )


def missing_library(module: str, library: str, extra: str) -> ImportError:
    """The error for a module that works with a library which is not installed."""
    return ImportError(f'{module} needs {library}: python -m pip install "numbaloss[{extra}]"')
