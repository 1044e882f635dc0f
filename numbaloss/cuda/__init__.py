"""The kernels for GPUs: the same losses, at the speed of the GPU's own memory.

Nothing here is imported before an array on a GPU, or ``device="cuda"``, asks for it.
"""
