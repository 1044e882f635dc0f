"""Attach the compiled bodies to the Python faces."""

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

import numbaloss.vmath as faces

from ..forking import protected
from . import float32, float64, gpu32, pow32, pow64
from .target import compiling_for_gpu, for_gpu

_lock = protected(threading.Lock())
_installed = False
# Whether compiled for a GPU: what a body is for.
CPU, GPU = (False,), (True,)


def install() -> None:
    """Make every function of :mod:`numbaloss.vmath` usable in ``numba.njit`` code.

    Safe to call again, and from several threads.
    """
    global _installed
    with _lock:
        if _installed:
            return
        for name in faces.__all__:
            face = getattr(faces, name)
            if name == "pow":
                _attach(face, float32.pow, float32.OPTIONS, _all_are(types.float32), CPU)
                _attach(face, pow32.pow, pow32.OPTIONS, _all_are(types.float32), GPU)
                _attach(face, pow64.pow, pow64.OPTIONS, _all_are(types.float64))
                _attach(face, _widened_pair(face), float64.OPTIONS, _none_of_ours)
                continue
            single = _all_are(types.float32)
            _attach(face, getattr(float32, name), float32.OPTIONS, single, CPU)
            _attach(face, getattr(gpu32, name), gpu32.OPTIONS, single, GPU)
            _attach(face, getattr(float64, name), float64.OPTIONS, _all_are(types.float64))
            _attach(face, _widened(face), float64.OPTIONS, _none_of_ours)
        _installed = True


def _attach(
    face: Callable[..., Any],
    body: Any,
    options: Any,
    accepts: Callable[..., bool],
    targets: tuple[bool, ...] = CPU + GPU,
) -> None:
    """Let calls of ``face`` whose argument types ``accepts`` admits compile to ``body``."""
    implementation = getattr(body, "py_func", body)
    signature = inspect.signature(implementation)

    def attach_for(gpu: bool, flags: Any) -> None:
        def choose(*arguments: Any, **named: Any) -> Any:
            if compiling_for_gpu() is not gpu:
                return None
            return implementation if accepts(*signature.bind(*arguments, **named).args) else None

        # Numba compares the names of the arguments of face, chooser and body.
        choose.__signature__ = signature  # type: ignore[attr-defined]
        overload(face, jit_options=flags)(choose)

    for gpu in targets:
        attach_for(gpu, for_gpu(options) if gpu else options)


def _all_are(kind: Any) -> Callable[..., bool]:
    return lambda *arguments: all(argument == kind for argument in arguments)


def _none_of_ours(*arguments: Any) -> bool:
    """Whether these are real numbers of another type, or of two: they compute in float64."""
    plain = [types.unliteral(argument) for argument in arguments]
    real = all(isinstance(kind, (types.Integer, types.Boolean, types.Float)) for kind in plain)
    return real and set(plain) not in ({types.float32}, {types.float64})


def _widened(face: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: face(np.float64(x))


def _widened_pair(face: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: face(np.float64(x), np.float64(y))
