"""Which module computes which structure of losses."""

from numbaloss.core.request import Outcome

STRUCTURES = {"elementwise": "elementwise", "rows": "rows", "direct_rows": "rows"}


def run(kernels, request):
    scaled = [request.loss, request.derivatives, request.inputs, request.outputs, request.scale]
    return Outcome(kernels.evaluate(*scaled, request.check))
