"""Numbaloss beside NumPy, scikit-learn, PyTorch and JAX: ``python -m benchmarks.peers``.

asv imports every module below ``benchmarks``, in an environment that has numbaloss and
nothing else. So the modules here import other libraries where they use them, not at the top.
"""
