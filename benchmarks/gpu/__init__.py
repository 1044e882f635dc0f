"""Numbaloss on a CUDA GPU, beside PyTorch and CuPy: ``python -m benchmarks.gpu``.

asv imports every module below ``benchmarks`` where neither PyTorch, CuPy nor a GPU need be:
these modules import other libraries where they use them, not at the top.
"""
