"""Which module computes which structure of losses."""

STRUCTURES = {"elementwise": "elementwise", "rows": "rows", "direct_rows": "rows"}


def run(kernels, request):
    return kernels.run(request)
