"""From a request to results: by the engine of the device on which the arrays live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import engines
from ..core.request import Request
from .outputs import Results, out_of_range


class Errors(NamedTuple):
    """What a call may find out of range."""

    ranges: Callable[[], str]  # in words; empty: nothing can be
    # What raises the error that names the first number that is, of arrays here and there.
    name_first: Callable[[], None]
    name_first_on_gpu: Callable[[], None]


def run(
    request: Request, results: Results, wait: bool, streamed: bool, errors: Errors
) -> tuple[Any, Any, Any]:
    """Value, gradient and hessian as the caller gets them."""
    if request.device is not None:
        outcome = engines.run("cuda", request)
        return results.receive(
            outcome.record, request.reduction, wait, errors.ranges(), errors.name_first_on_gpu
        )
    host = engines.kernels("cpu", request.structure)
    # Labels and weights are looked through before anything is written: the divisor scales the
    # gradient, and depends on how many samples count.
    divisor = request.loss._divisor(host, request)
    if request.in_place:
        host.check_inputs(request.loss, request.inputs, request.check)
    outcome = engines.run("cuda" if streamed else "cpu", request._replace(divisor=divisor))
    if outcome.out_of_range:
        errors.name_first()
        raise out_of_range(outcome.out_of_range, errors.ranges())
    return results.deliver(outcome.total, divisor, request.reduction)
