"""Docstrings of methods that share options: each is described once, and shown wherever it is taken.

A line ``{wait}`` in a docstring stands for the entry of that name below. A method that says
"Parameters as in :meth:`__call__`, and" gets the entries of that one which it takes itself, in
front of its own, and its errors.
"""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any, TypeVar

Class = TypeVar("Class", bound=type)

OPTIONS = {
    "device": """
        device : {None, "cpu", "cuda"}
            None: where the arrays live. ``"cuda"`` computes arrays of the host on a GPU, piece
            by piece, so that they may be larger than its memory.
        """,
    "device_of_vectors": """
        device : {None, "cpu", "cuda"}
            None: where the arrays live. ``"cuda"`` is for arrays on a GPU.
        """,
    "device_of_products": """
        device : {None, "cpu", "cuda"}
            None: where the arrays live. On a GPU, matrices are multiplied by CuPy or PyTorch,
            whichever the arrays come from. ``"cuda"`` is for arrays on a GPU.
        """,
    "gradient_scale": """
        gradient_scale : float
            Multiplies derivatives, not the value. The gradient of a mean over a million
            numbers underflows in float16: scale it up, and the step down.
        """,
    "hess_out": """
        hess_out : array of the prediction's shape, optional
            Receives the hessian, as ``out`` does the gradient; it overlaps no other argument.
        """,
    "out": """
        out : array of the prediction's shape, optional
            Receives the gradient, in any floating dtype, rounded once (on a GPU, that of the
            prediction). It may be the prediction itself; it must not overlap any other input.
        """,
    "out_of_hessian": """
        out : array of the prediction's shape, optional
            Receives the hessian, in any floating dtype (on a GPU, that of the prediction); it
            overlaps no other argument.
        """,
    "mask_of_vectors": """
        mask : array of bool, optional
            True for pairs or triplets that count, in a shape that a weight may have. The others
            contribute exactly 0, whatever they hold.
        """,
    "reduction_of_vectors": """
        reduction : {"mean", "weighted_mean", "batchmean", "sum", "none"}
            ``"mean"`` divides the (weighted) sum by the number of pairs or triplets that count,
            ``"weighted_mean"`` by the sum of the weights, ``"batchmean"`` by the length of their
            first axis; ``"none"`` keeps the values apart.
        """,
    "sample_weight_of_vectors": """
        sample_weight : array, optional
            One weight >= 0 a pair or triplet, or an array of a leading part of their shape.
            Multiplies the values. Weight 0 removes one, whatever it holds. With as many axes as
            there are, two or more, those of length 1 hold for all along them.
        """,
    "sample_weight_of_rows": """
        sample_weight : array, optional
            One weight >= 0 a row, or an array of a leading part of the rows' shape. Multiplies
            the values. Weight 0 removes a row, even one that holds NaN; the row still counts.
        """,
    "values_out": """
        values_out : array of the shape of the values, optional
            With ``reduction="none"``: receives the values, in any floating dtype (on a GPU, that
            of the computation). It overlaps no other argument.
        """,
    "wait": """
        wait : bool
            On a GPU: False returns the value before it is computed, as a
            :class:`~numbaloss.DeviceValue`, and leaves the program to go on meanwhile.
        """,
    "workspace": """
        workspace : int, optional
            Bytes that a block of similarities may take.
        """,
}
_OPTIONS = {name: dedent(text).strip() for name, text in OPTIONS.items()}

_AS_IN = re.compile(r"^Parameters as in :meth:`(\w+)`, (?:and|but for)\n\n", re.M)
_HEADING = re.compile(r"^(\w+)\n-+\n", re.M)


def documented(cls: Class) -> Class:
    """Class decorator that completes the docstrings of a structure's methods."""
    for method in vars(cls).values():
        if callable(method) and getattr(method, "__doc__", None):
            method.__doc__ = _complete(cls, method)
    return cls


def _complete(cls: Any, method: Any) -> str:
    text = _with_options(_cleaned(method.__doc__))
    found = _AS_IN.search(text)
    if found is None:
        return text
    summary, own = _sections(text[: found.start()] + text[found.end() :])
    _, others = _sections(_complete(cls, getattr(cls, found[1])))
    code = method.__code__
    taken = set(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    mine = _entries(own["Parameters"])
    known = {name for names in mine for name in names}
    shared = [
        entry
        for names, entry in _entries(others["Parameters"]).items()
        if set(names) <= taken - known
    ]
    own["Parameters"] = "\n".join([*shared, *mine.values()])
    own.setdefault("Raises", others.get("Raises", ""))
    parts = [f"{name}\n{'-' * len(name)}\n{body}" for name, body in own.items() if body]
    return "\n\n".join([summary, *parts])


def _cleaned(text: str) -> str:
    """A docstring without its indentation, as Python 3.13 keeps it and older versions do not."""
    first, _, rest = text.partition("\n")
    return f"{first.strip()}\n{dedent(rest)}".strip()


def _with_options(text: str) -> str:
    return re.sub(r"^\{(\w+)\}$", lambda found: _OPTIONS[found[1]], text, flags=re.M)


def _sections(text: str) -> tuple[str, dict[str, str]]:
    """What stands in front of the first heading, and what under each."""
    parts = _HEADING.split(text)
    bodies = [body.strip("\n") for body in parts[2::2]]
    return parts[0].strip(), dict(zip(parts[1::2], bodies))


def _entries(body: str) -> dict[tuple[str, ...], str]:
    """The entries of a section by the names that they are for."""
    found: dict[tuple[str, ...], str] = {}
    for entry in re.split(r"\n(?=\S)", body):
        names = entry.split(" :")[0].split("\n")[0]
        found[tuple(name.strip(" *") for name in names.split(","))] = entry
    return found
