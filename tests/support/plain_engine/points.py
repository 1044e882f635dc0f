"""What every module of this engine does: ask formulas, and write results."""

import numpy as np

from numbaloss.core.request import Outcome
from numbaloss.formulas.fitting import lower_for
from numbaloss.formulas.points import METHODS
from numbaloss.formulas.structure import parameters_of


def asked(loss):
    """A function that calls a method of a loss in float64: value and two derivatives."""
    record = parameters_of(lower_for(loss, "float64"), np.float64)

    def ask(method, number, target=0.0):
        if number != number or target != target:
            return (number + target,) * 3
        with np.errstate(all="ignore"):
            return METHODS[method](record, np.float64(number), np.float64(target))

    return ask


def write(outputs, columns, scale):
    """Values as they are, derivatives times the scale, into what there is to write to."""
    for which, (output, numbers) in enumerate(zip(outputs, columns, strict=True)):
        if output is not None:
            factor = scale if which else 1.0
            output.array[...] = np.reshape(numbers, output.array.shape) * factor


def divisor(request):
    """What a sum of values is divided by, where there are neither weights nor masks."""
    prediction, _, weight, mask = request.inputs[:4]
    assert weight is None
    assert mask is None
    of_classes = request.loss.contract.of_classes
    shape = prediction.array.shape[:-1] if of_classes else prediction.array.shape
    return Outcome(float(np.prod(shape)) if request.reduction == "mean" else 1.0)


def check_inputs(request):
    """Nothing of this engine raises."""
    return Outcome()


def run_direct(*arguments):
    """None: the general path does it."""
