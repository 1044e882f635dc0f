"""Losses of numbers, number by number."""

from numbaloss.core.request import Outcome

from .points import asked, check_inputs, divisor, run_direct, write

__all__ = ["check_inputs", "divisor", "run", "run_direct"]


def run(request):
    loss, inputs = request.loss, request.inputs
    ask = asked(loss)
    found = [ask("point", p, t) for p, t in zip(inputs[0].array.flat, inputs[1].array.flat)]
    columns = list(zip(*found)) or [(), (), ()]
    write(request.outputs, columns, request.scale)
    return Outcome(float(sum(columns[0])))
