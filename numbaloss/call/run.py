"""From a request to results: by the engine of the device on which the arrays live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import engines
from ..core.request import Outcome, Request
from ..device_value import Later
from .outputs import Results, out_of_range


class Errors(NamedTuple):
    """What a call may find out of range."""

    ranges: Callable[[], str]  # in words; empty: nothing can be
    # What raises the error that names the first number that is, of arrays here and there.
    name_first: Callable[[], None]
    name_first_on_gpu: Callable[[], None]
    # The same of what a divisor depends on.
    name_first_counted: Callable[[], None]
    # The same of arrays that may be gone when somebody reads the value.
    later: Later | None = None


def run(
    request: Request, results: Results, wait: bool, streamed: bool, errors: Errors
) -> tuple[Any, ...]:
    """Value and derivatives as the caller gets them."""
    if request.device is not None:
        outcome = engines.run("cuda", request)
        if outcome.record is None:
            return results.deliver(outcome.total, request.divisor, request.reduction)
        return results.receive(
            outcome.record, request.reduction, wait, errors.ranges(), errors.name_first_on_gpu,
            errors.later,
        )  # fmt: skip
    host = engines.kernels("cpu", request.structure)
    # Labels and weights are looked through before anything is written: the divisor scales the
    # gradient, and depends on how many samples count.
    counted = host.divisor(request)
    _refuse(counted, errors.name_first_counted, errors)
    request = request._replace(divisor=counted.total)
    if request.in_place:
        _refuse(host.check_inputs(request), errors.name_first, errors)
    outcome = outcome_on_host(request, errors, streamed)
    return results.deliver(outcome.total, request.divisor, request.reduction)


def outcome_on_host(request: Request, errors: Errors, streamed: bool = False) -> Outcome:
    """What comes of arrays of the host, once nothing is out of range."""
    outcome: Outcome = engines.run("cuda" if streamed else "cpu", request)
    _refuse(outcome, errors.name_first, errors)
    return outcome


def _refuse(outcome: Outcome, name_first: Callable[[], None], errors: Errors) -> None:
    """Raise where numbers are out of range, or a formula raised."""
    if not outcome.out_of_range and outcome.raised is None:
        return
    name_first()  # numbers come first: they may be why the formula raised
    if outcome.raised is not None:
        raise outcome.raised()
    raise out_of_range(outcome.out_of_range, errors.ranges())
