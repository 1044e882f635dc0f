"""Losses of numbers, number by number."""

from .points import asked, check_inputs, divisor, run_direct, write

__all__ = ["check_inputs", "divisor", "evaluate", "run_direct"]


def evaluate(loss, derivatives, inputs, outputs, scale, check):
    ask = asked(loss)
    found = [ask("point", p, t) for p, t in zip(inputs[0].array.flat, inputs[1].array.flat)]
    columns = list(zip(*found)) or [(), (), ()]
    write(outputs, columns, scale)
    return float(sum(columns[0]))
